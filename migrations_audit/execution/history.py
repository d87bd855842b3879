"""What earlier readings and runs say about a new reading: a version that went back, tables that were there at this revision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from migrations_audit import listing
from migrations_audit.engine import expectations, promises, resolve, standing, types
from migrations_audit.execution import places
from migrations_audit.judgement import rows_text
from migrations_audit.models import MigrationRun, Observation, Plan, RevisionDelta, RunStep, Target
from migrations_audit.models.clock import database_now
from migrations_audit.models.runs import Stream
from migrations_audit.states import Operation, RunState, StepState, Verdict

MOST_RUNS = 100
MOST_NAMED = 5

# A run in another state sent nothing, or left nothing.
MAY_HAVE_LED_BACK = (RunState.RUNNING, RunState.OUTCOME_UNKNOWN, RunState.APPLIED, RunState.FAILED, RunState.CLOSED)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a version that was read, as a sentence, and what the next reading must know of it."""

    code: str
    sentence: str
    facts: Mapping[str, Any]


def last_reading(subject: Target) -> Observation | None:
    """The newest reading of the enrolled database. Ask for it before reading anew: what is read later happened later."""
    if subject.enrolled_at is None:
        return None
    readings = subject.observations.counted().filter(at__gte=subject.enrolled_at)
    return readings.defer("pending", "heads").order_by("-at", "-id").first()


def planned_timeline(subject: Target) -> int:
    """The timeline of the newest plan for the enrolled database, or 0."""
    if subject.enrolled_at is None:
        return 0
    identity = (
        subject.plans.filter(at__gte=subject.enrolled_at).order_by("-at").values_list("identity", flat=True).first()
    )
    return int(identity["timeline"]) if identity else 0


def went_back(
    subject: Target, before: Observation | None, reading: types.Reading, scripts: places.Scripts | None
) -> Finding | None:
    """Whether the version is behind what was read earlier without a rollback of the portal's.

    It stays so until the rows are back, or a run that began afterwards was verified.
    """
    if before is None:
        return None
    known = before.facts.get("regressed")
    if known and not _run_verified_since(subject, known["found_at"]):
        is_back = _compare(subject, known["rows"], reading.revisions, scripts)
        return None if is_back is False else _regressed(known, reading)
    if not before.revisions or not _compare(subject, before.revisions, reading.revisions, scripts):
        return None
    if _led_back_by_a_run(subject, before, reading.revisions or ()):
        return None
    identity = before.identity or {}
    told = {"rows": before.revisions, "read_at": before.at.isoformat(), "timeline": identity.get("timeline", 0)}
    return _regressed({**told, "found_at": database_now().isoformat()}, reading)


def missing_objects(subject: Target, reading: types.Reading, scripts: places.Scripts | None) -> Finding | None:
    """What revisions that are recorded made on a copy and what is not there; else what verified runs made and is gone."""
    return _absent_of_deltas(subject, reading, scripts) or missing_tables(subject, reading, scripts)


def _absent_of_deltas(subject: Target, reading: types.Reading, scripts: places.Scripts | None) -> Finding | None:
    """By the deltas of rehearsals. A revision counts only if those that were applied after it are known as well.

    Otherwise one of them may have taken away what this one made.
    """
    if scripts is None or scripts.fatal is not None or not reading.revisions:
        return None
    order = _applied_in_order(scripts.graph, reading.revisions)
    files = {revision.revision: revision.sha256 for revision in order}
    own = _deltas(subject, files, of_others=False)
    known = {**_deltas(subject, files, of_others=True), **own}
    counted: list[types.Revision] = []
    for revision in reversed(order):
        if revision.revision not in known:
            break
        counted.insert(0, revision)
    deltas = [(each.revision, known[each.revision]) for each in counted]
    missing = expectations.absent(
        expectations.promised(deltas), reading.catalog.body, in_any_schema=known.keys() - own.keys()
    )
    told = {
        revision: f"{revision} is recorded, but {listing.listed(keys, MOST_NAMED)} {'is' if len(keys) == 1 else 'are'} absent"
        for revision, keys in missing.items()
    }
    for name in expectations.without_trace([each for each in deltas if each[0] in own], reading.catalog.body):
        told.setdefault(name, f"{name} is recorded, but nothing of what it changes is there")
    if not told:
        return None
    said = [told[each.revision] for each in counted if each.revision in told]
    names = [name for each in missing.values() for name in each]
    return Finding(
        code="tables_missing",
        sentence=f"{listing.listed(said, MOST_NAMED, between='; ')}: a rehearsal of exactly "
        f"{'this file' if len(told) == 1 else 'these files'} showed it. {_whose(subject, told)}",
        facts={"tables_missing": names or list(told)},
    )


