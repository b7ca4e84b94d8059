"""What people fill in. Forms check shapes; whether something is allowed and makes sense, the services decide."""

import shlex
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.db.models import F, Q
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, Role, User
from agenthub_site.accounts.permissions import Can, may
from agents.isolation import Level, Network
from agents.models import Agent, Run, VisibleQuerySet
from agents.queries import in_states
from agents.states import LIVE, State
from nodes.contract.errors import NotFound
from nodes.contract.limits import NODE_GONE_SECONDS, PROMPT_BYTES, STOP_AFTER_LEAST_SECONDS
from nodes.evidence import health_of
from nodes.models import Node
from nodes.queries import visible_nodes
from nodes.routes import usable_nodes
from nodes.runtimes.presets import PRESETS


class StyledForm(forms.Form):
    """Widgets with the component library's classes, and errors announced with the field they belong to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            widget = field.widget
            is_ticked = isinstance(widget, forms.CheckboxInput | forms.CheckboxSelectMultiple)
            kind = "form-check-input" if is_ticked else "form-control"
            widget.attrs["class"] = "form-select" if isinstance(widget, forms.Select) else kind

    def _clean_fields(self) -> None:
        super()._clean_fields()  # type: ignore[misc]
        for name in self.errors:
            if name in self.fields:
                self.fields[name].widget.attrs["class"] += " is-invalid"

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field, error)
        if field and "is-invalid" not in self.fields[field].widget.attrs.get("class", ""):
            self.fields[field].widget.attrs["class"] += " is-invalid"


class CommandField(forms.CharField):
    """A command line as a person writes it; cleaned into a list of arguments."""

    def to_python(self, value: Any) -> Any:
        try:
            return shlex.split(super().to_python(value) or "")
        except ValueError as error:
            raise forms.ValidationError(f"This cannot be read as a command line: {error}.") from error

    def prepare_value(self, value: Any) -> Any:
        return shlex.join(value) if isinstance(value, list) else value


class EnvironmentField(forms.CharField):
    """``NAME=value``, one a line; cleaned into a dict."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> Any:
        variables: dict[str, str] = {}
        for line in filter(None, map(str.strip, (super().to_python(value) or "").splitlines())):
            name, equals, content = line.partition("=")
            if not equals or not name.strip().isidentifier():
                raise forms.ValidationError(f"Write NAME=value; this is not: {line[:60]}")
            variables[name.strip()] = content
        return variables

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value


class LabelsField(forms.CharField):
    """``name=value``, with commas between them; cleaned into a dict."""

    def to_python(self, value: Any) -> Any:
        labels: dict[str, str] = {}
        for part in filter(None, map(str.strip, (super().to_python(value) or "").split(","))):
            name, equals, text = part.partition("=")
            if not equals or not name.strip():
                raise forms.ValidationError(f"Write name=value; this is not: {part[:60]}")
            labels[name.strip()] = text.strip()
        return labels

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(f"{name}={value[name]}" for name in sorted(value)) if isinstance(value, dict) else value


