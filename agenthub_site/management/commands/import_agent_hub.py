import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project
from integrations.agent_hub.importing import TakenOver, take_over
from integrations.cli.agents_env import BadFile
from integrations.cli.old_hub import read_old_hub
from nodes.contract.errors import HubError


class Command(BaseCommand):
    help = (
        "Take over what is alive in agent-hub-mcp's database: tasks that are not over with all that is theirs, unread "
        "messages, locks that hold. The file is only read. Doing it again adds what has come since."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="its hub.db")
        parser.add_argument("--project", required=True, help="where it goes to, by its slug")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *_: object, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.", returncode=2)
        try:
            told = take_over(project, read_old_hub(Path(options["file"]), timezone.now()), by=SYSTEM)
        except BadFile as error:
            raise CommandError(str(error), returncode=2) from error
        except HubError as error:
            raise CommandError(f"Nothing was taken over. {error.text}", returncode=1) from error
        self.stdout.write(json.dumps(asdict(told)) if options["json"] else "\n".join(in_words(told)))


def in_words(told: TakenOver) -> list[str]:
    """What came over, in one line; and a line for each thing that did not."""
    kinds = ("agents", "tasks", "rounds", "assignments", "handoffs", "messages", "locks")
    counted = [(getattr(told, kind), kind) for kind in kinds]
    came = ", ".join(f"{number} {kind[:-1] if number == 1 else kind}" for number, kind in counted if number)
    already = [f"Here already: {told.already_here}."] if told.already_here else []
    return [f"Taken over: {came or 'nothing'}.", *already, *(f"Not taken over: {each}." for each in told.left)]
