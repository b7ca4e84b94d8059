"""What people fill in about the policy: a rule, a request to try out, and who answers what is asked."""

from typing import Any, ClassVar, Final

from django import forms

from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import ROLES
from agents.models import Agent
from agents.rules import PolicyReview, PolicyRule
from agents.services.compiling import PEOPLE_AFTER_SECONDS
from agents.services.policies import MOST_SECONDS, REVIEWING_ROLES
from nodes.contract.policy import PATTERN_CHARS, ActionKind, Verdict

from .forms import StyledForm

KINDS: Final = [("", "any kind"), *((kind.value, kind.value) for kind in ActionKind)]
VERDICTS: Final = [
    (Verdict.DENY, "deny: never"),
    (Verdict.ASK, "ask: a person, or a standing answer"),
    (Verdict.ALLOW, "allow: without asking"),
]


def _pattern(label: str, example: str, **more: Any) -> forms.CharField:
    shown = {"placeholder": example, "spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}
    return forms.CharField(
        required=False, strip=False, max_length=PATTERN_CHARS, label=label, widget=forms.TextInput(attrs=shown), **more
    )


class RuleForm(StyledForm):
    """``agent`` is only there for a new rule of a project."""

    MATCHERS: ClassVar = ("kind", "command", "path", "host", "tool")

    verdict = forms.ChoiceField(choices=VERDICTS)
    agent = forms.ModelChoiceField(
        Agent.objects.none(), required=False, empty_label="every agent of the project", label="For"
    )
    kind = forms.ChoiceField(choices=KINDS, required=False)
    command = _pattern("Command", "git push*")
    path = _pattern("Path", "src/** or .env or ~/.ssh/**")
    host = _pattern("Host", "*.example.com")
    tool = _pattern("Tool", "mcp__github__*")
    note = forms.CharField(required=False, max_length=PATTERN_CHARS, help_text="Why; whoever reads it later is glad.")
    is_strict = forms.BooleanField(
        required=False, label="Ask each time", help_text="Of what is asked: no standing answer counts."
    )
    is_enabled = forms.BooleanField(required=False, initial=True, label="In force")

    def __init__(self, *args: Any, project: Project | None = None, rule: PolicyRule | None = None, **kwargs: Any):
        if rule:
            names = (*self.MATCHERS, "verdict", "note", "is_strict", "is_enabled")
            kwargs["initial"] = {name: getattr(rule, name) for name in names}
        super().__init__(*args, **kwargs)
        if rule or project is None:
            del self.fields["agent"]
        else:
            self.fields["agent"].queryset = _agents_of(project)  # type: ignore[attr-defined]
        if rule is None:
            del self.fields["is_enabled"]


class TrialForm(StyledForm):
    """What an agent might ask. ``agent`` chooses whose policy; otherwise it is the project's."""

    command = _pattern("Command", "cd web && npm ci && git push")
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, empty_label="any agent", label="Asked by")
    kind = forms.ChoiceField(choices=KINDS, required=False)
    path = _pattern("Path", ".github/workflows/ci.yml")
    host = _pattern("Host", "registry.npmjs.org")
    tool = _pattern("Tool", "create_pull_request")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, auto_id="trial_%s", **kwargs)
        self.fields["agent"].queryset = _agents_of(project)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if not any(given.get(name) for name in RuleForm.MATCHERS):
            raise forms.ValidationError("Say what is asked: a command, a path, a host, a tool or a kind.")
        return given

    def asked(self) -> dict[str, str]:
        return {name: self.cleaned_data[name] for name in RuleForm.MATCHERS if self.cleaned_data[name]}


class ReviewForm(StyledForm):
    """Empty: nothing is said on this level."""

    roles = forms.MultipleChoiceField(
        choices=[(role.value, role.value) for role in ROLES if role in REVIEWING_ROLES], required=False,
        label="People with the role", widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: every role that may answer. Root operators always may.",
    )  # fmt: skip
    reviewer = forms.ModelChoiceField(
        Agent.objects.none(), required=False, empty_label="no agent", label="An agent first",
        help_text="It never answers what it asks itself.",
    )  # fmt: skip
    people_after_minutes = forms.FloatField(
        required=False, min_value=1 / 60, max_value=MOST_SECONDS / 60, label="People after (minutes)",
        help_text=f"Where an agent is asked first. Empty: {PEOPLE_AFTER_SECONDS // 60}.",
    )  # fmt: skip
    expires_minutes = forms.FloatField(
        required=False, min_value=1 / 60, max_value=MOST_SECONDS / 60, label="At most (minutes)",
        help_text="Then the answer is no. Empty: as long as the agent's own setting says.",
    )  # fmt: skip

    def __init__(
        self,
        *args: Any,
        project: Project | None,
        agent: Agent | None = None,
        review: PolicyReview | None = None,
        **kwargs: Any,
    ) -> None:
        if review:
            kwargs["initial"] = {
                "roles": review.roles, "reviewer": review.reviewer_id,
                "people_after_minutes": _minutes(review.people_after_seconds),
                "expires_minutes": _minutes(review.expires_seconds),
            }  # fmt: skip
        super().__init__(*args, auto_id="review_%s", **kwargs)
        if project:
            others = _agents_of(project).exclude(pk=agent.pk) if agent else _agents_of(project)
            self.fields["reviewer"].queryset = others  # type: ignore[attr-defined]
        else:
            del self.fields["reviewer"]

    def said(self) -> dict[str, Any]:
        """What the service takes."""
        given = self.cleaned_data
        after, expires = given["people_after_minutes"], given["expires_minutes"]
        return {
            "roles": given["roles"],
            "reviewer": given.get("reviewer"),
            "people_after_seconds": round(after * 60) if after else None,
            "expires_seconds": round(expires * 60) if expires else None,
        }


def _agents_of(project: Project) -> Any:
    return Agent.objects.filter(project=project, archived_at=None).order_by("name")


def _minutes(seconds: int | None) -> str:
    return f"{seconds / 60:g}" if seconds else ""
