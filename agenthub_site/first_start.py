"""What a hub has before anybody did anything: an operator, certificates, its local node, and perhaps a demo."""

import os
import secrets
import socket
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import User
from agenthub_site.accounts.services import create_user
from agenthub_site.upgrade import upgrade
from audit.services import record
from nodes.contract.config import Config
from nodes.contract.errors import ConfigError, Invalid
from nodes.contract.ids import new_id
from nodes.link.identity import load_identity
from nodes.link.secrets import ensure_auth_secrets, ensure_bootstrap_token
from nodes.models import Node
from nodes.pki import ensure_pki

logger = structlog.get_logger(__name__)

ROOT = "root"


def prepare(*, with_demo: bool, password: str | None) -> dict[str, Any]:
    """Make what is missing. ``password`` in the answer is set only if the operator was made just now."""
    config: Config = settings.CONFIG
    for directory in (config.home, Path(settings.STATIC_ROOT), config.worktree_root):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade()
    made_password = _ensure_operator(password)
    root = User.objects.get(username=ROOT) if made_password else _an_operator()
    node = _ensure_local_node(config)
    ensure_pki(config.pki_dir, node.pk, node.generation)
    load_identity(config.pki_dir)
    if config.internal_grpc.enabled:
        _ensure_shared_secrets(config)
    prepared: dict[str, Any] = {
        "user": root.username,
        "password": made_password,
        "password_is_yours": password is not None and made_password == password,
        "node": str(node.pk),
        "project": None,
        "agents": [],
        "run": None,
    }
    if with_demo:
        from agenthub_site.demo import make_demo

        prepared |= make_demo(root, node, config)
    return prepared


def _ensure_shared_secrets(config: Config) -> None:
    """For nodes by configuration; a hub that cannot write them says so, and says it again when it needs them."""
    for ensure in (ensure_auth_secrets, ensure_bootstrap_token):
        try:
            ensure(config)
        except ConfigError as error:
            logger.warning("secrets.not_made", message=error.text)


def _an_operator() -> User:
    return User.objects.filter(is_superuser=True, is_active=True).order_by("date_joined").first() or User(username=ROOT)


def _ensure_operator(password: str | None) -> str | None:
    """The first operator's password, if there was none and one was made."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    chosen = password or secrets.token_urlsafe(12)
    try:
        create_user(ROOT, by=SYSTEM, password=chosen, is_superuser=True)
    except Invalid as error:
        raise ConfigError(f"AGENTHUB_ADMIN_PASSWORD will not do: {error}") from error
    return chosen


@transaction.atomic
def _ensure_local_node(config: Config) -> Node:
    """The row of this machine's node, and the id that the node itself reads (``node/id``)."""
    path = config.node_dir / "id"
    node = Node.objects.filter(slug=Node.LOCAL).first()
    if node is None:
        node = Node.objects.create(
            id=_read_id(path) or new_id(),
            slug=Node.LOCAL,
            name=socket.gethostname()[:128] or Node.LOCAL,
            direction=Node.Direction.DIAL,
            default_worktree_root=str(config.worktree_root),
            capacity=config.node.capacity,
        )
        record(None, "node.created", by=SYSTEM, of=("node", node.pk), node=node.pk, slug=node.slug)
    if _read_id(path) != node.pk:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".id.{os.getpid()}")
        draft.write_text(f"{node.pk}\n", "ascii")
        draft.replace(path)
    return node


def _read_id(path: Path) -> UUID | None:
    try:
        return UUID(path.read_text("ascii").strip())
    except (OSError, ValueError):
        return None
