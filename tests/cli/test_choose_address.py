import socket
from pathlib import Path

import pytest

from agenthub_site.listening import BadListen, choose_address
from integrations.cli.where import Where, url_of


def where(listen: str = "", **server: str) -> Where:
    return Where(Path("/x"), values={"server": {"listen": listen, **server}})


def test_port_0_becomes_a_free_one() -> None:
    host, _, port = choose_address(where("127.0.0.1:0")).rpartition(":")
    assert host == "127.0.0.1" and int(port) > 0


def test_a_taken_port_is_said_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadListen, match=rf"Port {port} is taken.*AGENTHUB_SERVER__LISTEN"):
            choose_address(where(f"127.0.0.1:{port}"))


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_is_none_names_the_key(listen: str) -> None:
    with pytest.raises(BadListen, match=r"server\.listen"):
        choose_address(where(listen))


def test_another_machines_address_is_refused() -> None:
    with pytest.raises(BadListen, match=r"192\.0\.2\.1:0"):
        choose_address(where("192.0.2.1:0"))


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:1"),
        ({"tls_cert": "c.pem"}, "https://127.0.0.1:1"),
        ({"public_url": "https://hub.example.com/"}, "https://hub.example.com"),
    ],
)
def test_the_url_is_what_people_open(server: dict[str, str], url: str) -> None:
    assert url_of(where(**server), "127.0.0.1:1") == url


def test_listening_everywhere_is_opened_on_loopback() -> None:
    assert url_of(where(), "0.0.0.0:1") == url_of(where(), "[::]:1") == "http://127.0.0.1:1"
