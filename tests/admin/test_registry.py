"""The registry (Django's admin): for root, audited, in a fixed number of queries."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from agenthub_site.accounts import hub_secrets
from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.hub_secrets import read_secret
from agenthub_site.accounts.invitations import invite
from agenthub_site.accounts.models import HubSecret, Invitation, Membership, Project, Role, Token, User
from agenthub_site.accounts.permissions import TABLE
from agenthub_site.accounts.services import create_service_account
from agents.models import Agent, Run
from agents.rules import PolicyReview
from agents.services.tokens import create_agent_token
from agents.states import State
from agents.teams.models import Team
from agents.teams.services import create_team
from agents.usage.models import Price
from agents.usage.prices import set_price
from audit.admin import NameFilter, ObjectFilter
from audit.models import AuditEvent
from audit.services import record
from nodes.models import Node
from tests.factories import (
    PASSWORD,
    make_agent,
    make_approval,
    make_node,
    make_project,
    make_root,
    make_run,
    make_token,
    make_user,
    node_of,
)

pytestmark = pytest.mark.django_db
MODELS = [
    "accounts_user", "accounts_project", "accounts_token", "nodes_node", "agents_agent", "agents_run",
    "agents_approval", "audit_auditevent", "accounts_invitation", "accounts_serviceaccount", "teams_team",
]  # fmt: skip
READ_ONLY = ["accounts_token", "accounts_invitation", "agents_run", "agents_approval", "audit_auditevent"]


@pytest.fixture
def registry() -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(make_root())
    return client


def fill(number: int) -> None:
    """One more row of everything."""
    project = make_project(f"project-{number}", owner=make_user(f"owner-{number}"))
    agent = make_agent(f"agent-{number}", project=project, node=make_node(f"node-{number}"))
    make_approval(make_run(agent=agent, user=make_user(f"user-{number}")))
    make_token(make_user(f"user-{number}"))
    record(project.pk, "thing.happened", by=SYSTEM)
    owner = actor_of(make_user(f"owner-{number}"))
    invite(project, Role.VIEWER, owner)
    create_service_account(project, f"robot-{number}", Role.DEVELOPER, owner)
    create_team(project, slug="docs", members=[agent.name], by=owner)


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model}_{page}", args=args)


def names() -> list[str]:
    return list(AuditEvent.objects.exclude(name="user.logged_in").order_by("id").values_list("name", flat=True))


def saved(response: Any) -> bool:
    """Whether a form went through; the errors of one that did not are shown by the failing test."""
    if response.status_code == 200:
        pytest.fail(str(response.context["adminform"].form.errors) + str(response.context["errors"]))
    return bool(response.status_code == 302)


@pytest.mark.parametrize("model", MODELS)
def test_a_list_takes_the_same_queries_however_long(registry: Client, model: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert registry.get(url(model)).status_code == 200
        return len(queries)

    fill(1)
    count()
    few = count()
    for number in range(2, 6):
        fill(number)
    assert count() == few


@pytest.mark.parametrize("model", MODELS)
def test_lists_are_searched(registry: Client, model: str) -> None:
    fill(1)
    for wanted in ("1", "00000000-0000-0000-0000-000000000000", "'\"%"):
        assert registry.get(url(model), {"q": wanted}).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_every_row_opens(registry: Client, model: str) -> None:
    fill(1)
    page = registry.get(url(model))
    row = page.context["cl"].result_list[0]
    assert registry.get(url(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", READ_ONLY)
def test_what_is_made_elsewhere_is_only_looked_at(registry: Client, model: str) -> None:
    fill(1)
    row = registry.get(url(model)).context["cl"].result_list[0]
    assert registry.get(url(model, "add")).status_code == 403
    assert registry.post(url(model, "change", row.pk), {}).status_code == 403
    assert registry.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", MODELS)
def test_staff_who_are_not_root_see_nothing(model: str) -> None:
    client = Client(SERVER_NAME="localhost")
    client.force_login(make_user("dora", is_staff=True))
    assert client.get(url(model)).status_code == 403


def test_a_person_is_made_changed_and_given_a_password(registry: Client) -> None:
    form = {"username": "dora", "email": "", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert saved(registry.post(url("accounts_user", "add"), form))
    dora = User.objects.get(username="dora")
    assert dora.check_password(PASSWORD) and not dora.is_staff
    form = {"username": "dora", "email": "dora@example.org", "is_active": "on", "is_superuser": "on"}
    assert saved(registry.post(url("accounts_user", "change", dora.pk), form))
    changed = User.objects.get(username="dora")
    assert changed.is_superuser and changed.is_staff and changed.check_password(PASSWORD)
    new = {"password1": "another horse entirely", "password2": "another horse entirely", "usable_password": "true"}
    assert registry.post(reverse("admin:auth_user_password_change", args=[dora.pk]), new).status_code == 302
    assert names() == ["user.created", "user.edited", "user.password_changed"]


def test_the_last_root_stays_one_and_is_told_why(registry: Client) -> None:
    root = User.objects.get(username="root")
    response = registry.post(
        url("accounts_user", "change", root.pk), {"username": "root", "is_active": "on"}, follow=True
    )
    assert "at least one active root operator" in response.content.decode()
    root.refresh_from_db()
    assert root.is_superuser and names() == []


def members(*rows: tuple[str, str, str], initial: int = 0, delete: int | None = None) -> dict[str, str]:
    """The inline form's fields: (membership id or empty, user id, role) each."""
    form = {"memberships-TOTAL_FORMS": str(len(rows)), "memberships-INITIAL_FORMS": str(initial)}
    for number, (key, user, role) in enumerate(rows):
        form |= {
            f"memberships-{number}-user": user,
            f"memberships-{number}-role": role,
            f"memberships-{number}-id": key,
        }
    return form if delete is None else {**form, f"memberships-{delete}-DELETE": "on"}


