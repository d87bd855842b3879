"""Rehearsals as workers would leave them, without any copy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from migrations_audit.actions import rehearsals
from migrations_audit.models import MigrationRun, Rehearsal
from migrations_audit.models.clock import database_now
from migrations_audit.states import Outcome
from tests.domain import raw
from tests.people import WORKER, Place

FORECAST = {
    "revision": "003",
    "statement": "ALTER TABLE users ADD note text",
    "mode": "AccessExclusiveLock",
    "relation": "public.users",
    "rewritten": True,
    "bytes": 8_192,
    "held_by": 1,
    "sentence": "AccessExclusive on public.users (8.0 kB, about 10 rows).",
    "weight": [4, 1, 0, 8_192],
}
STEP: dict[str, Any] = {
    "revision": "003",
    "message": "add notes",
    "direction": "upgrade",
    "ms": 12,
    "ended": True,
    "autocommit_blocks": 1,
    "statements": [
        {
            "text": "ALTER TABLE users ADD note text",
            "ms": 3,
            "rowcount": -1,
            "failed": False,
            "in_autocommit": False,
            "cut": 0,
            "has_values": False,
            "locks": [["AccessExclusiveLock", "public.users"]],
            "rewrites": ["public.users"],
        }
    ],
    "more_statements": 7,
    "changes": ["+ column public.users.note: text"],
    "grade": "lossy",
    "reasons": ["The downgrade removes what was written since: column public.users.note."],
    "back": {
        "ms": 9,
        "ended": True,
        "statements": [{"text": "ALTER TABLE users DROP note", "ms": 4, "failed": False, "locks": [], "rewrites": []}],
        "more_statements": 3,
        "changes": ["- column public.users.note"],
    },
    "again": {"ms": 11, "ended": True, "same": True},
}
IMPACT: dict[str, Any] = {
    "relations": [],
    "holders": [
        {
            "relation": "public.users",
            "pid": 8,
            "user": "web",
            "program": "gunicorn",
            "state": "idle in transaction",
            "query": "UPDATE users SET name = ?",
            "mode": "AccessShareLock, RowExclusiveLock",
            "in_the_way": True,
            "transaction_s": 0.5,
        }
    ],
    "long": [
        {"pid": 7, "user": "app", "program": "psql", "state": "active", "query": "SELECT ?", "transaction_s": 99.0},
        {
            "pid": None,
            "gid": "pay-7",
            "user": "bank",
            "program": "",
            "state": "prepared",
            "query": "",
            "transaction_s": 7_260.0,
        },
    ],
    "backups": [{"pid": 9, "user": "backup", "program": "pg_basebackup", "phase": "streaming database files"}],
    "standbys": [{"name": "second", "state": "streaming", "sync": "async", "lag_s": 3.0, "behind_bytes": 9}],
    "sees_others": False,
    "at": "2026-11-28 12:00:00",
    "problem": "",
    "forecast": [FORECAST],
}


def result(outcome: Outcome = Outcome.PASSED, **more: Any) -> rehearsals.Result:
    """What a worker saw."""
    values: dict[str, Any] = {
        "code": "rehearsed",
        "sentence": f"It {outcome.value.replace('_', ' ')}.",
        "grade": "exact" if outcome is Outcome.PASSED else "",
        "steps": [{"revision": "003", "statements": []}],
        "delta": [{"sign": "+", "key": "table public.x", "before": "", "after": "table"}],
    }
    return rehearsals.Result(outcome, **(values | more))


def claimed(place: Place, run: MigrationRun) -> Rehearsal:
    """A rehearsal that a worker has taken up."""
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    taken = rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk)
    assert taken is not None
    return taken


def ended(place: Place, run: MigrationRun, outcome: Outcome = Outcome.PASSED, **more: Any) -> Rehearsal:
    """A rehearsal that has ended."""
    taken = claimed(place, run)
    deltas = [{"revision": "003", "sha256": "a" * 64, "changes": []}] if outcome is Outcome.PASSED else []
    found = rehearsals.finish(
        actor=WORKER, rehearsal_id=taken.pk, epoch=taken.epoch, result=result(outcome, **more), deltas=deltas
    )
    assert found is not None
    return found


def shown(run: MigrationRun) -> Rehearsal:
    """A row of one that passed and has much to show, beside workers that would take up any other."""
    assert run.plan is not None
    now = database_now()
    hostile = {**STEP, "message": "wide " * 40, "changes": ["+ column public." + "x" * 200]}
    return Rehearsal.objects.create(
        run=run,
        plan=run.plan,
        asked_by_name="dba",
        asked_at=now,
        started_at=now,
        ended_at=now,
        state="ended",
        outcome="passed",
        grade="lossy",
        sentence="2 revisions ran on a copy.",
        server_version="18.1",
        steps=[
            STEP,
            hostile,
            *[{**STEP, "grade": grade, "reasons": []} for grade in ("exact", "impossible", "untested")],
        ],
        delta=[{"sign": "+", "key": "table public.x", "before": "", "after": "table"}],
        problems=["extension x: no"],
        impact=IMPACT,
    )


def aged(run: MigrationRun, rehearsal_id: int, hours: float) -> None:
    """Let a rehearsal have ended that long ago, past the guard of ended ones."""
    raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    raw.execute("ALTER TABLE migrations_audit_rehearsal DISABLE TRIGGER rehearsal_check")
    run.rehearsals.filter(pk=rehearsal_id).update(ended_at=database_now() - timedelta(hours=hours))
    raw.execute("ALTER TABLE migrations_audit_rehearsal ENABLE TRIGGER rehearsal_check")
