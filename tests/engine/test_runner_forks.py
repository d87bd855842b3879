"""What a revision forks is not heard by the supervisor, and so gets no connection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target

FORK = """
    import os
    from sqlalchemy import create_engine
    url = op.get_bind().engine.url
    pid = os.fork()
    if pid == 0:
        with create_engine(url).begin() as connection:
            connection.exec_driver_sql("CREATE TABLE by_the_fork (id int)")
        os._exit(0)
    print("the fork ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("forks"))


def test_a_fork_that_connects_ends_at_once_and_takes_no_word_of_the_run(tmp_path: Path, target: Target) -> None:
    again = "from sqlalchemy import create_engine\nwith create_engine(op.get_bind().engine.url).connect(): pass"
    folder = runnable.write(tmp_path, [runnable.Script("r1", FORK), runnable.Script("r2", again, "r1")])

    outcome = running.run(
        running.upgrade_request(target, "r1", "r2"), folder, limits=replace(running.LIMITS, deadline_s=20)
    )

    assert outcome.exit.exit_code == 0, outcome.printed["stderr"]
    assert outcome.printed["stdout"] == "the fork ended with 4\n"
    assert "forked may not connect" in outcome.printed["stderr"]
    assert len(outcome.all("ready")) == 2
    assert target.tables() == {"alembic_version"}
