"""Who is let in at the hot doors, and who is turned away, how."""

import asyncio
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.readers.clients import bearer, sse, ws, ws_frame
from tests.readers.conftest import HubProcess

NOWHERE = "01a1fc0a-0000-7000-8000-000000000000"


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "data"}
    return answer.status_code, error["code"]


@pytest.mark.parametrize("door", ["events", "events/stream"])
async def test_a_reader_without_right_gets_an_error_of_the_one_shape(
    any_hub: HubProcess, http: httpx.AsyncClient, door: str
) -> None:
    url = f"/api/v1/runs/{any_hub.run}/{door}"
    assert code_of(await http.get(url)) == (401, "unauthenticated")
    assert code_of(await http.get(url, headers=bearer("aht_wrong"))) == (401, "invalid_token")
    assert code_of(await http.get(url, headers=bearer(any_hub.known["charlie"]))) == (404, "not_found")
    missing = f"/api/v1/runs/{NOWHERE}/{door}"
    assert code_of(await http.get(missing, headers=bearer(any_hub.alice))) == (404, "not_found")


async def test_bad_input_is_named(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    url, alice = f"/api/v1/runs/{any_hub.run}/events", bearer(any_hub.alice)
    for query in ({"after": "-1"}, {"after": "x"}, {"limit": "5001"}, {"after": "9" * 30}, {"after": "x" * 5000}):
        assert code_of(await http.get(url, params=query, headers=alice)) == (400, "invalid")
    wrong = {**alice, "Last-Event-ID": "seven"}
    assert code_of(await http.get(f"{url}/stream", headers=wrong)) == (400, "invalid")
    answer = await http.post(url, headers=alice)
    assert (*code_of(answer), answer.headers["allow"]) == (405, "method_not_allowed", "GET")
    large = {**alice, "Content-Type": "application/json"}
    assert code_of(await http.request("GET", url, content=b"x" * 3000, headers=large)) == (413, "too_large")


async def test_answers_carry_the_request_id(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    headers = {**bearer(any_hub.alice), "X-Request-ID": "given-by-a-proxy"}
    answer = await http.get(f"/api/v1/runs/{any_hub.run}/events", headers=headers)
    assert answer.headers["x-request-id"] == "given-by-a-proxy"


async def test_another_host_name_is_refused(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    headers = {**bearer(any_hub.alice), "Host": "evil.example"}
    assert code_of(await http.get(f"/api/v1/runs/{any_hub.run}/events", headers=headers)) == (400, "wrong_host")


@pytest.mark.parametrize("path", ["/ws/runs/{run}/", "/ws/projects/{project}/"])
@pytest.mark.parametrize(("who", "code"), [("charlie", 4404), (None, 4401), ("nobody", 4401)])
async def test_a_socket_without_right_is_told_and_closed(
    hub: HubProcess, path: str, who: str | None, code: int
) -> None:
    token = hub.known.get(who, "aht_wrong") if who else None
    async with ws(hub.address, path.format(**hub.known), token) as socket:
        name, error = await ws_frame(socket)
        assert (name, error["code"]) in [("error", c) for c in ("not_found", "unauthenticated", "invalid_token")]
        with pytest.raises(ConnectionClosed):
            await ws_frame(socket)
    assert socket.close_code == code


@pytest.mark.parametrize("path", [f"/ws/runs/{NOWHERE}/", f"/ws/projects/{NOWHERE}/"])
async def test_a_socket_of_something_that_is_not_there_is_told_so(any_hub: HubProcess, path: str) -> None:
    for who in ("alice", "root"):
        async with ws(any_hub.address, path, any_hub.known[who]) as socket:
            assert (await ws_frame(socket))[1]["code"] == "not_found"


async def test_a_socket_at_no_path_of_ours_is_refused(hub: HubProcess) -> None:
    with pytest.raises(InvalidStatus):
        async with ws(hub.address, "/ws/elsewhere/", hub.alice):
            pass


async def refused(hub: HubProcess, **headers: str) -> bool:
    try:
        async with ws(hub.address, f"/ws/runs/{hub.run}/", None, headers=headers):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 403


async def test_a_session_reads_from_our_own_pages_only(hub: HubProcess, http: httpx.AsyncClient) -> None:
    cookie = f"agenthub_session={hub.ask('open_session', username='alice')}"
    assert await refused(hub, Cookie=cookie, Origin="http://evil.example")
    assert await refused(hub, Cookie=cookie)
    own: dict[str, Any] = {"Cookie": cookie, "Origin": hub.url}
    async with ws(hub.address, f"/ws/runs/{hub.run}/", None, headers=own) as socket:
        assert (await ws_frame(socket))[0] == "state"
    url = f"/api/v1/runs/{hub.run}/events"
    assert (await http.get(url, headers={"Cookie": cookie})).status_code == 200
    foreign = {"Cookie": cookie, "Origin": "http://evil.example"}
    assert code_of(await http.get(url, headers=foreign)) == (403, "wrong_origin")
    embedded = {"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}
    assert code_of(await http.get(url, headers=embedded)) == (403, "wrong_origin")


async def test_nothing_sent_over_tcp_makes_an_operator(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    forged = {"agenthub.operator": "1", "X-Agenthub-Operator": "0", "Extensions": "agenthub.operator"}
    answer = await http.get(f"/api/v1/runs/{any_hub.run}/events", headers=forged)
    assert code_of(answer) == (401, "unauthenticated")


async def test_open_readers_end_when_the_person_is_deactivated(
    own_any_hub: HubProcess, http: httpx.AsyncClient
) -> None:
    """Those by a token, and those of a page; and neither credential is any good after it."""
    path = f"/ws/projects/{own_any_hub.known['project']}/"
    cookie = f"agenthub_session={own_any_hub.ask('open_session', username='alice')}"
    own: dict[str, Any] = {"Cookie": cookie, "Origin": own_any_hub.url}
    async with (
        sse(http, own_any_hub.run, own_any_hub.alice) as frames,
        ws(own_any_hub.address, path, own_any_hub.alice) as socket,
        ws(own_any_hub.address, path, None, headers=own) as page,
        asyncio.timeout(60),
    ):
        assert (await anext(frames))[0] == "state"
        for one in (socket, page):
            assert (await ws_frame(one))[0] == "heartbeat"
        own_any_hub.ask("deactivate", username="alice")
        assert await anext(frames) == ("refused", await error_frame(socket))
        assert (await error_frame(page))["error"]["code"] == "unauthenticated"
    url = f"/api/v1/runs/{own_any_hub.run}/events"
    assert code_of(await http.get(url, headers=bearer(own_any_hub.alice))) == (401, "invalid_token")
    assert code_of(await http.get(url, headers={"Cookie": cookie})) == (401, "unauthenticated")


async def error_frame(socket: Any) -> dict[str, Any]:
    name, error = await ws_frame(socket)
    return {name: error}


async def test_an_address_that_keeps_failing_is_not_heard(own_any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    url = f"/api/v1/runs/{own_any_hub.run}/events"
    codes: set[tuple[int, str]] = set()
    for _ in range(40):  # many at once, so that failures are faster than they are forgiven on a busy machine too
        answers = await asyncio.gather(*[http.get(url, headers=bearer("aht_wrong")) for _ in range(25)])
        codes |= {code_of(answer) for answer in answers}
        if (429, "throttled") in codes:
            break
    assert codes == {(401, "invalid_token"), (429, "throttled")}