def test_a_project_is_made_with_its_members_and_changed(registry: Client, alice: User, bob: User) -> None:
    form = {
        "slug": "pier",
        "name": "Pier",
        "description": "",
        "required_isolation": "masked",
        "required_network": "none",
        **members(("", str(alice.pk), "owner")),
    }
    assert saved(registry.post(url("accounts_project", "add"), form))
    project = Project.objects.get(slug="pier")
    assert (project.required_isolation, project.required_network) == ("masked", "none")
    assert project.memberships.get(user=alice).role == Role.OWNER
    held = project.memberships.get(user=alice)
    mine = project.memberships.exclude(user=alice).get()
    rows = [(str(held.pk), str(bob.pk), "maintainer"), (str(mine.pk), str(mine.user_id), "owner")]
    form = {"name": "East Pier", "description": "", "required_isolation": "none", "required_network": "shared",
            "memberships-0-project": str(project.pk), "memberships-1-project": str(project.pk),
            **members(*rows, initial=2)}  # fmt: skip
    assert saved(registry.post(url("accounts_project", "change", project.pk), form))
    assert dict(project.memberships.values_list("user__username", "role")) == {"bob": "maintainer", "root": "owner"}
    assert names() == [
        "project.created", "project.edited", "member.added", "project.edited", "member.added", "member.removed",
    ]  # fmt: skip


def test_the_last_owner_of_a_project_stays_and_is_told_why(registry: Client, project: Project, alice: User) -> None:
    held = project.memberships.get(user=alice)
    form = {
        "name": project.name,
        "description": "",
        "required_isolation": "none",
        "required_network": "shared",
        "memberships-0-project": str(project.pk),
    }
    form |= members((str(held.pk), str(alice.pk), "owner"), initial=1, delete=0)
    response = registry.post(url("accounts_project", "change", project.pk), form, follow=True)
    assert "at least one owner" in response.content.decode()
    assert Membership.objects.filter(pk=held.pk).exists() and names() == []


def test_a_node_is_switched_off(registry: Client, oslo: Node) -> None:
    form = {"name": "Oslo", "direction": "dial", "capacity": "3", "labels": "{}", "default_worktree_root": ""}
    assert saved(registry.post(url("nodes_node", "change", oslo.pk), form))
    oslo.refresh_from_db()
    assert (oslo.is_enabled, oslo.capacity, names()) == (False, 3, ["node.edited"])


def test_a_node_that_has_joined_is_turned_round_by_joining_again(registry: Client) -> None:
    node = make_node("edge", direction="tunnel", is_joined=True)
    form = {**NEW_NODE, "slug": "edge", "direction": "dial"}
    page = registry.post(url("nodes_node", "change", node.pk), form).content.decode()
    assert "turned round by joining again" in page
    node.refresh_from_db()
    assert (node.direction, names()) == ("tunnel", [])


