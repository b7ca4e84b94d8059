"""``/api/v1/runs/``: start, list, look, cancel, feed."""

from typing import Any

import pytest

from agenthub_site.accounts.models import Project, Role, User
from agents.models import Agent, Blob, Run
from agents.states import State
from nodes.contract.limits import PROMPT_BYTES
from nodes.models import Command, Node
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_project, make_run, make_user

RUNS = "/api/v1/runs/"


def test_a_run_is_started_and_sent_to_its_node(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, {"agent": "demo", "prompt": "Mend the net."})
    assert response.status_code == 201
    run = response.json()
    assert (run["state"], run["reason"], run["agent_name"], run["user"]) == ("starting", "starting", "demo", "bob")
    assert run["prompt"] == "Mend the net."
    assert Command.objects.filter(run=run["id"], kind="start_run").count() == 1


@pytest.mark.parametrize("name", ["id", "harbour/demo", "demo"])
def test_an_agent_is_named_by_id_path_or_unique_name(as_bob: Api, agent: Agent, name: str) -> None:
    response = as_bob.post(RUNS, {"agent": str(agent.pk) if name == "id" else name, "prompt": "Go."})
    assert response.json()["agent"] == str(agent.pk)


def test_a_name_of_several_agents_is_ambiguous_and_lists_them(as_alice: Api, agent: Agent, alice: User) -> None:
    make_agent(project=make_project("pier", owner=alice))
    response = as_alice.post(RUNS, {"agent": "demo", "prompt": "Go."})
    assert refusal(response) == (400, "ambiguous_agent")
    assert response.json()["error"]["data"]["agents"] == ["harbour/demo", "pier/demo"]


def test_an_agent_of_the_same_name_elsewhere_does_not_matter_to_who_cannot_see_it(as_bob: Api, agent: Agent) -> None:
    make_agent(project=make_project("pier"))
    assert as_bob.post(RUNS, {"agent": "demo", "prompt": "Go."}).status_code == 201


def test_an_agent_may_have_a_name_that_reads_like_an_id(as_bob: Api, agent: Agent) -> None:
    Agent.objects.update(name="0123456789abcdef0123456789abcdef")
    run = as_bob.post(RUNS, {"agent": "0123456789abcdef0123456789abcdef", "prompt": "Go."}).json()
    assert run["agent"] == str(agent.pk)


def test_a_command_cannot_be_kept_open(as_bob: Api, agent: Agent) -> None:
    Agent.objects.update(runtime="command", command=["make"])
    response = as_bob.post(RUNS, {"agent": "demo", "prompt": "Go.", "keep_open": True})
    assert refusal(response) == (400, "invalid") and "keep_open" in response.json()["error"]["data"]["fields"]
    assert not Run.objects.exists()


@pytest.mark.parametrize("name", ["ghost", "harbour/ghost", "pier/demo", "019a0000-0000-7000-8000-000000000000"])
def test_an_unknown_agent_is_not_found(as_bob: Api, agent: Agent, name: str) -> None:
    assert refusal(as_bob.post(RUNS, {"agent": name, "prompt": "Go."})) == (404, "not_found")
    assert not Run.objects.exists()


def test_a_run_waits_for_a_silent_node_and_says_so(as_bob: Api, project: Project, lima: Node) -> None:
    make_agent("far", project=project, node=lima)
    run = as_bob.post(RUNS, {"agent": "far", "prompt": "Go."}).json()
    assert (run["state"], run["reason"]) == ("queued", "node_offline")
    assert "offline" in run["waiting_for"]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"agent": "demo", "prompt": "x" * (PROMPT_BYTES + 1)}, (413, "prompt_too_large")),
        ({"agent": "demo", "prompt": "x" * 1_000_000}, (413, "prompt_too_large")),
        ({"agent": "demo", "prompt": "x" * 2_000_000}, (413, "too_large")),
        ({"agent": "demo", "prompt": ""}, (400, "invalid")),
        ({"agent": "demo", "prompt": " \n"}, (400, "invalid")),
        ({"agent": "demo"}, (400, "invalid")),
        ({"agent": "demo", "prompt": "Go\x00."}, (400, "invalid")),
        ({"agent": "demo", "prompt": "Go.", "promtp": "?"}, (400, "invalid")),
        ({"agent": "demo", "prompt": "Go.", "keep_open": "perhaps"}, (400, "invalid")),
        (["demo", "Go."], (400, "invalid")),
    ],
)
def test_what_does_not_fit_is_refused_and_starts_nothing(
    as_bob: Api, agent: Agent, body: Any, answer: tuple[int, str]
) -> None:
    assert refusal(as_bob.post(RUNS, body)) == answer
    assert not Run.objects.exists()
    assert not Command.objects.exists()


