"""Doors for other programs: the command line, MCP, AG2, Feishu, webhooks."""
