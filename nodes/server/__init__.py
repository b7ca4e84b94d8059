"""A node: its server, the spawner, a supervisor per run, and what they keep on disk. No Django, no database."""
