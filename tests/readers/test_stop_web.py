"""The web process starts and stops as it says: a clean exit, whoever is connected."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed

from tests.readers.clients import bearer, sse, ws, ws_frame
from tests.readers.conftest import HubProcess


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_streams_and_the_exit_is_clean(
    own_hub: HubProcess, http: httpx.AsyncClient, number: int
) -> None:
    own_hub.append(10)
    path = f"/ws/runs/{own_hub.run}/?after=10"
    async with sse(http, own_hub.run, own_hub.alice) as frames, ws(own_hub.address, path, own_hub.alice) as live:
        assert (await anext(frames))[0] == "state"
        assert (await ws_frame(live))[0] == "state"
        assert (own_hub.home / "address").read_text() == own_hub.address
        stopping = asyncio.create_task(asyncio.to_thread(own_hub.stop, number))
        assert len([frame async for frame in frames]) == 10
        with pytest.raises(ConnectionClosed):
            await ws_frame(live)
        assert await stopping == 0
    assert live.close_code == 4503
    assert not (own_hub.home / "hub.sock").exists()
    assert not (own_hub.home / "address").exists()
    assert list((own_hub.home / "bell").iterdir()) == []


async def test_a_client_that_takes_nothing_does_not_hold_up_the_exit(own_hub: HubProcess) -> None:
    with socket.create_connection(("127.0.0.1", int(own_hub.address.rpartition(":")[2]))) as deaf:
        deaf.sendall(
            f"GET /api/v1/runs/{own_hub.run}/events/stream HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {own_hub.alice}\r\n\r\n".encode()
        )
        own_hub.append(2_000, size=5_000)
        assert await asyncio.to_thread(own_hub.stop) == 0


def start_web(home: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AGENTHUB_")}
    command = [sys.executable, "-m", "agenthub_site.main", "web", "--no-controlplane", *options]
    env = {**kept, "AGENTHUB_HOME": str(home), **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_one_clear_line_and_status_two(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = start_web(home, "--listen", address)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert address in line and "another program listens there" in line


def test_an_unusable_certificate_is_named(home: Path) -> None:
    missing = str(home / "no.pem")
    ended = start_web(home, AGENTHUB_SERVER__TLS_CERT=missing, AGENTHUB_SERVER__TLS_KEY=missing)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "server.tls_cert" in ended.stderr


def make_certificate(home: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    (home / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (home / "key.pem").write_bytes(secret)
    return str(home / "cert.pem"), str(home / "key.pem")


async def test_it_serves_over_tls(engine: str, home: Path) -> None:
    certificate, key = make_certificate(home)
    hub = HubProcess(home, "--engine", engine, AGENTHUB_SERVER__TLS_CERT=certificate, AGENTHUB_SERVER__TLS_KEY=key)
    try:
        assert hub.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=certificate)
        hub.append(3, end=True)
        async with httpx.AsyncClient(base_url=hub.url, verify=trusting) as http:
            page = (await http.get(f"/api/v1/runs/{hub.run}/events", headers=bearer(hub.alice))).json()
            async with sse(http, hub.run, hub.alice) as frames:
                names = [name async for name, _ in frames]
        assert (page["last_seq"], names[-1]) == (3, "end")
        assert hub.stop() == 0
    finally:
        hub.kill()
