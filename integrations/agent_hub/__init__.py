"""Taking over from agent-hub-mcp: what is alive in its database becomes tasks, mail and locks of a project."""
