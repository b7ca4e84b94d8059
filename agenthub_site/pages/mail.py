"""A person's messages: what came, what was dealt with, what was given up; reading, answering and writing them."""

import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.models import Membership, Project
from agenthub_site.accounts.permissions import Can, may, require
from agents.mail.addressing import TEAM, TEAM_ALL, address_of, names_of
from agents.mail.api import find_message
from agents.mail.bounds import post_bounded
from agents.mail.desk import prepare, projects_of
from agents.mail.requeuing import requeue_mail
from agents.mail.shapes import SendIn
from agents.models import Agent
from agents.teams.models import Team
from mailboxes.limits import SUBJECT_CHARS
from mailboxes.models import Delivery
from mailboxes.reading import LetterPlace, Mail, copies, count_open, dead_letters, deliveries_to, mails
from mailboxes.services import ack
from mailboxes.states import State
from nodes.contract.errors import HubError
from nodes.contract.ids import new_id

from .doors import PageRequest, page, show_in_form, tell
from .forms import StyledForm

PAGE_SIZE: Final = 50
COPIES: Final = 200
TEXT_CHARS: Final = 20_000
RECIPIENTS_NAMED: Final = 100
OFFERED: Final = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """One copy of a message as a page shows it."""

    mail: Mail
    sender: str
    recipient: str

    @property
    def title(self) -> str:
        return self.mail.subject or self.text[:200] or self.mail.kind.replace("_", " ").capitalize()

    @property
    def text(self) -> str:
        """What is written for people in its payload, if anything is."""
        payload = self.mail.payload
        text = payload.get(self._words) if isinstance(payload, dict) else payload
        return text if isinstance(text, str) else ""

    @property
    def excerpt(self) -> str:
        """How the text begins, where it is not the title already."""
        return self.text[:200] if self.mail.subject else ""

    @property
    def _words(self) -> str:
        """The field that has the text: ``body`` is that of ``message_send`` and of what the hub tells of tasks."""
        payload = self.mail.payload
        fields = [name for name in ("text", "body") if isinstance(payload, dict) and isinstance(payload.get(name), str)]
        return fields[0] if fields else ""

    @property
    def rest(self) -> str:
        """What else there is in its payload, as indented JSON."""
        payload = self.mail.payload
        if self.text:
            words = self._words
            payload = {name: value for name, value in payload.items() if name != words} if payload != self.text else {}
        return json.dumps(payload, indent=2, ensure_ascii=False) if payload else ""

    @property
    def is_open(self) -> bool:
        return self.mail.settled_at is None

    @property
    def is_answerable(self) -> bool:
        return self.mail.sender.kind in ("agent", "user") and bool(self.sender)


