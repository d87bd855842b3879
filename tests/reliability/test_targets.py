"""Group D of the faults: what targets do to a run. docs/reliability.md has the table."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from migrations_audit.actions import leftovers, moves, runs
from migrations_audit.engine import fence, urls
from migrations_audit.models import Environment, MigrationRun
from opsportal.local.postgres import Postgres
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import proxy, runnable
from tests.reliability import truth
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

USERS = 'op.execute("CREATE TABLE users (id int PRIMARY KEY)")'
PER_MIGRATION = runnable.env_with(runnable.INI_URL, configure="transaction_per_migration=True")


def approved(portal: Portal, place: people.Place) -> MigrationRun:
    run = portal.planned(place)
    people.approve_by_all(place, run.number, truth.digest_of(run))
    return run


@pytest.fixture
def migrator(make_target_database: MakeTargetDatabase) -> str:
    """The URL of a database that belongs to a role of its own, which is no superuser."""
    url = make_target_database("plain")
    name, password = f"migrator_{secrets.token_hex(4)}", secrets.token_hex(8)
    truth.change(
        url,
        f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
        f"ALTER SCHEMA public OWNER TO {name}",
        f"GRANT ALL ON DATABASE {urlsplit(url).path[1:]} TO {name}",
    )
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))


def role_of(url: str) -> str:
    return str(urlsplit(url).username)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("ALTER ROLE {role} PASSWORD 'another'", "authentication"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "too_many_connections"),
        ("ALTER DATABASE {database} RENAME TO {database}_gone", "no_such_database"),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "permission"),
    ],
)
def test_a_target_that_cannot_be_reached_at_the_start_refuses_the_run(
    sound: Portal, make_target_database: MakeTargetDatabase, migrator: str, fault: str, code: str
) -> None:
    """F39, F53."""
    place = sound.place(migrator, runnable.chain("users"))
    run = approved(sound, place)
    elsewhere = make_target_database("elsewhere")
    database = urlsplit(migrator).path[1:]
    truth.change(elsewhere, fault.format(role=role_of(migrator), database=database))

    truth.start(place, run)

    ended = sound.until(run.number, "refused")
    assert (ended.reason_code, ended.verdict) == (code, "unverified"), ended.sentence
    assert ended.sentence.startswith("Refused before anything was sent: ")
    truth.assert_nothing_lost(sound)


def test_a_full_server_during_the_reading_back_is_waited_for(sound: Portal, migrator: str) -> None:
    """F53: the revision is applied, so that giving up at once would leave a question that can be answered."""
    up = f'{USERS}\nop.execute("SELECT pg_sleep(3)")'
    admin = truth.as_admin(migrator)
    scripts = truth.counted(migrator, up)
    place = sound.place(migrator, scripts)
    run = sound.started(place)
    wait_for(lambda: truth.active(admin), within=30, what="the revision to sleep")
    truth.change(admin, f"ALTER ROLE {role_of(migrator)} CONNECTION LIMIT 0")
    wait_for(lambda: truth.phase_of(run) == "verify", within=30, what="the reading back")

    truth.change(admin, f"ALTER ROLE {role_of(migrator)} CONNECTION LIMIT -1")

    ended = sound.until(run.number, "applied", within=40)
    assert ended.verdict == "verified"
    truth.assert_nothing_lost(sound, migrator)


def test_a_statement_over_its_limit_is_rolled_back(sound: Portal, make_target_database: MakeTargetDatabase) -> None:
    """F47."""
    url = make_target_database("f47")
    place = sound.place(url, truth.counted(url, f'{USERS}\nop.execute("SELECT pg_sleep(60)")'))
    Environment.objects.filter(pk=place.environment.pk).update(statement_timeout_ms=300)

    run = sound.ended(place)

    assert (run.state, run.reason_code) == ("failed", "no_change"), run.sentence
    assert "57014" in run.sentence
    assert truth.tables(url) == set()
    truth.assert_nothing_lost(sound, url)


def test_an_invalid_index_is_named_and_a_second_run_over_it_is_not_verified(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F48: IF NOT EXISTS is satisfied by an index that no query can use."""
    url = make_target_database("f48")
    truth.change(url, "CREATE TABLE stock (n int)", "INSERT INTO stock VALUES (1), (1)", truth.EMPTY_VERSION_TABLE)
    up = """
with op.get_context().autocommit_block():
    op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS stock_n ON stock (n)")
"""
    place = sound.place(url, [runnable.Script("r1", up)])

    first = sound.ended(place)
    leftovers.accept(actor=place.actor("operator"), number=first.number, reason="The index may wait.")
    second = sound.ended(place)

    assert (first.state, first.reason_code) == ("failed", "partly_applied"), first.sentence
    assert "stock_n" in first.evidence.get(check_name="invalid indexes").observed
    assert (second.state, second.verdict) == ("failed", "contradicted"), second.sentence
    assert "stock_n" in second.sentence
    truth.assert_nothing_lost(sound)


