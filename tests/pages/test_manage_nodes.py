"""A node's own page, what root does there, and joining by a token: by forms, so without any script."""

import shlex
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from agenthub_site.accounts.models import Project, User
from agents.models import Agent
from agents.states import State
from audit.models import AuditEvent
from nodes import pki
from nodes.models import JoinToken, Node
from tests.factories import make_agent, make_node, make_project, make_run, make_user

SignIn = Callable[[User], Client]


@pytest.fixture
def as_root(sign_in: SignIn, root: User) -> Client:
    return sign_in(root)


def page_of(node: Node, verb: str = "") -> str:
    return f"/nodes/{node.pk}/{verb}"


def text(response: Any) -> str:
    """What a reader reads: the answer without its markup's line breaks."""
    return " ".join(response.content.decode().split())


def names() -> list[str]:
    return list(
        AuditEvent.objects.exclude(name__in=["user.logged_in", "access.refused"])
        .order_by("id")
        .values_list("name", flat=True)
    )


def test_a_nodes_page_has_its_figures_facts_and_runtimes(web: Client, project: Project) -> None:
    node = make_node(
        measured={"latency_ms": 120.0, "failure_rate": 0.2, "clock_skew_s": -45.0},
        vitals={"load": 1.5, "memory_free": 2**30, "memory_total": 2**32, "disk_free": 10 * 2**40, "disk_total": 2**44},
        facts={"cpus": 8, "worktree_modes": ["use_existing"], "versions": {"python": "3.13"}, "git_version": "2.47"},
    )  # fmt: skip
    page = text(web.get(page_of(node)))
    for words in (
        "node:oslo", "120 ms", "level-warning", "20 %", "level-critical", "45 s behind", "1.5 on 8 CPUs", "2.47",
        "warning above 100 ms, critical above 500 ms", "Use an existing directory", "degraded", "3.13",
    ):  # fmt: skip
        assert words in page, words


def test_what_nobody_measured_is_said_to_be_so(web: Client, project: Project) -> None:
    assert text(web.get(page_of(make_node()))).count("not measured yet") == 5


def test_a_page_shows_the_agents_and_runs_that_its_reader_may_see(
    web: Client, sign_in: SignIn, root: User, agent: Agent, oslo: Node
) -> None:
    secret = make_agent("smuggler", project=make_project("other", owner=make_user("dora")), node=oslo)
    make_run(agent=agent, prompt="Mend the nets.")
    make_run(agent=agent, prompt="Long ago.", state=State.SUCCEEDED)
    make_run(agent=secret, prompt="A secret of Dora's.")
    mine, all_ = text(web.get(page_of(oslo))), text(sign_in(root).get(page_of(oslo)))
    assert "Mend the nets." in mine and "demo" in mine and "Long ago." not in mine
    assert "smuggler" not in mine and "A secret of Dora" not in mine
    assert "smuggler" in all_ and "A secret of Dora" in all_


def test_what_an_operator_arranged_and_others_runs_are_for_root_alone(
    web: Client, sign_in: SignIn, root: User, agent: Agent, oslo: Node
) -> None:
    Node.objects.filter(pk=oslo.pk).update(labels={"gpu": "h100"}, pool="secretive", capacity=7)
    other = make_agent("smuggler", project=make_project("other", owner=make_user("dora")), node=oslo)
    for worker in (agent, other, other):
        make_run(agent=worker)
    as_root = sign_in(root)
    for path in ("/nodes/", page_of(oslo)):
        mine, all_ = text(web.get(path)), text(as_root.get(path))
        assert "<dt>Live runs you may see</dt><dd>1</dd>" in mine and "<dt>Live runs</dt>" not in mine
        assert "<dt>Live runs</dt><dd>3 of 7</dd>" in all_
        assert "secretive" not in mine and "secretive" in all_
        for words in ("h100", "Direction"):
            assert words not in mine and (words in all_) is (path != "/nodes/")
    assert "No node has that" in text(web.get("/nodes/", {"find": "secretive"}))
    assert "No node has that" not in text(as_root.get("/nodes/", {"find": "secretive"}))


def test_a_page_takes_the_same_queries_however_much_is_on_the_node(
    web: Client, project: Project, oslo: Node, django_assert_max_num_queries: Any
) -> None:
    make_run(agent=make_agent("first", node=oslo))
    with django_assert_max_num_queries(15) as few:
        web.get(page_of(oslo))
    for number in range(4):
        make_run(agent=make_agent(f"agent-{number}", node=oslo))
    with django_assert_max_num_queries(len(few)):
        web.get(page_of(oslo))