class WriteForm(StyledForm):
    project = forms.ModelChoiceField(Project.objects.none(), to_field_name="slug", empty_label=None)
    to = forms.CharField(
        max_length=2_000, help_text="Names of agents and people, with commas between them; or a team, as in team:all.",
        widget=forms.TextInput(attrs={"list": "recipients", "autocapitalize": "none", "autocomplete": "off"}),
    )  # fmt: skip
    subject = forms.CharField(required=False, max_length=SUBJECT_CHARS)
    text = forms.CharField(max_length=TEXT_CHARS, widget=forms.Textarea(attrs={"rows": 6}), label="Message")
    key = forms.UUIDField(widget=forms.HiddenInput, initial=new_id)
    """Sent twice, it is one message."""

    def __init__(self, *args: Any, request: PageRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = [pk for pk in _seen(request) if may(request.actor, Can.SEND_MESSAGE, pk)]
        self.fields["project"].queryset = Project.objects.filter(pk__in=allowed).order_by("slug")  # type: ignore[attr-defined]

    def clean_to(self) -> list[str]:
        names = [name for each in self.cleaned_data["to"].split(",") if (name := each.strip())]
        if not 0 < len(names) <= RECIPIENTS_NAMED:
            raise forms.ValidationError(f"Name 1 to {RECIPIENTS_NAMED} of them, with commas between.")
        return names

    def said(self) -> SendIn:
        given = self.cleaned_data
        return SendIn(
            project=given["project"].slug, to=given["to"], subject=given["subject"],
            payload={"text": given["text"]}, dedupe_key=f"page:{given['key']}",
        )  # fmt: skip


class AnswerForm(StyledForm):
    text = forms.CharField(max_length=TEXT_CHARS, widget=forms.Textarea(attrs={"rows": 4}), label="Your answer")
    key = forms.UUIDField(widget=forms.HiddenInput, initial=new_id)


@require_GET
@page
def inbox(request: PageRequest) -> HttpResponse:
    """One's own inbox, the newest first; with ``?tab=done`` what was dealt with, ``?tab=dead`` what was given up."""
    tab = request.GET.get("tab", "")
    keeps = _kept(request)
    is_dead = tab == "dead" and bool(keeps)
    before = request.GET.get("before", "")
    try:
        rows = _given_up(keeps, before) if is_dead else _own_mail(request, tab == "done", before)
    except ValueError as error:
        raise Http404 from error
    last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
    context = {
        "tab": tab if is_dead or tab == "done" else "",
        "letters": _letters(rows[:PAGE_SIZE]),
        "older": (LetterPlace.of(last) if is_dead else last.number) if last else None,
        "is_first_page": not before,
        "keeps": bool(keeps),
        "may_write": any(may(request.actor, Can.SEND_MESSAGE, pk) for pk in _seen(request)),
    }
    return render(request, "pages/mail/rows.html" if request.htmx else "pages/mail/list.html", context)


def _given_up(projects: list[UUID], before: str) -> list[Mail]:
    return dead_letters(projects, PAGE_SIZE + 1, LetterPlace.parse(before) if before else None)


def _own_mail(request: PageRequest, is_done: bool, before: str) -> list[Mail]:
    """Raises ``ValueError`` for a ``before`` that is no number."""
    found = deliveries_to(address_of(request.actor), projects=projects_of(request.actor))
    found = found.filter(state=State.ACKED) if is_done else found.filter(settled_at=None)
    if before:
        found = found.filter(number__lt=int(before))
    return mails(found.order_by("-number")[: PAGE_SIZE + 1])


@require_GET
@page
def badge(request: PageRequest) -> HttpResponse:
    """The number beside *Messages*."""
    return render(request, "pages/mail/badge.html", {"messages_open": open_messages(request.actor)})


def open_messages(actor: Any) -> int:
    """How many wait in the person's inbox."""
    return count_open(address_of(actor), None, projects_of(actor))


@require_GET
@page
def message(request: PageRequest, message_id: UUID) -> HttpResponse:
    return _show(request, message_id)


def _show(request: PageRequest, message_id: UUID, form: AnswerForm | None = None) -> HttpResponse:
    """A message that one sent, got, or keeps for a project; to whom else it went is shown to who may know."""
    found = find_message(request.actor, message_id)
    me = address_of(request.actor)
    others = copies(found, Delivery.objects.order_by("inbox", "number"), COPIES)
    mine = copies(found, deliveries_to(me), 1)
    may_keep = may(request.actor, Can.MANAGE_MESSAGES, found.project_id)
    letters = _letters([*mine, *others])
    own = letters[0] if mine else None
    may_see_all = may_keep or (found.sender_kind, found.sender_id) == (me.kind, me.id)
    context = {
        "letter": own or letters[0],
        "own": own,
        "copies": letters[len(mine) :] if may_see_all else [],
        "may_requeue": may_keep and any(each.mail.state == State.DEAD for each in letters),
        "may_answer": own is not None and own.is_answerable and may(request.actor, Can.SEND_MESSAGE, found.project_id),
        "project": Project.objects.get(pk=found.project_id),
        "form": form or AnswerForm(),
    }
    return render(request, "pages/mail/message.html", context, status=400 if form else 200)


@require_http_methods(["GET", "POST"])
@page
def write(request: PageRequest) -> HttpResponse:
    """A message to agents and people; ``?to=`` and ``?project=`` fill it in."""
    form = WriteForm(request.POST or None, initial=request.GET.dict(), request=request)
    if request.method == "POST" and form.is_valid():
        try:
            sent = post_bounded(prepare(request.actor, form.said()))
        except HubError as error:
            show_in_form(form, error)
        else:
            count = len(sent.deliveries)
            messages.success(request, f"Sent to {count} recipient{'s' if count != 1 else ''}.")
            return redirect("message", sent.message_id)
    projects = form.fields["project"].queryset  # type: ignore[attr-defined]
    context = {"form": form, "recipients": _recipients([each.pk for each in projects])}
    return render(request, "pages/mail/write.html", context, status=400 if form.errors else 200)


@require_POST
@page
def answer(request: PageRequest, message_id: UUID) -> HttpResponse:
    """To who wrote it; what one has answered is dealt with."""
    found = find_message(request.actor, message_id)
    if not deliveries_to(address_of(request.actor)).filter(message=found).exists():
        raise Http404
    form = AnswerForm(request.POST)
    if not form.is_valid():
        return _show(request, message_id, form)
    said = SendIn(
        project=str(found.project_id), to=[f"{found.sender_kind}:{found.sender_id}"], reply_to=found.pk,
        payload={"text": form.cleaned_data["text"]}, subject=_answering(found.subject), run_id=found.run_id,
        dedupe_key=f"page:{form.cleaned_data['key']}",
    )  # fmt: skip
    try:
        post_bounded(prepare(request.actor, said))
    except HubError as error:
        if error.http == 403:
            raise
        show_in_form(form, error)
        return _show(request, message_id, form)
    ack(address_of(request.actor), [found.pk])
    messages.success(request, "Answered.")
    return redirect("messages")


@require_POST
@page
def done(request: PageRequest, message_id: UUID) -> HttpResponse:
    """One has dealt with it."""
    (acked,) = ack(address_of(request.actor), [message_id], projects=projects_of(request.actor))
    if acked.code == "not_found":
        raise Http404
    return redirect("messages")


@require_POST
@page
def deliver_again(request: PageRequest, message_id: UUID) -> HttpResponse:
    """What was given up of it."""
    found = find_message(request.actor, message_id)
    require(request.actor, Can.MANAGE_MESSAGES, found.project_id)
    try:
        moved = requeue_mail(found.pk, by=request.actor)
    except HubError as error:
        tell(request, error)
    else:
        messages.success(request, f"It is delivered again to {len(moved)} of its recipients.")
    return redirect("message", message_id)


def _answering(subject: str) -> str:
    return subject if not subject or subject.startswith("Re: ") else f"Re: {subject}"[:SUBJECT_CHARS]


def _seen(request: PageRequest) -> list[UUID]:
    return list(Project.objects.visible_to(request.actor).values_list("pk", flat=True))


def _kept(request: PageRequest) -> list[UUID]:
    """The projects whose mail the person looks after."""
    return [pk for pk in _seen(request) if may(request.actor, Can.MANAGE_MESSAGES, pk)]


def _letters(rows: list[Mail]) -> list[Letter]:
    names = names_of({address for row in rows for address in (row.sender, row.recipient)})
    return [Letter(row, names[row.sender], names[row.recipient]) for row in rows]


def _recipients(projects: list[UUID]) -> list[str]:
    """What can be written into *To*, for the browser to offer: three queries, however many projects there are."""
    agents = Agent.objects.filter(project__in=projects, archived_at=None).order_by("name")
    people = Membership.objects.filter(project__in=projects, user__service_of=None, user__is_active=True)
    names = {*agents.values_list("name", flat=True)[:OFFERED]}
    names |= {*people.order_by("user__username").values_list("user__username", flat=True)[:OFFERED]}
    teams = Team.objects.filter(project__in=projects).order_by("slug").values_list("slug", flat=True).distinct()
    return [TEAM_ALL, *(f"{TEAM}{slug}" for slug in teams[:OFFERED]), *sorted(names)]
