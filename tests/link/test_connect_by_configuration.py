"""The seeds' way: their two files and openssl commands connect; who lacks the secret or the certificate does not."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import grpc.aio
import jwt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from nodes.contract.config import AuthConfig
from nodes.contract.errors import ConfigError
from nodes.link import serve
from nodes.link.dial import dial_configured
from nodes.link.errors import CertificateMismatch, NodeMismatch, NodeUnreachable, PeerRefused, Unauthorized
from nodes.link.guests import MOST
from nodes.link.peers import HubPeer, NodePeer, PeerNotConfigured
from nodes.link.secrets import AUTH_FILE, ensure_auth_secrets, find_auth_secrets, kid_of
from nodes.link.services import NODE_LINK
from nodes.link.tokens import Claims, sign
from nodes.pb.link_pb2 import HubFrame, NodeFrame
from nodes.pki import NodeIdentity
from tests.link.configured import AS_WRITTEN, CLIENT, COMMANDS, NAME, ROW, Ends, make_files
from tests.support import eventually_async

SECRET = "CHANGE-ME-256-BIT-SECRET"
Headers: TypeAlias = tuple[tuple[str, str | bytes], ...]
CLAIMS = Claims("gpu-01", ROW.node_id)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openssl")
    make_files(directory, COMMANDS + CLIENT)
    return directory


@pytest.fixture
def ends(tmp_path: Path, made: Path) -> Ends:
    return Ends(tmp_path, made)


@pytest.fixture
def mutual(ends: Ends, made: Path) -> Ends:
    """As the seed's chapter on mtls: the hub has a certificate of its own, and there is no shared secret."""
    for name in ("client-cert.pem", "client-key.pem"):
        shutil.copy(made / name, ends.root / "hub/certs" / name)
    ends.changes = {"SECURITY__MODE": "mtls", "AUTH__SHARED_SECRET": ""}
    return ends


async def test_the_two_files_of_the_seed_connect_with_what_its_own_commands_make(tmp_path: Path) -> None:
    make_files(tmp_path / "openssl", AS_WRITTEN)
    ends = Ends(tmp_path, tmp_path / "openssl")
    assert ends.config("hub").internal_grpc.auth.issuer == "agenthub"
    async with ends.node() as address:
        await ends.connect(address)
        await ends.connect(address)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AUTH__SHARED_SECRET": "another"}, "unauthorized: the node does not accept this hub"),
        ({"AUTH__AUDIENCE": "others"}, "unauthorized: the token does not fit"),
        ({"AUTH__ISSUER": "others"}, "unauthorized: the token does not fit"),
    ],
)
async def test_a_hub_with_other_settings_is_unauthorized_and_both_ends_say_so(
    ends: Ends, capsys: pytest.CaptureFixture[str], variables: dict[str, str], told: str
) -> None:
    async with ends.node() as address:
        with pytest.raises(Unauthorized, match=told):
            await ends.connect(address, **variables)  # type: ignore[arg-type]
    assert "unauthorized" in capsys.readouterr().err
    assert ends.memory.read_refusal()["code"] == "unauthorized"
    assert not ends.memory.known_hub().key


async def test_clocks_apart_are_told(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "now_us", lambda: int((time.time() - 312) * 1_000_000))
    async with ends.node() as address:
        with pytest.raises(Unauthorized, match=r"clock is 31[123] s behind this one"):
            await ends.connect(address, AUTH__SHARED_SECRET="another")


FORGERIES = (
    "none", "secret", "kid of the right one", "expired", "future", "long", "subject", "row", "no exp", "no iat",
    "no aud", "no node_id", "algorithm",
)  # fmt: skip


