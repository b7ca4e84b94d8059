"""Two projects with everything in them, and everybody who may come to the doors of the first."""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from agenthub_site.accounts.actors import AGENT_ROLE, SYSTEM
from agenthub_site.accounts.models import HubSecret, Invitation, Membership, Project, Role, Token, User
from agenthub_site.accounts.permissions import ROLES
from agenthub_site.accounts.scopes import capabilities_of
from agents.coordination.models import Assignment, Lock, Round, Task
from agents.event_table import NewEvent, insert_events
from agents.models import Agent, Approval, Blob, Run
from agents.rules import PolicyGrant, PolicyReview, PolicyRule
from agents.states import State
from agents.teams.models import Team, TeamMember
from agents.triggers.models import Trigger
from agents.usage.models import Budget, Price, RunUsage
from agents.webhooks.models import Webhook
from audit.models import AuditEvent
from audit.services import record
from mailboxes.models import Delivery
from mailboxes.services import Address, send
from nodes.contract.events import PAYLOADS, BlobRef, DiffReady, FileChange
from nodes.contract.ids import new_id, now_us
from nodes.models import Route
from nodes.pki import ensure_pki
from tests.factories import make_approval, make_node, make_root, make_user

DIGEST = "d" * 64


@dataclass(frozen=True)
class Who:
    """Somebody at the door: their role in the first project, a token, and a session if they may have one."""

    role: str
    secret: str = ""
    user: User | None = None
    scope: frozenset[str] | None = None
    """What the token has, if that is not all."""


@dataclass(frozen=True)
class World:
    """A project, and what is in it by the names that doors have for it."""

    project: Project
    things: dict[str, Any]
    people: dict[str, User]

    def fill(self, path: str) -> str:
        """The address of this world's thing, looked up by its whole path, as ``noun/name``, ``name``, the noun."""
        parts = path.split("/")
        for at, part in enumerate(parts):
            if part.startswith("{"):
                noun, name = parts[at - 1], part.strip("{}")
                keys = ("/".join(parts[: at + 1]), f"{noun}/{name}", name, noun)
                found = next((self.things[key] for key in keys if key in self.things), None)
                assert found is not None, f"What is {part} in {path}? Add one of {keys} to tests/access/world.py."
                parts[at] = str(found)
        return "/".join(parts)

    def fill_registry(self, path: str) -> str:
        """The same for a page of the registry, whose objects are named by their model."""
        if "{" not in path:
            return path
        model = path.split("/")[3] if path.count("/") > 3 else ""
        object_id = self.things.get(model, self.things["project"])
        return path.format(object_id=object_id, id=self.things["user"], content_type_id="1", app_label="accounts")

    def body(self, given: Any) -> Any:
        """The body with the names in its texts filled in."""
        if isinstance(given, dict):
            return {name: self.body(value) for name, value in given.items()}
        if isinstance(given, list):
            return [self.body(value) for value in given]
        return given.format(**self.things) if isinstance(given, str) and "{" in given else given


