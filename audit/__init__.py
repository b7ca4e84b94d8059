"""Who did what, on what, from where: the audit trail, numbered streams, and the bell that says "news".

Owns streams, audit events, ``record()`` and the bell. Knows actors and projects only by their ids.
"""
