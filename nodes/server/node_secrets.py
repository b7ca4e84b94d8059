"""Secrets of agents, kept on the node: a file each (0600), for the projects that may use it. The hub sees names.

An agent names one in its environment: ``TOKEN = secret:deploy``. The value goes to that agent's process alone, and is
known to the run's redaction.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nodes.contract.errors import Invalid, NotFound
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed

from . import system_keyring
from .files import PRIVATE_DIR, sync_dir, write_durably
from .redaction import MIN_SECRET_CHARS

PREFIX: Final = "secret:"
VALUE_CHARS: Final = 64 * 1024
NAME_HINT: Final = "1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class NodeSecret:
    """``projects`` are slugs; None: every project of this node. Without ``value`` it is in the system's keyring."""

    name: str
    projects: tuple[str, ...] | None
    set_at: str
    value: str | None = field(repr=False)

    def is_for(self, project_slug: str) -> bool:
        return self.projects is None or project_slug in self.projects


class NodeSecrets:
    """``<home>/node/secrets``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._service = f"agenthub {directory}"

    def set(self, name: str, value: str, projects: tuple[str, ...] | None, *, in_keyring: bool = False) -> NodeSecret:
        """Keep it, durably, in place of what it was. ``Invalid`` for what cannot be kept or could not be redacted.

        ``in_keyring``: the file says whose it is and no more. ``KeyringUnavailable`` where there is none.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(f"{name[:80]!r} cannot be a secret's name: {NAME_HINT}.")
        if not MIN_SECRET_CHARS <= len(value) <= VALUE_CHARS or "\0" in value:
            raise Invalid(f"A secret has {MIN_SECRET_CHARS} to {VALUE_CHARS} characters: a shorter one is in any text.")
        if projects is not None and not (projects and all(_SLUG.fullmatch(slug) for slug in projects)):
            raise Invalid("Name the projects that may use it by their slugs.")
        was_in_keyring = self._is_in_keyring(name)
        if in_keyring:
            system_keyring.keep(self._service, name, value)
        secret = NodeSecret(
            name, projects, datetime.now(UTC).isoformat(timespec="seconds"), None if in_keyring else value
        )
        for directory in (self._directory.parent, self._directory):
            directory.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
        self._directory.chmod(PRIVATE_DIR)
        whose = None if projects is None else list(projects)
        held = {"value": secret.value, "projects": whose, "set_at": secret.set_at}
        write_durably(self._path(name), json.dumps(held).encode())
        if was_in_keyring and not in_keyring:
            system_keyring.forget(self._service, name)
        return secret

    def delete(self, name: str) -> None:
        """``NotFound`` if it is not there."""
        try:
            if not _NAME.fullmatch(name):
                raise FileNotFoundError
            is_in_keyring = self._is_in_keyring(name)
            self._path(name).unlink()
            if is_in_keyring:
                system_keyring.forget(self._service, name)
            sync_dir(self._directory)
        except FileNotFoundError as error:
            raise NotFound(f"This node has no secret {name[:80]!r}.") from error

    def all(self) -> list[NodeSecret]:
        names = sorted(path.stem for path in self._directory.glob("*.json") if _NAME.fullmatch(path.stem))
        return [secret for name in names if (secret := self._read(name))]

    def resolve(self, environment: Mapping[str, str], project_slug: str) -> dict[str, str]:
        """The values that an environment refers to, by name. ``RuntimeFailed`` for one that the project has not got.

        That it is there for another project is not told: to this one it is missing.
        """
        found = {}
        for variable, text in environment.items():
            if not text.startswith(PREFIX):
                continue
            name = text.removeprefix(PREFIX)
            secret = self._read(name) if _NAME.fullmatch(name) else None
            if secret is None or not secret.is_for(project_slug):
                raise RuntimeFailed(
                    Reason.SECRET_MISSING,
                    f"{variable} needs the secret {name!r}, which this node does not have for the project "
                    f"{project_slug}. Set it there: agenthub node secret set {name} --project {project_slug}",
                )
            found[name] = self._value_of(secret)
        return found

    def _value_of(self, secret: NodeSecret) -> str:
        if secret.value is not None:
            return secret.value
        try:
            value = system_keyring.find(self._service, secret.name)
        except system_keyring.KeyringUnavailable as error:
            raise RuntimeFailed(Reason.SECRET_MISSING, f"The secret {secret.name!r}: {error.text}") from error
        if value is None:
            text = f"The secret {secret.name!r} is in the system's keyring no more. Set it anew."
            raise RuntimeFailed(Reason.SECRET_MISSING, text)
        return value

    def _read(self, name: str) -> NodeSecret | None:
        path = self._path(name)
        try:
            if path.stat().st_mode & _OTHERS:
                raise RuntimeFailed(
                    Reason.SECRET_MISSING,
                    f"The secret {name!r} on this node can be read by others, so it is not used. Set it anew: agenthub "
                    f"node secret set {name}",
                )
            held = json.loads(path.read_bytes())
            projects = held["projects"]
            return NodeSecret(name, None if projects is None else tuple(projects), held["set_at"], held["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _is_in_keyring(self, name: str) -> bool:
        """Whoever may read the file: setting a secret anew is what helps if others could."""
        try:
            return json.loads(self._path(name).read_bytes()).get("value", "") is None
        except (OSError, ValueError, AttributeError):
            return False

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"


def filled_in(environment: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The environment with values in place of the references to them."""
    return {
        variable: values.get(text.removeprefix(PREFIX), text) if text.startswith(PREFIX) else text
        for variable, text in environment.items()
    }
