"""Joins what was planned, what was read before and what was read after, and asks for the judgement."""

from __future__ import annotations

from typing import Any

from migrations_audit.actions import plans
from migrations_audit.engine import catalog, expectations, promises
from migrations_audit.engine.types import Reading
from migrations_audit.execution import adopting, going_back, history, observing
from migrations_audit.judgement import Facts, Judgement, Witness, judge
from migrations_audit.models import Catalog, MigrationRun, Observation, Plan
from migrations_audit.states import Engine, Operation, RunState, Verdict


def judge_look(
    *, run: MigrationRun, plan: Plan, before: observing.Look | None, look: observing.Look | None, witness: Witness
) -> Judgement:
    """The judgement on a run after its target was read back. ``look`` None means that it could not be."""
    if look is None or look.reading is None:
        return Judgement(
            RunState.OUTCOME_UNKNOWN,
            Verdict.UNVERIFIED,
            "not_read_back",
            f"{run.target} could not be read back after the run. What reached it is unknown; the portal keeps trying, "
            "and nothing else runs there meanwhile.",
        )
    start = before.observation if before else _start_observation(run, plan)
    reading = look.reading
    before_it = start.catalog if start.catalog and observing.is_comparable(start) else None
    changes = catalog.diff(before_it.body, reading.catalog) if before_it else ()
    adopts = plan.operation == Operation.ADOPT
    if adopts:
        changes = adopting.others(changes, run.target.project)
    sql = history.sql_of(run, plan)
    return judge(
        Facts(
            target=str(run.target),
            start=tuple(plan.from_revisions),
            result=tuple(plan.to_revisions),
            steps=tuple(step["revision"] for step in plan.steps),
            all_transactional=plan.is_transactional,
            rows=reading.revisions,
            identity_differences=look.differences or _not_the_plans(plan, reading),
            changes=tuple(catalog.readable(changes)),
            **_rehearsed(plan, before_it, reading),
            **going_back.facts(run, plan, reading, changes=changes),
            **(_adopted(run, plan, reading) if adopts else {}),
            **_promised(run, reading, sql=sql),
            new_invalid_indexes=_invalid_since(start, reading, sql=sql),
            prepared_transactions=tuple(
                name
                for name in reading.prepared_transactions
                if name not in start.facts.get("prepared_transactions", [])
            ),
            catalog_known_before=before_it is not None,
            fingerprint=reading.catalog.fingerprint,
            fingerprint_seen_at_result=_seen_at(run, plan),
        ),
        witness,
    )


def _adopted(run: MigrationRun, plan: Plan, reading: Reading) -> dict[str, Any]:
    """How the catalog compares with that of a database which came to the same revisions by running them."""
    reference = adopting.reference_of(run, plan.to_revisions)
    if reference is None:
        return {"adopts": True}
    return {
        "adopts": True,
        "reference": f"{reference.target.told_at(run.target)} at {reference.at:%Y-%m-%d %H:%M} UTC",
        "reference_differences": adopting.compare(run, reference, reading.catalog),
    }


def _promised(run: MigrationRun, reading: Reading, *, sql: str) -> dict[str, Any]:
    """Which tables the plan's SQL makes, and which of them are absent."""
    promised = promises.of_sql(sql, version_table=run.target.project.version_table)
    folds_names = reading.engine is not Engine.POSTGRESQL
    return {
        "promised_tables": len(promised),
        "broken_promises": promises.broken(promised, reading.catalog, folds_names=folds_names),
    }


def _invalid_since(start: Observation, reading: Reading, *, sql: str) -> tuple[str, ...]:
    """The invalid indexes of this run: new ones, and old ones that it names.

    IF NOT EXISTS is content with the invalid index that an earlier attempt left behind.
    """
    known = set(start.facts.get("invalid_indexes", []))
    return tuple(
        name
        for name in reading.catalog.invalid_indexes
        if name not in known or name.rpartition(".")[2].strip('"') in sql
    )


def _rehearsed(plan: Plan, start: Catalog | None, reading: Reading) -> dict[str, Any]:
    """What the newest rehearsal that passed says must have come true."""
    rehearsal = plan.rehearsals.passed().order_by("-pk").first()
    if rehearsal is None or start is None:
        return {}
    majors = {version.partition(".")[0] for version in (rehearsal.server_version, reading.identity.server_version)}
    differing = expectations.differences(
        rehearsal.delta,
        start.body,
        reading.catalog.body,
        version_table=plan.target.project.version_table,
        by_definition=len(majors) == 1 and not rehearsal.differences,
    )
    return {
        "rehearsal": f"rehearsal {rehearsal.pk}",
        "rehearsed_objects": len(rehearsal.delta),
        "rehearsal_differences": differing,
    }


def _not_the_plans(plan: Plan, reading: Reading) -> tuple[str, ...]:
    """The enrolled identity may have been given up meanwhile; the run was for the database of its plan."""
    found = plans.identity_facts(reading.identity.as_dict())
    if found == plans.identity_facts(plan.identity):
        return ()
    return (
        f"It is {reading.identity.endpoint}, system {reading.identity.system_identifier}, and the plan was made for another.",
    )


def _start_observation(run: MigrationRun, plan: Plan) -> Observation:
    """The last reading before anything was sent: the preflight's, else the one that the plan rests on."""
    preflight = run.observations.filter(purpose="preflight", catalog__isnull=False).select_related("catalog").first()
    return preflight or plan.base_observation


def _seen_at(run: MigrationRun, plan: Plan) -> str:
    """The catalog's fingerprint when this target was last seen at the plan's result, or nothing."""
    seen = Observation.objects.filter(
        target=run.target,
        revisions=sorted(plan.to_revisions),
        catalog__isnull=False,
        at__lt=plan.at,
        facts__kinds=catalog.KINDS,
    ).first()
    return str(seen.catalog_id) if seen else ""
