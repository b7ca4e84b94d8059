"""The server side as ``manage.py`` commands; ``agenthub`` has the same ones."""
