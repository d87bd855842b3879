"""What a rehearsal gives cause for, as findings. Their sentences hold no numbers that change from one to the next:

an acceptance covers one sentence, and must not lapse because a table has grown by a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from migrations_audit import severities
from migrations_audit.engine import lock_modes
from migrations_audit.engine.findings import finding, splitter, squawk, statements
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.rehearsing import forecast, needed_rows, unsaid
from migrations_audit.engine.rehearsing.forecast import LONG_S
from migrations_audit.engine.rehearsing.types import Pass, Statement, Step
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import Grade

MOST: Final = 300
_PLACEHOLDER: Final = re.compile(r"%\(\w+\)s|(?<!%)%s")
"""Where a driver puts a value."""
_QUERY: Final = re.compile(r"\s*(?:SELECT|SHOW|EXPLAIN)\b[^;]*;?\s*", re.IGNORECASE)
"""One that changes nothing, and is often one that no linter reads. Behind a semicolon may stand another statement."""


def of_rehearsal(
    run: MigrationRun,
    plan: Plan,
    there: Pass,
    *,
    impact: Mapping[str, Any],
    differs: bool,
    reasons: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """The findings of a rehearsal that came to its end, worst first. ``reasons`` are those of the grades, by revision."""
    environment = run.target.environment
    paths = {step["revision"]: step["path"] for step in plan.steps}
    found: list[Finding] = []
    before = there.steps[0].before if there.steps else {}
    needed = needed_rows.Needed(before, version_table=run.target.project.version_table)
    for step in there.steps:
        place = paths.get(step.revision, step.revision)
        found += _rewrites(step, place, impact, limit_mb=environment.rewrite_limit_mb)
        found += _locks(step, place, limit_ms=environment.lock_limit_ms)
        found += dict.fromkeys(_rows(step, place, needed))
        found += _way_back(step, place, reasons.get(step.revision, ()))
    found += _held(run, there, impact)
    found += _unread(run, there, impact)
    if differs:
        found.append(finding.of("copy_differs", run.target.label, "The copy was not like its target in everything."))
    found += _of_executed(run, unsaid.besides(there, plan.sql), paths)
    found += _of_delta(run, plan, there, found)
    return _limited(severities.worst_first(each.as_dict() for each in found), run)


def _of_delta(run: MigrationRun, plan: Plan, there: Pass, found: Sequence[Finding]) -> Iterator[Finding]:
    """What is gone though no rule found it dropped: a rule reads words, and the catalog is what came of them."""
    told = [(each["code"], each["place"], each["sentence"]) for each in plan.findings]
    told += [(each.code, each.place, each.sentence) for each in found]
    paths = {step["revision"]: step["path"] for step in plan.steps}
    for step in there.steps:
        place = paths.get(step.revision, step.revision)
        yield from unsaid.drops(step, place, told, version_table=run.target.project.version_table)


def _limited(found: list[dict[str, Any]], run: MigrationRun) -> list[dict[str, Any]]:
    if len(found) <= MOST:
        return found
    sentence = f"There are more findings than a rehearsal keeps. The worst {MOST} are listed: split the plan."
    return [finding.of("lint_could_not_run", run.target.label, sentence).as_dict(), *found[:MOST]]


def of_outcome(run: MigrationRun, *, failed: bool, sentence: str) -> list[dict[str, Any]]:
    """The one finding of a rehearsal that did not come to its end."""
    code = "rehearsal_failed" if failed else "rehearsal_could_not_run"
    return [finding.of(code, run.target.label, sentence).as_dict()]


def _rewrites(step: Step, place: str, impact: Mapping[str, Any], *, limit_mb: int) -> Iterator[Finding]:
    """Partitions are written anew in one transaction, so that what counts is how large they are together."""
    rows = {row["name"]: row for row in impact.get("relations", ())}
    written: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for relation in dict.fromkeys(name for each in step.statements for name in each.rewrites):
        row = rows.get(relation, {})
        whole = row.get("partition_of", "")
        words = (f"partitions of {whole}", "together are") if whole else (relation, "is")
        written.setdefault(words, []).append(row)
    for (what, verb), parts in written.items():
        begun = f"{step.revision} writes {what} anew, which"
        if sum(row.get("bytes") or 0 for row in parts) >= limit_mb * 1024**2:
            yield finding.of(
                "large_rewrite",
                place,
                f"{begun} {verb} larger than the {limit_mb} MB that the environment allows. "
                "Nothing reads or writes it meanwhile.",
            )
        elif any(row.get("unmeasured") for row in parts):
            yield finding.of(
                "impact_could_not_run",
                place,
                f"{begun} could not be measured as a whole. Whether it is more than the {limit_mb} MB that the environment "
                "allows is not known.",
            )


def _locks(step: Step, place: str, *, limit_ms: int) -> Iterator[Finding]:
    """From the first lock that blocks others to the end of the revision: so long it is held at the least."""
    for index, statement in enumerate(step.statements):
        blocking = next((lock for lock in statement.locks if lock.mode in lock_modes.BLOCK_WRITES), None)
        if blocking is None or statement.in_autocommit:
            continue
        if sum(each.ms for each in step.statements[index:]) > limit_ms:
            yield finding.of(
                "long_lock",
                place,
                f"{step.revision} holds {blocking.mode.removesuffix('Lock')} on {blocking.relation} for longer than "
                f"{limit_ms} ms, even on a copy without data.",
            )
        return


def _rows(step: Step, place: str, needed: needed_rows.Needed) -> Iterator[Finding]:
    """What passed on a copy without rows and may fail, or do something else, on the target."""
    for executed in step.statements:
        for statement in splitter.split(_PLACEHOLDER.sub("?", executed.text)):
            for need in needed.of(statement):
                yield finding.of("depends_on_data", place, f"{step.revision}, {statement.shown(80)}: {need}")


def _way_back(step: Step, place: str, reasons: Sequence[str]) -> Iterator[Finding]:
    for reason in reasons:
        if "failed on the copy" in reason:
            yield finding.of("downgrade_failed", place, f"{step.revision}: {reason}")


def _held(run: MigrationRun, there: Pass, impact: Mapping[str, Any]) -> Iterator[Finding]:
    """Who holds a table in a mode that the plan would wait for. Not every lock keeps every other one out."""
    long = [row for row in impact.get("holders", ()) if (row["transaction_s"] or 0) >= LONG_S]
    wanted: dict[str, set[str]] = {}
    for lock in (lock for step in there.steps for each in step.statements for lock in each.locks):
        wanted.setdefault(lock.relation, set()).add(lock.mode)
    for relation, modes in sorted(wanted.items()):
        met = {
            (mode, forecast.prepared_transaction(row, with_age=False) if row.get("gid") else "")
            for row in long
            for mode in modes
            if row["relation"] == relation and lock_modes.conflict(mode, row["mode"])
        }
        for prepared in sorted({name for _, name in met}):
            worst = max((mode for mode, name in met if name == prepared), key=lock_modes.MODES.index)
            behind = f", and {others} behind it" if (others := forecast.behind_it(worst)) else ""
            by = f"by the {prepared}" if prepared else "in a transaction older than a minute"
            yield finding.of("lock_is_held", run.target.label, f"{relation} is held {by}. The plan would wait{behind}.")


def _unread(run: MigrationRun, there: Pass, impact: Mapping[str, Any]) -> Iterator[Finding]:
    """The two rules that need the target could not be applied: no finding of theirs must not read like a pass."""
    if impact.get("problem") and any(each.locks for step in there.steps for each in step.statements):
        sentence = (
            "The sizes and sessions of the target could not be read. Whether a large table is written anew, and whether "
            "somebody holds a table that the plan locks, is not known."
        )
        yield finding.of("impact_could_not_run", run.target.label, sentence)


def _of_executed(run: MigrationRun, there: Pass, paths: Mapping[str, str]) -> Iterator[Finding]:
    """The rules about SQL, applied to what was executed and stands in no SQL that offline mode gave."""
    table = run.target.project.version_table
    for step in there.steps:
        place = f"{paths.get(step.revision, step.revision)}, as executed on a copy"
        cut = [each for each in step.statements if each.cut]
        sql = _as_in_offline_mode(each for each in step.statements if not (each.cut or _QUERY.fullmatch(each.text)))
        yield from statements.of_sql(sql, place=place, in_transaction=True, version_table=table)
        yield from squawk.of_sql(sql, place=place, in_transaction=True, version_table=table)
        for each in cut:  # by itself: a quotation that is cut would hide what comes after it
            in_transaction = not each.in_autocommit
            yield from statements.of_sql(_plain(each), place=place, in_transaction=in_transaction, version_table=table)
        if cut:
            words = (
                "A statement is longer than what is told of it. The rules about SQL were applied to its beginning only."
            )
            yield finding.of("lint_could_not_run", place, f"{step.revision}: {words}")
        if step.untold:
            words = "It executes more statements than are told. The rules about SQL were not applied to the rest."
            yield finding.of("lint_could_not_run", place, f"{step.revision}: {words}")


def _as_in_offline_mode(executed: Iterable[Statement]) -> str:
    """One text, with COMMIT before what ran in an autocommit block and BEGIN behind it. No comment hides a semicolon."""
    lines: list[str] = []
    outside = False
    for each in executed:
        if each.in_autocommit != outside:
            outside = each.in_autocommit
            lines.append("COMMIT" if outside else "BEGIN")
        lines.append(_plain(each))
    return "\n;\n".join(lines)


def _plain(statement: Statement) -> str:
    return _PLACEHOLDER.sub("NULL", statement.text)


def grade_reasons(steps: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """By revision, why it is not taken back exactly."""
    return {step["revision"]: step["reasons"] for step in steps if step["grade"] != Grade.EXACT}
