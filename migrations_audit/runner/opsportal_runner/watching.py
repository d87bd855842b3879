"""Follows steps, statements and commits through hooks in Alembic and SQLAlchemy, and tells each."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import dbapi, failures, guarding, inspecting, planned, telling

MAX_STATEMENT_EVENTS = 10_000  # a data revision may execute millions; the rest is only counted


class Watch:
    """Compares what Alembic is about to do with the plan, then tells each step, statement and commit."""

    def __init__(
        self, request: telling.Facts, events: telling.Events, guard: guarding.Guard, plan: planned.Plan
    ) -> None:
        self._events = events
        self._guard = guard
        self._plan = plan
        self._inspection = inspecting.Inspection(request, events)
        self.step: telling.Facts = {}
        self._position = 0
        self._statement: telling.Facts = {}
        self._began = 0.0
        self._version_writer: Any = None
        self.told: telling.Facts = dict.fromkeys(
            ("steps_ended", "version_writes", "commits", "statements", "autocommit_blocks"), 0
        )
        self.told.update(external_transaction=False, commit_after_version=False)

    def arm(self) -> None:
        from alembic.runtime.migration import MigrationContext
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.engine.default import DefaultDialect
        from sqlalchemy.pool import Pool

        contexts: Any = MigrationContext
        dialects: Any = DefaultDialect
        run_migrations, autocommit_block = contexts.run_migrations, contexts.autocommit_block
        do_commit = dialects.do_commit

        def watched_run(context: Any, **kw: Any) -> None:
            if not context.as_sql:
                self._prepare(context)
            run_migrations(context, **kw)

        @contextlib.contextmanager
        def watched_block(context: Any) -> Iterator[None]:
            self.told["autocommit_blocks"] += 1
            self._events.emit("autocommit_entered", **self.step)
            with autocommit_block(context):
                yield
            self._events.emit("autocommit_left", **self.step)

        # SQLAlchemy's own event comes before the COMMIT, which may still fail.
        def watched_commit(dialect: Any, connection: Any) -> None:
            do_commit(dialect, connection)
            self._committed(dbapi.inner(connection))

        contexts.run_migrations, contexts.autocommit_block = watched_run, watched_block
        dialects.do_commit = watched_commit
        # The guard's listener was there first.
        event.listen(Pool, "connect", lambda connection, record: self._inspection.begin(connection))
        event.listen(Engine, "rollback", self._rolled_back)
        event.listen(Engine, "before_cursor_execute", self._statement_started)
        event.listen(Engine, "after_cursor_execute", self._statement_ended)
        event.listen(Engine, "handle_error", self._statement_failed)

    def _prepare(self, context: Any) -> None:
        """Compare with the plan before Alembic creates its version table, then follow its steps."""
        planned.settle_order(context)
        steps, heads = context._migrations_fn, context.get_current_heads()
        self._guard.refuse_other_start(heads)
        ahead = list(steps(heads, context))
        self._plan.refuse_other(context, ahead)
        external = bool(getattr(context, "_in_external_transaction", False))
        self.told["external_transaction"] |= external
        self._events.emit(
            "context", heads=list(heads), steps=len(ahead), external_transaction=external,
            transaction_per_migration=bool(getattr(context, "_transaction_per_migration", False)),
        )  # fmt: skip
        context.on_version_apply_callbacks = (*context.on_version_apply_callbacks, self._version_written)
        context._migrations_fn = functools.partial(self._followed, steps)

    def _followed(self, steps: Callable[..., Any], heads: Any, context: Any) -> Iterator[Any]:
        for step in steps(heads, context):
            self._guard.move_lock(dbapi.inner(context.connection.connection))
            self._position += 1
            revision, direction = self._plan.remaining[0]
            self.step = {"position": self._position, "revision": revision, "direction": direction}
            before, began = self.told["statements"], time.monotonic()
            self._events.emit("step_started", **self.step)
            yield step  # Alembic comes back when the step's own transaction block is over, not when it fails
            self._inspect(context, functools.partial(self._inspection.after_step, **self.step))
            spent = {"ms": round((time.monotonic() - began) * 1000), "statements": self.told["statements"] - before}
            self._events.emit("step_ended", **self.step, **spent)
            self.told["steps_ended"] += 1
            self._plan.remaining, self.step = self._plan.remaining[1:], {}

    def _inspect(self, context: Any, look: Callable[[Any], None]) -> None:
        """Between two steps no transaction may be open; one that only our questions opened is closed again."""
        if not self._inspection.wanted:
            return
        connection = dbapi.inner(context.connection.connection)
        look(connection)
        if not context.connection.in_transaction():
            connection.rollback()

    def _version_written(self, ctx: Any, heads: Any, **_: Any) -> None:
        self._guard.revisions = sorted(heads)
        self._version_writer = dbapi.inner(ctx.connection.connection)
        self.told["version_writes"] += 1
        self.told["commit_after_version"] = False
        self._events.emit("version_written", **self.step, heads=sorted(heads))

    def _committed(self, connection: Any) -> None:
        self.told["commits"] += 1
        self._inspection.committed()
        if connection is self._version_writer and not self.told["commit_after_version"]:
            self.told["commit_after_version"] = True
            self._events.emit("commit", **self.step)  # after any number of statements: by it a step counts as committed
        else:
            self._tell("commit")

    def _rolled_back(self, conn: Any) -> None:
        if conn.closed or conn.invalidated or dbapi.inner(conn.connection) is self._version_writer:
            self._version_writer = None
        self._tell("rollback")

    def _tell(self, event: str, **facts: Any) -> None:
        if self.told["statements"] + self.told["commits"] <= MAX_STATEMENT_EVENTS:
            self._events.emit(event, **{**self.step, **facts})

    def _statement_started(self, conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self.step:
            self.told["statements"] += 1
            self._statement, self._began = {"index": self.told["statements"]}, time.monotonic()
            told = {
                "text": statement[: telling.MAX_STATEMENT],
                "cut": len(statement[telling.MAX_STATEMENT :]),
                "values": bool(parameters),
            }
            self._tell("statement_started", **self._statement, **told)

    def _statement_ended(self, conn: Any, cursor: Any, *_: Any) -> None:
        if self.step:
            ms = round((time.monotonic() - self._began) * 1000)
            facts: telling.Facts = {**self._statement, "ms": ms, "rowcount": getattr(cursor, "rowcount", -1)}
            if self._inspection.wanted:  # before any question opens a transaction of its own
                facts["idle"] = self._guard.is_idle(dbapi.inner(conn.connection))
            self._tell("statement_ended", **facts)
            if self._inspection.wanted:
                self._inspection.after_statement(dbapi.inner(conn.connection), **self.step, **self._statement)

    def _statement_failed(self, failure: Any) -> None:
        if failure.connection is not None:
            self._tell(
                "statement_failed", **failures.described(failure.sqlalchemy_exception or failure.original_exception)
            )
