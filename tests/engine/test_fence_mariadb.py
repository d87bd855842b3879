"""The fence on MariaDB: by the names that sessions hold, never by an id alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest

from migrations_audit.engine import dialects
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.types import RunSession
from tests.conftest import MakeMariadbDatabase
from tests.engine.engines import MariadbTarget
from tests.waiting import wait_for

NAME = "opsportal:session:test-{}"


@pytest.fixture
def target(make_mariadb_database: MakeMariadbDatabase) -> MariadbTarget:
    return MariadbTarget(make_mariadb_database("fence"))


@contextmanager
def working(
    target: MariadbTarget, statement: str = "SELECT SLEEP(60)", *, lock: bool = False, name: bool = True
) -> Iterator[tuple[RunSession, list[int]]]:
    """A session of a run that executes ``statement``; with the list that gets the error number with which it ends."""
    ended: list[int] = []
    connection = target.connect()
    cursor = connection.cursor()
    session = RunSession(connection.thread_id(), NAME.format(target.parsed.database))  # type: ignore[no-untyped-call]
    if name:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [session.name])
    if lock:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [dialects.lock_name(target.parsed)])

    def work() -> None:
        try:
            cursor.execute(statement)
            ended.append(int(cursor.fetchall()[0][0]) if "SLEEP" in statement else 0)
        except (pymysql.Error, OSError) as error:
            ended.append(int(error.args[0]))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(lambda: target.rows("SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep'"))
        yield session, ended
    finally:
        with suppress(pymysql.Error):
            target.execute(f"KILL {session.id}")
        thread.join()


def test_the_fence_ends_a_working_session_and_sees_its_lock_go(target: MariadbTarget) -> None:
    with working(target, lock=True) as (session, ended):
        result = dialects.fence(target.parsed, prefix="", sessions=[session], budget_s=20)
        wait_for(lambda: ended)

    assert (result.clear, result.terminated, result.remaining) == (True, (session.id,), ())
    assert ended == [2013]


def test_cancel_ends_the_statement_and_keeps_the_session(target: MariadbTarget) -> None:
    with working(target) as (session, ended):
        assert dialects.cancel(target.parsed, prefix="", sessions=[session]) == 1
        wait_for(lambda: ended)

        assert target.rows(f"SELECT IS_USED_LOCK('{session.name}')") == [(session.id,)]


def test_a_session_that_only_has_the_id_is_left_alone_and_does_not_count_as_gone(target: MariadbTarget) -> None:
    with working(target, name=False) as (session, ended):
        result = dialects.fence(target.parsed, prefix="", sessions=[session], budget_s=0.3)
        assert ended == []

    assert (result.clear, result.terminated) == (False, ())
    assert [each.pid for each in result.remaining] == [session.id]


def test_a_fence_around_nothing_is_clear_and_gives_the_lock_back(target: MariadbTarget) -> None:
    gone = RunSession(2**31, "opsportal:session:gone")

    assert dialects.fence(target.parsed, prefix="", sessions=[gone], budget_s=0).clear
    assert target.rows(f"SELECT IS_FREE_LOCK('{dialects.lock_name(target.parsed)}')") == [(1,)]


def test_a_lock_held_by_somebody_else_is_not_clear_and_names_the_holder(target: MariadbTarget) -> None:
    with working(target, lock=True) as (session, ended):
        result = dialects.fence(target.parsed, prefix="", sessions=[], budget_s=0.3)
        assert ended == []

    assert (result.clear, result.lock_free) == (False, False)
    assert result.lock_holder is not None
    assert result.lock_holder.pid == session.id


def test_an_unreachable_target_is_an_error_and_never_clear(target: MariadbTarget) -> None:
    with pytest.raises(CannotRead, match="user or password") as caught:
        dialects.fence(replace(target.parsed, password="hunter2-wrong"), prefix="", sessions=[], budget_s=0)

    assert "hunter2" not in caught.value.message


def test_the_name_of_the_lock_fits_however_long_the_databases_name_is(target: MariadbTarget, tmp_path: Path) -> None:
    names = {dialects.lock_name(replace(target.parsed, database=letter * 64)) for letter in "ab"}

    assert len(names) == 2
    assert max(map(len, names)) <= 64
