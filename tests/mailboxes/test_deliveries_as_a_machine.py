"""Whatever is sent, received, acked, let run out and requeued: the inbox is what a plain model says."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project
from mailboxes.addresses import Address
from mailboxes.errors import DedupeConflict
from mailboxes.limits import ATTEMPTS
from mailboxes.models import Delivery
from mailboxes.reading import count_open
from mailboxes.services import ack, inbox, receive, requeue, send
from nodes.contract.errors import WrongState
from nodes.contract.ids import new_id
from tests.mailboxes.post import ANN, let_leases_end


class Copy:
    """What the model knows of one delivery."""

    def __init__(self, message_id: UUID, number: int) -> None:
        self.message_id = message_id
        self.number = number
        self.state = "queued"
        self.attempts = 0
        self.was_handed_out = False


class Deliveries(RuleBasedStateMachine):
    project: Project

    def __init__(self) -> None:
        super().__init__()
        self.ben = Address.of("agent", new_id())
        self.copies: list[Copy] = []
        self.keys: dict[str, tuple[int, UUID]] = {}
        self.last = 0
        self.handed_out_first = 0

    def named(self, state: str) -> list[Copy]:
        return sorted((copy for copy in self.copies if copy.state == state), key=lambda copy: copy.number)

    @rule(content=st.integers(0, 2))
    def send(self, content: int) -> None:
        sent = send(self.project.pk, ANN, [self.ben], content)
        self._arrived(sent.message_id)

    @rule(key=st.sampled_from("ab"), content=st.integers(0, 1))
    def send_with_a_key(self, key: str, content: int) -> None:
        own = f"{key}:{self.ben.id}"
        if key not in self.keys:
            self.keys[key] = content, send(self.project.pk, ANN, [self.ben], content, dedupe_key=own).message_id
            self._arrived(self.keys[key][1])
        elif self.keys[key][0] == content:
            again = send(self.project.pk, ANN, [self.ben], content, dedupe_key=own)
            assert (again.created, again.message_id) == (False, self.keys[key][1])
        else:
            with pytest.raises(DedupeConflict):
                send(self.project.pk, ANN, [self.ben], content, dedupe_key=own)

    def _arrived(self, message_id: UUID) -> None:
        self.last += 1
        self.copies.append(Copy(message_id, self.last))

    @rule(limit=st.integers(1, 3))
    def receive(self, limit: int) -> None:
        expected = self.named("queued")[:limit]
        got = receive(self.ben, limit=limit)
        assert [mail.number for mail in got] == [copy.number for copy in expected]
        for mail, copy in zip(got, expected, strict=True):
            assert mail.redelivered == copy.attempts
            if not copy.was_handed_out:  # first deliveries are in order
                assert copy.number > self.handed_out_first
                self.handed_out_first = copy.number
            copy.state, copy.was_handed_out = "leased", True
            copy.attempts += 1

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        numbers = data.draw(st.lists(st.integers(1, self.last + 1), min_size=1, max_size=4))
        by_number = {copy.number: copy for copy in self.copies}
        for number, acked in zip(numbers, ack(self.ben, numbers), strict=True):
            copy = by_number.get(number)
            if copy is None:
                assert acked.code == "not_found"
                continue
            was_open = copy.state in ("queued", "leased")
            assert acked.changed == was_open
            copy.state = "acked" if was_open else copy.state
            assert acked.state == copy.state

    @precondition(lambda self: self.named("leased"))
    @rule()
    def leases_run_out(self) -> None:
        let_leases_end(self.ben)
        for copy in self.named("leased"):
            copy.state = "dead" if copy.attempts >= ATTEMPTS else "queued"

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        copy = data.draw(st.sampled_from(self.copies))
        if copy.state != "dead":
            with pytest.raises(WrongState):
                requeue(copy.message_id, by=SYSTEM)
            return
        self.last += 1
        assert requeue(copy.message_id, by=SYSTEM) == [(self.ben, self.last)]
        copy.number, copy.state, copy.attempts = self.last, "queued", 0

    @precondition(lambda self: self.named("queued"))
    @rule()
    def wear_out(self) -> None:
        """The first of what is queued is handed out until it is given up."""
        copy = self.named("queued")[0]
        Delivery.objects.filter(inbox__owner=self.ben.id, number=copy.number).update(attempts=ATTEMPTS - 1)
        copy.attempts = ATTEMPTS - 1

    @invariant()
    def the_inbox_is_as_the_model_says(self) -> None:
        page = inbox(self.ben, limit=500)
        assert page.last_number == self.last
        assert [(mail.number, mail.message_id, mail.state) for mail in page.results] == [
            (copy.number, copy.message_id, copy.state) for copy in sorted(self.copies, key=lambda copy: copy.number)
        ]
        states = Counter(copy.state for copy in self.copies)
        assert count_open(self.ben) == states["queued"] + states["leased"]


def test_deliveries_are_what_a_plain_model_says(project: Project) -> None:
    Deliveries.project = project
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