def test_the_third_of_five_fails_and_the_next_plan_begins_behind_the_second(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F49."""
    url = make_target_database("f49")
    scripts = runnable.chain("a", "b", "c", "d", "e")
    scripts[2] = runnable.Script("r3", 'op.execute("CREATE TABLE c (id no_such_type)")', "r2")
    place = sound.place(url, scripts, env=PER_MIGRATION)

    run = sound.ended(place)
    again = sound.planned(place)

    assert (run.state, run.verdict, run.reason_code) == ("failed", "contradicted", "partly_applied")
    assert "is at r2, between" in run.sentence
    assert "a new approval is needed" in run.sentence
    assert truth.tables(url) == {"a", "b"}
    assert again.plan is not None
    assert (again.state, again.plan.from_revisions) == ("awaiting_approval", ["r2"])
    truth.assert_nothing_lost(sound)


def test_a_failure_inside_an_autocommit_block_may_not_be_tried_again_by_the_same_approval(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F50."""
    url = make_target_database("f50")
    truth.change(url, "CREATE TABLE stock (n int)", "INSERT INTO stock VALUES (100)", truth.EMPTY_VERSION_TABLE)
    up = """
with op.get_context().autocommit_block():
    op.execute("UPDATE stock SET n = n + 1")
    op.execute("SELECT 1 / 0")
"""
    place = sound.place(url, truth.counted(url, up))

    run = sound.ended(place)

    assert (run.state, run.reason_code) == ("failed", "possibly_partly_applied"), run.sentence
    assert truth.ask(url, "SELECT n FROM stock") == "101"
    with pytest.raises(moves.StaleRun):
        truth.start(place, run)
    truth.assert_nothing_lost(sound, url)


def test_a_full_disk_is_told_and_leaves_nothing(sound: Portal, make_target_database: MakeTargetDatabase) -> None:
    """F52: the server finds /dev/full where the file of a table should be."""
    url = make_target_database("f52")
    truth.change(
        url,
        "CREATE TABLE ledger (n int)",
        "DO $$ BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'ln -sf /dev/full '"
        " || current_setting('data_directory') || '/' || pg_relation_filepath('ledger')); END $$",
    )
    place = sound.place(url, truth.counted(url, f'{USERS}\nop.execute("INSERT INTO ledger VALUES (1)")'))

    run = sound.ended(place)

    assert (run.state, run.reason_code) == ("failed", "no_change"), run.sentence
    assert "53100" in run.sentence
    assert truth.tables(url) == {"ledger"}
    truth.assert_nothing_lost(sound, url)


def test_a_lock_held_by_another_portal_is_waited_for_and_then_named(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F55."""
    url = make_target_database("f55")
    place = sound.place(url, truth.counted(url, USERS))
    Environment.objects.filter(pk=place.environment.pk).update(lock_budget_s=1)
    run = approved(sound, place)

    with truth.holding(url, f"SELECT pg_advisory_lock({fence.LOCK_KEY[0]}, {fence.LOCK_KEY[1]})"):
        truth.start(place, run)
        ended = sound.until(run.number, "refused")

    assert ended.reason_code == "lock_busy"
    assert truth.executions(url) == 0
    truth.assert_nothing_lost(sound, url)


def test_a_cancel_while_the_run_lock_is_awaited_sends_nothing(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F65, in the lock phase."""
    url = make_target_database("f65")
    place = sound.place(url, truth.counted(url, USERS))
    run = approved(sound, place)

    with truth.holding(url, f"SELECT pg_advisory_lock({fence.LOCK_KEY[0]}, {fence.LOCK_KEY[1]})"):
        truth.start(place, run)
        wait_for(lambda: truth.phase_of(run) == "lock", within=30, what="the lock phase")
        runs.cancel(actor=place.actor("operator"), number=run.number)
        ended = sound.until(run.number, "cancelled")

    assert "before any" in ended.sentence or "before anything" in ended.sentence
    assert truth.executions(url) == 0
    truth.assert_nothing_lost(sound, url)


@pytest.mark.parametrize(
    ("edit", "state", "code"),
    [
        ("DROP TABLE alembic_version", "void", "start_changed"),
        ("INSERT INTO alembic_version VALUES ('r0')", "void", "start_changed"),
        ("UPDATE alembic_version SET version_num = 'zzz'", "void", "start_changed"),
        ("ALTER TABLE alembic_version RENAME COLUMN version_num TO version", "refused", "unreadable_version_table"),
    ],
    ids=["absent", "two rows", "unknown revision", "another column"],
)
def test_a_version_table_that_was_edited_stops_the_run(
    sound: Portal, make_target_database: MakeTargetDatabase, edit: str, state: str, code: str
) -> None:
    """F57, between approval and start."""
    url = make_target_database("f57")
    truth.change(
        url, truth.EMPTY_VERSION_TABLE, "INSERT INTO alembic_version VALUES ('r1')", "CREATE TABLE users (id int)"
    )
    place = sound.place(url, runnable.chain("users", "orders"))
    run = approved(sound, place)
    truth.change(url, edit)

    truth.start(place, run)

    ended = sound.until(run.number, state)
    assert ended.reason_code == code, ended.sentence
    assert truth.tables(url) == {"users"}
    truth.assert_nothing_lost(sound)


def test_of_two_approved_runs_on_one_target_the_second_is_void_when_the_first_moved_it(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F66. While the first is live the second cannot be started at all."""
    url = make_target_database("f66")
    place = sound.place(url, truth.counted(url, f'{USERS}\nop.execute("SELECT pg_sleep(2)")'))
    first = approved(sound, place)
    second = sound.until(
        runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="r1", reason="Twice.").number,
        "awaiting_approval",
    )
    people.approve_by_all(place, second.number, truth.digest_of(second))
    truth.start(place, first)

    with pytest.raises(runs.TargetBusy):
        truth.start(place, second)
    assert sound.until(first.number, "applied").verdict == "verified"
    truth.start(place, second)

    assert sound.until(second.number, "void").reason_code == "start_changed"
    truth.assert_nothing_lost(sound, url)


@pytest.mark.slow
def test_a_network_that_swallows_everything_leaves_the_outcome_unknown_until_it_is_back(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F61. The worker is lost, too; what it left behind is read when a person has mended the network and says so."""
    direct = make_target_database("f61")
    scripts = truth.counted(direct, f'{USERS}\nop.execute("SELECT pg_sleep(60)")')
    cut: list[proxy.Proxy] = []

    def swallow(between: proxy.Proxy) -> None:
        between.freeze()
        cut.append(between)

    with proxy.before(urls.parse(direct), when=b"SELECT pg_sleep(60)", do=swallow) as between:
        place = sound.place(urlunsplit(urlsplit(direct)._replace(netloc=truth.netloc(direct, between.port))), scripts)
        run = sound.started(place)
        wait_for(lambda: cut, within=30, what="the network to fail")
        truth.kill_pool_process(run)
        unreached = wait_for(
            lambda: unknown_because(sound, run, "target_not_reached"), within=60, what="a try that fails"
        )
        cut[0].thaw()

        runs.verify_again(actor=place.actor("operator"), number=run.number)

        ended = sound.until(run.number, "failed", within=40)
    assert unreached is not None
    assert "The outcome stays unknown" in unreached.sentence
    assert ended.reason_code == "no_change", ended.sentence
    truth.assert_nothing_lost(sound, direct)


def unknown_because(portal: Portal, run: MigrationRun, code: str) -> MigrationRun | None:
    """The run, once its outcome is unknown for this reason and nobody is at it."""
    found = portal.until(run.number, "outcome_unknown")
    return found if found.reason_code == code and found.lease_expires_at is None else None


@pytest.mark.slow
def test_a_commit_that_waits_for_a_standby_is_shown_and_a_cancel_says_that_it_is_applied(
    sound: Portal, tmp_path: Path
) -> None:
    """F62."""
    with Postgres(tmp_path / "alone", settings={"fsync": "off"}) as server:
        url = server.url()
        place = sound.place(url, truth.counted(url, USERS))
        run = approved(sound, place)
        truth.change(url, "ALTER SYSTEM SET synchronous_standby_names = 'ghost'", "SELECT pg_reload_conf()")
        truth.start(place, run)
        wait_for(lambda: truth.waits_for(url, "SyncRep"), within=30, what="the COMMIT to wait")
        run.refresh_from_db()
        assert (run.state, run.phase) == ("running", "execute")

        runs.cancel(actor=place.actor("operator"), number=run.number)

        ended = sound.until(run.number, "applied", within=40)
        assert ended.verdict == "verified"
        assert "The cancel came too late" in ended.sentence
        truth.change(url, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        truth.assert_nothing_lost(sound, url)


HOSTILE_OUTPUT = r"""
import sys
from alembic import context
if not context.is_offline_mode():
    sys.stdout.buffer.write(b"zero \x00, broken \xff\xfe and a lone surrogate \xed\xb3\xbf\n")
    for _ in range(30):
        sys.stdout.buffer.write(b"x" * 1_000_000)
    sys.stdout.buffer.flush()
"""


def test_output_without_end_or_sense_changes_nothing_about_the_run(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F64."""
    url = make_target_database("f64")
    place = sound.place(url, truth.counted(url, USERS + HOSTILE_OUTPUT))

    run = sound.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    told = truth.facts_of(run, "run.applied")["runner"]
    assert told["output_cut"] is True
    assert told["output_bytes"] >= 30_000_000
    assert len(told["output_sha256"]) == 64
    assert sum(len(line.text) for line in run.log.all()) < 5_000_000
    truth.assert_nothing_lost(sound, url)


@pytest.mark.slow
def test_a_sealing_key_that_is_gone_refuses_its_targets_and_no_others(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F67. The rotation itself: tests/unit/test_sealing.py."""
    url, other = make_target_database("f67"), make_target_database("f67_other")
    portal.workers.start()
    sealed = portal.place(url, truth.counted(url, USERS))
    plain = portal.place(other, runnable.chain("users"))
    plain.target.url_reference = "env:F67_URL"
    plain.target.save(update_fields=["url_reference"])
    run = approved(portal, sealed)
    portal.workers.stop()
    start_worker(PORTAL_SEALING_KEYS="Zm9yZ290dGVuLWZvcmdvdHRlbi1mb3Jnb3R0ZW4hISE=", F67_URL=other)

    truth.start(sealed, run)

    assert portal.until(run.number, "refused").reason_code == "cannot_unseal"
    assert portal.ended(plain).verdict == "verified"
    truth.assert_nothing_lost(portal, url)