def forged(change: str) -> str:
    """A token with something wrong in it."""
    now = int(time.time())
    body = {
        "iss": "agenthub", "aud": "agenthub-internal", "sub": "hub", "iat": now, "exp": now + 60,
        "node_id": "gpu-01", "node": str(ROW.node_id),
    }  # fmt: skip
    if change == "none":
        return jwt.encode(body, "", algorithm="none")
    secret = "another" if change == "secret" else SECRET
    headers = {"kid": kid_of(SECRET)} if change == "kid of the right one" else {}
    secret = "another" if headers else secret
    changes: dict[str, dict[str, Any]] = {
        "expired": {"iat": now - 300, "exp": now - 240},
        "future": {"iat": now + 240, "exp": now + 300},
        "long": {"exp": now + 3600},
        "subject": {"sub": "node"},
        "row": {"node": "x"},
    }
    body |= changes.get(change, {})
    for claim in ("exp", "iat", "aud", "node_id"):
        if change == f"no {claim}":
            del body[claim]
    algorithm = "HS384" if change == "algorithm" else "HS256"
    return jwt.encode(body, secret, algorithm=algorithm, headers=headers)


async def call(address: str, made: Path, metadata: Headers) -> grpc.aio.AioRpcError | None:
    """Open a link with headers of one's own; the refusal, if it is one."""
    trusting = grpc.ssl_channel_credentials((made / "ca-cert.pem").read_bytes())
    options = [("grpc.ssl_target_name_override", NAME)]
    async with grpc.aio.secure_channel(address, trusting, options=options) as channel:
        call = channel.stream_stream(
            NODE_LINK, request_serializer=HubFrame.SerializeToString, response_deserializer=NodeFrame.FromString
        )(None, metadata=metadata, timeout=20)
        try:
            assert isinstance(await call.read(), NodeFrame)
        except grpc.aio.AioRpcError as error:
            return error
        call.cancel()
        return None


async def test_a_token_that_does_not_hold_is_unauthorized(ends: Ends, made: Path) -> None:
    identity = ends.peer().identity
    public = identity.public_key().public_bytes_raw()

    def headers(token: str) -> Headers:
        proof = identity.sign(token.encode())
        return (
            ("authorization", f"Bearer {token}"), ("agenthub-hub-key-bin", public), ("agenthub-hub-proof-bin", proof),
        )  # fmt: skip

    async with ends.node() as address:
        assert await call(address, made, headers(forged(""))) is None
        for change in FORGERIES:
            refused = await call(address, made, headers(forged(change)))
            assert refused is not None and refused.code() is grpc.StatusCode.UNAUTHENTICATED, change
            assert str(refused.details()).startswith("unauthorized") and SECRET not in str(refused.details())


@pytest.mark.parametrize("lacking", ["authorization", "agenthub-hub-key-bin", "agenthub-hub-proof-bin"])
async def test_a_call_without_token_or_proof_is_unauthorized(ends: Ends, made: Path, lacking: str) -> None:
    sent = tuple(header for header in ends.peer().metadata(CLAIMS) if header[0] != lacking)
    async with ends.node() as address:
        refused = await call(address, made, sent)
    assert refused is not None and refused.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_another_node_id_is_a_mismatch_on_both_sides(ends: Ends, capsys: pytest.CaptureFixture[str]) -> None:
    peer = HubPeer.load(ends.config("hub"), "gpu-02")
    async with ends.node() as address:
        with pytest.raises(NodeMismatch, match=r"'gpu-02'.*'gpu-01'") as refused:
            await dial_configured(address, peer, ROW, server_name=NAME)
    assert refused.value.code == "node_mismatch"
    assert "node_mismatch" in capsys.readouterr().err


# Certificates.


async def test_a_name_that_the_certificate_has_not_is_refused(ends: Ends) -> None:
    async with ends.node() as address:
        told = r"certificate verify failed: .* for CN=node1\.internal; it is not valid for gpu01"
        with pytest.raises(CertificateMismatch, match=told):
            await ends.connect(address, name="gpu01.internal")
        with pytest.raises(CertificateMismatch, match="tls_server_name"):
            await ends.connect(address, name="")  # an address has to be among the alternative names


async def test_an_unknown_authority_is_refused(ends: Ends) -> None:
    make_files(
        ends.root / "hub/certs",
        "openssl req -x509 -newkey rsa:2048 -keyout k.pem -out ca-cert.pem -days 9 -nodes -subj /CN=other",
    )
    async with ends.node() as address:
        with pytest.raises(CertificateMismatch, match="certificate verify failed"):
            await ends.connect(address)


