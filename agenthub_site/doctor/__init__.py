"""``agenthub doctor``: looks at a machine, a home, a hub and its nodes, and names cause and fix of what is wrong.

One file for each area. A check is a small function from a ``Case`` to findings; it changes nothing, bounds every
wait, and says nothing that another one says already. What a failing link says comes from ``nodes.link`` alone.
"""
