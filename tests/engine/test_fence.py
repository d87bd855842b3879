"""The tag of a run's connections, and the proof that none of them works any more."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.engine import fence, urls
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.urls import TargetUrl
from opsportal.local import postgres
from tests.conftest import MakeTargetDatabase
from tests.engine.conftest import MakeRole
from tests.engine.database import Database
from tests.waiting import wait_for


@dataclass(frozen=True)
class Run:
    """A run of the portal ``test``; its number is its own, because tests side by side share the cluster."""

    number: int

    @property
    def prefix(self) -> str:
        return fence.prefix_for_run("test", self.number)

    @property
    def tag(self) -> str:
        return fence.tag("test", self.number, 3)


@pytest.fixture
def run() -> Run:
    return Run(100_000 + secrets.randbelow(900_000))


@contextmanager
def working(
    run: Run, url: TargetUrl, statement: str = "SELECT pg_sleep(60)", *, lock: bool = False
) -> Iterator[list[str]]:
    """A backend of the run that executes ``statement``; yields the list that gets the SQLSTATE with which it ends."""
    ended: list[str] = []
    arguments = url.connect_arguments() | {"application_name": run.tag}
    connection: psycopg.Connection[Any] = psycopg.connect(**arguments, autocommit=True)
    if lock:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", fence.LOCK_KEY)

    def work() -> None:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            ended.append(error.sqlstate or "lost")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(lambda: any(each.state == "active" for each in fence.backends(url, prefix=run.prefix)))
        yield ended
    finally:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=5)
        thread.join()
        connection.close()


def test_the_backends_of_a_run_are_told_with_what_they_do(run: Run, database: Database) -> None:
    with working(run, database.url):
        (backend,) = fence.backends(database.url, prefix=run.prefix)

    assert backend.application_name == run.tag
    assert backend.user == database.url.user
    assert (backend.state, backend.query) == ("active", "SELECT pg_sleep(60)")
    assert backend.wait_event == "Timeout: PgSleep"
    assert backend.age_s >= 0


def test_a_long_statement_is_cut_and_its_secrets_are_masked(run: Run, database: Database) -> None:
    statement = f"SELECT pg_sleep(60), 'postgresql://u:hunter2@h/d', '{database.url.password}', '{'x' * 1000}'"

    with working(run, database.url, statement):
        (backend,) = fence.backends(database.url, prefix=run.prefix)

    assert len(backend.query) == fence.MAX_QUERY
    assert "hunter2" not in backend.query
    assert database.url.password not in backend.query


def test_cancel_ends_the_statement_and_keeps_the_connection(run: Run, database: Database) -> None:
    with working(run, database.url) as ended:
        assert fence.cancel(database.url, prefix=run.prefix) == 1
        wait_for(lambda: ended)

        assert ended == ["57014"]
        assert len(fence.backends(database.url, prefix=run.prefix)) == 1


def test_terminate_ends_the_connection(run: Run, database: Database) -> None:
    with working(run, database.url) as ended:
        assert fence.terminate(database.url, prefix=run.prefix) == 1
        wait_for(lambda: ended)

    assert ended == ["57P01"]


def test_other_runs_and_other_people_are_left_alone(run: Run, database: Database) -> None:
    others = [
        fence.tag("test", run.number // 10, 1),
        fence.tag("test", run.number * 10, 1),
        fence.tag("test2", run.number, 3),
        "psql",
        "",
    ]
    with database.connect(application_name=others[0]) as first, database.connect(application_name=others[1]) as second:
        rest = [database.connect(application_name=name) for name in others[2:]]

        assert fence.terminate(database.url, prefix=run.prefix) == 0

        for connection in (first, second, *rest):
            assert connection.execute("SELECT 1").fetchone() == (1,)
            connection.close()


@pytest.mark.parametrize(
    "prefix", ["", "opsportal:", "opsportal:test:", "opsportal:test:run-12", "psql", "opsportal:%:run-1:"]
)
def test_a_prefix_that_is_not_one_runs_is_refused_before_anything_is_asked(database: Database, prefix: str) -> None:
    for call in (fence.backends, fence.cancel, fence.terminate, fence.blockers):
        with pytest.raises(fence.NotARunPrefix):
            call(database.url, prefix=prefix)


def test_a_whole_tag_means_one_epoch(run: Run, database: Database) -> None:
    with working(run, database.url):
        assert len(fence.backends(database.url, prefix=run.tag)) == 1
        assert fence.backends(database.url, prefix=run.tag[:-1] + "1") == ()

    with database.connect(application_name=f"{run.tag}1"):
        assert fence.terminate(database.url, prefix=run.tag) == 0


def test_the_fence_ends_a_sleeping_backend_and_sees_its_lock_go(run: Run, database: Database) -> None:
    with working(run, database.url, lock=True) as ended:
        (backend,) = fence.backends(database.url, prefix=run.prefix)

        result = fence.fence(database.url, prefix=run.prefix, budget_s=20)

        wait_for(lambda: ended)
    assert result == fence.FenceResult(
        clear=True, terminated=(backend.pid,), remaining=(), lock_free=True, lock_holder=None
    )


def test_a_fence_around_nothing_is_clear_at_once(run: Run, database: Database) -> None:
    assert fence.fence(database.url, prefix=run.prefix, budget_s=0).clear


def test_the_fence_gives_the_lock_back(run: Run, database: Database) -> None:
    fence.fence(database.url, prefix=run.prefix, budget_s=0)

    with database.connect() as connection:
        assert connection.execute("SELECT pg_try_advisory_lock(%s, %s)", fence.LOCK_KEY).fetchone() == (True,)


def test_a_lock_held_by_somebody_else_is_not_clear_and_names_the_holder(run: Run, database: Database) -> None:
    with database.connect(application_name="other portal") as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", fence.LOCK_KEY)

        result = fence.fence(database.url, prefix=run.prefix, budget_s=0.3)

        assert other.execute("SELECT 1").fetchone() == (1,)
    assert (result.clear, result.lock_free, result.remaining) == (False, False, ())
    assert result.lock_holder is not None
    assert result.lock_holder.application_name == "other portal"


def test_after_a_run_that_sent_nothing_the_lock_may_be_somebody_elses(run: Run, database: Database) -> None:
    with database.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", fence.LOCK_KEY)

        result = fence.fence(database.url, prefix=run.prefix, budget_s=20, needs_lock=False)

    assert (result.clear, result.lock_free) == (True, False)


def test_a_backend_that_this_user_may_not_end_stays_and_is_named(
    run: Run, database: Database, make_role: MakeRole
) -> None:
    role = database.as_role(make_role())
    with working(run, database.url) as ended:
        result = fence.fence(role, prefix=run.prefix, budget_s=0.3)
        assert ended == []

    assert not result.clear
    assert result.terminated == ()
    assert [backend.application_name for backend in result.remaining] == [run.tag]


def test_a_backend_in_another_database_of_the_cluster_is_fenced_too(
    run: Run, database: Database, make_target_database: MakeTargetDatabase
) -> None:
    elsewhere = urls.parse(make_target_database("elsewhere"))
    with working(run, elsewhere):
        assert len(fence.fence(database.url, prefix=run.prefix, budget_s=20).terminated) == 1


def test_blockers_are_named(run: Run, database: Database) -> None:
    database.run("CREATE TABLE t (a int)")
    with database.connect(application_name="long report") as reader, reader.transaction():
        reader.execute("SELECT * FROM t")
        pid = reader.info.backend_pid
        with working(run, database.url, "ALTER TABLE t ADD b int"):
            found = wait_for(lambda: fence.blockers(database.url, prefix=run.prefix))

    assert [(each.application_name, each.query) for each in found] == [("long report", "SELECT * FROM t")]
    assert found[0].pid == pid


def test_a_run_that_waits_for_nobody_has_no_blockers(run: Run, database: Database) -> None:
    with working(run, database.url):
        assert fence.blockers(database.url, prefix=run.prefix) == ()


def test_an_unreachable_target_is_an_error_and_never_clear(run: Run, database: Database) -> None:
    with pytest.raises(CannotRead):
        fence.fence(replace(database.url, password="wrong-password"), prefix=run.prefix, budget_s=0)


@given(portal=st.text(max_size=80), number=st.integers(1, 2**31), epoch=st.integers(0, 2**31))
def test_every_tag_is_ascii_and_short_enough_for_the_server(portal: str, number: int, epoch: int) -> None:
    tag = fence.tag(portal, number, epoch)

    assert re.fullmatch(r"opsportal:[a-z0-9-]+:run-[0-9]+:e[0-9]+", tag)
    assert len(tag) <= 63
    assert tag.startswith(fence.prefix_for_run(portal, number))


def test_portals_whose_names_look_alike_have_different_tags() -> None:
    names = ["Größe", "Grösse", "gr-e", "GR-E", "a" * 30, "a" * 31, ""]

    assert len({fence.tag(name, 1, 1) for name in names}) == len(names)


def test_a_plain_name_is_used_as_it_is() -> None:
    assert fence.tag("eu-west", 12, 3) == "opsportal:eu-west:run-12:e3"


def test_a_prepared_transaction_that_blocks_is_told_as_pid_0(run: Run, other_cluster: postgres.Postgres) -> None:
    owner = Database(urls.parse(other_cluster.url()))
    owner.run("CREATE TABLE t (a int)")
    with owner.connect() as connection:
        connection.execute("BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'left behind'")

    with working(run, owner.url, "ALTER TABLE t ADD b int"):
        (blocker,) = wait_for(lambda: fence.blockers(owner.url, prefix=run.prefix))

    assert (blocker.pid, blocker.application_name, blocker.query) == (0, "", "")
