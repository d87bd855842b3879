"""Rehearsals whose worker is lost, whose run goes away, and the server that an environment names for its copies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from migrations_audit.actions import rehearsals, runs, sweeps
from migrations_audit.models import MigrationRun, Rehearsal
from opsportal.local import postgres
from tests import people
from tests.acceptance.portal import SWEEP, Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

SLOW = [
    runnable.Script("r1", 'op.execute("CREATE TABLE users (id int)")\nop.execute("SELECT pg_sleep(4)")', down="pass")
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    """A server for copies, on which no target lives."""
    server = postgres.Postgres(tmp_path_factory.mktemp("shared") / "server", settings={"fsync": "off"})
    try:
        server.start()
        yield server
    finally:
        server.destroy()


def copies_on(server: postgres.Postgres) -> list[str]:
    with psycopg.connect(server.url()) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'opsportal%'").fetchall()
    return [name for (name,) in rows]


def use(place: people.Place, reference: str) -> None:
    place.environment.scratch_reference = reference
    place.environment.save(update_fields=["scratch_reference"])


def written(folder: Path, url: str) -> str:
    """A reference to a file that holds the URL."""
    path = folder / "scratch.url"
    path.write_text(url)
    return f"file:{path}"


def asked(place: people.Place, run: MigrationRun) -> Rehearsal:
    return rehearsals.ask(actor=place.actor("dba"), number=run.number)


def ended(portal: Portal, rehearsal: Rehearsal) -> Rehearsal:
    """The same when it has ended. The sweep, which beat would call, is called meanwhile."""

    def there() -> Rehearsal | None:
        sweeps.sweep(actor=SWEEP)
        found = Rehearsal.objects.get(pk=rehearsal.pk)
        return found if found.has_ended else None

    found = wait_for(there, within=120, what=f"the rehearsal; {portal.workers.said()[-1500:]}")
    assert found is not None
    return found


def test_copies_on_the_environments_own_server_are_dropped_afterwards(
    portal: Portal, make_target_database: MakeTargetDatabase, shared: postgres.Postgres, tmp_path: Path
) -> None:
    place = portal.place(make_target_database("shared"), runnable.chain("users"))
    use(place, written(tmp_path, shared.url()))

    found = ended(portal, asked(place, portal.planned(place)))

    assert (found.outcome, found.is_private) == ("passed", False), found.sentence
    assert copies_on(shared) == []


def test_a_server_on_which_production_lives_takes_no_copies(
    portal: Portal, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    url = make_target_database("productive")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE users (id int)")
    place = portal.place(url, [runnable.Script("r1", 'op.execute("ALTER TABLE users ADD note text")')])
    use(place, written(tmp_path, url))
    run = portal.planned(place)

    with psycopg.connect(url) as holder:
        holder.execute("SELECT * FROM users")
        found = ended(portal, asked(place, run))

    assert (found.outcome, found.code) == ("could_not_run", "not_for_copies")
    assert "is production: it takes no copies" in found.sentence
    assert [row["name"] for row in found.impact["relations"]] == ["public.users"]
    assert [(row["relation"], row["mode"]) for row in found.impact["holders"]] == [("public.users", "AccessShareLock")]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname LIKE 'opsportal%'").fetchall() == []


def test_a_server_that_does_not_answer_is_told_without_its_password(
    portal: Portal, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    place = portal.place(make_target_database("gone"), runnable.chain("users"))
    use(place, written(tmp_path, "postgresql://copier:swordfish@127.0.0.1:1/copies"))

    found = ended(portal, asked(place, portal.planned(place)))

    assert found.outcome == "could_not_run"
    assert "swordfish" not in found.sentence


def test_another_worker_takes_up_what_a_killed_one_held_and_removes_its_copies(
    portal: Portal, make_target_database: MakeTargetDatabase, shared: postgres.Postgres, tmp_path: Path
) -> None:
    place = portal.place(make_target_database("killed"), SLOW)
    use(place, written(tmp_path, shared.url()))
    rehearsal = asked(place, portal.planned(place))
    wait_for(lambda: len(copies_on(shared)) == 2, within=60, what="the copy and its twin")
    portal.workers.kill(portal.workers.processes[-1])
    portal.workers.start()

    found = ended(portal, rehearsal)

    assert (found.outcome, found.epoch) == ("passed", 2), found.sentence
    assert copies_on(shared) == []


def test_a_run_that_is_withdrawn_ends_its_rehearsal(
    portal: Portal, make_target_database: MakeTargetDatabase, shared: postgres.Postgres, tmp_path: Path
) -> None:
    url = make_target_database("withdrawn")
    place = portal.place(url, SLOW)
    use(place, written(tmp_path, shared.url()))
    run = portal.planned(place)
    rehearsal = asked(place, run)
    wait_for(lambda: len(copies_on(shared)) == 2, within=60, what="the copy and its twin")
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    found = ended(portal, rehearsal)

    assert (found.outcome, found.code) == ("could_not_run", "interrupted"), found.sentence
    wait_for(lambda: copies_on(shared) == [], within=30, what="the copies to go")


def test_a_revision_without_a_way_back_stays_impossible_though_it_fails_the_second_time(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("one_way")
    place = portal.place(url, [runnable.Script("r1", 'op.execute("CREATE TABLE users (id int)")', down="pass")])

    found = ended(portal, asked(place, portal.planned(place)))

    assert (found.outcome, found.grade) == ("passed", "impossible"), found.sentence
    (step,) = found.steps
    assert "absent or empty" in step["reasons"][0]
    assert os.path.basename(url) not in str(found.delta)
