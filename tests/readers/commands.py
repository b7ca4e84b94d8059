"""What the tests ask of the web process beside appending events."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Token, User
from agenthub_site.accounts.services import edit_user
from agents.models import Run, RunEvent
from agents.services.approval_bell import ring_for_approvals
from agents.services.events import append_event
from agents.states import State
from agents.stream import tails
from audit.models import AuditEvent
from audit.services import record
from nodes.contract.events import StateChanged
from tests.factories import make_approval, make_root, make_run


def start_another_run() -> str:
    """One more run of Alice's."""
    return str(make_run(state=State.RUNNING).pk)


def deactivate(username: str) -> None:
    """As root does."""
    make_root()
    edit_user(User.objects.get(username=username), by=SYSTEM, is_active=False)


def revoke_tokens(username: str) -> None:
    Token.objects.filter(user__username=username).delete()


def note(project: str, name: str) -> int:
    """An entry of the project's audit trail."""
    with transaction.atomic():
        return record(UUID(project), name, by=SYSTEM, of=("run", "1"))


def audit_names() -> list[str]:
    return list(AuditEvent.objects.order_by("at").values_list("name", flat=True))


def stored(run: str) -> list[tuple[int, str, str]]:
    """The events of the run as the database has them."""
    return list(RunEvent.objects.filter(run=UUID(run)).order_by("seq").values_list("seq", "type", "payload"))


def delete_events(run: str, seqs: list[int]) -> None:
    RunEvent.objects.filter(run=UUID(run), seq__in=seqs).delete()


def watched() -> int:
    """Readers of tails at this moment."""
    return tails.readers


def memory() -> int:
    """Resident bytes of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def change_state(run: str, state: str, reason: str) -> None:
    """As the hub's own facts are written: the event and the row in one transaction."""
    with transaction.atomic():
        Run.objects.filter(pk=run).update(state=state, reason=reason)
        append_event(Run.objects.get(pk=run), StateChanged(state=state, reason=reason))


def ask_approval(run: str) -> str:
    """The run asks something; its id."""
    with transaction.atomic():
        approval = make_approval(Run.objects.get(pk=run))
        ring_for_approvals()
    return str(approval.pk)


def open_session(username: str) -> str:
    """The key of a browser's session."""
    user = User.objects.get(username=username)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)
