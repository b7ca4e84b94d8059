"""What an agent finds in its environment: what is listed here, what its configuration names, nothing else."""

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from .proc import RUN_MARKER

_PASSED = frozenset({
    "PATH", "HOME", "LANG", "LANGUAGE", "TERM", "COLORTERM", "TMPDIR", "TZ", "USER", "LOGNAME", "SHELL",
    "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
})  # fmt: skip
_OURS = "AGENTHUB_"
GIT_SETTINGS: Final = MappingProxyType({"safe.bareRepository": "explicit", "core.fsmonitor": "false"})
"""So that looking at a repository does not run what lies among the files of a checkout: a directory there that is a
repository of its own, with settings, and a program for the question what has changed."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the node's own environment that any program may have."""
    passed = {name: value for name, value in environ.items() if name in _PASSED or name.startswith("LC_")}
    return {"PATH": _DEFAULT_PATH, "HOME": os.path.expanduser("~"), **passed}


def agent_environment(
    run_id: str,
    own: Mapping[str, str],
    secret_names: Iterable[str],
    environ: Mapping[str, str] = os.environ,
    *,
    ours: Mapping[str, str] = MappingProxyType({}),
    tools: str = "",
) -> dict[str, str]:
    """The agent's environment: base, the preset's secrets, what it is given itself, the run's marker, and ``ours``.

    Nothing else of ours goes in, and nothing that is ours can be set: names with our prefix are dropped. ``tools`` is
    the last directory on its PATH.
    """
    secrets = {name: environ[name] for name in secret_names if name in environ}
    merged = {**base_environment(environ), **secrets, **own}
    theirs = {name: value for name, value in merged.items() if not name.startswith(_OURS) and _is_valid(name, value)}
    if tools:
        theirs["PATH"] = f"{theirs['PATH']}{os.pathsep}{tools}"
    return {**with_git_settings(theirs, GIT_SETTINGS), **ours, RUN_MARKER: run_id}


def with_git_settings(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """``environment`` with ``settings`` for git behind those that it has."""
    told = environment.get("GIT_CONFIG_COUNT", "")
    count = int(told) if told.isascii() and told.isdigit() else 0
    found = dict(environment)
    for at, (key, value) in enumerate(settings.items(), count):
        found |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
    return {**found, "GIT_CONFIG_COUNT": str(count + len(settings))}


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The same without directions to places that are not there behind a mask."""
    return {**{name: value for name, value in environment.items() if name != "XDG_RUNTIME_DIR"}, "TMPDIR": "/tmp"}  # noqa: S108 - its own


def _is_valid(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name and "\0" not in value