async def test_what_is_trusted_for_one_node_is_trusted_for_no_other(ends: Ends) -> None:
    certs = ends.root / "hub/certs"
    (certs / "nodes").mkdir()
    (certs / "ca-cert.pem").rename(certs / "nodes/gpu-01.pem")
    async with ends.node() as address:
        await ends.connect(address)
    with pytest.raises(PeerNotConfigured, match=r"nodes/gpu-02\.pem, ca-cert\.pem, ca\.pem"):
        HubPeer.load(ends.config("hub"), "gpu-02")


async def test_a_node_without_certificates_makes_one_that_the_hub_is_given(ends: Ends) -> None:
    for path in (ends.root / "node/certs").iterdir():
        path.unlink()
    (ends.root / "hub/certs/nodes").mkdir()
    async with ends.node() as address:
        assert (ends.root / "node/certs/node-key.pem").stat().st_mode & 0o777 == 0o600
        shutil.copy(ends.root / "node/certs/node-cert.pem", ends.root / "hub/certs/nodes/gpu-01.pem")
        await ends.connect(address, name="gpu-01")
        await ends.connect(address, name="")


async def test_a_certificate_that_is_replaced_is_shown_to_the_next_that_connects(ends: Ends, made: Path) -> None:
    certs = ends.root / "node/certs"
    async with ends.node() as address:
        await ends.connect(address)
        make_files(
            made,
            "openssl req -newkey rsa:2048 -keyout new-key.pem -out new-csr.pem -nodes -subj /CN=node2.internal\n"
            "openssl x509 -req -in new-csr.pem -CA ca-cert.pem -CAkey ca-key.pem -out new-cert.pem -CAcreateserial",
        )
        for part in ("key", "cert"):
            shutil.copy(made / f"new-{part}.pem", certs / f"new-{part}.pem")
            (certs / f"new-{part}.pem").replace(certs / f"node-{part}.pem")
        await ends.connect(address, name="node2.internal")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("rm node-key.pem", r"node-cert\.pem is there, but node-key\.pem beside it is missing"),
        ("cp ca-cert.pem node-cert.pem", r"node-key\.pem is not the key of"),
        ("echo x >node-cert.pem", r"node-cert\.pem holds no certificate"),
        ("echo x >node-key.pem", r"node-key\.pem holds no private key"),
        (
            "openssl genpkey -algorithm ed25519 -out node-key.pem",
            r"node-key\.pem is no RSA key",
        ),
        ("rm ca-cert.pem", "looked for ca-cert.pem, ca.pem, ca.crt"),
        ("rm node-*.pem", r"looked for node-cert\.pem with node-key\.pem or server-cert\.pem with server-key\.pem"),
    ],
)
def test_files_that_do_not_fit_are_named(ends: Ends, script: str, told: str) -> None:
    make_files(ends.root / "node/certs", script)
    with pytest.raises(ConfigError, match=told):
        NodePeer.prepare(ends.config("node", SECURITY__MODE="mtls"))


@pytest.mark.parametrize("names", ["server-cert.pem server-key.pem", "server.crt server.key", "tls.crt tls.key"])
async def test_other_usual_names_do_as_well(ends: Ends, names: str) -> None:
    certificate, key = names.split()
    make_files(
        ends.root / "node/certs", f"mv node-cert.pem {certificate}; mv node-key.pem {key}; mv ca-cert.pem ca.crt"
    )
    async with ends.node() as address:
        await ends.connect(address)


# mtls.


async def test_mtls_needs_no_secret(mutual: Ends) -> None:
    async with mutual.node() as address:
        await mutual.connect(address)
    assert not (mutual.root / "node/certs" / AUTH_FILE).exists()
    assert mutual.memory.known_hub().name == "CN=hub.example.com"


async def test_mtls_lets_nobody_in_without_a_certificate(mutual: Ends, made: Path) -> None:
    async with mutual.node() as address:
        peer = replace(mutual.peer(), credentials=replace(mutual.peer().credentials, certificate=b"", key=b""))
        with pytest.raises(PeerRefused, match="A node in mtls asks for a certificate"):
            await dial_configured(address, peer, ROW, server_name=NAME)
        with pytest.raises(grpc.aio.AioRpcError):
            await services_of(address, grpc.ssl_channel_credentials((made / "ca-cert.pem").read_bytes()))


