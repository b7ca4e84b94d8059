"""Trying whether a node can be reached: one real link, to its hello and no further, so that nobody's link is cut."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.config import Config
from nodes.contract.errors import HubError

from .dialling import dial_node
from .evidence import health_of
from .leases import running_leases
from .link.errors import NodeUnreachable
from .models import Node

TRY_SECONDS: Final = 10.0
_DIAL_SECONDS: Final = 4.0
"""Then there is time left to find out why."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it, in the words that the node's health has for it. ``code`` says why it was not reached."""

    text: str
    code: str = ""
    is_reached: bool = False
    milliseconds: float | None = None


def try_connection(node: Node, *, by: Actor) -> Tried:
    """Dial the node now, or see whether its own link is up; takes ``TRY_SECONDS`` at most. Root only, audited."""
    require(by, Can.MANAGE_NODES)
    if node.direction == Node.Direction.TUNNEL:
        tried = _look_at_link(node)
    else:
        tried = async_to_sync(_dial)(settings.CONFIG, node)
    with transaction.atomic():
        record(None, "node.tested", by=by, of=("node", node.pk), node=node.pk, slug=node.slug, code=tried.code)
    return tried


def _look_at_link(node: Node) -> Tried:
    """Nobody can dial a node that dials the hub: what counts is what the hub has heard."""
    known = health_of([node], timezone.now())[node.pk]
    if not running_leases().filter(node=node).exists():
        return Tried(f"This node dials the hub itself, and has no link at present. {known.reason}", "no_link")
    if known.is_heard:
        return Tried(f"Its link is up. {known.reason}", is_reached=True, milliseconds=known.latency_ms.value)
    return Tried(f"Its link is there, but says nothing. {known.reason}", "link_silent")


async def _dial(config: Config, node: Node) -> Tried:
    """Dial, hear the node's hello, hang up. The node goes on with the link that it has."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(TRY_SECONDS):
            return await _hear_hello(config, node, began)
    except TimeoutError:
        where = node.grpc_target or "its own address"
        return Tried(f"{NodeUnreachable.message} Nothing came from {where} within {TRY_SECONDS:.0f} s.", "link_silent")
    except HubError as error:
        return Tried(error.text, error.code)


async def _hear_hello(config: Config, node: Node, began: float) -> Tried:
    link = await dial_node(config, node, timeout=_DIAL_SECONDS)
    try:
        hello = await link.hello(TRY_SECONDS)
    finally:
        await link.aclose("A test of the connection.", "tested")
    milliseconds = round((time.monotonic() - began) * 1_000, 1)
    found = sum(runtime.found for runtime in hello.runtimes)
    text = (
        f"Connected: {node.slug} answers as itself, with version {hello.version[:64]} and "
        f"{found} runtime{'' if found == 1 else 's'}."
    )
    return Tried(text, is_reached=True, milliseconds=milliseconds)