def _whose(subject: Target, revisions: Collection[str]) -> str:
    """Where to look: at the run of ours that recorded one of these revisions, else at somebody outside."""
    steps = RunStep.objects.filter(run__target=subject, revision__in=revisions, state=StepState.COMMITTED.value)
    newest = steps.exclude(direction="downgrade").order_by("-run").select_related("run").first()
    if newest is None:
        return f"Somebody stamped {subject}, or took it away."
    run = newest.run
    at = f" at {run.finished_at:%Y-%m-%d %H:%M} UTC" if run.finished_at is not None else ""
    return f"Run {run.number} recorded {newest.revision}{at}: it was not made then, or was taken away since. Read its evidence."


def _applied_in_order(graph: types.Graph, rows: tuple[str, ...]) -> list[types.Revision]:
    """The revisions that these rows include, each behind those that it rests on; empty where the graph does not know a row."""
    has = standing.applied(graph, rows) or frozenset()
    return [graph.by_id()[name] for name in resolve.pending(graph, ()) if name in has] if has else []


def _deltas(subject: Target, files: Mapping[str, str], *, of_others: bool) -> dict[str, list[dict[str, str]]]:
    """The newest delta of each revision in exactly this file: of the target itself, or of the project's other ones."""
    rows = RevisionDelta.objects.filter(project=subject.project_id, revision__in=files, sha256__in=set(files.values()))
    rows = rows.exclude(rehearsal__run__target=subject) if of_others else rows.filter(rehearsal__run__target=subject)
    newest = rows.order_by("revision", "sha256", "-pk").distinct("revision", "sha256")
    return {row.revision: row.changes for row in newest if files[row.revision] == row.sha256}


def missing_tables(subject: Target, reading: types.Reading, scripts: places.Scripts | None) -> Finding | None:
    """Whether tables are absent that a verified run made, by its SQL and by its reading, at the rows that were read now.

    A run on another target of the project counts as well: that is how a revision is found that was stamped and never applied.
    """
    run = _verified_at(subject, reading.revisions or ())
    if run is None or run.plan is None or run.verified_by is None or run.verified_by.catalog is None:
        return None
    if run.verified_by.catalog_id == reading.catalog.fingerprint or not _same_scripts(run.plan, scripts):
        return None
    then = types.Catalog(run.verified_by.catalog_id or "", run.verified_by.catalog.body)
    promised = _promised(run)
    absent = set(promises.broken(promised, reading.catalog)) - set(promises.broken(promised, then))
    if not absent:
        return None
    names = sorted(absent)
    shown = listing.listed([name.removesuffix(" is absent") for name in names], MOST_NAMED)
    verb = "is" if len(names) == 1 else "are"
    at = f"{run.verified_by.at:%Y-%m-%d %H:%M} UTC"
    where = (
        f"gone since {run} was verified at {at}"
        if run.target_id == subject.pk
        else f"absent, and a run on {run.target.told_at(subject)} was verified with {'it' if len(names) == 1 else 'them'} at {at}"
    )
    return Finding(
        code="tables_missing",
        sentence=f"The same revision, {rows_text(reading.revisions)}, but {shown} {verb} {where}.",
        facts={"tables_missing": names},
    )


