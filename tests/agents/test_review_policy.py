import pytest
from django.db import IntegrityError, transaction

from agents.models import Agent, Run
from agents.rules import PolicyReview
from agents.services.compiling import PEOPLE_AFTER_SECONDS, review_of
from tests.factories import make_agent, make_project


@pytest.fixture
def critic(agent: Agent) -> Agent:
    return make_agent("critic", project=agent.project)


def test_without_a_word_people_who_may_answer_are_asked_at_once(run: Run) -> None:
    review = review_of(run)
    assert review.roles == {"owner", "maintainer", "developer", "reviewer"}
    assert (review.agent_id, review.people_after_seconds, review.expires_seconds) == (None, 0, 600)


def test_roles_and_times_of_the_levels_only_narrow(run: Run) -> None:
    PolicyReview.objects.create(roles=["owner", "maintainer"], expires_seconds=300)
    PolicyReview.objects.create(project=run.project, roles=["maintainer", "reviewer"], expires_seconds=3_000)
    assert review_of(run).roles == {"maintainer"}
    assert review_of(run).expires_seconds == 300


def test_roles_that_leave_nobody_do_not_count(run: Run) -> None:
    PolicyReview.objects.create(roles=["owner"])
    PolicyReview.objects.create(project=run.project, roles=["reviewer"])
    assert review_of(run).roles == {"owner"}


def test_an_agent_answers_first_and_people_after_a_while(run: Run, critic: Agent) -> None:
    PolicyReview.objects.create(project=run.project, reviewer=critic)
    assert (review_of(run).agent_id, review_of(run).people_after_seconds) == (critic.pk, PEOPLE_AFTER_SECONDS)


def test_an_agent_does_not_answer_what_a_level_above_reserves_for_roles(run: Run, critic: Agent) -> None:
    PolicyReview.objects.create(roles=["owner"])
    PolicyReview.objects.create(project=run.project, reviewer=critic)
    assert review_of(run).agent_id is None


def test_an_agent_answers_neither_for_itself_nor_for_another_project(run: Run, agent: Agent) -> None:
    foreign = make_agent("stranger", project=make_project("dock"))
    for reviewer in (agent, foreign):
        PolicyReview.objects.update_or_create(project=run.project, defaults={"reviewer": reviewer})
        assert review_of(run).agent_id is None


@pytest.mark.parametrize("level", ["instance", "project", "agent"])
def test_a_level_has_one_review_policy(agent: Agent, level: str) -> None:
    project = None if level == "instance" else agent.project
    whose = agent if level == "agent" else None
    PolicyReview.objects.create(project=project, agent=whose)
    with pytest.raises(IntegrityError), transaction.atomic():
        PolicyReview.objects.create(project=project, agent=whose)