async def test_in_mtls_a_nodes_certificate_does_not_make_it_a_hub(mutual: Ends, made: Path) -> None:
    async with mutual.node() as address:
        await mutual.connect(address)
        make_files(
            mutual.root / "hub/certs", f"cp {made}/node-cert.pem client-cert.pem; cp {made}/node-key.pem client-key.pem"
        )
        with pytest.raises(Unauthorized, match="belongs to another hub"):
            await mutual.connect(address)


async def test_in_mtls_the_bootstrap_token_guards_the_first_time_as_well(mutual: Ends) -> None:
    async with mutual.node(BOOTSTRAP__TOKEN="let-me-in") as address:
        with pytest.raises(Unauthorized):
            await mutual.connect(address)
        await mutual.connect(address, BOOTSTRAP__TOKEN="let-me-in")
        await mutual.connect(address)


async def test_modes_that_differ_are_told_as_that(mutual: Ends) -> None:
    async with mutual.node(SECURITY__MODE="tls") as address:
        with pytest.raises(Unauthorized, match=r"internal_grpc\.security\.mode must be the same") as refused:
            await mutual.connect(address)
    assert "shared_secret" not in refused.value.text


async def test_mtls_tells_a_mismatch_too(mutual: Ends) -> None:
    async with mutual.node() as address:
        with pytest.raises(NodeMismatch):
            await dial_configured(address, HubPeer.load(mutual.config("hub"), "gpu-02"), ROW, server_name=NAME)


# Plain text.


async def test_plain_text_is_for_loopback_and_asks_for_a_token_all_the_same(ends: Ends) -> None:
    ends.changes = {"SECURITY__MODE": "disabled"}
    async with ends.node() as address:
        await ends.connect(address)
        with pytest.raises(Unauthorized):
            await ends.connect(address, AUTH__SHARED_SECRET="another")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "gpu01.internal:50051"])
def test_plain_text_beyond_loopback_has_to_be_forced(ends: Ends, listen: str) -> None:
    ends.changes = {"SECURITY__MODE": "disabled", "LISTEN": listen}
    with pytest.raises(ConfigError, match="allow_plaintext"):
        NodePeer.prepare(ends.config("node"))
    NodePeer.prepare(ends.config("node", SECURITY__ALLOW_PLAINTEXT="true"))


async def test_a_hub_in_plain_text_and_a_node_in_tls_do_not_meet(ends: Ends) -> None:
    async with ends.node() as address:
        with pytest.raises(NodeUnreachable, match="failed to connect to remote node"):
            await ends.connect(address, SECURITY__MODE="disabled")


# Secrets.


async def test_a_secret_is_changed_without_a_moment_in_between(ends: Ends) -> None:
    async with ends.node(AUTH__SHARED_SECRET="new", AUTH__PREVIOUS_SECRETS=SECRET) as address:
        await ends.connect(address)
        await ends.connect(address, AUTH__SHARED_SECRET="new")
    async with ends.node(AUTH__SHARED_SECRET="new") as address:
        await ends.connect(address, AUTH__SHARED_SECRET="new")
        with pytest.raises(Unauthorized):
            await ends.connect(address)


async def test_a_line_more_in_the_file_counts_at_once(ends: Ends) -> None:
    ends.changes = {"AUTH__SHARED_SECRET": ""}
    async with ends.node() as address:
        held, given = ends.root / "node/certs" / AUTH_FILE, ends.root / "hub/certs" / AUTH_FILE
        shutil.copy(held, given)
        await ends.connect(address)
        given.write_text("a new one\n")
        with pytest.raises(Unauthorized):
            await ends.connect(address)
        held.write_text(f"{held.read_text()}a new one\n")
        await ends.connect(address)


def test_a_missing_secret_is_made_once_and_kept_private(ends: Ends) -> None:
    config = ends.config("hub", AUTH__SHARED_SECRET="")
    assert find_auth_secrets(config) is None
    made = ensure_auth_secrets(config)
    path = config.cert_dir / AUTH_FILE
    assert path.stat().st_mode & 0o777 == 0o600 and len(made.current) >= 43
    assert ensure_auth_secrets(config) == find_auth_secrets(config) == made
    assert made.current not in repr(made) and [*path.parent.glob(".*")] == []