def test_half_a_surrogate_in_a_prompt_is_refused(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, b'{"agent": "demo", "prompt": "\\ud800"}', content_type="application/json")
    assert refusal(response) == (400, "invalid")


def test_a_run_says_what_is_to_be_known_of_it(as_bob: Api, agent: Agent) -> None:
    diff = {"base_commit": "a" * 40, "files": [], "files_changed": 2, "additions": 5, "deletions": 1, "patch": None}
    run = make_run(agent=agent, state=State.FAILED, exit_code=3, message="It left.", last_seq=17, diff=diff)
    shown = as_bob.get(f"{RUNS}{run.pk}/").json()
    assert (shown["state"], shown["reason"], shown["exit_code"], shown["last_seq"]) == ("failed", "agent_exited", 3, 17)
    assert shown["diff"] == {"files_changed": 2, "additions": 5, "deletions": 1}
    assert shown["waiting_for"] == "" and shown["message"] == "It left."


def test_lists_are_narrowed_by_state_agent_and_project(as_alice: Api, agent: Agent, alice: User) -> None:
    running = make_run(agent=agent, state=State.RUNNING)
    queued = make_run(agent=agent, state=State.QUEUED)
    elsewhere = make_run(agent=make_agent("other", project=make_project("pier", owner=alice)), state=State.SUCCEEDED)

    def listed(query: str) -> set[str]:
        return {run["id"] for run in as_alice.get(f"{RUNS}?{query}").json()["results"]}

    assert listed("state=running&state=queued") == {str(running.pk), str(queued.pk)}
    assert listed("live=false") == {str(elsewhere.pk)}
    assert listed("agent=other") == listed(f"agent={elsewhere.agent_id}") == {str(elsewhere.pk)}
    assert listed("project=pier") == listed(f"project={elsewhere.project_id}") == {str(elsewhere.pk)}
    assert listed("node=oslo&live=true") == {str(running.pk), str(queued.pk)}


def test_a_state_that_does_not_exist_is_refused(as_alice: Api) -> None:
    response = as_alice.get(f"{RUNS}?state=asleep")
    assert refusal(response) == (400, "invalid")
    assert list(response.json()["error"]["data"]["fields"]) == ["state"]


def test_pages_follow_each_other_newest_first(as_alice: Api, agent: Agent) -> None:
    runs = [str(make_run(agent=agent).pk) for _ in range(5)]
    page = as_alice.get(f"{RUNS}?limit=2").json()
    seen = [run["id"] for run in page["results"]]
    while page["next"]:
        page = as_alice.get(page["next"]).json()
        seen += [run["id"] for run in page["results"]]
    assert seen == runs[::-1]


@pytest.mark.parametrize("cursor", ["garbage", "cD1ub3QtYW4taWQ=", "bz14"])
def test_a_cursor_that_is_not_ours_is_refused(as_alice: Api, run: Run, cursor: str) -> None:
    assert refusal(as_alice.get(f"{RUNS}?cursor={cursor}")) == (400, "invalid")


def test_a_list_takes_the_same_queries_however_long(
    as_alice: Api, agent: Agent, django_assert_num_queries: Any
) -> None:
    for number in range(6):
        make_run(agent=make_agent(f"agent-{number}", project=agent.project), user=make_user(f"user-{number}"))
    as_alice.get(RUNS)
    with django_assert_num_queries(3):  # token, roles, runs
        assert len(as_alice.get(RUNS).json()["results"]) == 6


def test_a_list_shows_the_beginning_of_a_prompt(as_alice: Api, agent: Agent) -> None:
    make_run(agent=agent, prompt="x" * 5_000)
    (row,) = as_alice.get(RUNS).json()["results"]
    assert row["prompt_excerpt"] == "x" * 300 and "prompt" not in row


def test_cancelling_asks_the_node_and_twice_is_once(as_bob: Api, run: Run) -> None:
    for _ in range(2):
        response = as_bob.post(f"{RUNS}{run.pk}/cancel/")
        assert (response.status_code, response.json()["state"]) == (200, "stopping")
    assert Command.objects.filter(run=run.pk, kind="cancel_run").count() == 1


def test_what_has_ended_otherwise_cannot_be_cancelled(as_bob: Api, agent: Agent) -> None:
    run = make_run(agent=agent, state=State.SUCCEEDED)
    assert refusal(as_bob.post(f"{RUNS}{run.pk}/cancel/")) == (409, "wrong_state")