class AgentForm(StyledForm):
    """An agent's settings. Which fields matter depends on runtime and workspace: the page shows those."""

    project = forms.ModelChoiceField(Project.objects.none(), empty_label=None)
    name = forms.CharField(max_length=64, help_text="Short and unique in the project, as in: agenthub run NAME …")
    description = forms.CharField(max_length=400, required=False, help_text="What it is for.")
    node = forms.ModelChoiceField(
        Node.objects.none(),
        required=False,
        empty_label="Any node of a pool, or with labels",
        label="Execution node",
        help_text="The machine it runs on, of those that a route lets the project use. Starting a run there is "
        "running code as that node's user.",
    )
    pool = forms.CharField(
        max_length=64, required=False, label="Pool", help_text="Any node of this pool. Empty: the labels alone decide."
    )
    node_labels = LabelsField(
        required=False,
        label="Labels that a node must have",
        widget=forms.TextInput(attrs={"spellcheck": "false", "placeholder": "arch=arm64, gpu=yes"}),
        help_text="name=value, with commas between them. A node has to have all of them.",
    )
    runtime = forms.ChoiceField(
        choices=[(Agent.Runtime.ACP, "A known agent, or one that speaks ACP"), (Agent.Runtime.COMMAND, "A command")]
    )
    preset = forms.ChoiceField(required=False, help_text="A known agent, with its command and its safe settings.")
    command = CommandField(
        required=False, max_length=4_000, help_text="The program and its arguments, as in a shell, but without one."
    )
    model = forms.CharField(max_length=128, required=False, help_text="Empty: the runtime's own default.")
    workspace_mode = forms.ChoiceField(choices=Agent.WorkspaceMode.choices, label="Workspace")
    workdir = forms.CharField(
        max_length=1024, required=False, label="Directory", help_text="On the node, under one of its safe paths."
    )
    worktree_repo = forms.CharField(
        max_length=1024,
        required=False,
        label="Repository",
        help_text="A git repository on the node, under one of its safe paths.",
    )
    worktree_ref = forms.CharField(
        max_length=255, required=False, label="Start from", help_text="A branch, tag or commit. Empty: HEAD."
    )
    environment = EnvironmentField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="NAME=value, one a line. A secret is kept on the node, and named here: TOKEN=secret:NAME.",
    )
    approval_seconds = forms.FloatField(
        min_value=1, max_value=86_400, label="An approval waits (seconds)", help_text="Then the answer is no."
    )
    turn_seconds = forms.FloatField(
        min_value=1,
        max_value=604_800,
        required=False,
        label="A turn takes at most (seconds)",
        help_text="Empty: no limit.",
    )
    lost_after_seconds = forms.IntegerField(
        min_value=1,
        max_value=NODE_GONE_SECONDS,
        label="A run is lost after (seconds)",
        help_text="Counted from when its node is silent. It is found again when the node comes back.",
    )
    stop_after_seconds = forms.IntegerField(
        min_value=STOP_AFTER_LEAST_SECONDS,
        max_value=NODE_GONE_SECONDS,
        required=False,
        label="Its node stops it after (seconds)",
        help_text="Without the hub. Empty: it goes on, and its records follow.",
    )
    resume = forms.BooleanField(
        required=False,
        label="Start a run anew if its node died",
        help_text="Once, from its prompt: after a restart of the machine, or when the run's supervisor was killed.",
    )
    wake_on_mail = forms.BooleanField(
        required=False,
        label="Start a run when it gets mail",
        help_text="While it has none; a live one is told in any case.",
    )
    mcp = forms.BooleanField(
        required=False,
        label="Give its runs the hub's tools",
        help_text="Mail, tasks, claims, handoffs, reviews, locks; by MCP. Not asked about, unless a policy says so.",
    )
    isolation = forms.ChoiceField(
        choices=Level.choices, label="Isolation", help_text="At the least: its project or the hub may demand more."
    )
    network = forms.ChoiceField(
        choices=Network.choices, label="Network", help_text="None masks it as well, and leaves no way to a model."
    )
    SETTINGS: ClassVar = (
        "name", "description", "node", "pool", "node_labels", "runtime", "preset", "command", "model", "workspace_mode",
        "workdir", "worktree_repo", "worktree_ref", "environment", "approval_seconds", "turn_seconds",
        "lost_after_seconds", "stop_after_seconds", "resume", "wake_on_mail", "mcp", "isolation", "network",
    )  # fmt: skip

    def __init__(self, *args: Any, actor: Actor, agent: Agent | None = None, **kwargs: Any) -> None:
        kwargs["initial"] = {**self._begin_with(agent), **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        # The agent's own as well if it is disabled, so that saving does not choose another.
        offered = Q(is_enabled=True) | Q(pk=agent.node_id if agent else None)
        projects = Project.objects.visible_to(actor)
        mine = [project.pk for project in projects if may(actor, Can.CREATE_AGENT, project.pk)]
        usable = usable_nodes([agent.project_id] if agent else mine).values("pk")
        routed = Q(pk__in=usable) | Q(pk=agent.node_id if agent else None)
        nodes = visible_nodes(actor).filter(offered, routed).order_by(F("last_heard_at").desc(nulls_last=True))
        self.fields["project"].queryset = projects.filter(pk__in=mine)  # type: ignore[attr-defined]
        self.fields["node"].queryset = nodes  # type: ignore[attr-defined]
        if agent is None:
            self.initial.setdefault("node", nodes.first())
        states = {pk: health.state for pk, health in health_of(nodes, timezone.now()).items()}
        self.fields["node"].label_from_instance = (  # type: ignore[attr-defined]
            lambda node: f"{'Main Node (local)' if node.is_local else node.slug} · {states.get(node.pk, 'new')}"
        )
        presets = [(preset.name, preset.title) for preset in PRESETS.values()]
        self.fields["preset"].choices = [("", "Another agent: give its command"), *presets]  # type: ignore[attr-defined]
        if agent:
            del self.fields["project"]

    @staticmethod
    def _begin_with(agent: Agent | None) -> dict[str, Any]:
        agent = agent or Agent(preset=next(iter(PRESETS), ""))
        values = {name: getattr(agent, name) for name in AgentForm.SETTINGS if name != "node"}
        if agent.preset in PRESETS:  # chosen among the known ones, however it is spoken to
            values["runtime"] = Agent.Runtime.ACP
        own_node = {"node": agent.node_id} if agent.pk and not agent._state.adding else {}
        return {**values, **own_node, "approval_seconds": f"{agent.approval_seconds:g}"}

    def settings(self) -> dict[str, Any]:
        """What the services take, after a valid form. A plain command has no preset, a named node no pool."""
        values = {name: self.cleaned_data[name] for name in self.SETTINGS}
        if values["node"]:
            values |= {"pool": "", "node_labels": {}}
        return {**values, "preset": ""} if values["runtime"] == Agent.Runtime.COMMAND else values


class RunFilter(StyledForm):
    """Which runs a list shows. Words it does not know are ignored, so that an old link still shows something."""

    STATES: ClassVar[dict[str, frozenset[State]]] = {
        "live": LIVE,
        "waiting": frozenset({State.WAITING}),
        "succeeded": frozenset({State.SUCCEEDED}),
        "failed": frozenset({State.FAILED, State.TIMED_OUT}),
        "cancelled": frozenset({State.CANCELLED}),
        "lost": frozenset({State.LOST}),
    }
    state = forms.ChoiceField(required=False, choices=[("", "Any state"), *((name, name) for name in STATES)])
    project = forms.ModelChoiceField(Project.objects.none(), required=False, empty_label="All projects")
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, empty_label="All agents")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = Project.objects.visible_to(actor)  # type: ignore[attr-defined]
        self.fields["agent"].queryset = Agent.objects.visible_to(actor).filter(archived_at=None)  # type: ignore[attr-defined]

    def apply(self, runs: VisibleQuerySet[Run]) -> VisibleQuerySet[Run]:
        self.is_valid()
        chosen = self.cleaned_data
        if chosen.get("state"):
            runs = in_states(runs, self.STATES[chosen["state"]])
        if chosen.get("project"):
            runs = runs.filter(project=chosen["project"])
        return runs.filter(agent=chosen["agent"]) if chosen.get("agent") else runs

    @property
    def is_narrowing(self) -> bool:
        return any(self.cleaned_data.get(name) for name in self.fields)

    @property
    def is_of_one_project(self) -> bool:
        return bool(self.cleaned_data.get("project") or self.cleaned_data.get("agent"))


