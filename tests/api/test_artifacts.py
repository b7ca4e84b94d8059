"""``/api/v1/runs/{id}/artifacts/``: what a run left, listed and handed out to be saved."""

import hashlib

import pytest

from agents.models import Blob, Run
from agents.services.blobs import store_blob
from nodes.contract.events import ArtifactReady, BlobRef
from tests.agents.records import commit
from tests.api.clients import Api, refusal
from tests.factories import make_run

PAGE = b"<script>alert(1)</script>"
DIGEST = hashlib.sha256(PAGE).hexdigest()


def url_of(run: Run, digest: str = "") -> str:
    return f"/api/v1/runs/{run.pk}/artifacts/" + (f"{digest}/" if digest else "")


def leave(run: Run, name: str = "report.html", data: bytes = PAGE, *, first: int = 1, is_here: bool = True) -> None:
    digest = hashlib.sha256(data).hexdigest()
    ref = BlobRef(digest=digest, size=len(data))
    commit(run, ArtifactReady(name=name, media_type="text/html", blob=ref), first=first)
    if is_here:
        Blob.objects.create(run=run, digest=digest, size=len(data), data=data)


def test_a_run_lists_what_it_left(as_bob: Api, run: Run) -> None:
    assert as_bob.get(url_of(run)).json() == {"results": [], "next": None, "previous": None}
    leave(run)
    leave(run, "log.txt", b"late", first=2, is_here=False)
    report, log = as_bob.get(url_of(run)).json()["results"]
    assert report == {
        "name": "report.html", "media_type": "text/html", "digest": DIGEST, "size": len(PAGE), "state": "ready",
    }  # fmt: skip
    assert (log["name"], log["state"]) == ("log.txt", "pending")


def test_what_a_node_sends_to_be_kept_is_in_the_trail_under_its_digest(as_alice: Api, run: Run) -> None:
    assert run.node_id
    for _ in range(2):
        store_blob(run.pk, run.node_id, DIGEST, PAGE)
    (entry,) = as_alice.get(f"/api/v1/audit/?artifact={DIGEST}").json()["results"]
    assert (entry["name"], entry["artifact"], entry["run"]) == ("artifact.stored", DIGEST, str(run.pk))
    assert (entry["node"], entry["object_kind"]) == (str(run.node_id), "artifact")


def test_a_name_that_was_used_again_is_its_last_content(as_bob: Api, run: Run) -> None:
    leave(run, data=b"old")
    leave(run, data=b"new", first=2)
    (row,) = as_bob.get(url_of(run)).json()["results"]
    assert row["digest"] == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", "application/octet-stream"])
def test_an_artifact_is_saved_and_never_shown(as_bob: Api, run: Run, accept: str) -> None:
    leave(run)
    response = as_bob.get(url_of(run, DIGEST), headers={"accept": accept})
    assert (response.status_code, response.content) == (200, PAGE)
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == 'attachment; filename="report.html"'
    assert response["X-Content-Type-Options"] == "nosniff" and "sandbox" in response["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", 'filename="passwd"'),
        ("a\r\nSet-Cookie: x=1", 'filename="a__Set-Cookie: x=1"'),
        ('q"uote.txt', 'filename="q\\"uote.txt"'),
        ("..", 'filename="artifact"'),
        ("größe.txt", "filename*=utf-8''gr%C3%B6%C3%9Fe.txt"),
    ],
)
def test_a_name_is_only_a_name(as_bob: Api, run: Run, name: str, shown: str) -> None:
    leave(run, name)
    response = as_bob.get(url_of(run, DIGEST))
    assert response["Content-Disposition"] == f"attachment; {shown}"
    assert "Set-Cookie" not in response.headers


def test_the_patch_is_had_the_same_way(as_bob: Api, run: Run) -> None:
    Blob.objects.create(run=run, digest=DIGEST, size=4, data=b"+hi\n")
    Run.objects.update(diff={"patch": {"digest": DIGEST, "size": 4}})
    response = as_bob.get(url_of(run, DIGEST))
    assert response["Content-Disposition"] == f'attachment; filename="{run.pk}.patch"'


def test_what_is_on_its_way_is_not_there_yet_and_says_so(as_bob: Api, run: Run) -> None:
    leave(run, is_here=False)
    response = as_bob.get(url_of(run, DIGEST), headers={"accept": "image/png"})
    assert refusal(response) == (404, "not_found")
    assert "on its way" in response.json()["error"]["message"]
    assert response["Content-Type"] == "application/json"


def test_another_runs_artifact_is_not_there(as_bob: Api, as_charlie: Api, run: Run) -> None:
    leave(run)
    assert refusal(as_bob.get(url_of(make_run(agent=run.agent), DIGEST))) == (404, "not_found")
    assert refusal(as_charlie.get(url_of(run))) == (404, "not_found")
    assert refusal(as_charlie.get(url_of(run, DIGEST))) == (404, "not_found")
