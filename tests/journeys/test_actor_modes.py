"""`agenthub actor` from outside in the other security modes, and from a run of another OS user."""

import json
import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from nodes.server.other_user import why_not

from .hub import Hub, running_hub
from .test_actor import SCRIPT, run_script

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]
GRPC = {"AGENTHUB_INTERNAL_GRPC__ENABLED": "true", "AGENTHUB_INTERNAL_GRPC__LISTEN": "127.0.0.1:0"}
MODE = "AGENTHUB_INTERNAL_GRPC__SECURITY__MODE"
CERTS = "AGENTHUB_INTERNAL_GRPC__SECURITY__CERT_DIR"
SECRET = "AGENTHUB_INTERNAL_GRPC__AUTH__SHARED_SECRET"
AUTHORITY = """
key() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $1-key.pem -out $1.csr -subj /CN=$2; }
key ca Authority
openssl x509 -req -in ca.csr -signkey ca-key.pem -out ca-cert.pem -days 2
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > names
key server localhost
openssl x509 -req -in server.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -out server-cert.pem -days 2 -extfile names
key client operator
openssl x509 -req -in client.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -out client-cert.pem -days 2
"""  # noqa: E501


def a_hub(environ: dict[str, str]) -> AbstractContextManager[Hub]:
    return running_hub(**{**GRPC, **environ})


def inbox(hub: Hub, environ: dict[str, str], code: int = 0) -> Any:
    ended = hub.cli("actor", "inbox", "--actor-id", "demo", "--json", timeout=90, **GRPC, **environ)
    assert ended.returncode == code, ended.stdout + ended.stderr + hub.logs()
    return json.loads(ended.stdout)


def make_certificates(directory: Path) -> Path:
    directory.mkdir()
    subprocess.run(["sh", "-ec", AUTHORITY], cwd=directory, check=True, capture_output=True, timeout=60)
    return directory


def test_in_mtls_a_certificate_of_the_authority_stands_for_the_secret(tmp_path: Path) -> None:
    certs, foreign = make_certificates(tmp_path / "certs"), make_certificates(tmp_path / "foreign")
    shutil.copy(certs / "ca-cert.pem", foreign / "ca-cert.pem")  # it believes the hub, and the hub does not believe it
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(certs / "ca-cert.pem", bare)
    with a_hub({MODE: "mtls", CERTS: str(certs)}) as hub:
        assert inbox(hub, {MODE: "mtls", CERTS: str(certs)})["messages"] == []
        assert inbox(hub, {MODE: "mtls", CERTS: str(bare)}, code=2)["error"]["code"] == "no_client_certificate"
        assert inbox(hub, {MODE: "mtls", CERTS: str(foreign)}, code=3)["error"]["code"] == "unreachable"
        assert inbox(hub, {MODE: "tls", CERTS: str(bare), SECRET: "x" * 32}, code=3)["error"]["code"] == "unreachable"


def test_disabled_it_is_without_tls_and_asks_for_the_secret_all_the_same() -> None:
    with a_hub({MODE: "disabled"}) as hub:
        assert inbox(hub, {MODE: "disabled"})["messages"] == []
        wrong = inbox(hub, {MODE: "disabled", SECRET: "x" * 32}, code=4)
        assert wrong["error"]["code"] == "unauthenticated"


@pytest.mark.skipif(bool(why_not("nobody")) and "CI" not in os.environ, reason=why_not("nobody") or "it can be done")
def test_within_a_run_of_another_user_it_just_works() -> None:
    with a_hub({"AGENTHUB_ISOLATION__RUN_AS": "nobody"}) as hub:
        state, said = run_script(hub, "stranger", SCRIPT.replace("talker", "stranger"), "user")
        assert state == "succeeded", said + hub.logs()
        *lines, last = said.splitlines()[:7]
        team, to_user, to_self, received, acked, refused = map(json.loads, lines)
        assert last == "refused: 4"
        assert [member["name"] for member in team["members"] if member["is_you"]] == ["demo/stranger"]
        assert [mail["message_id"] for mail in received["messages"]] == [to_self["message_id"]]
        assert (to_user["status"], acked["status_changed"], refused["error"]["code"]) == ("queued", True, "forbidden")
