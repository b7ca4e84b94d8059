"""Words into addresses: by id before name, and of this project alone."""

import pytest

from agenthub_site.accounts.models import Membership, Project, User
from agents.mail.addressing import UnknownRecipient, resolve
from mailboxes.services import Address
from tests.factories import make_agent, make_root, make_run

ANN = Address("system", "system")


def test_another_projects_name_is_nobody_here(project: Project) -> None:
    tester = make_agent("tester", project=project)
    for word in ("tester", "harbour/tester", "agent:tester", "agent:harbour/tester"):
        assert resolve(project.pk, [word], sender=ANN).addresses == (Address.of("agent", tester.pk),)
    for word in ("dock/tester", "agent:dock/tester", "/tester", "harbour/dock/tester"):
        with pytest.raises(UnknownRecipient):
            resolve(project.pk, [word], sender=ANN)


def test_a_name_that_is_anothers_id_takes_no_mail_of_theirs(project: Project, alice: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(username=str(alice.pk))
    for word in (str(alice.pk), f"user:{alice.pk}", str(alice.pk).upper()):
        assert resolve(project.pk, [word], sender=ANN).addresses == (Address.of("user", alice.pk),)


def test_whoever_started_the_run_is_written_to_though_a_root_operator_is_no_member(project: Project) -> None:
    root = make_root()
    run = make_run(agent=make_agent("mender", project=project), user=root)
    assert resolve(project.pk, ["user"], sender=ANN, run=run).addresses == (Address.of("user", root.pk),)
    User.objects.filter(pk=root.pk).update(is_active=False)
    with pytest.raises(UnknownRecipient):
        resolve(project.pk, ["user"], sender=ANN, run=run)


def test_whoever_started_the_run_and_left_the_project_is_not_written_to(project: Project, bob: User) -> None:
    run = make_run(agent=make_agent("mender", project=project), user=bob)
    assert resolve(project.pk, ["user"], sender=ANN, run=run).addresses == (Address.of("user", bob.pk),)
    Membership.objects.filter(user=bob).delete()
    with pytest.raises(UnknownRecipient):
        resolve(project.pk, ["user"], sender=ANN, run=run)