def test_a_directory_that_cannot_be_written_is_named(ends: Ends) -> None:
    (ends.root / "hub/file").write_text("")
    config = ends.config("hub", AUTH__SHARED_SECRET="", SECURITY__CERT_DIR=str(ends.root / "hub/file/certs"))
    with pytest.raises(ConfigError, match=r"cannot be (read|made)"):
        ensure_auth_secrets(config)


def test_a_kid_does_not_tell_the_secret() -> None:
    token = sign(CLAIMS, SECRET, AuthConfig())
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": kid_of(SECRET)}
    assert SECRET not in token and kid_of(SECRET) != kid_of("another")


# The first hub that comes.


async def test_the_bootstrap_token_is_asked_for_once_and_worth_nothing_after(ends: Ends) -> None:
    async with ends.node(BOOTSTRAP__TOKEN="let-me-in") as address:
        for wrong in ({}, {"BOOTSTRAP__TOKEN": "other"}):
            with pytest.raises(Unauthorized, match="the bootstrap token that this node was given") as refused:
                await ends.connect(address, **wrong)  # type: ignore[arg-type]
            assert "shared_secret" not in refused.value.text
        await ends.connect(address, BOOTSTRAP__TOKEN="let-me-in")
        await ends.connect(address)
        (ends.root / "hub/pki/identity.key").unlink()  # somebody else, with every secret there is
        with pytest.raises(Unauthorized, match="agenthub node forget-hub"):
            await ends.connect(address, BOOTSTRAP__TOKEN="let-me-in")
        ends.memory.forget_hub()
        await ends.connect(address, BOOTSTRAP__TOKEN="let-me-in")


async def test_a_memory_that_cannot_be_read_lets_nobody_in(ends: Ends, capsys: pytest.CaptureFixture[str]) -> None:
    (ends.memory.path / "known-hub.json").write_text("{")
    async with ends.node() as address:
        with pytest.raises(NodeUnreachable, match="its log says which"):
            await ends.connect(address)
    assert "agenthub node forget-hub" in capsys.readouterr().err


async def test_another_registration_at_the_same_hub_begins_with_epochs_of_its_own(ends: Ends) -> None:
    async with ends.node() as address:
        await ends.connect(address)
        ends.memory.keep_epoch(9)
        await ends.connect(address)
        assert ends.memory.epoch == 9
        await ends.connect(address, row=NodeIdentity(UUID(int=52), 1))
        assert ends.memory.epoch == 0


# What the hub lacks.


@pytest.mark.parametrize(
    ("variables", "script", "told"),
    [
        ({"ENABLED": "false"}, "", "set internal_grpc.enabled = true"),
        ({}, "rm ca-cert.pem", r"Looked for nodes/gpu-01\.pem, ca-cert\.pem"),
        ({"AUTH__SHARED_SECRET": ""}, "", "no shared secret"),
        ({"SECURITY__MODE": "mtls"}, "", r"looked for client-cert\.pem with client-key\.pem"),
    ],
)
def test_a_hub_says_what_it_lacks(ends: Ends, variables: dict[str, str], script: str, told: str) -> None:
    make_files(ends.root / "hub/certs", script or "true")
    with pytest.raises(PeerNotConfigured, match=told) as refused:
        ends.peer(**variables)
    assert (refused.value.code, refused.value.http) == ("peer_not_configured", 409)
    assert str(ends.root) not in refused.value.text


@pytest.mark.parametrize(("setting", "told"), [("ENABLED", "internal_grpc.enabled")])
def test_a_node_says_what_it_lacks(ends: Ends, setting: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        NodePeer.prepare(ends.config("node", **{setting: "false"}))


@pytest.mark.parametrize("node_id", ["main", "local", "a b", "a/b", "..", "x" * 129])
def test_a_node_id_that_cannot_be_registered_is_refused(ends: Ends, node_id: str) -> None:
    config = ends.config("node")
    config.server.node_id = node_id
    with pytest.raises(ConfigError, match=r"server\.node_id"):
        NodePeer.prepare(config)


# The seed's diagnostics.


async def services_of(address: str, credentials: grpc.ChannelCredentials) -> set[str]:
    """As ``grpcurl … list`` asks, which tries the newer name of reflection first."""
    options = [("grpc.ssl_target_name_override", NAME)]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        answer = await anext(
            aiter(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request])))
        )
        return {service.name for service in answer.list_services_response.service}


