"""What ``agenthub up`` says: one calm screen, or one JSON object. Everything else goes to standard error."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from agenthub_site.homelock import HomeTaken
from integrations.cli.exits import Exit
from integrations.cli.where import DEFAULT_HOME, Where, short, url_of
from nodes.contract.errors import ConfigError, HubError


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    say(f"agenthub: {text}")


def tell_failure(error: HubError, *, as_json: bool) -> Exit:
    """One clear line on standard error, or with ``--json`` one object on standard output; the exit code."""
    if as_json:
        sys.stdout.write(json.dumps(error.as_json()) + "\n")
        sys.stdout.flush()
    else:
        warn(str(error))
    if isinstance(error, HomeTaken):
        return Exit.REFUSED
    return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED


def summarize(where: Where, address: str, prepared: dict[str, Any], *, as_json: bool) -> None:
    """Say where the hub is and what to do next. The password is among it only on the first start."""
    url = url_of(where, address)
    text = json.dumps(_facts(url, where, prepared)) if as_json else _screen(url, where, prepared)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _facts(url: str, where: Where, prepared: dict[str, Any]) -> dict[str, Any]:
    told = {key: prepared[key] for key in ("user", "password", "project", "agents", "run")}
    return {"address": url, **told, "home": str(where.home), "pid": os.getpid()}


def _screen(url: str, where: Where, prepared: dict[str, Any]) -> str:
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    password = prepared["password"]
    login = f"{prepared['user']} / {bold}{password}{plain}   {dim}(shown this once; keep it){plain}"
    if password is None:
        login = f"{prepared['user']}   {dim}(lost the password? {command_of(where)} manage changepassword root){plain}"
    elif prepared["password_is_yours"]:
        login = f"{prepared['user']}   {dim}(with the password from AGENTHUB_ADMIN_PASSWORD){plain}"
    lines = [
        "",
        f"  {bold}AgentHub is up{plain}",
        "",
        f"  Open      {bold}{url}{plain}",
        f"  Sign in   {login}",
        f"  Home      {short(where.home)}   {dim}(logs are in {short(where.home / 'logs')}){plain}",
    ]
    if prepared["agents"]:
        lines += [f"  Agents    {', '.join(prepared['agents'])}"]
        agent = prepared["agents"][0]
        if prepared["run"]:
            lines += [f"  First run {url}/runs/{prepared['run']}/"]
        lines += ["", f'  Try       {command_of(where)} run {agent} "Write a note" --follow']
    lines += ["", f"  {dim}Ctrl-C stops the hub. Runs under way go on, and the next start takes them back.{plain}", ""]
    return "\n".join(lines)


def command_of(where: Where) -> str:
    """What a person types in another terminal, in this directory, to reach this very home with this very program."""
    started = Path(sys.argv[0])
    program = started if started.name == "agenthub" else Path(sys.executable).with_name("agenthub")
    found = shutil.which("agenthub")
    if found and program.exists() and program.samefile(found):
        command = "agenthub"
    elif program.is_relative_to(Path.cwd()):
        command = str(program.relative_to(Path.cwd()))
    else:
        command = str(program)
    is_default = where.home == Path(DEFAULT_HOME).expanduser()
    return command if is_default else f"AGENTHUB_HOME={shlex.quote(str(where.home))} {command}"
