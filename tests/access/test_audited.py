"""No change of state passes the audit trail by: every door that writes is used, and leaves an entry, or says why not.

It is used as ``doors.py`` says that it is, by the first who may. What a door's body there does not lead to (the
address of something that is in another state, say) is tested where that door is.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import transaction
from django.test import Client, RequestFactory

from agenthub_site.accounts.actors import AGENT_ROLE
from agenthub_site.accounts.models import HubSecret, Role
from audit.models import AuditEvent

from .doors import MACHINE, ONESELF, PAGES, REST
from .world import Who, World, make_callers, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.matrix, pytest.mark.timeout(600)]
NOT_AUDITED = {
    "POST /api/v1/policy/test/": "a dry run",
    "POST /projects/{slug}/policy/test/": "a dry run",
    "POST /api/v1/triggers/{pk}/pause/": "it is paused already; tests/triggers/test_fire_triggers.py",
    "POST /api/v1/agents/revoke-unlisted/": "nothing was imported; tests/coordination/test_operate_by_rest.py",
    "POST /api/v1/tasks/{pk}/hand/": "it is that agent's already; tests/coordination/test_operate_by_rest.py",
    "POST /tasks/{task_id}/hand/": "the same; tests/coordination/test_see_board.py",
    "POST /messages/new/": "the message is stored itself",
    "POST /messages/{message_id}/answer/": "the message is stored itself",
    "POST /projects/{slug}/webhooks/{webhook_id}/test/": "the message is stored itself",
    "POST /messages/{message_id}/done/": "the delivery says when, and it is its owner's own",
    "POST /": "leads on to another page",
    "POST /login/": "who is signed in already is led on; tests/accounts/test_sign_in.py has who is not",
    "POST /login/passkey/": "the same; tests/accounts/test_second_factors.py",
    "POST /login/second/": "the same; tests/accounts/test_second_factors.py",
    "POST /login/set-up/": "the same; tests/accounts/test_second_factors.py",
    "remove_factors at /admin/accounts/user/": "this person has none; tests/accounts/test_second_factors.py",
    "uncordon at /admin/nodes/node/": "it is not cordoned; tests/admin/test_registry.py",
    "revoke at /admin/nodes/node/": "leads to a page that asks first, which is tried below",
}
"""Doors that change nothing, as they are used here, each with why."""
ELSEWHERE = {
    "POST /api/v1/approvals/{pk}/always-allow/": "tests/agents/test_always_allow.py",
    "POST /approvals/{approval_id}/always/": "tests/agents/test_always_allow.py",
    "POST /api/v1/nodes/authority/retire/": "tests/api/test_join_node.py",
    "POST /api/v1/messages/{pk}/requeue/": "tests/mailboxes/test_receive_mail.py",
    "POST /messages/{message_id}/requeue/": "tests/pages/test_read_messages.py",
    "POST /invitations/": "tests/accounts/test_invite.py",
    "POST /oidc/backchannel-logout": "tests/accounts/test_provider_signs_out.py",
    "DELETE /api/admin/agent-nodes/{id}": "tests/api/test_register_nodes.py",
}
"""Doors that refuse what ``doors.py`` sends, each with the tests that see what they write."""


@pytest.fixture
def own() -> World:
    return make_world("harbour", "curlew")


@pytest.fixture
def callers(own: World) -> list[Who]:
    everybody = make_callers(own, make_world("pier", "cormorant"))
    by_role = {who.role: who for who in everybody if who.scope is None}
    return [by_role[role] for role in ("root", Role.OWNER, Role.DEVELOPER, AGENT_ROLE)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    cache.clear()
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def use(who: Who, method: str, address: str, body: Any, *, as_page: bool) -> tuple[int, list[str]]:
    """The status, and the names of what was audited; all of it is undone."""
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    if as_page:
        if who.user is None:
            return 401, []
        client.force_login(who.user)
        given: dict[str, Any] = {"data": body or {}}
    else:
        given = {"data": json.dumps(body or {}), "content_type": "application/json"}
        given["headers"] = {"authorization": f"Bearer {who.secret}"}
    undone = transaction.atomic()
    vars(undone)["_from_testcase"] = True  # what is durable by itself has to take this for no transaction of ours
    with undone:
        last = AuditEvent.objects.order_by("-id").values_list("pk", flat=True).first()
        response = getattr(client, method.lower())(address, **given)
        written = list(AuditEvent.objects.filter(pk__gt=last).values_list("name", flat=True))
        transaction.set_rollback(True)
    return response.status_code, [name for name in written if name not in ("access.refused", "user.logged_in")]


def writes(doors: dict[str, Any]) -> list[str]:
    return [
        key for key, door in doors.items() if not key.startswith(("GET ", "WS ")) and door.to not in (MACHINE, ONESELF)
    ]


def tried(doors: dict[str, Any], own: World, callers: list[Who], *, as_page: bool) -> dict[str, str]:
    """What became of each door that left no entry."""
    found = {}
    for key in writes(doors):
        method, path = key.split(" ", 1)
        address, body = own.fill(path) + doors[key].query, own.body(doors[key].body)
        statuses = []
        for who in callers:
            status, written = use(who, method, address, body, as_page=as_page)
            statuses.append(status)
            if written:
                break
        else:
            found[key] = f"{statuses}"
    return found


def check(found: dict[str, str], doors: Iterable[str]) -> None:
    unexplained = {key: how for key, how in found.items() if key not in NOT_AUDITED and key not in ELSEWHERE}
    assert not unexplained, json.dumps(unexplained, indent=1)
    explained = {*NOT_AUDITED, *ELSEWHERE} & set(doors)
    assert explained <= found.keys(), f"These are audited: say nothing of them above. {explained - found.keys()}"


def test_rest(own: World, callers: list[Who]) -> None:
    check(tried(REST, own, callers, as_page=False), REST)


def test_pages(own: World, callers: list[Who]) -> None:
    check(tried(PAGES, own, callers, as_page=True), PAGES)


def test_actions_of_the_registry(own: World, callers: list[Who]) -> None:
    """Those that root is offered."""
    root = callers[0]
    things = {
        **own.things, "hubsecret": HubSecret.objects.get().pk, "serviceaccount": own.people["service"].pk,
        "invitation": own.things["invitation_id"],
    }  # fmt: skip
    found, offered = {}, []
    for model, model_admin in admin.site._registry.items():
        request = RequestFactory().get("/")
        request.user = root.user  # type: ignore[assignment]
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        names = [
            model._meta.model_name or "",
            f"{model._meta.model_name}s",
            (model._meta.model_name or "").removeprefix("policy") + "s",
        ]
        chosen = next((things[name] for name in names if name in things), None)
        for action in model_admin.get_actions(request):
            key = f"{action} at {address}"
            offered.append(key)
            body = {"action": action, "_selected_action": [str(chosen)], "post": "yes"}
            status, written = use(root, "POST", address, body, as_page=True)
            if not written:
                found[key] = f"{status} with {chosen}"
    assert len(offered) > 10
    check(found, offered)
