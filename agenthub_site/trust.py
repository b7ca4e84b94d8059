"""Which authorities the hub trusts, and every link of this process that is to hear when they change."""

import contextlib
from collections.abc import Iterator

from nodes.link.errors import LinkError
from nodes.link.link import HubEnd
from nodes.pb import link_pb2 as pb


class TrustBoard:
    """``digest`` is that of ``nodes.pki.trust_digest``; empty until it is known."""

    def __init__(self) -> None:
        self.digest = b""
        self._links: set[HubEnd] = set()

    @property
    def shown(self) -> pb.Trust | None:
        """For a welcome."""
        return pb.Trust(digest=self.digest) if self.digest else None

    @contextlib.contextmanager
    def telling(self, link: HubEnd) -> Iterator[None]:
        """The link hears of changes meanwhile."""
        self._links.add(link)
        try:
            yield
        finally:
            self._links.discard(link)

    def change(self, digest: bytes) -> None:
        """From now on; said over every link."""
        if digest == self.digest:
            return
        self.digest = digest
        for link in self._links:
            with contextlib.suppress(LinkError):  # it is just ending; the next one begins with this
                link.try_send(pb.HubFrame(trust=self.shown))
