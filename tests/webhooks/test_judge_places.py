"""Where webhooks may lead."""

import pytest

from agents.webhooks.lookups import Lookups
from agents.webhooks.places import PlaceRefused, check_url, find_addresses, is_public
from nodes.contract.errors import Invalid


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.com", "ftp://example.com/", "file:///etc/passwd", "https://", "https://user@example.com/",
        "https://user:word@example.com/", "https://example.com/#part", "https://example.com:0/",
        "https://example.com:99999/", "https://exa mple.com/", "https://example.com/\r\nX: y", "https://[::1/",
        "http://example.com/", f"https://example.com/{'x' * 600}", "https://exämple.com/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_is_no_address_to_post_to_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url, [])


def test_http_is_for_hosts_that_the_operator_named() -> None:
    assert check_url("http://Hooks.internal:8080/x", ["hooks.INTERNAL"]).port == 8080
    assert check_url("http://10.1.2.3/", ["10.0.0.0/8"])
    assert check_url("https://example.com/a?b=c", [])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
        "64:ff9b:1::a9fe:a9fe", "fec0::1", "feff::1", "::93.184.215.14", "::ffff:0:169.254.169.254",
    ],
)  # fmt: skip
def test_what_only_the_hub_reaches_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14"])
def test_the_web_is_public(address: str) -> None:
    assert is_public(address)


def test_one_private_address_among_several_is_one_too_many() -> None:
    lookups = Lookups(lambda _: ["93.184.215.14", "127.0.0.1"])
    with pytest.raises(PlaceRefused) as refused:
        find_addresses("example.com", [], lookups)
    assert "example.com" in str(refused.value) and "127.0.0.1" not in str(
        refused.value
    )  # which one is nobody's to know
    assert find_addresses("example.com", ["example.com"], lookups) == ["93.184.215.14", "127.0.0.1"]
    assert find_addresses("example.com", ["127.0.0.0/8"], lookups) == ["93.184.215.14", "127.0.0.1"]


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1", "::1"])
def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    with pytest.raises((PlaceRefused, OSError)):
        find_addresses(host, [])
