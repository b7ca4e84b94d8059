"""A real web process for the readers' tests: it makes data, then serves, and a thread appends events on command.

Run as ``python -m tests.readers.hub_process [web's options]``. Commands and answers are
JSON lines on standard input and output; the first answer says what there is.
"""

import json
import os
import sys
import threading
from typing import Any
from uuid import UUID

os.environ["DJANGO_SETTINGS_MODULE"] = "agenthub_site.settings"

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from agenthub_site import web  # noqa: E402
from agents.states import State  # noqa: E402
from tests.factories import make_agent, make_node, make_project, make_root, make_run, make_token, make_user  # noqa: E402
from tests.readers.events import append  # noqa: E402


def make_data() -> dict[str, str]:
    """Alice's run, and a token for her, for Charlie (who may see nothing), and for root."""
    if not connection.introspection.table_names():  # else the home was given a migrated database
        call_command("migrate", verbosity=0)
    root, alice, charlie = make_root(), make_user("alice"), make_user("charlie")
    project = make_project(owner=alice, bob="developer")
    run = make_run(agent=make_agent(project=project, node=make_node()), user=alice, state=State.RUNNING)
    return {
        "run": str(run.pk),
        "project": str(project.pk),
        "alice": make_token(alice),
        "bob": make_token(make_user("bob")),
        "charlie": make_token(charlie),
        "root": make_token(root),
    }


def answer_commands() -> None:
    """Read with ``os.read``: a thread that holds standard input's lock would end the interpreter badly."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            try:
                say({"answer": answer(**json.loads(line))})
            except Exception as error:
                say({"error": repr(error)})
                raise


def answer(command: str, **options: Any) -> Any:
    if command == "append":
        return append(UUID(options.pop("run")), **options)
    from tests.readers import commands

    return getattr(commands, command)(**options)


def say(thing: dict[str, Any]) -> None:
    os.write(1, json.dumps(thing).encode() + b"\n")


if __name__ == "__main__":
    say(make_data())
    threading.Thread(target=answer_commands, daemon=True).start()
    sys.exit(web.main(["--listen", "127.0.0.1:0", "--no-controlplane", *sys.argv[1:]]))