NEW_NODE = {
    "slug": "gpu-01", "name": "GPU 01", "direction": "dial", "grpc_target": "https://gpu01.internal:50051",
    "tls_server_name": "gpu01.internal", "default_worktree_root": "/data/worktrees", "labels": '{"gpu": "h100"}',
    "pool": "gpu", "capacity": "8", "is_enabled": "on",
}  # fmt: skip


def test_a_node_is_registered_and_edited(registry: Client) -> None:
    assert saved(registry.post(url("nodes_node", "add"), NEW_NODE))
    node = Node.objects.get(slug="gpu-01")
    assert (node.labels, node.capacity, node.pool) == ({"gpu": "h100"}, 8, "gpu")
    assert saved(registry.post(url("nodes_node", "change", node.pk), {**NEW_NODE, "direction": "tunnel"}))
    node.refresh_from_db()
    assert (node.direction, node.grpc_target) == ("tunnel", "")
    assert names() == ["node.registered", "node.edited"]


def test_a_nodes_labels_are_emptied(registry: Client) -> None:
    assert saved(registry.post(url("nodes_node", "add"), NEW_NODE))
    node = Node.objects.get(slug="gpu-01")
    assert saved(registry.post(url("nodes_node", "change", node.pk), {**NEW_NODE, "labels": ""}))
    node.refresh_from_db()
    assert node.labels == {}


def test_a_node_is_registered_with_the_field_of_labels_emptied(registry: Client) -> None:
    assert saved(registry.post(url("nodes_node", "add"), {**NEW_NODE, "labels": ""}))
    assert Node.objects.get(slug="gpu-01").labels == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"slug": "main"}, "is reserved"), ({"grpc_target": ""}, "Needed for the hub to dial")],
    ids=str,
)
def test_a_node_that_does_not_fit_is_refused_with_the_reason(
    registry: Client, change: dict[str, str], words: str
) -> None:
    response = registry.post(url("nodes_node", "add"), NEW_NODE | change)
    errors = response.context["adminform"].form.errors
    assert words in str(errors[next(iter(change))]) and not Node.objects.exists()
    assert 'value="GPU 01"' in response.content.decode()  # what was typed is kept


def test_a_change_that_does_not_fit_is_refused_beside_its_field(registry: Client, oslo: Node) -> None:
    form = {"name": "Oslo", "direction": "dial", "capacity": "3", "labels": "{}", "default_worktree_root": "work"}
    response = registry.post(url("nodes_node", "change", oslo.pk), form)
    assert set(response.context["adminform"].form.errors) == {"default_worktree_root"} and names() == []


@pytest.mark.parametrize(
    ("action", "words", "state"),
    [("cordon", "take no new runs; those", "cordoned"), ("drain", "show as draining", "draining")],
)
def test_nodes_are_cordoned_drained_and_opened(
    registry: Client, oslo: Node, action: str, words: str, state: str
) -> None:
    chosen = {"_selected_action": [str(oslo.pk)]}
    page = registry.post(url("nodes_node"), {"action": action, **chosen}, follow=True).content.decode()
    assert words in page and f">{state}<" in page.replace("\n", "").replace(" ", "")
    assert (
        "take new runs again"
        in registry.post(url("nodes_node"), {"action": "uncordon", **chosen}, follow=True).content.decode()
    )
    oslo.refresh_from_db()
    assert not oslo.is_cordoned and len(names()) == 2


def test_connections_are_tested_from_the_list(registry: Client) -> None:
    nodes = [make_node(f"edge-{number}", direction="tunnel") for number in range(6)]
    action = {"action": "test", "_selected_action": [str(nodes[0].pk)]}
    assert (
        "edge-0: This node dials the hub itself"
        in registry.post(url("nodes_node"), action, follow=True).content.decode()
    )
    action["_selected_action"] = [str(node.pk) for node in nodes]
    assert "Choose 5 at most" in registry.post(url("nodes_node"), action, follow=True).content.decode()
    assert names() == ["node.tested"]


