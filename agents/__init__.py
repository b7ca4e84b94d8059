"""Agents, their runs, and what runs leave behind: events, approvals, diffs, blobs.

Also the loops that move runs: scheduler, reconciler, ingest. Machines are left to ``nodes``, people to ``accounts``.
"""
