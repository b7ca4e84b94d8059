from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agenthub_site.controlplane import nodes_to_dial
from nodes.leases import LEASE_SECONDS, StillLinked, claim_lease, release_lease, renew_leases, take_lease
from nodes.models import LinkLease, Node
from tests.factories import make_node


def expire(node: Node) -> None:
    LinkLease.objects.filter(node=node).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_a_link_has_one_owner_at_a_time(oslo: Node) -> None:
    assert claim_lease(oslo.pk, "a")
    assert claim_lease(oslo.pk, "b") is None


def test_every_claim_begins_a_new_epoch(oslo: Node) -> None:
    first, second = claim_lease(oslo.pk, "a"), claim_lease(oslo.pk, "a")
    assert first and second and second.epoch == first.epoch + 1
    assert renew_leases([first, second]) == {first}


def test_a_lease_that_ran_out_can_be_taken_and_not_renewed(oslo: Node) -> None:
    old = claim_lease(oslo.pk, "a")
    expire(oslo)
    assert old and renew_leases([old]) == {old}
    assert claim_lease(oslo.pk, "b")
    assert renew_leases([old]) == {old}


def test_a_lease_given_back_is_free_at_once(oslo: Node) -> None:
    lease = claim_lease(oslo.pk, "a")
    assert lease
    release_lease(lease)
    assert claim_lease(oslo.pk, "b")


def test_a_stale_owner_cannot_give_back_what_is_no_longer_its_own(oslo: Node) -> None:
    stale = claim_lease(oslo.pk, "a")
    claim_lease(oslo.pk, "a")
    assert stale
    release_lease(stale)
    assert claim_lease(oslo.pk, "b") is None


def test_what_another_control_plane_owns_is_left_to_it(oslo: Node) -> None:
    Node.objects.update(grpc_target="127.0.0.1:1")
    claim_lease(oslo.pk, "a")
    assert (nodes_to_dial("a"), nodes_to_dial("b")) == ([oslo.pk], [])
    expire(oslo)
    assert nodes_to_dial("b") == [oslo.pk]


def test_any_number_of_leases_is_renewed_by_two_statements(
    oslo: Node, lima: Node, django_assert_num_queries: Any
) -> None:
    leases = [claim_lease(node.pk, "a") for node in (oslo, lima, make_node("rome"))]
    held = [lease for lease in leases if lease]
    claim_lease(lima.pk, "a")
    with django_assert_num_queries(2):
        assert renew_leases(held) == {held[1]}


@pytest.mark.parametrize("instance", ["b", ""])
def test_only_the_same_process_takes_the_link_that_a_named_one_has(oslo: Node, instance: str) -> None:
    live = take_lease(oslo.pk, "hub", "a")
    with pytest.raises(StillLinked):
        take_lease(oslo.pk, "hub", instance, is_linked=True)
    with pytest.raises(StillLinked):
        take_lease(oslo.pk, "another hub", instance)
    assert renew_leases([live]) == set()
    assert take_lease(oslo.pk, "hub", "a", is_linked=True).epoch == live.epoch + 1


@pytest.mark.parametrize(("ahead", "is_taken"), [(3600, True), (LEASE_SECONDS / 2, False)])
def test_a_lease_from_before_the_clock_jumped_back_keeps_nobody_from_the_link(
    oslo: Node, ahead: float, is_taken: bool
) -> None:
    Node.objects.update(grpc_target="127.0.0.1:1")
    dead = take_lease(oslo.pk, "a", "its process")
    LinkLease.objects.filter(node=oslo).update(expires_at=timezone.now() + timedelta(seconds=ahead))
    assert bool(nodes_to_dial("b")) is is_taken
    if is_taken:
        taken = claim_lease(oslo.pk, "b")
        assert taken and taken.epoch == dead.epoch + 1
        assert renew_leases([dead]) == {dead}
        LinkLease.objects.filter(node=oslo).update(expires_at=timezone.now() + timedelta(seconds=ahead))
        assert take_lease(oslo.pk, "c", "another process").epoch == dead.epoch + 2
    else:
        assert claim_lease(oslo.pk, "b") is None
        with pytest.raises(StillLinked):
            take_lease(oslo.pk, "c", "another process")


def test_an_owner_that_lives_keeps_its_lease_when_the_clock_jumps_back(oslo: Node) -> None:
    live = take_lease(oslo.pk, "a")
    LinkLease.objects.filter(node=oslo).update(expires_at=timezone.now() + timedelta(hours=1))
    assert renew_leases([live]) == set()
    assert claim_lease(oslo.pk, "b") is None