class StartRunForm(StyledForm):
    agent = forms.ModelChoiceField(Agent.objects.none(), empty_label=None)
    prompt = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6, "autofocus": True, "placeholder": "What should the agent do?"}),
        max_length=PROMPT_BYTES,
    )
    keep_open = forms.BooleanField(
        required=False,
        label="Keep the session open",
        help_text="The run waits for follow-up prompts instead of ending after its last turn.",
    )

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = [pk for pk in actor.roles if may(actor, Can.START_RUN, pk)]
        agents = Agent.objects.visible_to(actor).filter(archived_at=None).exclude(runtime=Agent.Runtime.EXTERNAL)
        agents = agents.select_related("project", "node")
        field = self.fields["agent"]
        field.queryset = agents if actor.sees_all else agents.filter(project_id__in=allowed)  # type: ignore[attr-defined]
        field.label_from_instance = lambda agent: f"{agent.project.slug}/{agent.name} · {agent.runs_on}"  # type: ignore[attr-defined]


class JoinForm(StyledForm):
    """With the projects, all of them, since only root operators join nodes."""

    name = forms.CharField(
        max_length=200,
        label="Node id",
        help_text="1 to 128 of A-Z a-z 0-9 . _ : - as in us-east-gpu-01. It stays.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}),
    )
    projects = forms.ModelMultipleChoiceField(
        Project.objects.all(), required=False, to_field_name="slug", label="Projects that may use this node",
        widget=forms.CheckboxSelectMultiple,
        help_text="Without a route no project may; routes can be added and removed later.",
    )  # fmt: skip


class ProjectForm(StyledForm):
    name = forms.CharField(max_length=128)
    slug = forms.SlugField(max_length=64, help_text="Part of addresses and worktree paths; it stays.")
    description = forms.CharField(max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 3}))


