"""A line to a hub that can be cut, frozen and mended: plain TCP, byte for byte."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

CHUNK = 65536


class Relay:
    """Listens on a free port of loopback and passes everything on to ``target``."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._flows, self._answers = threading.Event(), threading.Event()
        self._flows.set()
        self._answers.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break what is connected, and refuse what comes."""
        self._is_cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False
        self._flows.set()
        self._answers.set()

    def freeze(self) -> None:
        """Stay connected, and pass nothing on."""
        self._flows.clear()
        self._answers.clear()

    def hush(self) -> None:
        """Stay connected, and pass on what goes to the target; nothing comes back."""
        self._answers.clear()

    def close(self) -> None:
        self.cut()
        self.mend()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # nobody listens at the other end just now
            if self._is_cut:
                return
            with socket.create_connection(self.target) as server:
                self._open |= {client, server}
                back = threading.Thread(target=self._pump, args=(server, client, self._answers), daemon=True)
                back.start()
                self._pump(client, server, self._flows)
                back.join()
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, may_pass: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                may_pass.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