def test_revoking_from_the_list_asks_about_one_node(registry: Client, oslo: Node, lima: Node) -> None:
    action = {"action": "revoke", "_selected_action": [str(oslo.pk)]}
    assert registry.post(url("nodes_node"), action)["Location"] == f"/nodes/{oslo.pk}/revoke/"
    action["_selected_action"] = [str(oslo.pk), str(lima.pk)]
    assert "Choose one node" in registry.post(url("nodes_node"), action, follow=True).content.decode()
    assert names() == []


def test_a_node_that_was_deleted_is_not_listed(registry: Client, run: Run) -> None:
    Node.objects.filter(pk=node_of(run).pk).update(removed_at=run.created_at)
    assert list(registry.get(url("nodes_node")).context["cl"].result_list) == []


def test_an_agent_is_made_changed_and_put_away(registry: Client, project: Project, oslo: Node) -> None:
    form = {
        "project": str(project.pk), "name": "mender", "node": str(oslo.pk), "runtime": "acp", "preset": "scripted",
        "command": "[]", "environment": "{}", "workspace_mode": "create_worktree", "worktree_repo": "/srv/quay",
        "worktree_ref": "HEAD", "approval_seconds": "600", "lost_after_seconds": "60",
        "isolation": "none", "network": "shared",
    }  # fmt: skip
    assert saved(registry.post(url("agents_agent", "add"), form))
    agent = Agent.objects.get(name="mender")
    assert saved(registry.post(url("agents_agent", "change", agent.pk), {**form, "description": "Mends nets."}))
    registry.post(url("agents_agent"), {"action": "archive", "_selected_action": [str(agent.pk)], "post": "yes"})
    agent.refresh_from_db()
    assert agent.description == "Mends nets." and agent.archived_at
    assert names() == ["agent.created", "agent.edited", "agent.archived"]


def test_an_agent_that_does_not_fit_is_refused_with_the_reason(registry: Client, agent: Agent) -> None:
    form = {
        "name": "mender", "node": str(agent.node_id), "runtime": "acp", "command": "[]", "environment": "{}",
        "workspace_mode": "create_worktree", "worktree_repo": "/srv/quay", "approval_seconds": "600",
        "lost_after_seconds": "60",
        "isolation": "none", "network": "shared",
    }  # fmt: skip
    response = registry.post(url("agents_agent", "change", agent.pk), form, follow=True)
    assert "Choose a preset" in response.content.decode()
    assert names() == []


def test_what_was_typed_stays_when_it_is_refused(
    registry: Client, project: Project, agent: Agent, alice: User, bob: User
) -> None:
    """For people, projects with their members, agents and nodes alike; and nothing is changed."""
    root = User.objects.get(username="root")
    held = project.memberships.get(user=alice)
    forms: list[tuple[str, Any, dict[str, str], str, list[str]]] = [
        ("accounts_user", root.pk, {"username": "root", "email": "typed@example.org", "is_active": "on"},
         "at least one active root operator", ['value="typed@example.org"']),
        ("accounts_project", project.pk, {"name": "Typed", "description": "Also typed.", "required_isolation": "none",
      "required_network": "shared",
         "memberships-0-project": str(project.pk), **members((str(held.pk), str(alice.pk), "viewer"), initial=1)},
         "at least one owner", ['value="Typed"', "Also typed.", 'value="viewer" selected']),
        ("agents_agent", agent.pk, {"name": "typed-name", "node": str(agent.node_id), "runtime": "acp", "command": "[]",
         "environment": "{}", "workspace_mode": "create_worktree", "worktree_repo": "/typed", "approval_seconds": "600",
         "lost_after_seconds": "60", "isolation": "none", "network": "shared"},
         "Choose a preset", ['value="typed-name"', 'value="/typed"']),
        ("nodes_node", agent.node_id, {**NEW_NODE, "name": "Typed", "pool": "not a pool"},
         "At most 64 of A-Z", ['value="Typed"', 'value="not a pool"']),
    ]  # fmt: skip
    for model, pk, form, why, typed in forms:
        response = registry.post(url(model, "change", pk), form)
        page = response.content.decode()
        assert response.status_code == 200 and page.count(why) == 1, (model, why)
        for words in typed:
            assert words in page, (model, words)
    agent.refresh_from_db()
    project.refresh_from_db()
    assert (agent.name, project.name, names()) == ("demo", "Harbour", [])


