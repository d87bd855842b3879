"""The questions that the runner asks in the migrating session of a copy, and what their answers mean.

They live in functions in the copy's own schema ``opsportal``, which no catalog counts: a function brings its settings with it
and puts the session's back, whatever the project has set there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from migrations_audit.engine import catalog, catalog_queries, catalog_queries_beside
from migrations_audit.engine.rehearsing.overlay import Overlay
from migrations_audit.engine.rehearsing.types import Lock, Pass, Statement, Step
from migrations_audit.engine.session import PINNED

MAX_TOLD: Final = 64 * 1024**2
LONGEST_CODE: Final = 40

_LOCKS: Final = """
    SELECT l.relation::text, l.mode
      FROM pg_locks l
     WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.relation >= 16384
"""
# The oids below are the system's own. A file's number changes when a table is written anew.
_RELATIONS: Final = r"""
    SELECT c.oid::text, format('%I.%I', n.nspname, c.relname), c.relkind::text, coalesce(pg_relation_filenode(c.oid), 0)::text
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S')
       AND n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'opsportal')
"""

QUESTIONS: Final = {
    "statement": {
        "relations": "SELECT * FROM opsportal.relations()",
    },
    "transaction": {"locks": "SELECT * FROM opsportal.locks()"},
    "step": {"catalog": "SELECT * FROM opsportal.catalog()"},
}

_MAKE: Final = sql.SQL(
    "CREATE FUNCTION opsportal.{name}() RETURNS TABLE ({columns}) LANGUAGE sql STABLE {settings} AS {body}"
)


def install(connection: psycopg.Connection[TupleRow]) -> None:
    """Leave the questions in the copy. ``connection`` is its owner's."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS opsportal")
    connection.execute("GRANT USAGE ON SCHEMA opsportal TO public")
    for name, columns, body in (
        ("locks", "relation text, mode text", _LOCKS),
        ("relations", "id text, name text, kind text, file text", _RELATIONS),
        ("catalog", "key text, definition text", _catalog_query(connection)),
    ):
        connection.execute(
            _MAKE.format(
                name=sql.Identifier(name),
                columns=sql.SQL(columns),
                settings=sql.SQL(" ").join(
                    sql.SQL("SET {} = {}").format(sql.Identifier(setting), _value(setting, value))
                    for setting, value in PINNED.items()
                ),
                body=sql.Literal(body),
            )
        )


def _value(setting: str, value: str) -> sql.Composable:
    """A search path is a list of names, and anything else one value."""
    if setting != "search_path":
        return sql.Literal(value)
    return sql.SQL(", ").join(sql.Identifier(name) for name in value.split(", "))


def _catalog_query(connection: psycopg.Connection[TupleRow]) -> str:
    """All of ``catalog.read`` in one query, a function's source as its digest as there."""
    plain = [*catalog_queries_beside.PLAIN, catalog_queries.CONSTRAINTS, catalog_queries.INDEXES]
    take = sql.SQL("SELECT key, definition FROM ({}) AS q (key, definition, flag)")
    functions = sql.SQL(
        "SELECT key, definition || ', sha256 ' || encode(sha256(convert_to(source, 'UTF8')), 'hex')"
        " FROM ({}) AS f (key, definition, source)"
    ).format(catalog_queries.FUNCTIONS)
    return sql.SQL(" UNION ALL ").join([*map(take.format, plain), functions]).as_string(connection)


