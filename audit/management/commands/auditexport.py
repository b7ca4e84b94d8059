"""``manage.py auditexport``: the whole trail straight from the database, for when no hub runs."""

from typing import Any

from django.core.management.base import BaseCommand

from audit.export import Export


class Command(BaseCommand):
    help = "Write the audit trail to standard output, as `agenthub audit export` does, without a running hub."

    def handle(self, *arguments: Any, **options: Any) -> None:
        for part in Export().parts():
            self.stdout.write(part.decode(), ending="")