def test_what_is_refused_is_said_beside_its_field(registry: Client, agent: Agent, project: Project) -> None:
    form = {
        "project": str(project.pk), "name": "typed", "node": str(agent.node_id), "runtime": "acp", "command": "[]",
        "environment": "{}", "workspace_mode": "create_worktree", "worktree_repo": "/srv/quay",
        "approval_seconds": "600", "lost_after_seconds": "60",
        "isolation": "none", "network": "shared",
    }  # fmt: skip
    response = registry.post(url("agents_agent", "add"), form)
    assert set(response.context["adminform"].form.errors) == {"preset"} and names() == []
    taken = registry.post(url("agents_agent", "add"), {**form, "preset": "scripted", "name": agent.name})
    assert "an agent of that name" in str(taken.context["adminform"].form.non_field_errors())


def test_tokens_are_revoked_and_show_no_secret(registry: Client, alice: User) -> None:
    secret = make_token(alice)
    token = Token.objects.get()
    for page in (url("accounts_token"), url("accounts_token", "change", token.pk)):
        text = registry.get(page).content.decode()
        assert secret not in text and token.digest not in text
    registry.post(url("accounts_token"), {"action": "revoke", "_selected_action": [str(token.pk)], "post": "yes"})
    token.refresh_from_db()
    assert token.revoked_at and names() == ["token.revoked"]


def test_events_are_not_in_the_registry(registry: Client, run: Run) -> None:
    index = registry.get("/admin/").content.decode()
    assert "runevent" not in index.lower() and "Success" not in index


def test_a_secret_goes_in_and_no_page_shows_it(registry: Client, home: Path, settings: Settings) -> None:
    settings.CONFIG = settings.CONFIG.model_copy(update={"home": home})
    form = {"name": "oidc.client_secret", "value": "hush-hush-hush"}
    assert saved(registry.post(url("accounts_hubsecret", "add"), form))
    secret = HubSecret.objects.get()
    assert saved(registry.post(url("accounts_hubsecret", "change", secret.pk), {"value": "another-one"}))
    assert read_secret("oidc.client_secret") == "another-one"
    pages = [registry.get(url("accounts_hubsecret")), registry.get(url("accounts_hubsecret", "change", secret.pk))]
    assert not any("hush-hush" in page.content.decode() or "another-one" in page.content.decode() for page in pages)
    assert registry.post(
        url("accounts_hubsecret"), {"action": "forget", "_selected_action": str(secret.pk), "post": "yes"}
    )
    assert names() == ["secret.set", "secret.set", "secret.used", "secret.deleted"]


