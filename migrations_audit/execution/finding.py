"""Put together what to know before a plan is approved: about target and engine, graph, scripts and SQL. Worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from migrations_audit import severities
from migrations_audit.engine import process, snapshot, types
from migrations_audit.engine.findings import files, finding, places, plain_text, squawk, statements
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.execution import adopting, authorship, edited, observing, secrets_in_scripts
from migrations_audit.models import MigrationRun, Observation
from migrations_audit.states import Engine, Operation, TargetStatus

MOST: Final = 300


def of_plan(
    run: MigrationRun,
    look: observing.Look,
    resolution: types.Resolution,
    sql: process.OfflineResult,
    wrote: authorship.Authorship,
) -> list[dict[str, Any]]:
    """Every finding as it is stored with the plan: each code, place and sentence once, the worst first, and not too many."""
    if look.reading is None or look.scripts is None:
        return []
    adopts = resolution.operation is Operation.ADOPT
    graph = look.scripts.graph
    found = [
        *_of_reading(look.observation),
        *_of_engine(look.reading, resolution),
        *_of_graph(graph, resolution),
        *(adopting.findings(run, look.reading, resolution.result) if adopts else ()),
        *([] if adopts else _of_scripts(look, resolution, engine=None if sql.sql else look.reading.engine)),
        *([] if adopts else _of_sql(run, look.reading, resolution, sql)),
        *edited.findings(run.target, graph.revisions),
        *secrets_in_scripts.findings(look.scripts.snapshot),
        *([] if adopts else wrote.findings),
    ]
    listed = severities.worst_first(each.as_dict() for each in found)
    if len(listed) <= MOST:
        return listed
    sentence = f"{len(listed)} findings are more than a plan keeps. The worst {MOST} are listed: split the plan."
    return [finding.of("lint_could_not_run", run.target.label, sentence).as_dict(), *listed[:MOST]]


def _of_reading(observation: Observation) -> Iterator[Finding]:
    """A plan may start from a version that went back, or from one that lacks tables; whoever approves it reads so."""
    if observation.status in (TargetStatus.REGRESSED, TargetStatus.TABLES_MISSING):
        yield finding.of(observation.status, observation.target.label, observation.sentence)


def _of_engine(reading: types.Reading, resolution: types.Resolution) -> Iterator[Finding]:
    """What this engine cannot promise, said once and not of every step."""
    if reading.transactional_ddl or not resolution.steps:
        return
    sentence = (
        f"This engine cannot roll back DDL ({reading.engine.label}): if a revision fails, part of it stays, and "
        "the run cannot simply be repeated."
    )
    yield finding.of("ddl_not_rolled_back", "", sentence)


def _of_graph(graph: types.Graph, resolution: types.Resolution) -> Iterator[Finding]:
    for problem in graph.problems:
        yield finding.of(problem.code, problem.path, problem.sentence)
    for step in resolution.steps:
        if not step.transactional:
            sentence = f"{step.revision} works outside a transaction, or may do so. If it fails, part of it stays."
            yield finding.of("not_transactional", step.path, sentence)


def _of_scripts(look: observing.Look, resolution: types.Resolution, *, engine: Engine | None) -> Iterator[Finding]:
    """The rules about scripts. With ``engine`` also what they destroy, because there is no SQL that would show it."""
    if look.scripts is None:
        return
    contents = snapshot.files(bytes(look.scripts.snapshot.archive))
    back = resolution.operation is Operation.ROLLBACK
    for step in resolution.steps:
        source, path, revision = contents[step.path], step.path, step.revision
        yield from files.of_revision(source, path=path, revision=revision, is_rollback=back)
        if engine is not None:
            yield from plain_text.of_revision(source, path=path, revision=revision, is_rollback=back, engine=engine)


def _of_sql(
    run: MigrationRun, reading: types.Reading, resolution: types.Resolution, sql: process.OfflineResult
) -> Iterator[Finding]:
    """The rules about SQL. Where there is none, that is a finding too: nothing was looked at."""
    if not resolution.steps:
        return
    if not sql.sql:
        sentence = f"There is no SQL of this plan, so no rule about SQL was applied. {sql.reason}".strip()
        yield finding.of("lint_could_not_run", places.WHOLE, sentence)
        return
    place = places.of_plan(sql.sql, resolution.steps)
    table = run.target.project.version_table
    engine = reading.engine
    yield from statements.of_sql(sql.sql, place=place, in_transaction=False, engine=engine, version_table=table)
    if engine is Engine.POSTGRESQL:
        yield from squawk.of_sql(
            sql.sql,
            place=place,
            in_transaction=True,
            pg_version=reading.identity.server_version,
            version_table=table,
        )
    else:
        sentence = (
            f"The rules about locks and rewrites are PostgreSQL's and were not applied to {engine.label}. What destroys "
            "data, and the scripts, were read."
        )
        yield finding.of("lint_other_engine", places.WHOLE, sentence)
