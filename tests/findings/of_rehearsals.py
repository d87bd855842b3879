"""The rules about what a rehearsal saw: what a copy and its target told, and the same a little less bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from migrations_audit.engine.rehearsing import grading
from migrations_audit.engine.rehearsing.types import Lock, Pass, Statement, Step
from migrations_audit.execution import rehearsal_findings
from migrations_audit.models import Environment, MigrationRun, Plan, Project, Target
from tests.findings.cases import Part

LIMIT_MB: Final = 20
LIMIT_MS: Final = 1_000


@dataclass(frozen=True)
class Seen:
    """What was seen of the plan of one revision. Without ``sql`` offline mode gave none."""

    statements: tuple[Statement, ...] = ()
    impact: Mapping[str, Any] = field(default_factory=dict)
    differs: bool = False
    reasons: tuple[str, ...] = ()
    sql: str = "-- by rules of its own"
    untold: int = 0


def run() -> MigrationRun:
    environment = Environment(slug="production", rewrite_limit_mb=LIMIT_MB, lock_limit_ms=LIMIT_MS)
    return MigrationRun(target=Target(project=Project(slug="ledger"), environment=environment, slug="main"))


def findings(seen: Seen) -> list[dict[str, Any]]:
    """The findings of a rehearsal that passed."""
    return rehearsal_findings.of_rehearsal(
        run(),
        Plan(steps=[{"revision": "002", "path": "versions/002.py"}], sql=seen.sql),
        Pass(steps=(Step("002", "upgrade", list(seen.statements), seen.untold),)),
        impact={"problem": "", "relations": [], "holders": [], **seen.impact},
        differs=seen.differs,
        reasons={"002": seen.reasons},
    )


def found(seen: Seen, _: Path) -> set[str]:
    return {each["code"] for each in findings(seen)}


def locking(*, mode: str = "AccessExclusiveLock", ms: int = 1, **more: Any) -> tuple[Statement, ...]:
    """A lock on the entries, and what follows it in its transaction."""
    return Statement("ALTER …", locks=[Lock(mode, "public.entries")], **more), Statement("CREATE …", ms=ms)


def rewriting(megabytes: int | None, **more: Any) -> Seen:
    relation = {"name": "public.entries", "bytes": None if megabytes is None else megabytes * 1024**2, **more}
    return Seen(locking(rewrites=["public.entries"]), {"relations": [relation]})


def held(
    seconds: float | None,
    *,
    mode: str = "AccessExclusiveLock",
    by: str = "AccessShareLock",
    relation: str = "public.entries",
    **more: Any,
) -> Seen:
    """The plan wants ``mode`` there, and somebody holds ``by``."""
    holder = {"relation": relation, "mode": by, "transaction_s": seconds, **more}
    return Seen(locking(mode=mode), {"holders": [holder]})


def graded(*, problem: str = "", has_downgrade: bool = True) -> Seen:
    """One whose way back was graded."""
    known = {"table public.t": "table"}
    up, down = Step("002", "upgrade", ended=True, after=known), Step("002", "downgrade", ended=True, before=known)
    grade = grading.grade(up, down, problem=problem, has_downgrade=has_downgrade, version_table="alembic_version")
    return Seen(reasons=grade.reasons)


def executed(*texts: str, **more: Any) -> Seen:
    return Seen(tuple(Statement(text) for text in texts), **more)


SILENT: Final = {"problem": "ledger/production/main did not answer."}
OF_REHEARSALS: Final = Part(
    "rehearsals",
    found,
    [
        ("large_rewrite", rewriting(LIMIT_MB)),
        ("long_lock", Seen(locking(ms=LIMIT_MS + 1))),
        ("long_lock", Seen(locking(ms=LIMIT_MS + 1, mode="ShareLock"))),
        ("lock_is_held", held(60.0)),
        ("lock_is_held", held(60.0, mode="ShareLock", by="AccessShareLock, RowExclusiveLock")),
        ("lock_is_held", held(60.0, mode="ShareUpdateExclusiveLock", by="ShareUpdateExclusiveLock")),
        ("lock_is_held", held(60.0, mode="RowExclusiveLock", by="ShareLock")),
        ("lock_is_held", held(60.0, gid="pay-7", user="bank")),
        ("impact_could_not_run", Seen(locking(), SILENT)),
        ("impact_could_not_run", rewriting(None, unmeasured="could not be measured: locked by session 7")),
        ("impact_could_not_run", rewriting(LIMIT_MB - 1, unmeasured="1 of 2 partitions could not be measured")),
        ("downgrade_failed", graded(problem="one way")),
        ("downgrade_failed", Seen(reasons=("Applied again after its downgrade, it failed on the copy: no.",))),
        ("depends_on_data", executed("UPDATE entries SET a = 1")),
        ("depends_on_data", executed("SELECT id FROM entries")),
        ("depends_on_data", executed("ALTER TABLE entries ALTER COLUMN a SET NOT NULL")),
        ("copy_differs", Seen(differs=True)),
        ("drop_table", executed("DROP TABLE entries", sql="")),
        ("lint_could_not_run", executed("CREATE TYPE mood AS ENUM ('ok')", sql="", untold=1)),
    ],
    [
        ("large_rewrite", rewriting(LIMIT_MB - 1)),
        ("long_lock", Seen(locking(ms=LIMIT_MS - 1))),
        ("long_lock", Seen(locking(ms=LIMIT_MS + 1, mode="ShareUpdateExclusiveLock"))),
        ("long_lock", Seen(locking(ms=LIMIT_MS + 1, in_autocommit=True))),
        ("lock_is_held", held(59.0)),
        ("lock_is_held", held(None)),
        ("lock_is_held", held(60.0, relation="public.users")),
        ("lock_is_held", held(60.0, mode="ShareLock")),
        ("lock_is_held", held(60.0, mode="ShareLock", gid="pay-7", user="bank")),
        ("lock_is_held", held(59.0, gid="pay-7", user="bank")),
        ("lock_is_held", held(60.0, mode="ShareUpdateExclusiveLock", by="AccessShareLock, RowExclusiveLock")),
        ("lock_is_held", held(60.0, mode="RowExclusiveLock", by="RowExclusiveLock")),
        ("impact_could_not_run", Seen(impact=SILENT)),
        ("impact_could_not_run", rewriting(LIMIT_MB - 1, unmeasured="")),
        ("impact_could_not_run", rewriting(LIMIT_MB, unmeasured="1 of 2 partitions could not be measured")),
        ("downgrade_failed", graded()),
        ("downgrade_failed", graded(has_downgrade=False)),
        ("depends_on_data", executed("CREATE TABLE entries (a int)", "SELECT relname FROM pg_class")),
        ("depends_on_data", executed("UPDATE alembic_version SET version_num = '002'")),
        (
            "depends_on_data",
            executed("CREATE TABLE entries (a int)", "ALTER TABLE entries ALTER COLUMN a SET NOT NULL"),
        ),
        ("copy_differs", Seen()),
        ("drop_table", executed("DROP TABLE entries", sql="DROP TABLE entries;")),
        ("lint_could_not_run", executed("CREATE TYPE mood AS ENUM ('ok')", sql="")),
    ],
)


def found_in_outcome(failed: bool, _: Path) -> set[str]:
    return {each["code"] for each in rehearsal_findings.of_outcome(run(), failed=failed, sentence="No.")}


OF_OUTCOMES: Final = Part(
    "outcomes",
    found_in_outcome,
    [("rehearsal_failed", True), ("rehearsal_could_not_run", False)],
    [("rehearsal_failed", False), ("rehearsal_could_not_run", True)],
)
