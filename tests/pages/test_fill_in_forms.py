"""What people fill in, and what they are told when it does not fit."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Membership, Project, Token, User
from agents.models import Agent, Approval, Run
from agents.services.runs import start_run
from agents.states import State
from nodes.contract.limits import PROMPT_BYTES
from nodes.models import Node
from tests.factories import PASSWORD, make_agent, make_approval, make_root, make_run, make_token, make_user, node_of

SignIn = Callable[[User], Client]


@pytest.fixture
def settings_of_an_agent(project: Project, oslo: Node) -> dict[str, Any]:
    return {
        "project": project.pk, "name": "painter", "node": oslo.pk, "runtime": "acp", "preset": "scripted",
        "workspace_mode": "create_worktree", "worktree_repo": "/srv/harbour", "worktree_ref": "HEAD",
        "approval_seconds": "600", "lost_after_seconds": "60", "isolation": "none", "network": "shared",
    }  # fmt: skip


def test_signing_in_leads_to_where_one_wanted_to_go(client: Client, db: None) -> None:
    make_user("alice", password=PASSWORD)
    answer = client.post("/login/", {"username": "alice", "password": PASSWORD, "next": "/nodes/"})
    assert answer.status_code == 302 and answer["Location"] == "/nodes/"


def test_a_wrong_password_is_said_to_be_wrong(client: Client, db: None) -> None:
    make_user("alice", password=PASSWORD)
    page = client.post("/login/", {"username": "alice", "password": "guess"}).content.decode()
    assert "do not go together" in page and 'value="alice"' in page and "guess" not in page


def test_signing_in_never_leads_to_another_site(client: Client, db: None) -> None:
    make_user("alice", password=PASSWORD)
    answer = client.post("/login/", {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


def test_signing_out_ends_the_session(web: Client) -> None:
    web.post("/logout/")
    assert web.get("/runs/").status_code == 302


def test_a_form_without_its_token_is_refused_in_style(alice: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    answer = strict.post("/runs/new/", {"prompt": "Hello"})
    assert answer.status_code == 403 and "reload the page" in answer.content.decode()


def test_starting_a_run_leads_to_its_page(web: Client, agent: Agent) -> None:
    answer = web.post("/runs/new/", {"agent": agent.pk, "prompt": "Paint the quay"})
    run = Run.objects.get()
    assert answer["Location"] == f"/runs/{run.pk}/" and run.prompt == "Paint the quay" and not run.keep_open


def test_a_run_can_be_started_again_with_its_own_prompt(web: Client, run: Run) -> None:
    page = web.get(f"/runs/new/?like={run.pk}").content.decode()
    assert run.prompt in page and f'value="{run.agent_id}" selected' in page


def test_anothers_run_lends_no_prompt(sign_in: SignIn, charlie: User, run: Run) -> None:
    assert run.prompt not in sign_in(charlie).get(f"/runs/new/?like={run.pk}").content.decode()


def test_an_empty_prompt_is_refused_beside_its_field(web: Client, agent: Agent) -> None:
    answer = web.post("/runs/new/", {"agent": agent.pk, "prompt": "  "})
    assert answer.status_code == 400 and 'id="id_prompt_error"' in answer.content.decode()
    assert not Run.objects.exists()


def test_a_prompt_of_too_many_bytes_says_what_is_allowed(web: Client, agent: Agent) -> None:
    page = web.post("/runs/new/", {"agent": agent.pk, "prompt": "ü" * (PROMPT_BYTES - 1)}).content.decode()
    assert "at most 128 KiB" in page and not Run.objects.exists()


def test_nobody_starts_an_agent_they_may_not_see(sign_in: SignIn, charlie: User, agent: Agent) -> None:
    answer = sign_in(charlie).post("/runs/new/", {"agent": agent.pk, "prompt": "Mine"})
    assert answer.status_code == 400 and not Run.objects.exists()


def test_a_cancelled_run_says_so(web: Client, run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(state=State.QUEUED)
    page = web.post(reverse("cancel_run", args=[run.pk]), follow=True).content.decode()
    assert 'data-state="cancelled"' in page


def test_cancelling_what_has_ended_is_answered_with_the_reason(web: Client, run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(state=State.SUCCEEDED)
    page = web.post(reverse("cancel_run", args=[run.pk]), follow=True).content.decode()
    assert "alert-danger" in page and "succeeded" in page


def test_an_approval_is_answered_with_the_runtimes_own_option(web: Client, run: Run) -> None:
    approval = make_approval(run)
    page = web.get("/approvals/").content.decode()
    assert "make test" in page and 'value="yes"' in page and 'value="no"' in page
    web.post(reverse("decide_approval", args=[approval.pk]), {"option_id": "yes"})
    approval.refresh_from_db()
    assert (approval.state, approval.option_id, approval.decided_by_label) == ("decided", "yes", "alice")


def test_who_comes_second_is_told_who_was_first(sign_in: SignIn, alice: User, bob: User, run: Run) -> None:
    approval = make_approval(run)
    address = reverse("decide_approval", args=[approval.pk])
    sign_in(bob).post(address, {"option_id": "no"})
    page = sign_in(alice).post(address, {"option_id": "yes"}, headers={"HX-Request": "true"}).content.decode()
    assert "bob answered this already" in page and "<html" not in page
    approval.refresh_from_db()
    assert approval.option_id == "no"


def test_an_agent_is_made(web: Client, settings_of_an_agent: dict[str, Any]) -> None:
    given = {**settings_of_an_agent, "environment": "LANG=C\nNAME=a=b", "turn_seconds": "90"}
    answer = web.post("/agents/new/", given)
    made = Agent.objects.get()
    assert answer["Location"] == f"/agents/{made.pk}/"
    assert made.environment == {"LANG": "C", "NAME": "a=b"} and made.turn_seconds == 90


def test_a_command_is_read_as_a_shell_would(web: Client, settings_of_an_agent: dict[str, Any]) -> None:
    given = {**settings_of_an_agent, "runtime": "command", "command": "make 'the tests' -j2"}
    web.post("/agents/new/", given)
    made = Agent.objects.get()
    assert made.command == ["make", "the tests", "-j2"] and made.preset == ""
    assert "make &#x27;the tests&#x27; -j2" in web.get(f"/agents/{made.pk}/").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "no spaces, please", "letters"),
        ("worktree_repo", "", "git repository"),
        ("command", "make 'half", "command line"),
        ("environment", "no equals", "NAME=value"),
        ("environment", "AGENTHUB_X=1", "are ours"),
        ("approval_seconds", "0", "greater than"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(
    web: Client, settings_of_an_agent: dict[str, Any], field: str, value: str, says: str
) -> None:
    answer = web.post("/agents/new/", {**settings_of_an_agent, field: value})
    page = answer.content.decode()
    problem = page.partition(f'id="id_{field}_error">')[2].partition("</div>")[0]
    assert answer.status_code == 400 and says in problem and not Agent.objects.exists()


def test_a_taken_name_is_refused(web: Client, agent: Agent, settings_of_an_agent: dict[str, Any]) -> None:
    page = web.post("/agents/new/", {**settings_of_an_agent, "name": agent.name}).content.decode()
    assert "has an agent of that name already" in page and Agent.objects.count() == 1


def test_a_developer_makes_no_agents(sign_in: SignIn, bob: User, settings_of_an_agent: dict[str, Any]) -> None:
    answer = sign_in(bob).post("/agents/new/", settings_of_an_agent)
    assert answer.status_code == 400 and not Agent.objects.exists()


def test_an_agent_is_changed(web: Client, agent: Agent, settings_of_an_agent: dict[str, Any]) -> None:
    web.post(reverse("edit_agent", args=[agent.pk]), {**settings_of_an_agent, "model": "large"})
    agent.refresh_from_db()
    assert (agent.name, agent.model) == ("painter", "large")


def test_a_refused_change_shows_the_name_it_still_has(
    web: Client, agent: Agent, settings_of_an_agent: dict[str, Any]
) -> None:
    answer = web.post(reverse("edit_agent", args=[agent.pk]), {**settings_of_an_agent, "worktree_repo": ""})
    assert answer.status_code == 400 and "<h1>Edit demo</h1>" in answer.content.decode()


def test_an_archived_agent_leaves_the_lists_and_keeps_its_page(web: Client, agent: Agent, run: Run) -> None:
    web.post(reverse("archive_agent", args=[agent.pk]))
    assert "empty-title" in web.get("/agents/").content.decode()
    assert "archived" in web.get(reverse("agent", args=[agent.pk])).content.decode()


def test_a_project_is_roots_to_make(sign_in: SignIn, alice: User) -> None:
    given = {"name": "Light House", "slug": "light-house", "description": ""}
    assert sign_in(alice).post("/projects/new/", given).status_code == 403
    assert sign_in(make_root()).post("/projects/new/", given)["Location"] == "/projects/light-house/"


def test_an_owner_adds_and_removes_members(web: Client, project: Project, charlie: User) -> None:
    web.post(reverse("add_member", args=[project.slug]), {"username": "charlie", "role": "viewer"})
    membership = Membership.objects.get(user=charlie)
    assert membership.role == "viewer"
    web.post(reverse("remove_member", args=[project.slug, membership.pk]))
    assert not Membership.objects.filter(user=charlie).exists()


def test_nobody_of_that_name_is_said_beside_the_name(web: Client, project: Project) -> None:
    answer = web.post(reverse("add_member", args=[project.slug]), {"username": "zoe", "role": "viewer"})
    assert answer.status_code == 400 and "There is no such user." in answer.content.decode()


def test_the_last_owner_stays(web: Client, alice: User, project: Project) -> None:
    membership = Membership.objects.get(user=alice)
    address = reverse("remove_member", args=[project.slug, membership.pk])
    assert "keeps at least one owner" in web.post(address, follow=True).content.decode()
    assert Membership.objects.filter(pk=membership.pk).exists()


def test_a_tokens_secret_is_shown_once(web: Client) -> None:
    answer = web.post("/tokens/", {"name": "laptop", "days": "30", "scope": "run"})
    page = answer.content.decode()
    secret = page.partition('class="secret">')[2].partition("<")[0]
    assert secret.startswith(Token.PREFIX) and "no-store" in answer["Cache-Control"]
    token = Token.objects.get()
    assert (token.digest, token.scope) == (Token.digest_of(secret), "run")
    assert secret not in web.get("/tokens/").content.decode()


def test_ones_own_token_is_revoked_and_anothers_is_not_found(web: Client, alice: User, bob: User) -> None:
    make_token(alice)
    make_token(bob)
    mine, his = Token.objects.get(user=alice), Token.objects.get(user=bob)
    assert web.post(reverse("revoke_token", args=[mine.pk])).status_code == 302
    assert web.post(reverse("revoke_token", args=[his.pk])).status_code == 404
    mine.refresh_from_db()
    his.refresh_from_db()
    assert mine.revoked_at is not None and his.revoked_at is None


def test_an_expired_approval_is_not_asked_any_more(web: Client, run: Run) -> None:
    approval = make_approval(run)
    Approval.objects.filter(pk=approval.pk).update(expires_at=approval.requested_at)
    assert "Nothing waits for you" in web.get("/approvals/").content.decode()


def test_an_agent_is_bound_to_the_node_that_was_heard_last_unless_told_otherwise(
    web: Client, project: Project, oslo: Node
) -> None:
    page = web.get("/agents/new/").content.decode()
    assert f'<option value="{oslo.pk}" selected>' in page and "Any node of a pool, or with labels" in page


def test_an_agent_can_be_made_for_any_node_that_fits(web: Client, settings_of_an_agent: dict[str, Any]) -> None:
    fields = {**settings_of_an_agent, "node": "", "pool": "gpu", "node_labels": "arch=arm64, gpu=yes"}
    assert web.post("/agents/new/", fields).status_code == 302
    agent = Agent.objects.get(name="painter")
    assert (agent.node, agent.pool, agent.node_labels) == (None, "gpu", {"arch": "arm64", "gpu": "yes"})
    assert "any node of pool gpu with arch=arm64 and gpu=yes" in web.get(f"/agents/{agent.pk}/").content.decode()
    form = web.get(f"/agents/{agent.pk}/edit/").content.decode()
    assert 'value="arch=arm64, gpu=yes"' in form and '<option value="" selected>' in form


def test_a_pool_that_was_typed_before_a_node_was_chosen_is_left_out(
    web: Client, settings_of_an_agent: dict[str, Any]
) -> None:
    assert web.post("/agents/new/", {**settings_of_an_agent, "pool": "gpu"}).status_code == 302
    assert Agent.objects.get(name="painter").pool == ""


@pytest.mark.parametrize(
    ("pool", "labels", "words"),
    [
        ("", "", "Name a node; or a pool, or labels"),
        ("", "gpu", "Write name=value; this is not: gpu"),
        ("g pu", "", "At most 64 of A-Z"),
    ],
)
def test_an_agent_that_could_run_nowhere_is_refused_beside_the_field(
    web: Client, settings_of_an_agent: dict[str, Any], pool: str, labels: str, words: str
) -> None:
    fields = {**settings_of_an_agent, "node": "", "pool": pool, "node_labels": labels}
    answer = web.post("/agents/new/", fields)
    assert answer.status_code == 400 and words in answer.content.decode()
    assert not Agent.objects.exists()


def test_saving_an_agent_of_a_disabled_node_does_not_choose_another(web: Client, agent: Agent, lima: Node) -> None:
    Node.objects.filter(pk=node_of(agent).pk).update(is_enabled=False)
    page = web.get(f"/agents/{agent.pk}/edit/").content.decode()
    assert f'<option value="{agent.node_id}" selected>' in page


def test_a_run_that_waits_for_a_node_that_fits_says_which_are_meant(web: Client, project: Project, oslo: Node) -> None:
    agent = make_agent("any", project=project, node=oslo)
    Agent.objects.filter(pk=agent.pk).update(node=None, pool="gpu")
    run = start_run(Agent.objects.get(pk=agent.pk), by=SYSTEM, prompt="Go.")
    for path in ("/runs/", f"/runs/{run.pk}/"):
        page = web.get(path).content.decode()
        assert "Waiting for a node that fits: no node is in pool gpu." in page and "any node of pool gpu" in page


def test_what_happens_when_the_node_is_cut_off_is_chosen_and_shown(
    web: Client, settings_of_an_agent: dict[str, Any]
) -> None:
    chosen = {"lost_after_seconds": "300", "stop_after_seconds": "120", "resume": "on"}
    assert web.post("/agents/new/", {**settings_of_an_agent, **chosen}).status_code == 302
    agent = Agent.objects.get(name="painter")
    assert (agent.lost_after_seconds, agent.stop_after_seconds, agent.resume) == (300, 120, True)
    page = web.get(f"/agents/{agent.pk}/").content.decode()
    assert "lost after 300 s" in page and "stopped there after 120 s" in page and "started anew, once" in page
    answer = web.post("/agents/new/", {**settings_of_an_agent, "name": "other", "stop_after_seconds": "2"})
    assert answer.status_code == 400 and "greater than or equal to 10" in answer.content.decode()


def test_a_run_and_the_one_that_began_anew_for_it_lead_to_each_other(web: Client, agent: Agent) -> None:
    died = make_run(agent=agent, state=State.FAILED, reason="node_rebooted")
    again = make_run(agent=agent, state=State.RUNNING, resumes=died)
    assert f'href="/runs/{again.pk}/">a later run' in web.get(f"/runs/{died.pk}/").content.decode()
    assert f'href="/runs/{died.pk}/">an earlier run' in web.get(f"/runs/{again.pk}/").content.decode()


@pytest.mark.parametrize(
    ("roots", "is_told"),
    [(["/srv/other", "/srv/harb"], True), (["/srv/other", "/srv"], False), ([], False)],
)
def test_a_workspace_that_its_node_would_refuse_is_told_of_at_once(
    web: Client, oslo: Node, settings_of_an_agent: dict[str, Any], roots: list[str], is_told: bool
) -> None:
    Node.objects.filter(pk=oslo.pk).update(allowed_roots=roots)
    made = web.post("/agents/new/", settings_of_an_agent, follow=True).content.decode()
    changed = web.post(f"/agents/{Agent.objects.get().pk}/edit/", settings_of_an_agent, follow=True).content.decode()
    assert [("outside the safe paths" in page) for page in (made, changed)] == [is_told, is_told]


def test_a_project_is_changed_by_its_maintainers(web: Client, sign_in: SignIn, bob: User, project: Project) -> None:
    page = f"/projects/{project.slug}/edit/"
    assert page in web.get(f"/projects/{project.slug}/").content.decode()
    given = {"name": "The pier", "description": "", "required_isolation": "masked", "required_network": "none"}
    assert web.post(page, given)["Location"] == f"/projects/{project.slug}/"
    project.refresh_from_db()
    assert (project.name, project.required_isolation, project.required_network) == ("The pier", "masked", "none")
    refused = web.post(page, {**given, "name": ""})
    assert refused.status_code == 400 and "Edit The pier" in refused.content.decode()
    assert page not in sign_in(bob).get(f"/projects/{project.slug}/").content.decode()
    assert sign_in(bob).get(page).status_code == 403


def test_what_was_demanded_while_a_project_was_edited_stays(web: Client, project: Project) -> None:
    page = f"/projects/{project.slug}/edit/"
    fields = web.get(page).context["form"]
    opened = {each.name: each.initial for each in fields} | {each.html_initial_name: each.initial for each in fields}
    Project.objects.filter(pk=project.pk).update(required_isolation="masked")
    assert web.post(page, {**opened, "description": "Where the boats are."}).status_code == 302
    project.refresh_from_db()
    assert (project.description, project.required_isolation) == ("Where the boats are.", "masked")


def test_who_may_make_no_agent_is_not_led_to_the_form(
    web: Client, project: Project, charlie: User, sign_in: SignIn
) -> None:
    assert 'href="/agents/new/"' in web.get("/runs/new/").text
    assert 'href="/agents/new/"' not in sign_in(charlie).get("/runs/new/").text