def sql_of(run: MigrationRun, plan: Plan) -> str:
    """The approved SQL; where offline mode gave none, the statements that the hooks saw."""
    return plan.sql or ";\n".join(run.log.filter(stream=Stream.STATEMENT).values_list("text", flat=True))


def _regressed(known: Mapping[str, Any], reading: types.Reading) -> Finding:
    then, now = known["timeline"], reading.identity.timeline
    timelines = then and now and then != now
    return Finding(
        code="regressed",
        sentence=f"REGRESSED: was at {rows_text(known['rows'])} (read {known['read_at'][:16].replace('T', ' ')} UTC"
        f"{f', timeline {then}' if timelines else ''}), now {rows_text(reading.revisions)}"
        f"{f' (timeline {now})' if timelines else ''}, and no rollback of the portal's leads there.",
        facts={"regressed": dict(known)},
    )


def _compare(
    subject: Target, then: Collection[str], now: Collection[str] | None, scripts: places.Scripts | None
) -> bool | None:
    """True when ``now`` lacks something of ``then`` and has nothing else, False when it has all of it, None otherwise."""
    rows = (tuple(then), tuple(now or ()))
    graph = scripts.graph if scripts is not None and scripts.fatal is None else None
    if graph is None or not {*rows[0], *rows[1]} <= graph.by_id().keys():
        graph = places.graph_that_knows(subject.project, {*rows[0], *rows[1]})
    if graph is None:
        return None
    had, has = (standing.applied(graph, each) for each in rows)
    if had is None or has is None:
        return None
    return True if has < had else False if has >= had else None


def _run_verified_since(subject: Target, moment: str) -> bool:
    return subject.runs.filter(verdict=Verdict.VERIFIED.value, started_at__gt=moment).exists()


def _led_back_by_a_run(subject: Target, before: Observation, rows: Collection[str]) -> bool:
    """Whether a rollback that was not over when ``before`` was read passes through these rows."""
    runs = subject.runs.filter(
        operation=Operation.ROLLBACK.value,
        state__in=[state.value for state in MAY_HAVE_LED_BACK],
        started_at__isnull=False,
        plan__isnull=False,
    ).exclude(finished_at__lt=before.at)
    return any(run.plan is not None and _passes(run.plan, rows) for run in runs.select_related("plan"))


def _passes(plan: Plan, rows: Collection[str]) -> bool:
    if not rows:
        return not plan.to_revisions
    return {*rows} <= {*plan.from_revisions, *plan.to_revisions, *(step["revision"] for step in plan.steps)}


def _verified_at(subject: Target, rows: Collection[str]) -> MigrationRun | None:
    """The newest verified upgrade that led to exactly these rows: of this target, else of another one of the project."""
    if not rows:
        return None
    runs = (
        MigrationRun.objects.filter(
            verdict=Verdict.VERIFIED.value, operation=Operation.UPGRADE.value, plan__to_revisions=sorted(rows)
        )
        .select_related("plan", "verified_by__catalog", "target__project", "target__environment")
        .order_by("-number")
    )
    return runs.filter(target=subject).first() or runs.filter(target__project=subject.project_id).first()


def _same_scripts(plan: Plan, scripts: places.Scripts | None) -> bool:
    """Whether what the run executed still stands in the scripts; a revision that was rewritten promises something else."""
    if scripts is None:
        return False
    known = scripts.graph.by_id()
    return all(step["revision"] in known and known[step["revision"]].sha256 == step["sha256"] for step in plan.steps)


def _promised(run: MigrationRun) -> tuple[str, ...]:
    """The tables that this run and the verified ones before it on its target made."""
    before = run.target.runs.filter(
        verdict=Verdict.VERIFIED.value, operation=Operation.UPGRADE.value, number__lte=run.number, plan__isnull=False
    )
    names: dict[str, None] = {}
    for each in before.select_related("plan").order_by("-number")[:MOST_RUNS]:
        if each.plan is not None:
            made = promises.of_sql(sql_of(each, each.plan), version_table=run.target.project.version_table)
            names.update(dict.fromkeys(made))
    return tuple(names)
