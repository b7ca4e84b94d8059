"""The Model Context Protocol: tools with which agents coordinate, and, for tokens that say so, work the hub itself.

Tools are `async def`, with their work on the threads of the database; ``server`` and ``as_request`` alone import the
protocol's own package, which takes seconds.
"""