def test_addresses_and_paths_are_for_root(web: Client, as_root: Client, project: Project) -> None:
    trouble = {"code": "node_unreachable", "cause": "", "text": "Nothing at gpu:1.", "at": timezone.now().isoformat()}
    node = make_node(
        grpc_target="https://gpu.internal:50051", allowed_roots=["/srv/work"], measured={"trouble": trouble},
        last_heard_at=timezone.now() - timedelta(hours=1),
    )  # fmt: skip
    for path in ("/nodes/", page_of(node)):
        theirs, ours = text(web.get(path)), text(as_root.get(path))
        assert "Nothing at gpu:1." in ours and "gpu:1" not in theirs
    for secret in ("gpu.internal", "/srv/work"):
        assert secret in ours and secret not in theirs


def test_a_refused_node_says_so(web: Client, project: Project) -> None:
    trouble = {"code": "link_refused", "cause": "", "text": "no", "at": timezone.now().isoformat()}
    make_node("gpu", last_heard_at=timezone.now() - timedelta(minutes=1), measured={"trouble": trouble})
    page = text(web.get("/nodes/"))
    assert "</span>unauthorized</span>" in page and "Hub and node do not accept" in page


def test_a_node_is_found_by_its_id_and_not_by_who_may_not_see_it(
    web: Client, sign_in: SignIn, charlie: User, agent: Agent, oslo: Node
) -> None:
    assert web.get("/nodes/oslo/")["Location"] == page_of(oslo)
    assert web.get("/nodes/nowhere/").status_code == 404
    for path in (page_of(oslo), "/nodes/oslo/"):
        assert sign_in(charlie).get(path).status_code == 404


@pytest.mark.parametrize(
    ("verb", "event", "word"),
    [("cordon", "node.cordoned", "cordoned"), ("drain", "node.draining", "drained")],
)
def test_root_closes_and_opens_a_node(as_root: Client, oslo: Node, verb: str, event: str, word: str) -> None:
    page = text(as_root.post(page_of(oslo, f"{verb}/"), follow=True))
    assert "takes no new runs" in page and word in page and "Uncordon" in page
    assert "takes new runs again" in text(as_root.post(page_of(oslo, "uncordon/"), follow=True))
    assert names() == [event, "node.uncordoned"]


def test_a_node_that_dials_is_tested_by_its_link(as_root: Client, db: None) -> None:
    node = make_node("edge", direction=Node.Direction.TUNNEL, last_heard_at=None)
    page = text(as_root.post(page_of(node, "test/"), follow=True))
    assert "dials the hub itself, and has no link at present" in page
    assert AuditEvent.objects.get(name="node.tested").data["code"] == "no_link"


def test_a_node_that_nobody_reaches_is_tested_and_says_why(as_root: Client, db: None) -> None:
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    node = make_node("gpu", grpc_target="https://127.0.0.1:9")
    page = text(as_root.post(page_of(node, "test/"), follow=True))
    assert "failed to connect to remote node" in page and "alert-danger" in page


def test_revoking_asks_first(as_root: Client, db: None) -> None:
    node = make_node("gpu-01", direction=Node.Direction.TUNNEL)
    assert "Revoke Gpu-01?" in text(as_root.get(page_of(node, "revoke/")))
    node.refresh_from_db()
    assert node.generation == 1
    assert "is revoked" in text(as_root.post(page_of(node, "revoke/"), follow=True))
    node.refresh_from_db()
    assert (node.generation, node.is_enabled, names()) == (2, False, ["node.revoked"])


def test_the_hubs_own_node_is_not_revoked_and_says_why(as_root: Client, db: None) -> None:
    node = make_node("local")
    assert "Revoke" not in text(as_root.get(page_of(node)))
    assert "cannot be revoked" in text(as_root.post(page_of(node, "revoke/"), follow=True))


VERBS = ["cordon/", "drain/", "uncordon/", "test/", "revoke/"]


