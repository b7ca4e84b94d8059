"""A secret of the node that an agent prints in a dozen ways is in nothing that leaves the run's process."""

import base64
import json
import sys
import urllib.parse
from pathlib import Path

import pytest

from nodes.contract.events import ApprovalOption, ApprovalRequested, ToolCall
from nodes.server.node_secrets import NodeSecrets
from nodes.server.redaction import Redactor
from tests.supervisor.conftest import Node, only, texts
from tests.supervisor.repositories import make_repository

CANARY = 'cAnAry "7Xq/+&\u00e4%~ secret\\value'
SEEN = ("cAnAry", "7Xq/+", CANARY, base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex())
AGENT = r"""
import base64, html, json, os, subprocess, sys, time, urllib.parse
c = os.environ["DEPLOY"]
raw = c.encode()
say = lambda text: print(text, flush=True)
say("plain " + c)
say("\n".join(f"{k}={v}" for k, v in os.environ.items()))
say("base64 " + base64.b64encode(raw).decode())
for before in (b"a", b"ab", b"abc"):
    say("within " + base64.b64encode(before + raw + b"xyz").decode())
say("url-safe " + base64.urlsafe_b64encode(raw).decode())
say("url " + urllib.parse.quote(c) + " " + urllib.parse.quote_plus(c) + " " + urllib.parse.quote(c, safe=""))
say("hex " + raw.hex() + " " + raw.hex().upper())
shell = '''export -p; set; set -x; : "$DEPLOY"; printf '%q\\n' "$DEPLOY" '''
say(subprocess.run(["bash", "-c", shell], capture_output=True, text=True).stdout)
subprocess.run(["bash", "-c", shell], stdout=subprocess.DEVNULL)
say("python " + repr({"k": c}) + repr(raw) + " page " + html.escape(c))
say("json " + json.dumps({"k": c}) + json.dumps({"k": c}, ensure_ascii=False))
for piece in (c[:5], c[5:9], c[9:]):
    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.1)
say("")
print("stderr " + c, file=sys.stderr)
open("change.txt", "w").write("in a diff " + c + "\n")
os.makedirs("d", exist_ok=True)
open("d/" + c.replace("/", ":"), "w").write("in a file name")
open(base64.urlsafe_b64encode(raw).decode(), "w").write("x")
raise SystemExit("error: " + c)
"""


@pytest.fixture
def secrets(node: Node) -> NodeSecrets:
    return NodeSecrets(node.home / "node/secrets")


def everything(node: Node) -> bytes:
    """All that the run, its supervisor and its node wrote, but for the secret itself."""
    kept = node.home / "node/secrets"
    roots = (node.home / "node", node.home / "logs")
    files = (path for root in roots for path in root.rglob("*") if path.is_file() and kept not in path.parents)
    return b"\n".join(path.read_bytes() for path in files)


async def test_a_dozen_ways_of_printing_one_leave_nothing(node: Node, secrets: NodeSecrets) -> None:
    secrets.set("deploy", CANARY, ("demo",))
    make_repository(node.code / "repo")
    runtime = {
        "kind": "command", "command": [sys.executable, "-c", AGENT], "environment": {"DEPLOY": "secret:deploy"},
    }  # fmt: skip
    work = {"mode": "use_existing", "workdir": str(node.code / "repo")}
    events = await node.finish("true", runtime=runtime, workspace=work)
    assert "plain [secret]" in texts(events) and "stderr [secret]" in texts(events, "stderr")
    assert "hex [secret] [secret]" in texts(events) and only(events, "run.diff.ready")["files_changed"] == 3
    assert only(events, "run.started")["secrets"] == ["deploy"]
    left = everything(node)
    assert len(left) > 2_000
    found = [text for text in SEEN if text.encode() in left and text != "cAnAry"]
    assert found == []
    pieces = [base64.b64encode(b"x" * n + CANARY.encode())[4:-4] for n in range(3)]
    assert not [piece for piece in pieces if piece in left]
    assert urllib.parse.quote(CANARY).encode() not in left


def test_tool_calls_and_questions_hold_none() -> None:
    redactor = Redactor([CANARY], Path("/w"))
    given = json.dumps({"command": [CANARY, {"deep": CANARY}]})
    call = ToolCall(tool_call_id="1", title=f"cat {CANARY}", kind="execute", input=given)
    question = ApprovalRequested(
        approval_id="0199a1b2-0000-7000-8000-00000000abcd", kind="shell", title=f"rm {CANARY}", command=CANARY,
        options=[ApprovalOption(option_id="a", name=CANARY, kind="allow_once")], action_hash="0" * 64,
        expires_in_seconds=600,
    )  # fmt: skip
    for payload in (call, question):
        text = redactor.payload(payload).model_dump_json()
        assert "7Xq" not in text and json.dumps(CANARY)[1:-1] not in text


async def test_a_missing_secret_ends_the_run_with_the_command_to_set_it(node: Node) -> None:
    runtime = {"kind": "command", "command": ["true"], "environment": {"KEY": "secret:absent"}}
    failed = only(await node.finish("true", runtime=runtime), "run.failed")
    assert failed["reason"] == "secret_missing"
    assert "agenthub node secret set absent --project demo" in failed["message"]


async def test_a_secret_of_another_project_is_missing(node: Node, secrets: NodeSecrets) -> None:
    secrets.set("theirs", "x" * 20, ("other",))
    runtime = {"kind": "command", "command": ["env"], "environment": {"KEY": "secret:theirs"}}
    failed = only(await node.finish("true", runtime=runtime), "run.failed")
    assert failed["reason"] == "secret_missing" and "other" not in failed["message"]


async def test_a_secret_that_others_can_read_is_not_used(node: Node, secrets: NodeSecrets) -> None:
    secrets.set("open", "x" * 20, None)
    (node.home / "node/secrets/open.json").chmod(0o644)
    runtime = {"kind": "command", "command": ["env"], "environment": {"KEY": "secret:open"}}
    failed = only(await node.finish("true", runtime=runtime), "run.failed")
    assert failed["reason"] == "secret_missing" and "read by others" in failed["message"]


def test_what_is_kept_is_private(home: Path) -> None:
    secrets = NodeSecrets(home / "node/secrets")
    secrets.set("deploy", "x" * 20, None)
    assert (home / "node/secrets").stat().st_mode & 0o777 == 0o700
    assert (home / "node/secrets/deploy.json").stat().st_mode & 0o777 == 0o600
    assert "x" * 20 not in repr(secrets.all())
    secrets.delete("deploy")
    assert secrets.all() == []


@pytest.mark.parametrize(("name", "value"), [("../x", "x" * 20), ("a", "short"), ("a", "x" * 70_000), ("", "x" * 20)])
def test_what_cannot_be_kept_is_refused(home: Path, name: str, value: str) -> None:
    with pytest.raises(Exception, match="secret"):
        NodeSecrets(home / "node/secrets").set(name, value, None)
