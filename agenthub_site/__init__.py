"""The site: settings, URLs, ASGI, pages, the hub's wiring, and the ``agenthub`` command's server side."""
