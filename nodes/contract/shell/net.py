"""Programs with subcommands, and those that run a program of a package."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .files import breaks, touch_named
from .hosts import host_of
from .known import Program
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Handler, Run

_READ_VERBS = re.compile(r"(?:get|list|describe|head|show|ls|logs|search|lookup|status|info|wait)(?:-.*)?$")
_PUSHED = re.compile(r"type=registry|\bpush=(?:true|1|t)\b", re.IGNORECASE)
"""In ``docker build --output``."""


def program(commands: Commands, run: Run, spec: Program) -> None:
    """A program with subcommands, by its table."""
    name, texts = run.name, run.texts
    words, is_odd = subcommands(run, spec)
    if name in ("deno", "bun") and {"eval", "-e", "-p", "--eval", "--print", "repl"} & {*texts}:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed("\n".join(texts[1:])), run.exact)
        return
    started = words[:1] in (["run"], ["exec"], ["create"]) and spec is known.PROGRAMS["docker"]
    if started or (name == "nix" and {"-c", "--command"} & {*texts}):
        commands.suspect(squeezed(" ".join(texts[2:])), run.exact)
    if (
        name in ("npm", "pnpm", "yarn", "bun", "deno")
        and words[:1]
        and words[0] in ("exec", "x", "dlx", "run-script-x")
    ):
        package_runner(commands, replace(run, words=run.words[texts.index(words[0]) :]), is_remote=words[0] == "dlx")
        return
    if name in ("uv", "poetry", "pdm", "pipenv", "hatch", "rye", "bundle", "conda") and words[:1] in (
        ["run"],
        ["exec"],
    ):
        ran = texts.index(words[0]) + 1
        while ran < len(texts) and texts[ran].startswith("-"):
            ran += 2 if texts[ran] in ("--with", "--python", "-p", "--extra", "--group", "-n", "--env-file") else 1
        inner = replace(run, words=run.words[ran:], is_grave=True, depth=run.depth + 1)
        commands.run(inner) if inner.words else commands.emit(run, ActionKind.SHELL)
        return
    if (name in ("pdm", "uv") and words[:2] == ["tool", "run"]) or (name == "pipx" and words[:1] == ["run"]):
        package_runner(commands, replace(run, words=run.words[texts.index("run") :]), is_remote=True)
        return
    kind = phrase(spec, words) or spec.default
    if spec.publish and is_odd:
        broad = [phrase(spec, words[at:]) for at in range(min(len(words), 8))]
        kind = ActionKind.PUBLISH if ActionKind.PUBLISH in broad else kind
    kind = by_options(run, spec, words, kind)
    if kind is ActionKind.READ and (
        is_odd
        or texts[1].startswith("-")
        or run.is_grave
        or not run.is_trusted
        or any(breaks(text, spec.breaks) for text in texts[1:])
        or any(text.startswith("+") for text in texts[1:])
    ):
        kind = ActionKind.SHELL
    if kind in (ActionKind.READ, ActionKind.SHELL) and phrase(spec, words) in (ActionKind.READ, ActionKind.SHELL):
        kind = ActionKind.NETWORK if any(breaks(text, spec.reaches) for text in texts[1:]) else kind
    if kind not in (ActionKind.NETWORK, ActionKind.PUBLISH):
        commands.emit(run, kind)
        commands.visit(run)
        return
    touch_named(commands, run)
    named = [host_of(text.partition("=")[2] if text.startswith("-") else text) for text in texts[1:] if "://" in text]
    hosts = [host for host in named if host[0] or not host[1]]
    if kind is ActionKind.NETWORK and not (hosts and all(text.startswith("-") or "://" in text for text in texts[2:])):
        hosts += [(host, True) for host in spec.hosts]
    for host, is_sure in hosts or [("", True)]:
        commands.emit(run, kind, host=host, is_opaque=not is_sure)


def subcommands(run: Run, spec: Program) -> tuple[list[str], bool]:
    """The words that are no options; and whether options that we do not know stand before the first of them."""
    values = spec.values.split()
    words: list[str] = []
    is_odd, at = False, 1
    while at < len(run.words):
        text = run.texts[at]
        at += 1
        if text.startswith("+") and not words:
            continue  # cargo's toolchain
        if text.startswith("-"):
            if text in values:
                at += 1
            elif not words and text.split("=", 1)[0] not in values:
                is_odd = True
        else:
            words.append(text.lower())
    return words, is_odd


def phrase(spec: Program, words: list[str]) -> ActionKind | None:
    """What the longest phrase means that ``words`` begin with."""
    for length in (3, 2, 1):
        if len(words) >= length and (kind := spec.phrases.get(tuple(words[:length]))):
            return kind
    return None


def by_options(  # noqa: PLR0912 - one for each program
    run: Run, spec: Program, words: list[str], kind: ActionKind
) -> ActionKind:
    """What the table cannot say: options and arguments that turn one kind into another."""
    name, texts = run.name, run.texts
    publish = ActionKind.PUBLISH
    if name in ("docker", "podman", "nerdctl", "docker-compose"):
        if any(text == "--push" or text.startswith("--push=") or _PUSHED.search(text) for text in texts):
            return publish
    elif name in ("gh", "glab") and words[:1] == ["api"]:
        methods = [m for text, m in zip(texts, [*texts[1:], ""], strict=True) if text in ("-X", "--method")]
        methods += [text.partition("=")[2] or text[2:] for text in texts if re.match(r"-X.|--method=", text)]
        fields = any(breaks(text, "--field --raw-field --input --form") or re.match(r"-[fF]", text) for text in texts)
        is_read = all(method.upper() == "GET" for method in methods) and (bool(methods) or not fields)
        return ActionKind.NETWORK if is_read else publish
    elif name == "aws":
        if words[:1] == ["s3"] and words[1:2] in (["cp"], ["sync"]) and not words[-1].startswith("s3://"):
            return ActionKind.NETWORK
        is_read = len(words) > 1 and (bool(_READ_VERBS.match(words[1])) or words[0] in ("sts", "configure"))
        return ActionKind.NETWORK if is_read else publish
    elif name in ("gcloud", "az", "doctl", "hcloud", "linode-cli", "ibmcloud"):
        return ActionKind.NETWORK if any(_READ_VERBS.match(word) for word in words[1:4]) else publish
    elif name in ("kubectl", "oc") and words[:2] == ["rollout", "status"]:
        return ActionKind.NETWORK
    elif name in ("mvn", "mvnw", "sbt") or name.startswith("gradle"):
        tasks = {(word,) for word in words} | {(word.rsplit(":", 1)[-1],) for word in words}
        is_published = any(spec.phrases.get(task) is publish for task in tasks)
        return publish if is_published or any(word.rsplit(":", 1)[-1].startswith("publish") for word in words) else kind
    elif name in ("npm", "pnpm", "yarn", "bun") and kind is ActionKind.SHELL:
        if words and len(words[0]) > 2 and ("publish".startswith(words[0]) or "unpublish".startswith(words[0])):
            return publish  # it takes abbreviations
        is_told = {"--version", "-v", "--help", "-h"} & {*texts}
        is_bare = name in ("yarn", "yarnpkg") and not words and not is_told
        return ActionKind.NETWORK if is_bare else kind
    elif name in ("vercel", "now", "surge") and "--prod" in texts:
        return publish
    elif name == "cargo" and words[:1] in (["tree"], ["metadata"]):
        is_offline = "--frozen" in texts or {"--offline", "--locked"} <= {*texts}
        # Both ask rustc for its targets, by the wrapper that the workspace's settings name.
        return ActionKind.SHELL if is_offline else ActionKind.NETWORK
    elif name == "go" and words[:1] == ["run"] and any("@" in word for word in words):
        return ActionKind.NETWORK
    elif name == "go" and words[:1] in (["list"], ["doc"]):
        return ActionKind.NETWORK  # it fetches what go.mod names, from wherever that is
    return kind


def package_runner(commands: Commands, run: Run, *, is_remote: bool = False) -> None:
    """``npx`` and its like: a program of a package, which may be fetched first."""
    at = 1
    is_fetched = is_remote
    while at < len(run.words) and run.texts[at].startswith("-"):
        text = run.texts[at]
        if text in ("-c", "--call") and at + 1 < len(run.words):
            commands.emit(run, ActionKind.SHELL)
            commands.read(run.texts[at + 1], run.depth + 1)
            return
        is_fetched |= text in ("-y", "--yes", "-p", "--package", "--from", "--with") or text.startswith("--package=")
        at += 2 if text in ("-p", "--package", "--from", "--with", "--python") else 1
    if at >= len(run.words):
        commands.emit(run, ActionKind.SHELL)
        return
    package = run.texts[at]
    program_name = re.sub(r"(?<=.)@[^/]*$", "", package).rsplit("/", 1)[-1]
    is_python = run.name in ("uvx", "pipx", "run") and run.name != "npx"
    host = "pypi.org" if is_python else "registry.npmjs.org"
    if is_fetched or program_name.startswith("create-") or package != program_name:
        commands.emit(run, ActionKind.NETWORK, host=host)
        is_fetched = True
    words = (Word(program_name, run.words[at].is_literal), *run.words[at + 1 :])
    before = len(commands.actions)
    commands.run(replace(run, words=words, is_grave=True, depth=run.depth + 1))
    if is_fetched:
        kept = [
            a for a in commands.actions[before:] if a.kind in (ActionKind.PUBLISH, ActionKind.NETWORK) or a.is_opaque
        ]
        commands.actions[before:] = kept


REMOTES: dict[str, Handler] = {
    **dict.fromkeys(("npx", "pnpx", "bunx"), package_runner),
    "uvx": lambda commands, run: package_runner(commands, run, is_remote=True),
}
