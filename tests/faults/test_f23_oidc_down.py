"""F23: the identity provider is down. Who is signed in stays so, nodes and runs go on, the door says what is the
matter, and root signs in with the password that the hub itself knows."""

import http.client
import re
import shutil
import tempfile
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.fakes.provider import CLIENT, SECRET, FakeProvider
from tests.journeys.hub import Hub, new_hub
from tests.support import eventually

pytestmark = pytest.mark.timeout(240)


class Browser:
    """Cookies of one host, and no more of a browser than that."""

    def __init__(self, hub: Hub) -> None:
        self._host = urlsplit(hub.told["address"]).netloc
        self._cookies: SimpleCookie = SimpleCookie()

    def fetch(self, path: str, **form: str) -> tuple[int, str, str]:
        """Status, where it leads, and the page."""
        connection = http.client.HTTPConnection(self._host, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in self._cookies.items())}
        if form:
            form["csrfmiddlewaretoken"] = self._cookies["agenthub_csrf"].value
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{self._host}"}
        connection.request("POST" if form else "GET", path, urlencode(form) if form else None, headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or ():
            self._cookies.load(line)
        page = answer.read().decode()
        connection.close()
        return answer.status, answer.headers.get("Location", ""), page

    @property
    def is_in(self) -> bool:
        return self.fetch("/api/v1/me/")[0] == 200

    def by_provider(self, op: FakeProvider) -> tuple[int, str, str]:
        """There and, if the provider answers, back."""
        left = self.fetch("/oidc/authenticate/?next=/runs/")
        if not left[1].startswith(op.issuer):
            return left
        back = urlsplit(op.grant(left[1], preferred_username="anna"))
        return self.fetch(f"{back.path}?{back.query}")


@pytest.fixture
def op() -> Iterator[FakeProvider]:
    op = FakeProvider()
    yield op
    op.close()


@pytest.fixture
def hub(op: FakeProvider) -> Iterator[Hub]:
    home = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    with new_hub(home) as hub:
        op.is_away = True  # from before the start: nothing of the hub may wait for it
        hub.up(AGENTHUB_OIDC__ISSUER=op.issuer, AGENTHUB_OIDC__CLIENT_ID=CLIENT, AGENTHUB_OIDC__CLIENT_SECRET=SECRET)
        yield hub
    shutil.rmtree(home, ignore_errors=True)


def test_a_provider_that_is_down_stops_new_sign_ins_by_it_and_nothing_else(hub: Hub, op: FakeProvider) -> None:
    assert op.asked == [], "the start asks the provider nothing"
    guest = Browser(hub)
    status, onward, _ = guest.by_provider(op)
    assert (status, onward) == (302, "/login/?provider=away&next=%2Fruns%2F")
    page = guest.fetch(onward)[2]
    assert "does not answer at present" in page and 'name="password"' in page

    op.is_away = False
    anna = Browser(hub)
    eventually(lambda: anna.by_provider(op)[1] == "/runs/")
    assert anna.is_in

    op.is_away = True
    late = Browser(hub)
    back = late.by_provider(op)
    assert back[1].startswith("/login/?provider=away"), "known addresses lead there, and its silence is said on return"
    assert not late.is_in and anna.is_in
    run = hub.start_run("@say the provider is none of my business")
    eventually(lambda: hub.run_of(run)["state"] == "succeeded")

    root = Browser(hub)
    login = root.fetch("/login/")[2]
    assert re.search(r'name="username"', login)
    status, onward, _ = root.fetch("/login/", username=hub.told["user"], password=hub.told["password"], next="/admin/")
    assert (status, onward) == (302, "/admin/") and root.is_in
    assert root.fetch("/admin/")[0] == 200
    assert anna.is_in, "sessions that the provider opened go on"