class Follower:
    """Puts the runner's events of one pass together. ``known`` is the catalog with which it begins."""

    def __init__(self, known: Mapping[str, str], relations: Mapping[str, str]) -> None:
        self._catalog = Overlay(dict(known))
        self._there_before = dict(relations)
        self._gone: dict[str, str] = {}
        self._autocommit = 0
        self._packed: list[str] = []
        self._told = 0
        self._unseen = False
        self.steps: list[Step] = []
        self.problem = self.code = self.sqlstate = self.uninspected = ""
        self._hear: dict[str, Callable[[dict[str, Any]], None]] = {
            "step_started": self._step_started,
            "step_ended": self._step_ended,
            "statement_started": self._statement_started,
            "statement_ended": self._statement_ended,
            "statement_failed": self._statement_failed,
            "autocommit_entered": self._autocommit_entered,
            "autocommit_left": self._autocommit_left,
            "inspected": self._inspected,
            "not_inspected": self._not_inspected,
            "looks_ended": self._looks_ended,
            "refused": self._stopped,
            "error": self._stopped,
            "steps_missing": self._stopped,
            "no_connection": self._stopped,
            "connection_failed": self._stopped,
        }

    def event(self, event: dict[str, Any]) -> None:
        """Take one event of the runner's. A relation's name may be older than its lock, so that a dropped one keeps its name."""
        hear = self._hear.get(event["event"])
        if hear is not None:
            hear(event)

    def finish(self, code: str = "", problem: str = "") -> Pass:
        """All that was seen. ``problem`` is how the process itself ended, which counts when no event said why before."""
        if self.problem:
            code, problem = self.code, self.problem
        return Pass(tuple(self.steps), problem, code, self.sqlstate, self.uninspected)

    @property
    def catalog(self) -> dict[str, str]:
        """The catalog as it is after the last step that ended."""
        return dict(self._catalog)

    def _step_started(self, event: dict[str, Any]) -> None:
        self.steps.append(Step(event["revision"], event["direction"], before=self._catalog))

    def _step_ended(self, event: dict[str, Any]) -> None:
        step = self.steps[-1]
        step.ms, step.ended, step.after = event["ms"], True, self._catalog
        step.untold = max(0, event["statements"] - len(step.statements))
        step.changes = catalog.diff(step.before, step.after)

    def _statement_started(self, event: dict[str, Any]) -> None:
        if self.steps:
            statement = Statement(
                event["text"],
                in_autocommit=self._autocommit > 0,
                unseen=self._unseen,
                cut=event["cut"],
                values=event["values"],
            )
            self.steps[-1].statements.append(statement)

    def _statement_ended(self, event: dict[str, Any]) -> None:
        if (statement := self._statement()) is not None:
            statement.ms, statement.rowcount = event["ms"], event["rowcount"]
            # env.py may put the whole connection into AUTOCOMMIT, without any block of Alembic's.
            statement.in_autocommit = statement.in_autocommit or event.get("idle", False)

    def _statement_failed(self, _: dict[str, Any]) -> None:
        if (statement := self._statement()) is not None:
            statement.failed = True

    def _autocommit_entered(self, _: dict[str, Any]) -> None:
        self._autocommit += 1
        if self.steps:
            self.steps[-1].autocommit_blocks += 1

    def _autocommit_left(self, _: dict[str, Any]) -> None:
        self._autocommit -= 1

    def _not_inspected(self, event: dict[str, Any]) -> None:
        self.uninspected = event["message"]

    def _looks_ended(self, _: dict[str, Any]) -> None:
        self._unseen = True
        if (statement := self._statement()) is not None:
            statement.unseen = True

    def _stopped(self, event: dict[str, Any]) -> None:
        self.problem = event["message"]
        self.code = str(event.get("code", event["event"]))[:LONGEST_CODE]
        self.sqlstate = event.get("sqlstate", "")

    def _inspected(self, event: dict[str, Any]) -> None:
        """Rows come packed: whatever masks words in what a runner says must leave definitions as they are."""
        self._told += len(event["packed"])
        if self._told > MAX_TOLD:
            self._packed, self.uninspected = [], "More changed than a rehearsal can take down."
            return
        self._packed.append(event["packed"])
        if event["more"]:
            return
        rows = json.loads(bytes.fromhex("".join(self._packed)))
        self._packed = []
        if event["of"] == "catalog":
            self._catalog_changed(event["sign"], rows)
        elif event["of"] == "relations":
            self._relations_changed(event["sign"], rows)
        elif event["of"] == "locks" and event["sign"] == "new" and (statement := self._statement()) is not None:
            for oid, mode in rows:
                if oid in self._there_before:
                    statement.locks.append(Lock(mode, self._there_before[oid]))

    def _catalog_changed(self, sign: str, rows: list[list[str]]) -> None:
        changed: dict[str, str | None] = {}
        for key, definition in rows:
            if sign == "new":
                changed[key] = definition
            elif self._catalog.get(key) == definition:
                changed[key] = None
        self._catalog = self._catalog.later(changed)

    def _relations_changed(self, sign: str, rows: list[list[str]]) -> None:
        """An old row that is followed by a new one of the same relation was changed: in its name, or in its file."""
        statement = self._statement()
        for oid, _, kind, file in rows:
            if sign == "gone":
                self._gone[oid] = file
                continue
            old = self._gone.pop(oid, "")
            moved = bool(old) and old != file and oid in self._there_before
            if moved and kind in "rpm" and statement is not None and not statement.empties:
                statement.rewrites.append(self._there_before[oid])

    def _statement(self) -> Statement | None:
        return self.steps[-1].statements[-1] if self.steps and self.steps[-1].statements else None


def relations_of(connection: psycopg.Connection[TupleRow]) -> dict[str, str]:
    """The relations of a database by oid, as names: those whose locks and files are worth knowing."""
    rows = connection.execute(sql.SQL(_RELATIONS)).fetchall()
    return {oid: name for oid, name, _, _ in rows}