@pytest.mark.parametrize("verb", VERBS)
def test_only_root_acts_on_nodes(web: Client, sign_in: SignIn, charlie: User, project: Project, verb: str) -> None:
    oslo = make_node("oslo")
    assert web.post(page_of(oslo, verb)).status_code == 403
    assert sign_in(charlie).post(page_of(oslo, verb)).status_code == 404
    page = text(web.get(page_of(oslo)))
    assert "Test connection" not in page and "Cordon" not in page and "/admin/" not in page
    assert names() == []


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_done_without_the_forms_proof(root: User, oslo: Node, verb: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    assert client.post(page_of(oslo, verb)).status_code == 403
    assert client.get(page_of(oslo, verb)).status_code == (200 if verb == "revoke/" else 405)
    assert names() == []


def test_there_are_no_other_verbs(as_root: Client, oslo: Node) -> None:
    assert as_root.post(page_of(oslo, "delete/")).status_code == 404


def test_a_token_is_shown_once_with_its_command_and_expiry(as_root: Client, db: None) -> None:
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    answer = as_root.post("/nodes/join/", {"name": "gpu-01"})
    command = answer.context["command"]
    assert shlex.split(command)[:3] == ["agenthub", "node", "join"] and command in text(answer)
    assert "no-store" in answer["Cache-Control"] and "expires" in text(answer)
    assert JoinToken.objects.get().node.slug == "gpu-01" and names() == ["node.created", "join_token.created"]
    secret = command.rpartition(" ")[2]
    for path in ("/nodes/join/", "/nodes/", page_of(Node.objects.get()), "/admin/nodes/node/"):
        assert secret not in as_root.get(path).content.decode()


@pytest.mark.parametrize(
    ("name", "words"), [("local", "is reserved for the hub"), ("a b", "nothing else."), ("rome", "The hub dials rome")]
)
def test_a_name_that_cannot_join_says_why(as_root: Client, name: str, words: str) -> None:
    make_node("rome", is_joined=False)
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    answer = as_root.post("/nodes/join/", {"name": name})
    assert answer.status_code == 400 and words in text(answer)
    assert not JoinToken.objects.exists()


def test_tokens_are_roots_to_make(web: Client, project: Project) -> None:
    assert web.get("/nodes/join/").status_code == 403
    assert web.post("/nodes/join/", {"name": "mine"}).status_code == 403
    assert not JoinToken.objects.exists()


def test_root_finds_the_way_to_join_from_agents_nodes_and_the_admin(as_root: Client, web: Client, oslo: Node) -> None:
    for path in ("/agents/", "/nodes/"):
        assert "/nodes/join/" in text(as_root.get(path)) and "/nodes/join/" not in text(web.get(path))
    assert as_root.get("/admin/nodes/node/join/")["Location"] == "/nodes/join/"
    assert as_root.get(f"/admin/nodes/node/{oslo.pk}/look/")["Location"] == page_of(oslo)
    for nowhere in ("none", uuid4()):
        assert as_root.get(f"/admin/nodes/node/{nowhere}/look/").status_code == 404


def test_a_hub_with_its_own_node_alone_says_how_another_joins(as_root: Client, web: Client, project: Project) -> None:
    make_node("local")
    page = text(as_root.get("/nodes/"))
    assert "agenthub node token gpu-01" in page and "Let another machine work too" in page
    assert "agenthub node token" not in text(web.get("/nodes/"))


def test_many_nodes_come_in_pages_and_are_found(
    web: Client, project: Project, django_assert_max_num_queries: Any
) -> None:
    Node.objects.bulk_create([Node(slug=f"edge-{number:03}", name="Edge", pool="far") for number in range(70)])
    make_node("zurich")
    with django_assert_max_num_queries(12):
        first = text(web.get("/nodes/"))
    assert "edge-000" in first and "zurich" not in first and "1 to 60 of 71" in first
    second = text(web.get("/nodes/", {"page": "2"}))
    assert "zurich" in second and "edge-000" not in second
    found = text(web.get("/nodes/", {"find": "zur\0ICH"}))
    assert "zurich" in found and "edge-069" not in found
    assert "61 to 70 of 70" in text(web.get("/nodes/", {"find": "edge", "page": "99"}))
    assert "No node has that" in text(web.get("/nodes/", {"find": "nowhere"}))


def test_every_agent_and_run_names_its_node(web: Client, agent: Agent) -> None:
    run = make_run(agent=agent)
    paths = ("/agents/", f"/agents/{agent.pk}/", "/runs/", f"/runs/{run.pk}/", f"/projects/{agent.project.slug}/")
    for path in paths:
        assert "node:oslo" in text(web.get(path)), path