class ProjectSettingsForm(StyledForm):
    """What of a project changes: the slug stays."""

    name = forms.CharField(max_length=128)
    description = forms.CharField(max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 3}))
    required_isolation = forms.ChoiceField(
        choices=Level.choices, label="Isolation", help_text="No run in the project has less."
    )
    required_network = forms.ChoiceField(
        choices=Network.choices, label="Network",
        help_text="None: no run in the project has the network, and each is masked at the least.",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = True

    def changes(self) -> dict[str, Any]:
        """What the person changed. What others changed since the page was opened stays."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


class MemberForm(StyledForm):
    username = forms.CharField(max_length=150)
    role = forms.ChoiceField(choices=Role.choices, initial=Role.DEVELOPER)

    def user(self) -> User:
        """The person named. ``NotFound`` if there is none."""
        user = User.objects.filter(username=self.cleaned_data["username"], is_active=True).first()
        if user is None:
            raise NotFound("There is no active user of that name.", fields={"username": ["There is no such user."]})
        return user


class TeamMembersForm(StyledForm):
    """Agents and people by name, with commas between them; cleaned into a list."""

    members = forms.CharField(max_length=4_000)

    def clean_members(self) -> list[str]:
        return [name for each in self.cleaned_data["members"].split(",") if (name := each.strip())]


class TeamForm(TeamMembersForm):
    slug = forms.CharField(
        max_length=64, help_text="It is written to as team:SLUG, and keeps it.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "autocomplete": "off", "placeholder": "docs"}),
    )  # fmt: skip
    name = forms.CharField(max_length=128, required=False, help_text="Empty: as the slug.")
    members = forms.CharField(
        max_length=4_000, required=False, help_text="Agents and people, with commas between them.",
        widget=forms.TextInput(attrs={"list": "may-be-added", "autocapitalize": "none", "autocomplete": "off"}),
    )  # fmt: skip
    field_order = ("slug", "name", "members")


class AlwaysAllowForm(StyledForm):
    """Beside it the page sends ``choice-0``, ``choice-1``, …, one for each part of the question."""

    PARTS: ClassVar = 50

    level = forms.ChoiceField(choices=[("agent", "this agent"), ("project", "the whole project")], label="For")
    days = forms.TypedChoiceField(
        choices=[("1", "a day"), ("7", "a week"), ("30", "30 days"), ("90", "90 days"), ("365", "a year")],
        coerce=int,
        initial="30",
        label="It ends after",
    )

    def choices(self) -> list[int]:
        """Which of what is offered for each part; the narrowest (0) where nothing sensible was sent."""
        sent = [self.data.get(f"choice-{part}") for part in range(self.PARTS)]
        return [int(text) if text.isdecimal() else 0 for text in sent if text is not None]


class InviteForm(StyledForm):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.DEVELOPER)
    email = forms.EmailField(
        required=False, label="Only for", help_text="An e-mail address; empty: whoever has the link. Nothing is sent."
    )
    days = forms.TypedChoiceField(
        choices=[("1", "a day"), ("7", "a week"), ("30", "30 days")], coerce=int, initial="7", label="Good for"
    )


class InvitedForm(StyledForm):
    username = forms.CharField(max_length=150, widget=forms.TextInput(attrs={"autocomplete": "username"}))
    password = forms.CharField(
        max_length=4_096, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )


class TokenForm(StyledForm):
    DAYS: ClassVar = [("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "never")]
    SCOPES: ClassVar = [
        ("read", "read"),
        ("run", "read, and start, steer and stop runs"),
        ("answer", "read, and answer approvals"),
        ("all", "do everything that you may"),
    ]

    name = forms.CharField(max_length=64, help_text="Where it is used, so that you know which to revoke.")
    days = forms.ChoiceField(choices=DAYS, required=False, label="Expires after", initial="90")
    scope = forms.ChoiceField(choices=SCOPES, label="May", initial="run", help_text="And never more than you may.")
    project = forms.ModelChoiceField(
        Project.objects.none(), required=False, label="In", empty_label="all of your projects"
    )

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = Project.objects.visible_to(actor)  # type: ignore[attr-defined]

    def expires_at(self) -> Any:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class ServiceForm(StyledForm):
    name = forms.CharField(max_length=150, help_text="Unique on this hub, as in web-ci.")
    role = forms.ChoiceField(choices=[each for each in Role.choices if each[0] != Role.OWNER], initial=Role.DEVELOPER)


class ProgramTokenForm(StyledForm):
    """Several stand on a page, so its fields have no ids: each stands in its label."""

    name = forms.CharField(max_length=64)
    days = forms.ChoiceField(choices=TokenForm.DAYS, required=False, label="Expires after", initial="90")
    scope = forms.ChoiceField(choices=TokenForm.SCOPES, label="May", initial="run")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=False, **kwargs)

    def made(self) -> dict[str, Any]:
        """What the services take."""
        given = self.cleaned_data
        expires = timezone.now() + timedelta(days=int(given["days"])) if given["days"] else None
        return {"name": given["name"], "scope": given["scope"], "expires_at": expires}


class AgentTokenForm(ProgramTokenForm):
    """For an agent that comes by MCP: what it may not do it is not even shown there."""

    scope = forms.ChoiceField(
        choices=[
            ("all", "do its work: mail, tasks, locks"),
            ("all hub:tools", "do its work, and run the hub's tools"),
            ("read", "read"),
        ],
        label="May",
        initial="all",
    )