def make_world(slug: str, canary: str) -> World:
    """``canary`` is in every text of the project that somebody could read."""
    project = Project.objects.create(slug=slug, name=f"{slug} {canary}", description=canary)
    people: dict[str, User] = {
        role: User(username=f"{slug}-{role}-{canary}", email=f"{role}@{canary}.example") for role in ROLES
    }
    people["mate"] = User(username=f"{slug}-mate-{canary}")
    account = people["service"] = User(username=f"{slug}-service-{canary}", service_of=project)
    for person in people.values():
        person.password = "!"
    User.objects.bulk_create(people.values())
    roles: dict[str, str] = {**{role: role for role in ROLES}, "mate": Role.VIEWER, "service": Role.DEVELOPER}
    members = {name: Membership(project=project, user=people[name], role=role) for name, role in roles.items()}
    Membership.objects.bulk_create(members.values())
    agent = Agent.objects.create(
        project=project, name="demo", description=canary, node=make_node(), preset="scripted", model=canary,
        worktree_repo=f"/srv/{canary}", environment={"CANARY": canary}, workdir=f"/srv/{canary}",
    )  # fmt: skip
    route = Route.objects.create(project=project, node=agent.node, note=canary, created_by="root")
    invitation = Invitation.objects.create(
        project=project, role=Role.VIEWER, email=f"guest@{canary}.example", digest=slug,
        invited_by=people[Role.OWNER], expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    written = {"author_kind": "user", "author_id": canary, "author_label": canary, "note": canary, "command": canary}
    rule = PolicyRule.objects.create(project=project, position=0, verdict="deny", **written)
    review = PolicyReview.objects.create(project=project, roles=["owner", "maintainer"])
    month = timezone.now() + timedelta(days=30)
    grant = PolicyGrant.objects.create(project=project, agent=agent, expires_at=month, **written)
    changed = FileChange(path=canary, status="modified", additions=1)
    patch = BlobRef(digest=DIGEST, size=len(canary))
    diff = DiffReady(base_commit=canary, files=[changed], files_changed=1, additions=1, deletions=0, patch=patch)
    run = Run.objects.create(
        project=project, agent=agent, node=agent.node, user=people[Role.DEVELOPER], state=State.WAITING,
        prompt=canary, message=canary, workspace=f"/w/{canary}", last_seq=1,
        diff=diff.model_dump(mode="json"),
    )  # fmt: skip
    task = Task.objects.create(
        project=project, key=f"T-{canary}", title=canary, description=canary, dispatcher=agent,
        state="awaiting_operator_approval",
    )  # fmt: skip
    round_ = Round.objects.create(project=project, task=task, number=1, operator_note=canary)
    Assignment.objects.create(project=project, task=task, round=round_, agent=agent, goal=canary)
    Lock.objects.create(project=project, key=canary, resource_id=canary)
    budget = Budget.objects.create(project=project, unit="tokens", amount=10**12, created_by=canary)
    over_all, _ = Budget.objects.get_or_create(project=None, unit="tokens", defaults={"amount": 10**12})
    price, _ = Price.objects.get_or_create(pattern="gpt-5*", defaults={"input_micros": 1, "output_micros": 1})
    RunUsage.objects.create(run=run, project_id=project.pk, total_tokens=7, model=canary, updated_at=timezone.now())
    now = now_us()
    assert "run.output" in PAYLOADS
    payload = f'{{"stream":"stdout","text":"{canary}"}}'
    insert_events([NewEvent(run.pk, 1, 1, 1, "run.output", 1, now, now, payload)])
    Blob.objects.create(run=run, digest=DIGEST, size=len(canary), data=canary.encode())
    approval = make_approval(run)
    Approval.objects.filter(pk=approval.pk).update(
        title=canary, request={**approval.request, "title": canary, "command": canary}
    )
    token, _ = make_token(people[Role.OWNER], canary)
    program, _ = make_token(account, f"{canary} of the service")
    spoken, _ = make_token(None, canary, agent_id=agent.pk, project=project, agent_label=f"{slug}/demo")
    record(project.pk, "thing.happened", by=SYSTEM, of=("thing", canary), what=canary)
    event = AuditEvent.objects.filter(project=project.pk).latest("number")
    message = send(
        project.pk, Address.of("user", people[Role.OWNER].pk), [Address.of("user", people["mate"].pk)], {"x": canary},
        subject=canary,
    )  # fmt: skip
    letter = send(
        project.pk, Address.of("user", people["mate"].pk), [Address.of("user", people[Role.OWNER].pk)], {"text": canary}
    )
    trigger = Trigger.objects.create(
        project=project, name=canary[:64], owner_kind="user", owner_id=str(people["mate"].pk), owner_label=canary,
        to=[canary], subject=canary, cron="0 9 * * *", next_at=timezone.now() + timedelta(days=1), last_error=canary,
        state="paused",
    )  # fmt: skip
    webhook = Webhook.objects.create(project=project, name="quay", url=f"https://hooks.example.com/{canary}")
    team = Team.objects.create(project=project, slug="dock", name=f"{canary} dockers")
    TeamMember.objects.create(team=team, agent=agent)
    posted = send(project.pk, Address.of("user", people["mate"].pk), [webhook.address], {"text": canary})
    Delivery.objects.filter(message=posted.message_id).update(
        state="dead", settled_at=timezone.now(), reason=canary, attempts=1
    )
    things = {
        "teams": team.pk, "team_id": team.pk, "webhooks": webhook.pk, "triggers": trigger.pk,
        "deliveries/message_id": posted.message_id,
        "messages": message.message_id, "message_id": letter.message_id,
        "agent": agent.pk, "agents": agent.pk, "run": run.pk, "runs": run.pk, "approval": approval.pk,
        "approvals": approval.pk, "project": project.pk, "projects": project.pk, "projects/slug": slug, "slug": slug,
        "members/user": people["mate"].pk, "membership_id": members["mate"].pk, "artifacts": DIGEST,
        "task_id": task.pk, "round_id": round_.pk,
        "tokens": token.pk, "token": token.pk, "user": people["mate"].pk, "username": people["mate"].username,
        "service": account.username, "outsider": "zoe", "node": agent.node_id, "nodes": agent.node_id,
        "nodes/slug": "oslo", "routes": route.pk, "rules": rule.pk, "grants": grant.pk, "budgets": budget.pk,
        "rule_id": rule.pk, "grant_id": grant.pk, "user_id": account.pk, "program_token_id": program.pk,
        "agent_token_id": spoken.pk, "budget_id": budget.pk, "/usage/budgets/{budget_id}": over_all.pk,
        "prices/pk": price.pk, "price": price.pk,
        "policyreview": review.pk,
        "audit/pk": event.pk, "tasks": task.pk, "rounds": round_.pk,
        "passkeys/pk": 1, "session_id": 1,
        "invitations/invitation": invitation.pk, "users": people["mate"].pk,
        "invitation_id": invitation.pk, "secret": "none",
        "agent-nodes": "oslo", "verb": "cordon", "secrets/name": "webhook.canary",
    }  # fmt: skip
    return World(project, things, people)


def make_token(user: User | None, name: str, **fields: Any) -> tuple[Token, str]:
    secret = f"{Token.PREFIX}{new_id().hex}"
    row = Token.objects.create(user=user, name=name[:64], hint=secret[:8], digest=Token.digest_of(secret), **fields)
    return row, secret


def make_callers(own: World, foreign: World) -> list[Who]:
    """Everybody who tries the doors: each role of ``own``, root, a stranger's owner, programs, and nobody."""
    shutil.rmtree(settings.CONFIG.pki_dir, ignore_errors=True)  # where a test before this one has rotated it
    ensure_pki(settings.CONFIG.pki_dir, make_node("local").pk)
    HubSecret.objects.get_or_create(
        name="webhook.canary", defaults={"ciphertext": b"x", "key_id": "1", "set_at": timezone.now()}
    )
    make_user("zoe")
    people = {**own.people, "root": make_root(), "outsider": foreign.people[Role.OWNER]}
    callers = [Who("anonymous")]
    for role in (*ROLES, "root", "outsider", "service"):
        _, secret = make_token(people[role], "key")
        callers.append(Who(role, secret, people[role] if role != "service" else None))
    _, secret = make_token(None, "key", agent_id=own.things["agent"], project=own.project, agent_label="harbour/demo")
    callers.append(Who(AGENT_ROLE, secret))
    _, secret = make_token(people[Role.OWNER], "reading key", scope="read")
    callers.append(Who(Role.OWNER, secret, scope=capabilities_of("read")))
    return callers
