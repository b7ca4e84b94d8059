"""Programs with subcommands, and those that reach somebody."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .files import breaks, positional
from .hosts import host_copied, host_named, host_of
from .known import Program
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Handler, Run

_CURL_VALUES = known.names(
    "-H --header -X --request -A --user-agent -e --referer -u --user -m --max-time --connect-timeout --retry "
    "--retry-delay --retry-max-time -w --write-out -r --range -y -Y -z --limit-rate --max-redirs --cacert --capath "
    "--ciphers --tls-max --interface --local-port --max-filesize -C --continue-at -E --cert --key --pass "
    "--oauth2-bearer "
    "--data-urlencode -d --data --data-binary --data-raw --data-ascii --json -F --form --form-string -b --cookie -T "
    "--upload-file -o --output -D --dump-header -c --cookie-jar --output-dir --stderr --trace --trace-ascii --url "
    "-x --proxy --preproxy --socks4 --socks4a --socks5 --socks5-hostname -U --proxy-user --unix-socket --aws-sigv4 -K "
    "--config --resolve --connect-to --doh-url --dns-servers -t -Q --quote -P --ftp-port --variable"
)
_CURL_OPAQUE = known.names(
    "-K --config --resolve --connect-to --dns-servers --doh-url --unix-socket --abstract-unix-socket --libcurl"
)
_CURL_READS = known.names("-d --data --data-binary --data-ascii --json -F --form --data-urlencode -T --upload-file "
    "-b --cookie -E --cert --key")  # fmt: skip
_CURL_WRITES = known.names("-o --output -D --dump-header -c --cookie-jar --output-dir --stderr --trace --trace-ascii")
_PROXIES = known.names("-x --proxy --preproxy --socks4 --socks4a --socks5 --socks5-hostname --url")
_SOCAT = re.compile(r"^[A-Za-z0-9\-]*(?:tcp|udp|ssl|openssl|sctp|socks\w*|proxy)[A-Za-z0-9\-]*:([^:,]+)", re.IGNORECASE)
_READ_VERBS = re.compile(r"(?:get|list|describe|head|show|ls|logs|search|lookup|status|info|wait)(?:-.*)?$")


def program(commands: Commands, run: Run, spec: Program) -> None:
    """A program with subcommands, by its table."""
    name, texts = run.name, run.texts
    words, is_odd = subcommands(run, spec)
    if name in ("deno", "bun") and {"eval", "-e", "-p", "--eval", "--print", "repl"} & {*texts}:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed("\n".join(texts[1:])), run.exact)
        return
    if words[:1] in (["run"], ["exec"], ["create"]) and spec is known.PROGRAMS["docker"]:
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
    ):
        kind = ActionKind.SHELL
    if kind not in (ActionKind.NETWORK, ActionKind.PUBLISH):
        commands.emit(run, kind)
        return
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


def by_options(run: Run, spec: Program, words: list[str], kind: ActionKind) -> ActionKind:
    """What the table cannot say: options and arguments that turn one kind into another."""
    name, texts = run.name, run.texts
    publish = ActionKind.PUBLISH
    if name in ("docker", "podman", "nerdctl", "docker-compose"):
        if any(text == "--push" or text.startswith("--push=") or "type=registry" in text for text in texts):
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
        is_bare = name in ("yarn", "yarnpkg") and not words
        return ActionKind.NETWORK if is_bare else kind
    elif name in ("vercel", "now", "surge") and "--prod" in texts:
        return publish
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


def reach(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    """A program whose purpose is to reach somebody: each host that it is told to."""
    name = run.name
    if name == "openssl" and "s_client" not in run.texts:
        commands.emit(run, ActionKind.SHELL)
        return
    if name in ("curl", "curlie"):
        curl(commands, run)
        return
    hosts: list[tuple[str, bool]] = []
    texts = run.texts[1:]
    if name == "wget":
        to_output = any(re.match(r"-[a-zA-Z]*O-?$|--output-document=-$", text) for text in texts)
        if not to_output and "--spider" not in texts:
            commands.touch(run, ActionKind.WRITE, Word("."))
        for word in run.rest:
            if word.text.startswith("--post-file="):
                commands.touch(run, ActionKind.READ, Word(word.text.partition("=")[2], word.is_literal))
    is_odd = any(breaks(text, "--rsh --config --execute --use-askpass --rsync-path") for text in texts)
    is_odd |= any(re.match(r"(?i)-o?.*command=", text) for text in texts)
    is_odd |= name in ("ssh", "scp", "sftp", "rsync") and any(breaks(text, "-o -F -e -S -D -J") for text in texts)
    for word in positional(run):
        text = word.text
        if "://" in text:
            hosts.append(host_of(text))
        elif name == "socat":
            if found := _SOCAT.match(text):
                hosts.append((found[1].lower(), True))
        elif name in ("http", "https", "xh", "wget", "aria2c", "lynx", "links", "w3m", "ab", "wrk", "hey", "websocat"):
            if re.match(r"[\w.\-]*(?::\d+|\.\w)|localhost", text) and "=" not in text.split("/", 1)[0]:
                hosts.append(host_named(text))
        elif name in ("rsync", "scp", "sftp") and host_copied(text):
            hosts.append((host_copied(text), True))
        elif (
            name in known.HOST_FIRST
            and re.fullmatch(r"(?:[^@\s]+@)?[A-Za-z0-9._:\[\]\-]+", text)
            and not text.isdigit()
        ):
            hosts.append((text.rsplit("@", 1)[-1].lower().rstrip("."), True))
            if name in ("ssh", "mosh", "sftp"):
                commands.suspect(squeezed(" ".join(texts)), run.exact)
                break
    for word in run.rest:
        if name in ("dig", "drill") and word.text.startswith("@"):
            hosts.append((word.text[1:].lower(), True))
        if name == "openssl" and re.fullmatch(r"[\w.\-]+:\d+", word.text):
            hosts.append((word.text.rsplit(":", 1)[0].lower(), True))
    if name == "rsync" and not hosts:
        for word in positional(run):
            commands.touch(run, ActionKind.WRITE, word, is_tree=True)
    if is_odd:
        commands.suspect(squeezed(" ".join(texts)), run.exact)
    for host, is_sure in dict.fromkeys(hosts or [("", True)]):
        commands.emit(run, ActionKind.NETWORK, host=host, is_opaque=is_odd or not is_sure or run.is_grave)


def curl(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    hosts: list[tuple[str, bool]] = []
    is_odd = run.is_grave
    at = 1
    while at < len(run.words):
        word = run.words[at]
        text = word.text
        at += 1
        if not text.startswith("-") or text == "-":
            is_many = re.search(r"[{}\[\]]", text.split("/", 3)[2] if "://" in text else text)
            hosts.append(("", False) if is_many else host_named(text))
            continue
        is_odd |= text.split("=", 1)[0] in _CURL_OPAQUE or bool(re.match(r"-[a-zA-Z#0-9]*K", text))
        option, value = text, None
        cluster = re.match(r"-([a-zA-Z0-9#:]+)", text) if not text.startswith("--") else None
        if cluster:
            for index, letter in enumerate(cluster[1]):
                if letter in "OJ":
                    commands.touch(run, ActionKind.WRITE, Word("."))
                if f"-{letter}" in _CURL_VALUES:
                    option = f"-{letter}"
                    value = Word(text[index + 2 :], word.is_literal) if text[index + 2 :] else None
                    break
        elif "=" in text:
            option, _, rest = text.partition("=")
            value = Word(rest, word.is_literal)
        elif text in ("--remote-name", "--remote-name-all", "--remote-header-name"):
            commands.touch(run, ActionKind.WRITE, Word("."))
        if option in _CURL_VALUES and value is None and at < len(run.words):
            value = run.words[at]
            at += 1
        if value is None:
            continue
        if option in _CURL_WRITES and value.text not in ("-", "/dev/null"):
            commands.touch(run, ActionKind.WRITE, value)
        elif option in _PROXIES:
            hosts.append(host_named(value.text))
        elif option in _CURL_READS:
            found = re.search(r"(?:^|[=;])[@<](.+)", value.text)
            if found or option in ("-T", "--upload-file", "-E", "--cert", "--key"):
                commands.touch(run, ActionKind.READ, Word(found[1] if found else value.text, value.is_literal))
    for host, is_sure in dict.fromkeys(hosts or [("", True)]):
        commands.emit(run, ActionKind.NETWORK, host=host, is_opaque=is_odd or not is_sure)


REMOTES: dict[str, Handler] = {
    **dict.fromkeys(("npx", "pnpx", "bunx"), package_runner),
    "uvx": lambda commands, run: package_runner(commands, run, is_remote=True),
}
