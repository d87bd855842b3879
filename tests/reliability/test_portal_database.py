"""Group C of the faults: the portal's own database. docs/reliability.md has the table."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from migrations_audit import dispatch, hashchain
from migrations_audit.actions import audit, sweeps
from migrations_audit.engine import urls
from migrations_audit.models import Approval, AuditEvent, MigrationRun
from tests import people
from tests.acceptance import portal as portals
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.domain import raw
from tests.engine import proxy
from tests.reliability import truth
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

USERS = 'op.execute("CREATE TABLE users (id int PRIMARY KEY)")'


def approved(portal: Portal, url: str) -> tuple[people.Place, MigrationRun]:
    place = portal.place(url, truth.counted(url, USERS))
    run = portal.planned(place)
    people.approve_by_all(place, run.number, truth.digest_of(run))
    return place, run


def test_a_worker_that_does_not_reach_the_portals_database_executes_nothing(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F33: without a claim there is no run."""
    url = make_target_database("f33")
    portal.workers.start()
    place, run = approved(portal, url)
    portal.workers.stop()
    server = urls.parse(portal.workers.database_url)
    with proxy.before(server, when=b"no such bytes", do=lambda _: None) as between:
        parts = urlsplit(portal.workers.database_url)
        there = urlunsplit(parts._replace(netloc=truth.netloc(portal.workers.database_url, between.port)))
        cut_off = start_worker(DATABASE_URL=there)
    truth.start(place, run)
    wait_for(lambda: "OperationalError" in portal.workers.said(), within=30, what="the claim to fail")
    portal.workers.kill(cut_off)
    assert (truth.state_of(run), truth.executions(url)) == ("queued", 0)

    start_worker()

    assert portal.until(run.number, "applied").verdict == "verified"
    truth.assert_nothing_lost(portal, url)


@contextmanager
def full_chain() -> Iterator[None]:
    """No event can be appended, as when the disk is full or the right was taken away."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE migrations_audit_auditevent ADD CONSTRAINT full_disk CHECK (seq < 0) NOT VALID")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE migrations_audit_auditevent DROP CONSTRAINT full_disk")


def test_without_an_audit_event_nothing_is_executed(
    sound: Portal, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F34: the claim is rolled back with its event, and the message comes again."""
    url = make_target_database("f34")
    run = queued_without_a_message(sound, url, monkeypatch)

    with full_chain():
        swept_until(sound, "full_disk")
        assert (truth.state_of(run), truth.executions(url)) == ("queued", 0)

    assert sound.until(run.number, "applied").verdict == "verified"
    truth.assert_nothing_lost(sound, url)


def test_while_somebody_holds_the_chain_the_claim_gives_up_and_nothing_is_executed(
    sound: Portal, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F38."""
    url = make_target_database("f38")
    run = queued_without_a_message(sound, url, monkeypatch)

    with raw.another_session() as slow:
        slow.execute("SELECT pg_advisory_xact_lock(%s, %s)", audit.CHAIN_LOCK)
        swept_until(sound, "AuditUnavailable")
        assert (truth.state_of(run), truth.executions(url)) == ("queued", 0)

    assert sound.until(run.number, "applied").verdict == "verified"
    truth.assert_nothing_lost(sound, url)


def queued_without_a_message(portal: Portal, url: str, monkeypatch: pytest.MonkeyPatch) -> MigrationRun:
    """A run that was started, and whose message was lost: the next sweep sends the first one."""
    place, run = approved(portal, url)
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_send", lambda *_, **__: None)
        truth.start(place, run)
    return run


def swept_until(portal: Portal, words: str) -> None:
    """Sweep until a worker has said this."""

    def said() -> bool:
        sweeps.sweep(actor=portals.SWEEP)
        return words in portal.workers.said()

    wait_for(said, within=30, what=f"a worker to say {words}")


@pytest.mark.slow
def test_a_portal_restored_from_yesterday_reads_what_it_does_not_remember_and_invents_no_approval(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    """F35. A run was executing when the backup was made; another was approved and executed afterwards."""
    executing_url, later_url = make_target_database("f35"), make_target_database("f35_later")
    start_worker("after_runner=kill")
    later_place = portal.place(later_url, truth.counted(later_url, USERS))
    later = portal.planned(later_place)
    executing = portal.started(portal.place(executing_url, truth.counted(executing_url, USERS)))
    wait_for(lambda: "Failpoint after_runner" in portal.workers.said(), within=30, what="the commit")
    portal.workers.stop()
    backup = backup_of(portal)
    start_worker()
    people.approve_by_all(later_place, later.number, truth.digest_of(later))
    truth.start(later_place, later)
    portal.until(later.number, "applied")
    kept = exported(tmp_path)
    portal.workers.stop()
    before = portals.use_database(backup)
    try:
        portal.workers.database_url = portals.database_url(backup)
        start_worker()

        ended = portal.until(executing.number, "applied", within=40)

        assert "Confirmed by reconciliation" in ended.sentence
        assert truth.state_of(later) == "awaiting_approval"
        assert not Approval.objects.filter(run=later).exists()
        assert hashchain.verify_export(kept.read_text().splitlines())[1].last_seq not in (None, 0)
        assert not AuditEvent.objects.filter(hash=head_of(kept)).exists()
        truth.assert_nothing_lost(portal, executing_url, later_url)
    finally:
        portal.workers.stop()
        portals.use_database(before)
        portal.workers.database_url = portals.database_url(before)
        portals.on_server(f'DROP DATABASE "{backup}" WITH (FORCE)')


def backup_of(portal: Portal) -> str:
    """A copy of the portal's database as it is; nobody may be connected to it meanwhile."""
    name = f"backup_{secrets.token_hex(4)}"
    source = str(connection.settings_dict["NAME"])
    connection.close()
    with psycopg.connect(portals.database_url("postgres"), autocommit=True) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"'.encode())
    return name


def exported(folder: Path) -> Path:
    """An export of the whole chain, as an auditor keeps one."""
    links = [event.as_link() for event in AuditEvent.objects.order_by("seq")]
    found = hashchain.verify(links)
    manifest = {"format": hashchain.FORMAT, "first_seq": 1, "last_seq": found.last_seq, "count": found.count}
    manifest |= {"head": found.head, "withheld": 0}
    file = folder / "export.jsonl"
    lines = [{**vars(link)} for link in links]
    file.write_text("\n".join(json.dumps(line) for line in (manifest, *lines)))
    return file


def head_of(export: Path) -> str:
    return str(json.loads(export.read_text().splitlines()[0])["head"])
