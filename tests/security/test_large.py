"""Ten thousand runs, a hundred thousand events, a log of a hundred megabytes: pages and downloads stay small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import Client

from migrations_audit.models import AuditEvent, LogLine, MigrationRun
from tests import people

RUNS = 10_000
EVENTS = 100_000
LOG_LINES = 5_000
LONG_LINE = 20_000
BIGGEST_PAGE = 2_000_000
MOST_MEMORY = 100_000_000
"""The log alone is larger, and what is stored is twice that."""

pytestmark = pytest.mark.slow


@pytest.fixture
def crowd(place: people.Place) -> people.Place:
    """Rows as the portal would have gathered them in years, written by one statement each, past the row guards."""
    run = people.make_run(place, state="running")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        columns = [field.column for field in MigrationRun._meta.concrete_fields if field.column != "number"]
        names = ", ".join(f'"{name}"' for name in columns)
        values = names.replace('"state"', "'withdrawn'").replace('"request_key"', "''")
        cursor.execute(
            f"INSERT INTO migrations_audit_migrationrun ({names}) "
            f"SELECT {values} FROM migrations_audit_migrationrun, generate_series(1, %s) WHERE number = %s",
            [RUNS, run.number],
        )
        cursor.execute(
            "INSERT INTO migrations_audit_auditevent (seq, at, actor, action, object_kind, object_id, environment, target, body,"
            " body_digest, previous_hash, hash) SELECT 1000 + n, at, actor, action, object_kind, object_id, environment, target,"
            " body, body_digest, md5('p' || n), md5('h' || n) FROM migrations_audit_auditevent, generate_series(1, %s) n"
            " WHERE seq = (SELECT max(seq) FROM migrations_audit_auditevent)",
            [EVENTS],
        )
        cursor.execute(
            "INSERT INTO migrations_audit_logline (run_id, seq, at, stream, text) "
            "SELECT %s, n, now(), 'stdout', repeat(md5(n::text), %s) FROM generate_series(1, %s) n",
            [run.number, LONG_LINE // 32, LOG_LINES],
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
    return place


@pytest.fixture
def client(crowd: people.Place) -> Client:
    found = Client()
    found.force_login(people.make_user("root", superuser=True))
    return found


def test_pages_stay_small_and_downloads_are_streamed_whatever_is_stored(crowd: people.Place, client: Client) -> None:
    number = LogLine.objects.values_list("run_id", flat=True)[0]
    assert MigrationRun.objects.count() > RUNS
    assert AuditEvent.objects.count() > EVENTS
    paths = ["/", "/audit/", f"/targets/{crowd.target.pk}/", f"/runs/{number}/", f"/runs/{number}/live"]
    paths += [f"/migrations_audit/{name}/" for name in ("migrationrun", "auditevent", "target", "approval")]

    before = memory("VmRSS", begin_anew=True)
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert len(answer.content) < BIGGEST_PAGE, path
    sizes = [
        sum(map(len, pieces(client.get(f"/runs/{number}/log.txt")))),
        sum(map(len, pieces(client.post("/audit/export", {"form": "jsonl"})))),
    ]

    assert min(sizes) > 30_000_000
    assert memory("VmHWM") - before < MOST_MEMORY


def pieces(answer: object) -> Iterator[bytes]:
    """A download as it comes, none of it kept."""
    assert isinstance(answer, StreamingHttpResponse)
    for piece in answer:
        assert isinstance(piece, bytes)
        yield piece


def memory(name: str, *, begin_anew: bool = False) -> int:
    """What this process holds, or has held at most since the peak was last forgotten, in bytes."""
    if begin_anew:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
