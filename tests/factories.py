"""The cast. Alice owns the project, Bob is a developer in it, Charlie may see nothing; Oslo is up, Lima is silent."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from agenthub_site.accounts.models import Membership, Project, Role, Token, User
from agents.models import Agent, Approval, Run
from agents.states import ENDED, State
from nodes.contract.events import ApprovalOption, ApprovalRequested
from nodes.contract.ids import new_id
from nodes.contract.reasons import Reason
from nodes.models import Node, Route

PASSWORD = "correct horse battery"
OPTIONS = [
    ApprovalOption(option_id="yes", name="Allow", kind="allow_once"),
    ApprovalOption(option_id="no", name="Reject", kind="reject_once"),
]


def make_user(username: str = "alice", *, password: str | None = None, **fields: Any) -> User:
    """The user of this name, made if missing. Without ``password`` there is none, which saves its hashing."""
    user = User.objects.filter(username=username).first()
    if user is None:
        user = User(username=username, email=f"{username}@example.org", **fields)
        if password is None:
            user.set_unusable_password()
        else:
            user.set_password(password)
        user.save()
    return user


def make_root() -> User:
    return make_user("root", is_superuser=True, is_staff=True)


def make_project(slug: str = "harbour", *, owner: User | None = None, **members: str) -> Project:
    """A project owned by Alice; ``bob="developer"`` makes members. Made once per slug."""
    project, _ = Project.objects.get_or_create(slug=slug, defaults={"name": slug.title()})
    roles = {(owner or make_user("alice")).username: Role.OWNER, **members}
    for username, role in roles.items():
        Membership.objects.get_or_create(project=project, user=make_user(username), defaults={"role": role})
    _let_all_use_all()
    return project


def _let_all_use_all() -> None:
    """Routes from every project to every node, as most tests are about something else."""
    have = set(Route.objects.values_list("project", "node"))
    nodes = Node.objects.exclude(slug=Node.LOCAL).values_list("pk", flat=True)
    wanted = {(project, node) for project in Project.objects.values_list("pk", flat=True) for node in nodes}
    Route.objects.bulk_create(Route(project_id=project, node_id=node) for project, node in wanted - have)


def make_node(slug: str = "oslo", *, heard: datetime | None = None, **fields: Any) -> Node:
    """Oslo, or any other, was heard just now; Lima has been silent for an hour."""
    silent_for = timedelta(hours=1) if slug == "lima" else timedelta()
    scripted = {"preset": "scripted", "version": "1", "found": True, "logged_in": True, "detail": ""}
    fields.setdefault("runtimes", [scripted])
    fields.setdefault("is_joined", True)
    node, _ = Node.objects.get_or_create(
        slug=slug,
        defaults={
            "name": slug.title(),
            "last_heard_at": heard or timezone.now() - silent_for,
            "connected_at": timezone.now() - timedelta(hours=2),
            **fields,
        },
    )
    _let_all_use_all()
    return node


def make_agent(name: str = "demo", *, project: Project | None = None, node: Node | None = None, **fields: Any) -> Agent:
    """A scripted agent in Alice's project on Oslo."""
    fields.setdefault("preset", "scripted")
    return Agent.objects.create(name=name, project=project or make_project(), node=node or make_node(), **fields)


def make_run(*, agent: Agent | None = None, user: User | None = None, state: str = State.RUNNING, **fields: Any) -> Run:
    """A run of the agent (one named ``demo``, made if missing) with times that fit its state."""
    if agent is None:
        agent = Agent.objects.filter(project=make_project(), name="demo").first() or make_agent()
    now = timezone.now()
    if state in ENDED:
        fields.setdefault("ended_at", now)
    if state != State.QUEUED:
        fields.setdefault("started_at", now)
    fields.setdefault("reason", _REASONS.get(State(state), Reason.NONE))
    fields.setdefault("prompt", "Tidy up the quay.")
    return Run.objects.create(
        project=agent.project, agent=agent, node=agent.node, user=user or make_user("alice"), state=state, **fields
    )


_REASONS = {
    State.QUEUED: Reason.QUEUED,
    State.WAITING: Reason.APPROVAL,
    State.LOST: Reason.NODE_SILENT,
    State.SUCCEEDED: Reason.FINISHED,
    State.FAILED: Reason.AGENT_EXITED,
    State.CANCELLED: Reason.CANCELLED,
    State.TIMED_OUT: Reason.TURN_TIMEOUT,
}


def node_of(bound: Agent | Run) -> Node:
    """The node of an agent that is bound to one, or of a run that was handed to one."""
    assert bound.node is not None
    return bound.node


def make_approval(run: Run | None = None, *, state: str = Approval.State.PENDING, **fields: Any) -> Approval:
    """A question of the run's (one that waits, if none is given), with the options ``yes`` and ``no``."""
    run = run or make_run(state=State.WAITING)
    now, approval_id = timezone.now(), new_id()
    request = ApprovalRequested(
        approval_id=str(approval_id),
        kind="shell",
        title="Run make test",
        command="make test",
        options=OPTIONS,
        action_hash="f" * 64,
        expires_in_seconds=600,
    )
    fields.setdefault("requested_at", now)
    fields.setdefault("expires_at", now + timedelta(seconds=600))
    return Approval.objects.create(
        id=approval_id,
        project_id=run.project_id,
        run=run,
        state=state,
        kind=request.kind,
        title=request.title,
        request=request.model_dump(mode="json"),
        action_hash=request.action_hash,
        **fields,
    )


def make_token(user: User | None = None, *, name: str = "laptop", **fields: Any) -> str:
    """A token's secret; its row belongs to Alice, or to ``user``."""
    secret = f"{Token.PREFIX}{new_id().hex}"
    Token.objects.create(
        user=user or make_user("alice"), name=name, hint=secret[:8], digest=Token.digest_of(secret), **fields
    )
    return secret
