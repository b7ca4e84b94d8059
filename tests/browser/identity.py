"""A real OpenID provider of its own process, and the pages of it that a person sees."""

import subprocess
from pathlib import Path

from playwright.sync_api import Page

HERE = Path(__file__).parent / "provider"
INSTALLED = Path(__file__).parents[2] / ".provider"
SECRET = "a secret of the tests"


class IdentityProvider:
    """Up as soon as it is made; it knows a hub once ``serve`` told it of one, and answers 503 until then."""

    def __init__(self) -> None:
        assert (INSTALLED / "node_modules/oidc-provider").exists(), (
            "The identity provider is not installed: run 'make pages' or tests/browser/provider/install.sh"
        )
        self._process = subprocess.Popen(
            ["node", str(HERE / "op.mjs"), str(INSTALLED)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.issuer = self._line()
        self._is_serving = False

    def serve(self, hub: str) -> None:
        """Know this hub from now on; asked again it is the same."""
        if self._is_serving:
            return
        self._is_serving = True
        assert self._process.stdin
        self._process.stdin.write(f"{hub}\n")
        self._process.stdin.flush()
        assert self._line() == "ready"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, "the identity provider ended"
        return line


def sign_in_there(page: Page, name: str) -> None:
    """At the provider's own pages: a name, any password, and consent."""
    page.locator('input[name="login"]').fill(name)
    page.locator('input[name="password"]').fill("any")
    page.locator('button[type="submit"]').click()
    page.get_by_role("button", name="Continue").click()
