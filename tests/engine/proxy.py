"""Something between the portal and a server: it passes bytes on, and can change, freeze or break the connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from migrations_audit.engine.urls import TargetUrl

_BACKEND_KEY = b"K" + struct.pack("!i", 12)


class Proxy:
    """Listens on a free loopback ``port``. Before it passes on what a client sends and ``when`` is in it, it does ``do``."""

    def __init__(self, url: TargetUrl, when: bytes, do: Callable[[Proxy], None]) -> None:
        self.own_backend_key = False
        self._server = (url.host, url.port)
        self._when = when
        self._do = do
        self._frozen = threading.Event()
        self._is_cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Pass on nothing more, and keep the connections open."""
        self._frozen.set()

    def thaw(self) -> None:
        """Pass on what comes from now on. What was sent meanwhile is lost, as its connections are."""
        self._frozen.clear()

    def cut(self) -> None:
        """End every connection, and each new one at once, until ``mend``."""
        self._is_cut.set()
        self._end(self._open[1:])

    def mend(self) -> None:
        self._is_cut.clear()

    def close(self) -> None:
        """End every connection and listen no more."""
        self._end(self._open)

    def _end(self, sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def pretend_to_pool(self) -> None:
        """Hand out a cancel key of its own, as every pooler does."""
        self.own_backend_key = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut.is_set():
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._open += [client, server]
                threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
                threading.Thread(target=self._to_client, args=(server, client), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._when in data:
                    self._do(self)
                if not self._frozen.is_set():
                    server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _to_client(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                at = data.find(_BACKEND_KEY)
                if self.own_backend_key and at >= 0:
                    data = data[: at + 5] + struct.pack("!i", 4242) + data[at + 9 :]
                    self.own_backend_key = False
                if not self._frozen.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def before(url: TargetUrl, *, when: bytes, do: Callable[[Proxy], None]) -> Iterator[TargetUrl]:
    """Yield the URL of a proxy in front of the server of ``url``."""
    proxy = Proxy(url, when, do)
    try:
        yield replace(url, port=proxy.port)
    finally:
        proxy.close()


@contextlib.contextmanager
def refusing(url: TargetUrl, words: str) -> Iterator[TargetUrl]:
    """Yield ``url`` at a place where something like a server refuses every connection with ``words``."""
    fields = b"SFATAL\x00C57P03\x00M" + words.encode() + b"\x00\x00"
    answer = b"E" + struct.pack("!i", len(fields) + 4) + fields

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(65536)
                    client.sendall(b"N")  # no encryption
                    client.recv(65536)
                    client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield replace(url, port=listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
