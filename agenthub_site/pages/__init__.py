"""The pages people use: server-rendered Django templates, parts swapped by htmx, and one live run page.

Owns no state: views find things through the querysets, change them through the services,
and show what those say. The JavaScript is in ``agenthub_site/static/agenthub/``.
"""
