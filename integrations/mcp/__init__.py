"""The Model Context Protocol: tools with which agents coordinate, and, for tokens that say so, work the hub itself.

The tools here are plain functions; ``server`` alone imports the protocol's own package, which takes seconds.
"""
