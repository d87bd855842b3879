"""From the runner's events to the live log, the steps and the witness. What the hooks say, never what the console printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from django.db import connection

from migrations_audit import failpoints
from migrations_audit.actions import attempts
from migrations_audit.actors import Actor
from migrations_audit.engine import types
from migrations_audit.engine.fence import Backend
from migrations_audit.execution.writing import AWAY, Writer
from migrations_audit.judgement import Witness
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import Phase, StepState

FLUSH_EVERY_S = 0.2
FLUSH_AT_LINES = 100
SHOW_A_STATEMENT_AFTER_S = 1.0
LONGEST_LINE = 20_000
ANSWER_WITHIN_S = 8.0
ASK_AGAIN_S = 0.5
LONGEST_BLOCKING_QUERY = 200


class Narrator:
    """Writes what the runner tells. Every method may raise LostLease, and then the runner must be stopped."""

    def __init__(self, *, run: MigrationRun, actor: Actor) -> None:
        self._run = run
        self._actor = actor
        self._lines: list[attempts.Line] = []
        self._flushed_at = time.monotonic()
        self._written: set[int] = set()
        self._committed: set[int] = set()
        self._left_transaction = False
        self._statement: tuple[str, float] | None = None
        self._is_shown = False
        self._writer = Writer()
        self.witness = Witness(touched=False, version_written=False)
        self.facts: dict[str, Any] = {}
        self.blockers: list[dict[str, Any]] = []

    @property
    def statement_since(self) -> float | None:
        """When the statement began that is being executed now, on the monotonic clock. Another thread may ask."""
        statement = self._statement
        return statement[1] if statement else None

    @property
    def has_committed(self) -> bool:
        """Whether a step's version write was committed, or the revisions left their transaction."""
        return bool(self._committed) or self._left_transaction

    def start_over(self, sentence: str, **facts: Any) -> None:
        """Forget what an attempt told, because it was rolled back as a whole; the next one tells it again."""
        self.say(sentence)
        self.finish()
        attempts.begin_again(
            actor=self._actor, number=self._run.number, epoch=self._run.epoch, sentence=sentence, **facts
        )
        self._run.phase = Phase.LOCK.value
        self._written.clear()
        self._statement = None
        self.witness = Witness(
            touched=False, version_written=False, connected=self.witness.connected, begun=self.witness.begun
        )
        self.blockers = []
        self.facts.pop("error", None)

    def waits_for(self, blockers: Sequence[Backend]) -> None:
        """Tell who holds the locks that a statement waits for, when that has changed."""
        pids = [item.pid for item in blockers]
        if pids and pids != [item["pid"] for item in self.blockers]:
            self.blockers = [_blocker(item) for item in blockers]
            self.facts["blockers"] = self.blockers
            self.say(f"Waiting for a lock {self.held_by}.")
            self.flush()

    @property
    def sqlstate(self) -> str:
        """The SQLSTATE with which Alembic ended, or nothing."""
        return str(self.facts.get("error", {}).get("sqlstate", ""))

    @property
    def held_by(self) -> str:
        """Who held the lock when that was last looked up, in words; or nothing."""
        return "held by " + "; ".join(_blocker_words(item) for item in self.blockers[:3]) if self.blockers else ""

    def gave_up_after(self, attempts: int) -> None:
        """A lock was not had: the verdict's sentence names who held it."""
        times = f" Tried {attempts} times." if attempts > 1 else ""
        held = f" The lock was {self.held_by}." if self.blockers else ""
        self.witness = replace(self.witness, error=f"{self.witness.error}{held}{times}")

    def say(self, text: str) -> None:
        """One line of the portal's own."""
        self._add("portal", text)

    def output(self, stream: str, text: str) -> None:
        """What the migration printed. For people only."""
        for line in text.splitlines():
            self._add(stream, line)

    def event(self, event: dict[str, Any]) -> None:
        """Take note of one event."""
        handler: Callable[[dict[str, Any]], None] | None = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def may_go(self) -> bool:
        """Whether the project may have the connection that was just checked; from the first yes on it may send anything.

        A portal's database that is away for a moment, or a chain that somebody holds, makes the project wait for its connection.
        """
        give_up_at = time.monotonic() + ANSWER_WITHIN_S
        while True:
            try:
                return self._may_go()
            except AWAY:
                connection.close()
                if time.monotonic() >= give_up_at:
                    raise
            time.sleep(ASK_AGAIN_S)

    def _may_go(self) -> bool:
        self.finish()
        number, epoch = self._run.number, self._run.epoch
        attempts.remember_sessions(number=number, epoch=epoch, sessions=self._run.sessions)
        failpoints.reach("before_go")
        if self._run.phase == Phase.EXECUTE.value:
            return attempts.renew(number=number, epoch=epoch).may_work
        going = attempts.begin_execution(
            actor=self._actor,
            number=number,
            epoch=epoch,
            sentence="Alembic is executing the approved revisions.",
        )
        if going:
            self._run.phase = Phase.EXECUTE.value
            self.witness = replace(self.witness, touched=True)
        return going

    def tick(self) -> None:
        """Called several times a second: shows a statement that takes long, and writes what has gathered."""
        if self._statement is not None and not self._is_shown:
            text, began = self._statement
            if time.monotonic() - began >= SHOW_A_STATEMENT_AFTER_S:
                self._add("portal", f"Executing since {SHOW_A_STATEMENT_AFTER_S:.0f} s: {text}")
                self._is_shown = True
        if self._lines and time.monotonic() - self._flushed_at >= FLUSH_EVERY_S:
            self.flush()
        self._writer.settle()

    def flush(self) -> None:
        """Write the gathered lines, or let them wait while the portal's database is away."""
        lines, self._lines = self._lines, []
        self._flushed_at = time.monotonic()
        number, epoch = self._run.number, self._run.epoch
        if lines:
            self._writer.write(lambda: attempts.append_log(number=number, epoch=epoch, lines=lines))

    def finish(self) -> None:
        """Write everything that was told. Raises one of ``writing.AWAY`` when the portal's database does not answer."""
        self.flush()
        self._writer.finish()

    def _add(self, stream: str, text: str, duration_ms: int | None = None) -> None:
        self._lines.append(attempts.Line(stream, text[:LONGEST_LINE], duration_ms))
        if len(self._lines) >= FLUSH_AT_LINES:
            self.flush()

    def _step(self, position: int, state: StepState, *, stamp: str = "", **fields: Any) -> None:
        """Write a step's new state; ``stamp`` names the column that takes the time of the writing."""
        self.flush()
        number, epoch = self._run.number, self._run.epoch

        def write() -> None:
            times = {stamp: database_now()} if stamp else {}
            attempts.update_step(number=number, epoch=epoch, position=position, state=state, **times, **fields)

        self._writer.write(write)

    def _on_hello(self, event: dict[str, Any]) -> None:
        versions = {name: event[name] for name in ("python", "alembic", "sqlalchemy")}
        self.facts["versions"] = versions
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        self.say(f"Runner: {told}, isolation {self._run.isolation}")

    def _on_connected(self, event: dict[str, Any]) -> None:
        self.witness = replace(self.witness, connected=True)
        settings = event["settings"]
        self.facts.setdefault("sessions", []).append({"pid": event["backend_pid"], "settings": settings})
        session = types.RunSession(id=event["backend_pid"], name=event["session"])
        self._run.sessions = [*self._run.sessions, session.as_dict()]
        by_whom = f" as {event['user']}" if event["user"] else ""
        shown = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()) if name != "application_name")
        self.say(
            f"Connected to {event['database']}{by_whom} by {event['driver']}, session {event['backend_pid']}, "
            f"{event['engine']} {event['server_version']}. In force: {shown}."
        )

    def _on_connection_failed(self, event: dict[str, Any]) -> None:
        self.witness = replace(self.witness, error=event["message"])
        self.say(f"No connection: {event['message']}")

    def _on_lock_waiting(self, event: dict[str, Any]) -> None:
        holder = event["holder"] or {}
        who = (
            f"{holder.get('application_name')} as {holder.get('user')}, session {holder.get('pid')}"
            if holder
            else "nobody now"
        )
        self.say(f"Waiting for the run lock since {event['waited_ms'] / 1000:.0f} s; held by {who}.")
        self.flush()

    def _on_lock_taken(self, event: dict[str, Any]) -> None:
        if self._run.phase == Phase.EXECUTE.value:
            self.say("The run lock moved to the migrating session.")
        else:
            self.say(f"Run lock taken after {event['waited_ms']} ms; the starting state was read again under it.")

    def _on_refused(self, event: dict[str, Any]) -> None:
        self.witness = replace(self.witness, refusal=event["code"], error=event["message"])
        self.say(f"Refused: {event['message']}")
        self.flush()

    def _on_step_started(self, event: dict[str, Any]) -> None:
        self.witness = replace(self.witness, begun=True)
        self._add("step", f"{event['revision']}: {event['direction']} started")
        self._step(event["position"], StepState.RUNNING, stamp="started_at")

    def _on_step_ended(self, event: dict[str, Any]) -> None:
        position = event["position"]
        self.witness = replace(self.witness, steps_ended=self.witness.steps_ended + 1)
        self._add(
            "step", f"{event['revision']}: {event['direction']} ended, {event['statements']} statements", event["ms"]
        )
        state = StepState.COMMITTED if position in self._committed else StepState.ENDED
        self._step(position, state, stamp="ended_at", duration_ms=event["ms"], statements=event["statements"])

    def _on_statement_started(self, event: dict[str, Any]) -> None:
        self._statement, self._is_shown = (event["text"], time.monotonic()), False
        self._text = event["text"]

    def _on_statement_ended(self, event: dict[str, Any]) -> None:
        self._statement = None
        self._add("statement", self._text, event["ms"])

    def _on_statement_failed(self, event: dict[str, Any]) -> None:
        self._statement = None
        self._add("statement", f"failed ({event['sqlstate'] or event['type']}): {event['statement']}")

    def _on_version_written(self, event: dict[str, Any]) -> None:
        self._written.add(event["position"])
        self.witness = replace(self.witness, version_written=True)

    def _on_autocommit_entered(self, event: dict[str, Any]) -> None:
        self._left_transaction = True
        self.say("An autocommit block begins: what came before is committed, what follows cannot be rolled back.")

    def _on_commit(self, event: dict[str, Any]) -> None:
        self._add("step", "COMMIT", event.get("ms"))
        for position in sorted(self._written - self._committed):
            self._step(position, StepState.COMMITTED)
        self._committed |= self._written

    def _on_rollback(self, event: dict[str, Any]) -> None:
        self._add("step", "ROLLBACK")
        for position in sorted(self._written - self._committed):
            self._step(position, StepState.FAILED)
        self._written &= self._committed

    def _on_error(self, event: dict[str, Any]) -> None:
        sqlstate = f" (SQLSTATE {event['sqlstate']})" if event["sqlstate"] else ""
        where = f" in {event['revision']}" if event["revision"] else ""
        sentence = f"{event['type']}{sqlstate}{where}: {event['message'].strip()}"
        self.witness = replace(self.witness, error=sentence)
        self.facts["error"] = {
            name: event[name] for name in ("type", "sqlstate", "revision", "message", "statement", "where")
        }
        self.say(sentence)
        if event.get("position") and event["position"] not in self._committed:
            self._step(event["position"], StepState.FAILED, stamp="ended_at")

    def _on_no_connection(self, event: dict[str, Any]) -> None:
        self.say(event["message"])

    def _on_steps_missing(self, event: dict[str, Any]) -> None:
        self.say(event["message"])

    def _on_leftovers_killed(self, event: dict[str, Any]) -> None:
        self.say("Processes that the migration had left behind were ended.")

    def _on_finished(self, event: dict[str, Any]) -> None:
        commit = bool(event["commit_after_version"])
        if event["external_transaction"]:
            self.say("env.py had a transaction open before context.configure(); Alembic leaves the commit to it then.")
        self.witness = replace(self.witness, commit_after_version=commit)
        self.facts["told"] = {name: event[name] for name in ("connections", "commits", "statements", "version_writes")}
        self.flush()


def _blocker(backend: Backend) -> dict[str, Any]:
    return {
        "pid": backend.pid,
        "user": backend.user,
        "application_name": backend.application_name,
        "state": backend.state,
        "age_s": round(backend.age_s),
        "query": backend.query[:LONGEST_BLOCKING_QUERY],
    }


def _blocker_words(blocker: dict[str, Any]) -> str:
    if not blocker["pid"]:
        return "a prepared transaction"
    program = f" ({blocker['application_name']})" if blocker["application_name"] else ""
    who = f"session {blocker['pid']} of {blocker['user']}{program}"
    if not blocker["state"]:  # the server tells a plain role nothing of other people's sessions but their names
        return f"{who}; what it does is not told to this user without the role pg_read_all_stats"
    return f"{who}, {blocker['state']}, its transaction {blocker['age_s']} s old: {blocker['query']}"