async def test_reflection_and_health_need_no_token_in_tls(ends: Ends, made: Path) -> None:
    async with ends.node() as address:
        found = await services_of(address, grpc.ssl_channel_credentials((made / "ca-cert.pem").read_bytes()))
    assert found >= {"agenthub.node.v1.NodeLink", "grpc.health.v1.Health"}


async def test_reflection_needs_certificate_and_key_in_mtls(mutual: Ends, made: Path) -> None:
    authority, key, certificate = (
        (made / f"{name}.pem").read_bytes() for name in ("ca-cert", "client-key", "client-cert")
    )
    async with mutual.node() as address:
        found = await services_of(address, grpc.ssl_channel_credentials(authority, key, certificate))
    assert "agenthub.node.v1.NodeLink" in found


async def test_openssl_shows_the_certificate(ends: Ends, made: Path) -> None:
    async with ends.node() as address:
        shown = await asyncio.to_thread(
            subprocess.run,
            f"echo | openssl s_client -connect {address} -servername {NAME} -CAfile {made}/ca-cert.pem",
            shell=True, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert re.search(r"subject=CN ?= ?node1\.internal", shown.stdout)
    assert "Verify return code: 0 (ok)" in shown.stdout


async def test_those_who_only_look_do_not_keep_the_hub_out(ends: Ends, made: Path) -> None:
    async with ends.node() as address:
        trusting = grpc.ssl_channel_credentials((made / "ca-cert.pem").read_bytes())
        async with AsyncExitStack() as stack:
            refused = 0
            for _ in range(3):  # so many connections, and each may have as many calls as one may have
                channel = await stack.enter_async_context(
                    grpc.aio.secure_channel(
                        address, trusting,
                        options=[("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)],
                    )
                )  # fmt: skip
                for _ in range(10):
                    watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
                    try:
                        await watching.read()
                    except grpc.aio.AioRpcError as error:
                        refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert refused == 30 - MOST
            await ends.connect(address)
        looking: Callable[[], bool | Awaitable[bool]] = partial(can_look, address, trusting)
        await eventually_async(looking)


async def test_those_who_open_calls_and_say_nothing_do_not_keep_the_hub_out(ends: Ends, made: Path) -> None:
    async with ends.node() as address:
        trusting = grpc.ssl_channel_credentials((made / "ca-cert.pem").read_bytes())
        async with AsyncExitStack() as stack:
            calls = []
            for _ in range(3):
                channel: Any = await stack.enter_async_context(
                    grpc.aio.secure_channel(
                        address, trusting,
                        options=[("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)],
                    )
                )  # fmt: skip
                calls += [channel.stream_stream("/grpc.health.v1.Health/Check")(timeout=60) for _ in range(10)]
            await eventually_async(lambda: sum(call.done() for call in calls) >= 30 - MOST)
            codes = {await call.code() for call in calls if call.done()}
            assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert sum(call.done() for call in calls) == 30 - MOST
            await ends.connect(address)
        looking: Callable[[], bool | Awaitable[bool]] = partial(can_look, address, trusting)
        await eventually_async(looking)
        async with grpc.aio.secure_channel(
            address, trusting, options=[("grpc.ssl_target_name_override", NAME)]
        ) as channel:
            said = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            assert said.status == health_pb2.HealthCheckResponse.SERVING


async def can_look(address: str, trusting: grpc.ChannelCredentials) -> bool:
    try:
        return bool(await services_of(address, trusting))
    except grpc.aio.AioRpcError:
        return False


async def test_who_is_refused_often_does_not_fill_the_log(
    ends: Ends, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ends.node() as address:
        for _ in range(serve.REFUSALS_SAID * 2):
            await call(address, made, ())
    assert serve.REFUSALS_SAID <= capsys.readouterr().err.count('"link.refused"') <= serve.REFUSALS_SAID + 10
