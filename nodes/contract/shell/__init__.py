"""Reads shell commands: the grammar, the programs that are known, and what each comes down to."""