def test_input_goes_to_the_node_under_its_id(as_bob: Api, run: Run) -> None:
    response = as_bob.post(f"{RUNS}{run.pk}/input/", {"text": "Also the mast.", "input_id": "mine-1"})
    assert response.json() == {"input_id": "mine-1"}
    assert Command.objects.filter(run=run.pk, kind="send_input").count() == 1


def test_input_under_a_used_id_is_the_same_input_or_a_conflict(as_bob: Api, run: Run) -> None:
    url = f"{RUNS}{run.pk}/input/"
    for _ in range(2):
        assert as_bob.post(url, {"text": "Also the mast.", "input_id": "mine-1"}).json() == {"input_id": "mine-1"}
    assert refusal(as_bob.post(url, {"text": "Not the mast.", "input_id": "mine-1"})) == (409, "input_conflict")
    assert Command.objects.filter(run=run.pk, kind="send_input").count() == 1


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"text": "Go.", "mode": "later"}, (400, "invalid")),
        ({"text": "Go.", "input_id": "with spaces"}, (400, "invalid")),
        ({"text": ""}, (400, "invalid")),
        ({"text": "x" * (PROMPT_BYTES + 1)}, (413, "prompt_too_large")),
    ],
)
def test_input_that_does_not_fit_is_refused(as_bob: Api, run: Run, body: Any, answer: tuple[int, str]) -> None:
    assert refusal(as_bob.post(f"{RUNS}{run.pk}/input/", body)) == answer
    assert not Command.objects.exists()


def test_an_ended_run_takes_no_input(as_bob: Api, agent: Agent) -> None:
    run = make_run(agent=agent, state=State.SUCCEEDED)
    assert refusal(as_bob.post(f"{RUNS}{run.pk}/input/", {"text": "More."})) == (409, "wrong_state")


def test_a_run_without_changes_has_no_diff(as_bob: Api, run: Run) -> None:
    diff = as_bob.get(f"{RUNS}{run.pk}/diff/").json()
    assert (diff["state"], diff["files"], diff["patch"]) == ("none", [], "")


def test_a_diff_is_pending_until_its_patch_is_here(as_bob: Api, agent: Agent) -> None:
    change = {"path": "quay.py", "status": "modified", "old_path": "", "additions": 1, "deletions": 0, "binary": False}
    run = make_run(
        agent=agent,
        diff={
            "base_commit": "a" * 40, "head_commit": "b" * 40, "files": [change], "files_changed": 1, "additions": 1,
            "deletions": 0, "patch": {"digest": "d" * 64, "size": 4}, "truncated": False,
        },
    )  # fmt: skip
    assert as_bob.get(f"{RUNS}{run.pk}/diff/").json()["state"] == "pending"
    Blob.objects.create(run=run, digest="d" * 64, size=4, data=b"+hi\n")
    diff = as_bob.get(f"{RUNS}{run.pk}/diff/").json()
    assert (diff["state"], diff["patch"], diff["files"]) == ("ready", "+hi\n", [change])


@pytest.mark.parametrize("path", ["", "diff/", "cancel/", "input/"])
def test_a_foreign_run_is_not_there(as_charlie: Api, run: Run, path: str) -> None:
    url = f"{RUNS}{run.pk}/{path}"
    response = (
        as_charlie.post(url, {"text": "x"} if path == "input/" else {})
        if path in ("cancel/", "input/")
        else (as_charlie.get(url))
    )
    assert refusal(response) == (404, "not_found")
    assert as_charlie.get(RUNS).json()["results"] == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_who_may_only_look_starts_cancels_and_feeds_nothing(run: Run, role: str) -> None:
    make_project(dora=role)
    as_dora = Api(make_user("dora"))
    assert as_dora.get(f"{RUNS}{run.pk}/").status_code == 200
    assert refusal(as_dora.post(RUNS, {"agent": "demo", "prompt": "Go."})) == (403, "forbidden")
    assert refusal(as_dora.post(f"{RUNS}{run.pk}/cancel/")) == (403, "forbidden")
    assert refusal(as_dora.post(f"{RUNS}{run.pk}/input/", {"text": "Go."})) == (403, "forbidden")


@pytest.mark.parametrize("key", ["not-an-id", "00000000-0000-0000-0000-000000000000"])
def test_an_id_that_is_none_is_not_found(as_root: Api, key: str) -> None:
    assert refusal(as_root.get(f"{RUNS}{key}/")) == (404, "not_found")


def test_a_state_that_there_is_not_is_refused_with_those_that_there_are(as_bob: Api) -> None:
    response = as_bob.get(f"{RUNS}?state=done")
    assert refusal(response) == (400, "invalid")
    (said,) = response.json()["error"]["data"]["fields"]["state"]
    assert "'done'" in said and all(state in said for state in State)
