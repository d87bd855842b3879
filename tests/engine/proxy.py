"""Something between the portal and a server: it passes bytes on, changes what poolers change, freezes or breaks."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace

from migrations_audit.engine.urls import TargetUrl

_BACKEND_KEY = b"K" + struct.pack("!i", 12)


class Proxy:
    """Listens on a free loopback ``port``.

    With ``own_backend_key`` it hands out a cancel key of its own, as every pooler does. As soon as the client has sent the
    bytes ``freeze_at`` it passes on nothing more and keeps the connections open; at ``break_at`` it ends them.
    """

    def __init__(
        self,
        server: tuple[str, int],
        *,
        own_backend_key: bool = False,
        freeze_at: bytes | None = None,
        break_at: bytes | None = None,
    ) -> None:
        self._server = server
        self._own_backend_key = own_backend_key
        self._freeze_at = freeze_at
        self._break_at = break_at
        self._frozen = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every connection and listen no more."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for source, sink, to_client in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(source, sink, to_client), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not to_client and self._break_at is not None and self._break_at in data:
                    self.close()
                if not to_client and self._freeze_at is not None and self._freeze_at in data:
                    self._frozen.set()
                if self._frozen.is_set():
                    continue
                sink.sendall(self._changed(data) if to_client else data)
            sink.shutdown(socket.SHUT_WR)

    def _changed(self, data: bytes) -> bytes:
        at = data.find(_BACKEND_KEY)
        if not self._own_backend_key or at < 0:
            return data
        self._own_backend_key = False
        return data[: at + 5] + struct.pack("!i", 4242) + data[at + 9 :]


@contextlib.contextmanager
def before(
    url: TargetUrl, *, own_backend_key: bool = False, freeze_at: bytes | None = None, break_at: bytes | None = None
) -> Iterator[TargetUrl]:
    """Yield the URL of a proxy in front of the server of ``url``."""
    proxy = Proxy((url.host, url.port), own_backend_key=own_backend_key, freeze_at=freeze_at, break_at=break_at)
    try:
        yield replace(url, port=proxy.port)
    finally:
        proxy.close()
