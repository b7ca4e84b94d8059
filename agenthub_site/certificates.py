"""Keeps the hub's certificates good while it runs, and tells linked nodes when the authorities change."""

import asyncio
from pathlib import Path
from typing import Final

import structlog
from django.db import DatabaseError

from nodes.authority import tend_certificates
from nodes.contract.errors import HubError
from nodes.pki import PkiError, trust_digest

from .database_threads import DatabaseThreads
from .trust import TrustBoard

logger = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
TEND_SECONDS: Final = 60.0


class CertificateKeeper:
    """Another process may replace the files as well: what counts is what is on the disk."""

    def __init__(self, pki_dir: Path, database: DatabaseThreads, board: TrustBoard) -> None:
        self._path = pki_dir / "ca.pem"
        self._database = database
        self._board = board

    async def keep(self) -> None:
        """Runs until cancelled."""
        seen, tended = (0, 0), 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if not tended or loop.time() - tended > TEND_SECONDS:
                    tended = loop.time()
                    await self._database.run(tend_certificates)
                status = self._path.stat()
                if (now := (status.st_ino, status.st_mtime_ns)) != seen:
                    self._board.change(trust_digest(self._path.read_bytes()))
                    seen = now
            except (DatabaseError, HubError, PkiError, OSError) as error:
                logger.warning("certificates.not_tended", error=str(error))
            except Exception:  # top of the loop: said aloud, and tried again
                logger.exception("certificates.broken")
            await asyncio.sleep(LOOK_SECONDS)
