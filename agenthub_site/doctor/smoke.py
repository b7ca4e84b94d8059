"""``agenthub doctor --smoke``: walks a hub's post-deploy checklist, really doing each thing, and cleans up.

What is made is named ``doctor-smoke…``: agents are put away, the token is revoked, the repository and its
worktrees are removed at the end. The project ``doctor-smoke`` stays for the next time, since projects do.
"""

import http.client
import queue
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from integrations.cli.client import Client, HubRefused, HubUnreachable, Json
from integrations.cli.follow import ENDINGS, Event, Reader, follow, is_over

from .findings import Case, Finding, note, ok, problem

PROJECT: Final = "doctor-smoke"
RUN_SECONDS: Final = 60.0
"""A scripted run takes two seconds; a loaded machine gets this long."""
PATIENCE_SECONDS: Final = 20.0
MOST_NODES: Final = 20
FORBIDDEN: Final = "/"
"""A directory that no sane node allows."""


_LOGIN_ANSWERS: Final = {200: "the password is wrong", 403: "the form is refused", 429: "too many attempts"}


class Failed(Exception):
    """The step did not do what it should; ``fix`` says what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class NotWalked(Exception):
    """The step could not be tried here; ``by_hand`` says how to check it."""

    def __init__(self, message: str, by_hand: str = "") -> None:
        super().__init__(message)
        self.by_hand = by_hand


@dataclass
class Walk:
    """One walk over a hub: what it made, so that it can be cleaned up."""

    case: Case
    hub: Client
    repository: str = ""
    """A git repository on the local node; empty where this machine is not the hub's."""
    user: str = "root"
    password: str = ""
    """To sign in with, as people do; empty where nobody told it."""
    tag: str = field(default_factory=lambda: secrets.token_hex(3))
    agents: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    token: Json = field(default_factory=dict)
    agent: str = ""
    events: list[Json] = field(default_factory=list)
    """Of the first run, as they were followed."""
    made_repository: Path | None = None
    left_out: list[Finding] = field(default_factory=list)
    """Parts of a step that were not walked."""

    # The checklist, in its order.

    def login(self) -> str:
        address = self._address()
        browser = Browser(address)
        status, page = browser.fetch("GET", "/login/")
        if status != http.client.OK or b"password" not in page:
            raise Failed(f"{address}/login/ answers {status}, and not with the form to sign in.", "See logs/hub.log.")
        told = f"{address} shows the form"
        if self.password:
            browser.sign_in(self.user, self.password)
            told = f"{self.user} signs in at {address}, and the API takes the session"
        return f"{told}; {self._try_tokens(address)}"

    def _try_tokens(self, address: str) -> str:
        self.token = self.hub.post("/api/v1/tokens/", {"name": f"doctor-smoke-{self.tag}"})
        me = Client(address, str(self.token["token"]), timeout=10).get("/api/v1/me/")
        try:
            Client(address, "aht_not-a-token", timeout=10).get("/api/v1/me/")
        except HubRefused as error:
            if error.status != http.client.UNAUTHORIZED:
                raise Failed(f"A wrong token is answered {error.status}, not 401.") from error
        else:
            raise Failed("A wrong token is let in.", "Stop the hub: its door is open.")
        return f"a token speaks for {me['username']}, a wrong one is refused"

    def create_agent(self) -> str:
        if not any(project["slug"] == PROJECT for project in self.hub.every("/api/v1/projects/", limit=100)):
            self.hub.post("/api/v1/projects/", {"slug": PROJECT, "name": "Smoke test of agenthub doctor"})
        place: Json = {"workspace_mode": "create_worktree", "worktree_repo": self._repository()}
        self.agent = self._make_agent("", "local", **place)
        return f"{PROJECT}/doctor-smoke-{self.tag}, in a worktree of {place['worktree_repo']}"

    def run_ends(self) -> str:
        self._need(self.agent, "an agent")
        began = time.monotonic()
        run = self._start(self.agent, "Have a look around, and tell me what you find.")
        self.events = self._follow(run)
        self._expect(run, "succeeded")
        numbers = [event["seq"] for event in self.events]
        if numbers != list(range(1, len(numbers) + 1)):
            raise Failed("Its events are not numbered from 1 without gaps.", "Report this, with the run's id.")
        return f"succeeded after {time.monotonic() - began:.1f} s, {len(numbers)} events as they happened"

    def history_stays(self) -> str:
        self._need(self.events, "a run that ended")
        run, middle = self.events[0]["run"], len(self.events) // 2
        rest = [frame.envelope for frame in follow(self.hub, run, middle, is_known=True, patience=PATIENCE_SECONDS)
                if isinstance(frame, Event)]  # fmt: skip
        if rest != self.events[middle:]:
            raise Failed(f"A reader that comes back with Last-Event-ID {middle} does not get exactly the rest.")
        again = self.hub.get(f"/api/v1/runs/{run}/events", after=0, limit=5000)["results"]
        if again != self.events:
            raise Failed("The history read again is not what was followed.")
        return f"read again it is the same; Last-Event-ID {middle} gets the other {len(rest)}"

    def approval_is_asked(self) -> str:
        self._need(self.agent, "an agent")
        run = self._start(self.agent, f"@write doctor-smoke-{self.tag}.md walked" if self.repository else "@ask write")
        applied = self._follow(run, self._allow)
        self._expect(run, "succeeded")
        resolved = [event["payload"] for event in applied if event["type"] == "run.approval.resolved"]
        if not resolved or resolved[-1].get("result") != "applied":
            raise Failed("The approval was not applied.", "Look at the run: agenthub logs last.")
        return "asked, allowed, applied"

    def diff_is_there(self) -> str:
        self._need(self.agent, "an agent")
        run = self.runs[-1]
        deadline = time.monotonic() + RUN_SECONDS
        while (diff := self.hub.get(f"/api/v1/runs/{run}/diff/"))["state"] == "pending":
            if time.monotonic() > deadline:
                raise Failed("The patch does not arrive from the node.", "Look at the node's log.")
            time.sleep(0.2)
        if f"doctor-smoke-{self.tag}.md" not in diff["patch"]:
            raise Failed("What the run wrote is not in its diff.", "Is git installed on the node?")
        return f"{diff['files_changed']} file, +{diff['additions']}"

    def outside_is_refused(self) -> str:
        self._need(self.agent, "an agent")
        agent = self._make_agent("-outside", "local", workspace_mode="use_existing", workdir=FORBIDDEN)
        run = self._start(agent, "@say this must not run")
        self._follow(run)
        found = self._get(run)
        if found["reason"] != "outside_safe_paths":
            raise Failed(
                f"A run in {FORBIDDEN} is {found['state']} ({found['reason']}), not refused.",
                "Take it out of safe_paths: whoever starts a run could work on the whole machine.",
            )
        return f"a run in {FORBIDDEN} is refused (outside_safe_paths)"

    def cancel_works(self) -> str:
        self._need(self.agent, "an agent")
        run = self._start(self.agent, "@events 100000 rate 20")
        began: list[float] = []

        def cancel(event: Json) -> None:
            if event["type"] == "run.started":
                began.append(time.monotonic())
                self.hub.post(f"/api/v1/runs/{run}/cancel/")

        self._follow(run, cancel)
        self._expect(run, "cancelled")
        return f"ended {time.monotonic() - began[0]:.1f} s after the cancel"

    def remote_nodes_work(self) -> str:
        """Every remote node that is online starts a run and streams it back; each that is left out is said."""
        self._need(self.agent, "an agent")
        nodes = [node for node in self.hub.every("/api/v1/nodes/", limit=100) if node["slug"] != "local"]
        online = [node for node in nodes if node["health"] in ("online", "degraded")]
        if not online:
            raise NotWalked("no remote node is online", "Join one (agenthub node token NAME), then walk again.")
        for node in nodes:
            if node not in online:
                self._leave_out(node, f"it is {node['health']}", f"agenthub doctor {node['slug']} says why.")
        for node in online[MOST_NODES:]:
            self._leave_out(node, f"a walk goes to {MOST_NODES} nodes", f"agenthub doctor {node['slug']} looks at it.")
        walked = [node["slug"] for number, node in enumerate(online[:MOST_NODES]) if self._walk_node(number, node)]
        if not walked:
            raise NotWalked("no remote node that is online has a directory to work in", "Make one, as is said below.")
        return f"{', '.join(walked)}: started, streamed back"

    def _walk_node(self, number: int, node: Json) -> bool:
        """In a safe path, or where the node has none, in the walk's own directory there. False: it has neither."""
        slug = node["slug"]
        *roots, worktrees = self.hub.get(f"/api/v1/nodes/{node['id']}/").get("allowed_roots") or [""]
        workdir = roots[0] if roots else f"{worktrees}/{PROJECT}"
        self._let_use(slug)
        agent = self._make_agent(f"-node{number}", slug, workspace_mode="use_existing", workdir=workdir)
        run = self._start(agent, "@say hello from afar")
        events = self._follow(run)
        if not roots and self._get(run)["reason"] == "workspace_missing":
            fix = f"On {slug}, as its node's account: mkdir -p {shlex.quote(workdir)}, then walk again."
            self._leave_out(node, "it has no safe path, and no directory for the walk", fix)
            return False
        found = self._expect(run, "succeeded")
        if found["node_slug"] != slug or not any(event["type"] == "run.message.completed" for event in events):
            raise Failed(f"The run on {slug} streamed nothing back.", f"agenthub doctor {slug}")
        return True

    def _leave_out(self, node: Json, why: str, by_hand: str) -> None:
        self.left_out.append(note(f"node {node['slug']}", f"not walked: {why}.", by_hand, "not_walked"))

    def clean_up(self) -> str:
        """Whatever happened: nothing of the walk goes on, and nobody can use what it made."""
        for run in self.runs:
            with suppress(HubRefused):  # it has ended
                self.hub.post(f"/api/v1/runs/{run}/cancel/")
        for agent in self.agents:
            self.hub.delete(f"/api/v1/agents/{agent}/")
        for route in self.routes:
            self.hub.delete(f"/api/v1/routes/{route}/")
        if self.token:
            self.hub.delete(f"/api/v1/tokens/{self.token['id']}/")
        ended = [self._ended(run) for run in self.runs]
        if self.made_repository is not None:
            self._remove([Path(run["workspace"]) for run in ended if run["workspace"]], self.made_repository)
        return f"{len(self.agents)} agents put away, {len(self.runs)} runs ended, the token revoked"

    def _ended(self, run: str) -> Json:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_over((found := self._get(run))["state"]):
            if time.monotonic() > deadline:
                raise Failed(f"Run {run} does not end.", f"agenthub cancel {run}")
            time.sleep(0.2)
        return found

    def _remove(self, workspaces: list[Path], repository: Path) -> None:
        """What was made for this walk, and nothing beside it."""
        for path in (*workspaces, repository):
            if path.parent == repository.parent:
                shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # another walk is under way
            repository.parent.rmdir()

    # What the steps are made of.

    def _let_use(self, node: str) -> None:
        """The walk's project needs a route there; one that it has already stays when the walk is over."""
        if not self.hub.get("/api/v1/routes/test/", project=PROJECT, node=node)["is_allowed"]:
            self.routes.append(self.hub.post("/api/v1/routes/", {"project": PROJECT, "node": node})["id"])

    def _need(self, thing: object, what: str) -> None:
        if not thing:
            raise NotWalked(f"it needs {what}")

    def _address(self) -> str:
        """As people open it."""
        if url := self.case.where.url or (self.case.config and self.case.config.server.public_url):
            return url.rstrip("/")
        try:
            bound = (self.case.where.home / "address").read_text("ascii").strip()
        except OSError as error:
            raise NotWalked("where the web door listens is not written in this home") from error
        scheme = "https" if self.case.config and self.case.config.server.tls_cert else "http"
        return f"{scheme}://{bound.replace('0.0.0.0', '127.0.0.1')}"  # noqa: S104 - replaced, not bound

    def _repository(self) -> str:
        if self.repository:
            return self.repository
        if self.case.where.url or self.case.config is None:
            raise NotWalked(
                "this machine is not the hub's, so no repository can be made there",
                "Run it on the hub's machine, or name one on its node: --repo /srv/repos/shop.",
            )
        from agenthub_site.demo_repository import make_repository

        self.made_repository = self.case.config.worktree_root / PROJECT / f"repository-{self.tag}"
        self.repository = str(self.made_repository)
        make_repository(self.made_repository)
        return self.repository

    def _make_agent(self, suffix: str, node: str, **place: str) -> str:
        made = self.hub.post(
            "/api/v1/agents/",
            {"project": PROJECT, "name": f"doctor-smoke-{self.tag}{suffix}", "node": node, "preset": "scripted",
             "approval_seconds": RUN_SECONDS, "turn_seconds": RUN_SECONDS, **place},
        )  # fmt: skip
        self.agents.append(made["id"])
        return str(made["id"])

    def _start(self, agent: str, prompt: str) -> str:
        run = str(self.hub.post("/api/v1/runs/", {"agent": agent, "prompt": prompt})["id"])
        self.runs.append(run)
        return run

    def _get(self, run: str) -> Json:
        found: Json = self.hub.get(f"/api/v1/runs/{run}/")
        return found

    def _expect(self, run: str, state: str) -> Json:
        found = self._get(run)
        if found["state"] != state:
            raise Failed(f"The run is {found['state']} ({found['reason']}), not {state}: {found['message']}",
                         f"agenthub logs {run}")  # fmt: skip
        return found

    def _follow(self, run: str, on_event: Callable[[Json], None] = lambda _: None) -> list[Json]:
        """Its events until the end, as they happen. Raises ``Failed`` if that takes too long."""
        reader = Reader(lambda: follow(self.hub, run, 0, is_known=True, patience=PATIENCE_SECONDS))
        deadline = time.monotonic() + RUN_SECONDS
        events: list[Json] = []
        while True:
            try:
                frame = reader.next(max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                found = self._get(run)
                waits = f", waiting for {found['waiting_for']}" if found["waiting_for"] else ""
                raise Failed(f"The run is still {found['state']}{waits} after {RUN_SECONDS:.0f} s.",
                             "agenthub doctor says what is in the way.") from None  # fmt: skip
            if frame is None:
                return events
            if isinstance(frame, Event):
                events.append(frame.envelope)
                on_event(frame.envelope)
                if frame.envelope["type"] in ENDINGS:
                    return events

    def _allow(self, event: Json) -> None:
        if event["type"] == "run.approval.requested":
            asked = event["payload"]
            option = next(each["option_id"] for each in asked["options"] if each["kind"] == "allow_once")
            path = f"/api/v1/runs/{event['run']}/approvals/{asked['approval_id']}/decide/"
            self.hub.post(path, {"option_id": option})


Step = tuple[str, Callable[[Walk], str]]
STEPS: Final[tuple[Step, ...]] = (
    ("login", Walk.login),
    ("agent", Walk.create_agent),
    ("run", Walk.run_ends),
    ("history", Walk.history_stays),
    ("approval", Walk.approval_is_asked),
    ("diff", Walk.diff_is_there),
    ("safe paths", Walk.outside_is_refused),
    ("cancel", Walk.cancel_works),
    ("remote nodes", Walk.remote_nodes_work),
)
BY_HAND: Final = (
    ("pages", "what a page looks like is for eyes.", "Open it, sign in with a password, and reload a run's page."),
    ("restart", "a live hub is not restarted by its doctor.",
     "Start a run, stop the hub (Ctrl-C), start it again: `agenthub logs last` goes on where it was."),
)  # fmt: skip
"""Of the checklist, what is not walked."""


def walk(walked: Walk, on_step: Callable[[str], None]) -> Iterator[Finding]:
    """Every step's finding; ``on_step`` is told of each before it begins."""
    try:
        for name, step in STEPS:
            on_step(name)
            yield _take(name, lambda step=step: step(walked))  # type: ignore[misc]
            yield from walked.left_out
            walked.left_out.clear()
    finally:
        cleaned = _take("clean up", walked.clean_up)
    yield cleaned
    if not walked.password:
        yield note("password", "not walked: nobody told one.", "--user NAME asks for it, or AGENTHUB_SMOKE_PASSWORD.",
                   "not_walked")  # fmt: skip
    for name, why, how in BY_HAND:
        yield note(name, f"not walked: {why}", how, "not_walked")


def _take(name: str, step: Callable[[], str]) -> Finding:
    try:
        return ok(name, step())
    except NotWalked as error:
        return note(name, f"not walked: {error}.", error.by_hand, "not_walked")
    except Failed as error:
        return problem(name, str(error), error.fix, "smoke_failed")
    except HubRefused as error:
        return problem(name, str(error), "agenthub doctor says who the hub takes you for.", error.code)
    except (HubUnreachable, OSError, http.client.HTTPException) as error:
        return problem(name, str(error), "Look at the hub's log (logs/hub.log).", "hub_unreachable")


class Browser:
    """As much of one as signing in takes: cookies, a form, and no redirects."""

    def __init__(self, address: str) -> None:
        self._parts = urlsplit(address)
        self._address = address
        self._cookies: SimpleCookie = SimpleCookie()

    def fetch(self, method: str, path: str, form: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=10)
        headers = {
            "Accept": "text/html, */*", "Referer": f"{self._address}/login/", "Origin": self._address,
            "Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in self._cookies.items()),
        }  # fmt: skip
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, urlencode(form) if form is not None else None, headers)
            answer = connection.getresponse()
            for line in answer.headers.get_all("Set-Cookie") or ():
                self._cookies.load(line)
            return answer.status, answer.read(1024 * 1024)
        finally:
            connection.close()

    def sign_in(self, user: str, password: str) -> None:
        """After the form was fetched, which gave the cookie that has to come back. Raises ``Failed``."""
        token = self._cookies["agenthub_csrf"].value if "agenthub_csrf" in self._cookies else ""
        form = {"username": user, "password": password, "csrfmiddlewaretoken": token}
        status, _ = self.fetch("POST", "/login/", form)
        if status != http.client.FOUND:
            raise Failed(
                f"{user} cannot sign in ({_LOGIN_ANSWERS.get(status, status)}).",
                "`agenthub manage changepassword` sets another. If every form is refused: server.public_url is not "
                "this address, or the proxy in front is not in server.trusted_proxies.",
            )
        status, _ = self.fetch("GET", "/api/v1/me/")
        if status != http.client.OK:
            raise Failed(
                f"login works, but the API is unauthorized ({status}): the session's cookie does not come back.",
                "Open the hub by the very address in server.public_url, with https if that says https.",
            )
