#!/usr/bin/env python
"""Django's management commands; ``runnode`` is handed on before Django is loaded, since a node has no Django."""

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["runnode"]:
        from nodes.server.main import main as run_node

        sys.exit(run_node(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
