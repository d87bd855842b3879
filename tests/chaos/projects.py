"""The Alembic projects of the chaos. Every revision marks what it does in its own transaction, so that it can be counted.

``chaos.mark`` (tests/chaos/scene.py) writes a row into a journal under the run's own number. A part that works outside the
revision's transaction has a mark of its own: what is applied twice is there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine import runnable

STEP, APART = "step", "apart"

_HEAD = """
    import time

    from alembic import context
    from sqlalchemy import engine_from_config, exc, pool, text

    config = context.config
    section = config.get_section(config.config_ini_section)
    if context.is_offline_mode():
        context.configure(url=config.get_main_option("sqlalchemy.url"), literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    else:
"""
_ONLINE = """
        {before}
        engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
        with engine.connect() as connection:
            {on_connection}
            context.configure(connection=connection, transaction_per_migration={each})
            with context.begin_transaction():
                context.run_migrations()
"""
_STUBBORN = """
        for attempt in range(6):
            engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
            try:
                with engine.connect() as connection:
                    context.configure(connection=connection)
                    with context.begin_transaction():
                        context.run_migrations()
                break
            except exc.DBAPIError:
                if attempt == 5:
                    raise
                time.sleep(0.7)
"""


def _env(*, each: bool = False, before: str = "pass", on_connection: str = "pass") -> str:
    return _HEAD + _ONLINE.format(each=each, before=before, on_connection=on_connection)


@dataclass(frozen=True)
class Revision:
    """One revision: ``body`` works between its mark and its table, ``apart`` outside its transaction; both ways the same."""

    name: str
    body: str = ""
    apart: str = ""

    def script(self, before: str | None) -> runnable.Script:
        table = f"table_{self.name}"
        up = [*self._apart("upgrade", f"CREATE INDEX CONCURRENTLY ix_{self.name} ON chaos.indexed (id)", self.apart)]
        up += [_mark(self.name, "upgrade", STEP), *self.body.splitlines()]
        up += [f'op.execute("CREATE TABLE {table} (id int PRIMARY KEY)")']
        down = self._apart("downgrade", f"DROP INDEX CONCURRENTLY chaos.ix_{self.name}", self.apart)
        down += [_mark(self.name, "downgrade", STEP), *self.body.splitlines()]
        down += [f'op.execute("DROP TABLE {table}")']
        return runnable.Script(self.name, "\n".join(up), before, "\n".join(down))

    def parts(self) -> tuple[str, ...]:
        """The marks that it leaves when all of it was executed."""
        return (STEP, APART) if self.apart else (STEP,)

    def _apart(self, direction: str, statement: str, more: str) -> list[str]:
        if not self.apart:
            return []
        inside = [_mark(self.name, direction, APART), f'op.execute("{statement}")', *more.splitlines()]
        return ["with op.get_context().autocommit_block():", *(f"    {line}" for line in inside)]


def _mark(revision: str, direction: str, part: str) -> str:
    return f"op.execute(\"SELECT chaos.mark('{revision}', '{direction}', '{part}')\")"


def _sleeps(seconds: float) -> str:
    return f'op.execute("SELECT pg_sleep({seconds})")'


@dataclass(frozen=True)
class Kind:
    """One kind of project. ``driver`` is what SQLAlchemy calls it.

    An upgrade waits about ``idle_s`` before it connects and then works about ``busy_s``, so that faults can be aimed.
    """

    name: str
    revisions: tuple[Revision, ...]
    busy_s: float
    env: str = field(default_factory=_env, repr=False)
    driver: str = "postgresql+psycopg"
    idle_s: float = 0.0

    def write(self, folder: Path) -> Path:
        """Write the project's files into ``folder`` and return it."""
        names: list[str | None] = [None, *(revision.name for revision in self.revisions)]
        scripts = [
            runnable.Script(made.revision, "import time\n" + made.up, made.down_revision, made.down)
            for made in (each.script(before) for each, before in zip(self.revisions, names, strict=False))
        ]
        return runnable.write(folder, scripts, env=self.env)

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(revision.name for revision in self.revisions)

    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """The marks of each revision, in each direction the same."""
        return {revision.name: revision.parts() for revision in self.revisions}


LONG_S = 11.0
"""Longer than a lease of four seconds and what follows it: a run that was taken for lost may still be at work."""

# Some services keep the server from noticing that its client has died.
_DEAF = 'connection.exec_driver_sql("SET client_connection_check_interval = 0"); connection.commit()'
_SLOW_COMMIT = f'op.execute("INSERT INTO chaos.slow VALUES ({LONG_S})")'
_R1, _R2, _R3 = (Revision(name, _sleeps(0.3)) for name in ("r1", "r2", "r3"))

KINDS = {
    kind.name: kind
    for kind in (
        Kind("transactional", (_R1, _R2, _R3), 0.9),
        Kind("transaction per migration", (_R1, Revision("r2", _sleeps(0.6)), _R3), 1.2, _env(each=True)),
        Kind("autocommit block", (_R1, Revision("r2", _sleeps(0.3), apart=_sleeps(0.8)), _R3), 1.7),
        Kind("long autocommit block", (_R1, Revision("r2", apart=_sleeps(LONG_S))), LONG_S, _env(on_connection=_DEAF)),
        Kind("slow COMMIT", (_R1, Revision("r2", _SLOW_COMMIT)), LONG_S, _env(on_connection=_DEAF)),
        Kind("failing", (_R1, Revision("r2", 'op.execute("SELECT no_such_column")')), 0.3),
        Kind("failing, per migration", (_R1, Revision("r2", 'raise RuntimeError("on purpose")')), 0.3, _env(each=True)),
        Kind("failing, autocommit", (_R1, Revision("r2", apart='op.execute("SELECT 1 / 0")')), 0.3),
        Kind("no commit", (_R1, _R2), 0.6, _env(on_connection='connection.execute(text("SELECT 1"))')),
        Kind("Python sleep", (Revision("r1", f"time.sleep({LONG_S})"), _R2), LONG_S),
        Kind("long statement", (_R1, Revision("r2", _sleeps(LONG_S))), LONG_S),
        Kind("late connection", (_R1, _R2), 0.6, _env(before=f"time.sleep({LONG_S})"), idle_s=LONG_S),
        Kind("stubborn env.py", (_R1, Revision("r2", _sleeps(1.0))), 1.3, _HEAD + _STUBBORN),
        Kind("asyncpg", (_R1, _R2, _R3), 0.9, runnable.ASYNC_ENV, driver="postgresql+asyncpg"),
        Kind("psycopg2", (_R1, _R2, _R3), 0.9, driver="postgresql+psycopg2"),
    )
}

LONG = tuple(name for name, kind in KINDS.items() if kind.busy_s + kind.idle_s > LONG_S - 1)
"""The projects that outlive their lease. They are what a fence is for."""
