import pytest

from agenthub_site.accounts.actors import SYSTEM
from agents.services.moves import move_run
from agents.states import ENDED, LIVE, MOVES, State, sources
from nodes.contract.errors import WrongState
from nodes.contract.reasons import Reason
from tests.factories import make_run

PAIRS = [(old, new) for old in State for new in State if old != new]


@pytest.mark.django_db
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_run_moves_as_the_table_says_and_in_no_other_way(old: State, new: State) -> None:
    run = make_run(state=old)
    if new in MOVES[old]:
        assert move_run(run, new, by=SYSTEM, reason=Reason.NONE)
        assert run.state == new
    else:
        with pytest.raises(WrongState):
            move_run(run, new, by=SYSTEM, reason=Reason.NONE)
        run.refresh_from_db()
        assert run.state == old


@pytest.mark.django_db
@pytest.mark.parametrize("state", sorted(State))
def test_the_same_news_twice_is_fine(state: State) -> None:
    assert not move_run(make_run(state=state), state, by=SYSTEM, reason=Reason.NONE)


def test_every_state_is_in_the_table_and_ends_or_goes_on() -> None:
    assert set(MOVES) == set(State) == ENDED | LIVE
    assert all(sources(state) for state in State if state is not State.QUEUED)