def test_an_action_that_a_service_refuses_says_why(registry: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = HubSecret.objects.create(name="webhook.quay", ciphertext=b"x", key_id="1", set_at=timezone.now())
    delete_secret = hub_secrets.delete_secret

    def somebody_is_faster(name: str, by: Actor) -> None:
        HubSecret.objects.filter(name=name).delete()
        delete_secret(name, by)

    monkeypatch.setattr(hub_secrets, "delete_secret", somebody_is_faster)
    action = {"action": "forget", "_selected_action": [str(secret.pk)], "post": "yes"}
    page = registry.post(url("accounts_hubsecret"), action, follow=True)
    assert page.status_code == 200 and "There is no secret named webhook.quay." in page.content.decode()


def test_a_team_is_made_renamed_and_deleted(registry: Client, project: Project) -> None:
    taken = registry.post(url("teams_team", "add"), {"project": project.pk, "slug": "all", "name": "x"})
    assert taken.status_code == 200 and "it is everybody" in taken.content.decode()
    assert saved(registry.post(url("teams_team", "add"), {"project": project.pk, "slug": "docs", "name": "Docs"}))
    team = Team.objects.get()
    assert saved(registry.post(url("teams_team", "change", team.pk), {"name": "Writers"}))
    team.refresh_from_db()
    assert (team.slug, team.name) == ("docs", "Writers")
    assert registry.post(url("teams_team", "delete", team.pk), {"post": "yes"}).status_code == 302
    assert not Team.objects.exists() and names() == ["team.created", "team.edited", "team.deleted"]


def test_an_invitation_is_withdrawn_from_the_list(registry: Client, project: Project, alice: User) -> None:
    invitation, secret = invite(project, Role.VIEWER, actor_of(alice))
    assert secret not in registry.get(url("accounts_invitation", "change", invitation.pk)).content.decode()
    registry.post(
        url("accounts_invitation"), {"action": "withdraw", "_selected_action": [str(invitation.pk)], "post": "yes"}
    )
    assert Invitation.objects.get().revoked_at and names()[-1] == "invitation.revoked"


def test_a_service_account_is_made_and_ended(registry: Client, project: Project) -> None:
    form = {"username": "robot", "project": str(project.pk), "role": "developer"}
    assert saved(registry.post(url("accounts_serviceaccount", "add"), form))
    robot = User.objects.get(username="robot")
    assert robot.service_of == project and not robot.has_usable_password()
    assert registry.post(url("accounts_serviceaccount", "add"), form).status_code == 200  # the name is taken
    registry.post(url("accounts_serviceaccount"), {"action": "end", "_selected_action": [str(robot.pk)], "post": "yes"})
    robot.refresh_from_db()
    assert not robot.is_active and names()[-2:] == ["service_account.created", "member.removed"]


@pytest.mark.parametrize(
    ("page", "title"), [("admin:permissions", "Permissions"), ("admin:accounts_project_changelist", "Projects")]
)
def test_the_sidebar_marks_where_one_is(registry: Client, page: str, title: str) -> None:
    groups = registry.get(reverse(page)).context["sidebar_navigation"]
    assert [item["title"] for group in groups for item in group["items"] if item["active"]] == [title]


def test_the_table_of_permissions_is_shown_whole(registry: Client) -> None:
    page = registry.get(reverse("admin:permissions")).content.decode()
    assert all(f"<code>{can}</code>" in page for can in TABLE)


def test_who_answers_is_said_in_the_registry_in_place_of_what_was(registry: Client, project: Project) -> None:
    place = {"project": str(project.pk), "agent": "", "reviewer": "", "people_after_seconds": ""}
    registry.post(url("agents_policyreview", "add"), {**place, "roles": ["owner"], "expires_seconds": "60"})
    again = registry.post(url("agents_policyreview", "add"), {**place, "roles": ["maintainer"]})
    assert again.status_code == 200, "a level has one: change that"
    said = {"reviewer": "", "people_after_seconds": "", "roles": ["owner", "maintainer"], "expires_seconds": "60"}
    assert saved(registry.post(url("agents_policyreview", "change", PolicyReview.objects.get().pk), said))
    review = PolicyReview.objects.get()
    assert (sorted(review.roles), review.expires_seconds) == (["maintainer", "owner"], 60)
    registry.post(url("agents_policyreview", "delete", review.pk), {"post": "yes"})
    assert not PolicyReview.objects.exists()
    assert AuditEvent.objects.filter(name="policy.review_set").count() == 3


def test_prices_are_set_and_removed_in_the_registry(registry: Client) -> None:
    given = {"pattern": "gpt-5*", "input_micros": "1250000", "output_micros": "10000000", "currency": "USD"}
    registry.post(url("usage_price", "add"), given)
    price = Price.objects.get()
    registry.post(url("usage_price", "change", price.pk), {**given, "input_micros": "2000000"})
    price.refresh_from_db()
    assert price.input_micros == 2_000_000
    registry.post(url("usage_price", "delete", price.pk), {"post": "yes"})
    assert not Price.objects.exists()
    assert AuditEvent.objects.filter(name__startswith="price.").count() == 3


def test_the_trails_list_offers_its_names_without_reading_all_of_it(registry: Client, project: Project) -> None:
    with transaction.atomic():
        for what in ("run.queued", "agent.created", "run.queued"):
            record(project.pk, what, by=SYSTEM, of=(what.partition(".")[0], "1"))
    with CaptureQueriesContext(connection) as queries:
        page = registry.get(url("audit_auditevent"))
    offered = {type(spec): {value for value, _ in spec.lookup_choices} for spec in page.context["cl"].filter_specs[1:]}
    assert {"agent.created", "run.queued"} <= offered[NameFilter] and {"agent", "run"} <= offered[ObjectFilter]
    assert not [query for query in queries if "DISTINCT" in query["sql"]]
    found = registry.get(url("audit_auditevent"), {"name__exact": "agent.created", "actor_kind__exact": "system"})
    assert [event.name for event in found.context["cl"].result_list] == ["agent.created"]
    found = registry.get(url("audit_auditevent"), {"object_kind__exact": "run"})
    assert [event.name for event in found.context["cl"].result_list] == ["run.queued"] * 2


def test_what_nothing_undoes_is_asked_about_first(registry: Client) -> None:
    for number in range(25):
        make_token(name=f"laptop {number}")
    page = registry.post(
        url("accounts_token"),
        {"action": "revoke", "_selected_action": [str(Token.objects.first().pk)]},  # type: ignore[union-attr]
    ).content.decode()
    assert "Revoke: 1 token?" in page and "A token that was revoked stays so." in page
    chosen = {"action": "revoke", "_selected_action": ["0"], "select_across": "1"}
    page = registry.post(url("accounts_token"), chosen).content.decode()
    assert "Revoke: 25 tokens?" in page and "and 5 more" in page and 'name="select_across" value="1"' in page
    assert not Token.objects.exclude(revoked_at=None).exists() and names() == []
    assert registry.post(url("accounts_token"), {**chosen, "post": "yes"}).status_code == 302
    assert not Token.objects.filter(revoked_at=None).exists() and len(names()) == 25


def test_the_history_of_a_thing_is_what_the_trail_has_of_it(registry: Client, agent: Agent) -> None:
    record(agent.project_id, "agent.edited", by=SYSTEM, of=("agent", agent.pk))
    record(agent.project_id, "agent.edited", by=SYSTEM, of=("agent", "another"))
    assert url("agents_agent", "history", agent.pk) in registry.get(url("agents_agent", "change", agent.pk)).text
    found = registry.get(url("agents_agent", "history", agent.pk), follow=True).context["cl"].result_list
    assert [event.object_id for event in found] == [str(agent.pk)]
    assert registry.get(url("agents_agent", "history", make_root().pk)).status_code == 404


def test_a_secrets_history_is_found_by_its_name(registry: Client, home: Path, settings: Settings) -> None:
    settings.CONFIG = settings.CONFIG.model_copy(update={"home": home})
    secret = hub_secrets.set_secret("oidc.client_secret", "hush-hush-hush", SYSTEM)
    found = registry.get(url("accounts_hubsecret", "history", secret.pk), follow=True).context["cl"].result_list
    assert [event.name for event in found] == ["secret.set"]


def test_the_sidebar_leads_to_every_list_by_its_own_name(registry: Client) -> None:
    page = registry.get("/admin/")
    items = [item for group in page.context["sidebar_navigation"] for item in group["items"]]
    links = {str(item["link"]): str(item["title"]) for item in items}
    for app in page.context["app_list"]:
        for model in app["models"]:
            assert links.get(model["admin_url"]) == str(model["name"])


def test_tokens_of_agents_say_whose_they_are(registry: Client, agent: Agent, alice: User) -> None:
    create_agent_token(agent, "desk", by=actor_of(alice))
    assert f"{agent.project.slug}/{agent.name}" in registry.get(url("accounts_token")).text


def test_prices_are_shown_in_their_currency(registry: Client) -> None:
    set_price("gpt-5*", by=SYSTEM, input_micros=1_250_000, output_micros=10_000_000)
    page = registry.get(url("usage_price")).text
    assert "1.25 USD" in page and "10.00 USD" in page


def test_an_empty_list_offers_only_what_can_be_made_there(registry: Client) -> None:
    runs = registry.get(url("agents_run")).text
    assert "No runs yet" in runs and "Add the first" not in runs
    assert "Add the first" in registry.get(url("teams_team")).text
    assert "No teams match" in registry.get(url("teams_team"), {"q": "docks"}).text


def test_states_and_reasons_are_said_as_people_write_them(registry: Client) -> None:
    run = make_run(state=State.TIMED_OUT)
    for page in (url("agents_run"), url("agents_run", "change", run.pk)):
        text = registry.get(page).text
        assert "timed out" in text and "turn timeout" in text


def test_a_form_for_what_is_new_has_nothing_that_can_only_be_read(registry: Client, agent: Agent) -> None:
    assert ">Times<" not in registry.get(url("agents_agent", "add")).text.replace("\n", "").replace(" ", "")
    assert ">Times<" in registry.get(url("agents_agent", "change", agent.pk)).text.replace("\n", "").replace(" ", "")
