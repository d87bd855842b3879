"""The SQL of a range, written by Alembic without a connection: whole, or not at all and with the reason."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from migrations_audit.engine import children, process, protocol
from migrations_audit.states import UrlDelivery
from tests.engine import runnable, running

THREE = runnable.chain("alpha", "beta", "gamma")


def offline_request(offline_range: str, **changes: object) -> protocol.RunnerRequest:
    request = protocol.RunnerRequest(
        mode="upgrade",
        config_path="alembic.ini",
        ini_section="alembic",
        url="postgresql+psycopg://reader@127.0.0.1:1/nowhere",
        url_delivery=UrlDelivery.SQLALCHEMY_URL,
        url_delivery_name="sqlalchemy.url",
        connection=protocol.Connection(host="127.0.0.1", port=1, database="nowhere", user="reader", password="unused"),
        expected=protocol.Expected(system_identifier="0", database_oid=0, database="nowhere"),
        application_name=running.TAG,
        lock_key=running.LOCK_KEY,
        lock_budget_s=0,
        lock_timeout_ms=0,
        statement_timeout_ms=0,
        idle_in_transaction_timeout_ms=0,
        client_connection_check_interval_ms=0,
        start=(),
        destination=(),
        steps=(),
        offline_range=offline_range,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def offline(folder: Path, offline_range: str = "base:r3", **changes: object) -> process.OfflineResult:
    return process.offline_sql(
        request=offline_request(offline_range, **changes),
        interpreter=sys.executable,
        confinement=running.PLAIN,
        snapshot=folder,
        folder=folder,
        limits=running.LIMITS,
    )


def test_the_sql_of_a_range_is_written_whole(tmp_path: Path) -> None:
    result = offline(runnable.write(tmp_path, THREE), "r1:r3")

    assert result.reason == ""
    assert result.sql is not None
    assert [line for line in result.sql.splitlines() if line.startswith(("BEGIN", "CREATE", "UPDATE", "COMMIT"))] == [
        "BEGIN;",
        "CREATE TABLE beta (id int PRIMARY KEY);",
        "UPDATE alembic_version SET version_num='r2' WHERE alembic_version.version_num = 'r1';",
        "CREATE TABLE gamma (id int PRIMARY KEY);",
        "UPDATE alembic_version SET version_num='r3' WHERE alembic_version.version_num = 'r2';",
        "COMMIT;",
    ]


def test_the_sql_of_a_way_down_is_written(tmp_path: Path) -> None:
    result = offline(runnable.write(tmp_path, THREE), "r3:r2", mode="downgrade")

    assert result.sql is not None
    assert "DROP TABLE gamma;" in result.sql


def test_sql_longer_than_one_event_is_put_together(tmp_path: Path) -> None:
    long = runnable.Script("r1", "op.execute(\"COMMENT ON TABLE x IS '\" + 'words ' * 300_000 + \"'\")")

    result = offline(runnable.write(tmp_path, [long]), "base:r1")

    assert result.sql is not None
    assert result.sql.count("words ") == 300_000


def test_a_revision_that_looks_into_the_database_gives_no_sql_but_a_reason(tmp_path: Path) -> None:
    looking = runnable.Script("r2", "import sqlalchemy; sqlalchemy.inspect(op.get_bind()).get_table_names()", "r1")

    result = offline(runnable.write(tmp_path, [THREE[0], looking]), "base:r2")

    assert result.sql is None
    assert "inspection" in result.reason


def test_an_exception_without_words_is_a_reason_too(tmp_path: Path) -> None:
    result = offline(runnable.write(tmp_path, [runnable.Script("r1", "assert False")]), "base:r1")

    assert result == process.OfflineResult(sql=None, reason="AssertionError")


def test_a_project_that_connects_offline_gives_no_sql_but_a_reason(tmp_path: Path) -> None:
    folder = runnable.write(tmp_path, THREE, env=runnable.env_with('"sqlite:///made.db"'))

    result = offline(folder)

    assert result == process.OfflineResult(sql=None, reason="The project opens a database connection to write its SQL.")
    assert not (folder / "made.db").exists()


def test_a_project_that_writes_its_sql_elsewhere_gives_no_sql_but_a_reason(tmp_path: Path) -> None:
    env = """
        import sys
        from alembic import context
        context.configure(dialect_name="postgresql", output_buffer=sys.stdout)
        with context.begin_transaction():
            context.run_migrations()
    """

    result = offline(runnable.write(tmp_path, THREE, env=env))

    assert result == process.OfflineResult(sql=None, reason="The project wrote no SQL where Alembic expects it.")


def test_the_password_does_not_reach_an_offline_run(tmp_path: Path) -> None:
    env = """
        import sys
        frame = sys._getframe()
        while "request" not in frame.f_locals:
            frame = frame.f_back
        assert frame.f_locals["request"]["connection"]["password"] == ""
    """

    result = offline(runnable.write(tmp_path, THREE, env=dedent(env) + dedent(runnable.ONLINE_ENV)))

    assert result.sql is not None


@pytest.mark.parametrize("version", [(3, 8), (3, 9)])
def test_the_program_is_readable_for_old_interpreters(version: tuple[int, int]) -> None:
    for path in children.PROGRAM.rglob("*.py"):
        ast.parse(path.read_text(), feature_version=version)


def test_the_program_imports_nothing_of_the_portal() -> None:
    nodes = [node for path in children.PROGRAM.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    named |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}

    assert {name.split(".")[0] for name in named} - set(sys.stdlib_module_names) == {"alembic", "sqlalchemy"}


def test_a_project_may_name_its_modules_as_the_program_does(tmp_path: Path) -> None:
    names = sorted({path.stem for path in children.PROGRAM.rglob("*.py")} - {"__init__", "__main__"})
    env = f"""
        import os, sys
        import opsportal_runner
        from importlib import import_module

        sys.path.insert(0, os.getcwd())
        for name in {names!r}:
            assert import_module(name).WHOSE == "the project's", name
        ours = os.path.dirname(os.path.dirname(opsportal_runner.__file__))
        seen = [name for name, module in sys.modules.items() if (getattr(module, "__file__", "") or "").startswith(ours)]
        assert [name for name in seen if name.split(".")[0] not in ("opsportal_runner", "__main__")] == []
        assert ours not in sys.path
    """
    folder = runnable.write(tmp_path, THREE, env=dedent(env) + dedent(runnable.ONLINE_ENV))
    for name in names:
        (folder / f"{name}.py").write_text('WHOSE = "the project\'s"\n')

    result = offline(folder)

    assert len(names) > 10
    assert result.reason == ""
