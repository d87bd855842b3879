"""Everywhere a secret of a portal could have ended up, as texts to search: rows, queue, logs, command lines."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis
from psycopg import sql

Texts = dict[str, str]


def needles(secret: str) -> list[str]:
    """How a secret may be written down: as it is, in hexadecimal, and within base64 at each of its three offsets."""
    raw = secret.encode()
    found = [secret, raw.hex(), raw.hex().upper()]
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw).decode()
        core = whole[4 if offset else 0 : -4]  # what a neighbour has no part in
        found += [core, core.replace("+", "-").replace("/", "_")]
    return found


def search(texts: Mapping[str, str], secrets: Mapping[str, str]) -> set[tuple[str, str]]:
    """Which secret stands in which text. Places of one kind have one name: numbers do not tell them apart."""
    found = set()
    for name, secret in secrets.items():
        pattern = re.compile("|".join(map(re.escape, needles(secret))))
        found |= {(name, re.sub(r"\d+", "N", place)) for place, text in texts.items() if pattern.search(text)}
    return found


def rows(database_url: str) -> Texts:
    """Every row of every table, large values and bytes included."""
    texts = {}
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, table))) as copy:
                texts[f"table {table}"] = b"".join(bytes(part) for part in copy).decode()
    return texts


def queue(url: str) -> Texts:
    """Every key and value of every database of a Redis."""
    texts = []
    for number in range(16):
        with redis.Redis.from_url(f"{url.rpartition('/')[0]}/{number}") as client:
            for name in client.scan_iter():
                texts.append(f"{name!r} {_value(client, name)!r}")
    return {"what lies in Redis": "\n".join(texts)}


def _value(client: redis.Redis, name: bytes) -> object:
    kind = bytes(client.type(name)).decode()  # type: ignore[arg-type]  # not awaited: this client is no asynchronous one
    match kind:
        case "string":
            return client.get(name)
        case "list":
            return client.lrange(name, 0, -1)
        case "hash":
            return client.hgetall(name)
        case "set":
            return client.smembers(name)
        case "zset":
            return client.zrange(name, 0, -1)
        case _:
            return client.dump(name)


def logs(folder: Path) -> Texts:
    """What the processes wrote into their logs."""
    return {f"log of {path.stem}": path.read_text(errors="replace") for path in folder.glob("*.log")}


@dataclass
class Watch:
    """Looks at every command line of the machine, again and again, and at everything that is sent to a Redis."""

    redis_url: str
    lines: set[str] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._client = redis.Redis.from_url(self.redis_url, socket_timeout=None, health_check_interval=0)
        self._monitor = self._client.monitor()  # type: ignore[no-untyped-call]  # untyped in redis-py
        self._monitor.__enter__()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._look, self._listen)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._client.publish("the watch is over", "")  # so that the listener hears something
        for thread in self._threads:
            thread.join(10)

    def texts(self) -> Texts:
        """What was seen and heard."""
        return {"command lines": "\n".join(self.lines), "what was sent to Redis": "\n".join(self.commands)}

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.lines |= set(_command_lines())

    def _listen(self) -> None:
        while not self._over.is_set():
            self.commands.append(str(self._monitor.connection.read_response()))


def _command_lines() -> Iterable[str]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
