"""Planning a run: taking it up, recording the plan or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from migrations_audit import hashchain
from migrations_audit.actions import approvals, audit, evidence, grounds, moves, rehearsals
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict
from migrations_audit.judgement import Check
from migrations_audit.models import MigrationRun, Observation, Plan, RunStep, Snapshot, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import bound
from migrations_audit.states import Outcome, RehearsalDemand, RunState

FORMAT = "opsportal-plan/1"
MOST_PLANNERS = 4
IDENTITY = "the identity of the database"


class NotPlannable(Conflict):
    """The run is not waiting for a plan; another delivery of the message was faster, or it was withdrawn."""

    code = "not_plannable"


class SettingsChanged(Conflict):
    """The settings of the target or its project were changed while the plan was made. Ask again."""

    code = "settings_changed"


@dataclass(frozen=True)
class Draft:
    """A plan before it is stored. Everything that the digest covers, and what it rests on.

    ``settings`` is the digest of the target's and the project's settings that it was made with (``bound.parts``);
    ``connection`` holds the parameters of the URL that the reference led to, ``worker`` what that worker is set to use;
    ``interpreter`` is the digest of one that a worker built from the snapshot's requirements, else empty.
    """

    requested: str
    from_revisions: Sequence[str]
    to_revisions: Sequence[str]
    destination: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    sql: str
    sql_reason: str
    findings: Sequence[Mapping[str, Any]]
    identity: Mapping[str, Any]
    snapshot: Snapshot
    base_observation: Observation
    settings: str
    connection: Mapping[str, str]
    worker: Mapping[str, str]
    interpreter: str = ""
    authors: Sequence[Mapping[str, str]] = ()


@audit.action
def begin(*, actor: Actor, number: int) -> MigrationRun:
    """Take up a requested run for planning, or one whose planner was lost. Raises NotPlannable.

    A run that has lost ``MOST_PLANNERS`` planners comes back as failed: it would be tried for ever.
    """
    run = moves.lock(number)
    now = database_now()
    lost = run.run_state is RunState.PLANNING and (run.lease_expires_at is None or run.lease_expires_at <= now)
    if run.run_state is not RunState.REQUESTED and not lost:
        raise NotPlannable(f"{run} is {run.get_state_display()}.")
    if lost and run.epoch >= MOST_PLANNERS:
        sentence = f"{MOST_PLANNERS} workers took this up for planning and none came back. Their logs have the details."
        moves.move(run, to=RunState.PLAN_FAILED, sentence=sentence, reason_code="planners_lost", finished_at=now)
        audit.record_run(actor=actor, action="run.plan_failed", run=run, code="planners_lost", sentence=sentence)
        return run
    values: dict[str, Any] = {
        "epoch": run.epoch + 1,
        "worker": actor.name,
        "lease_expires_at": now + timedelta(seconds=4 * settings.PORTAL_LEASE_S),
    }
    sentence = f"{actor.name} is reading the scripts and the target."
    if lost:
        MigrationRun.objects.filter(number=run.number, epoch=run.epoch).update(sentence=sentence, **values)
        run.refresh_from_db()
    else:
        moves.move(run, to=RunState.PLANNING, sentence=sentence, **values)
    audit.record_run(actor=actor, action="run.planning", run=run, epoch=run.epoch)
    return run


@audit.action
def record(*, actor: Actor, number: int, epoch: int, draft: Draft) -> Plan:
    """Store the plan, freeze its digest, and open the run for approval.

    Raises StaleRun when the run was withdrawn or taken up by another planner meanwhile, and SettingsChanged when it was made
    with other settings than would be approved.
    """
    run = _current(number, epoch)
    if bound.parts(run.target)["target"] != draft.settings:
        raise SettingsChanged(f"The settings of {run.target} were changed while it was planned. Ask again.")
    now = database_now()
    plan = _freeze(run, draft, now=now)
    RunStep.objects.bulk_create(
        RunStep(
            run=run,
            position=step["position"],
            revision=step["revision"],
            direction=step["direction"],
            message=step["message"],
        )
        for step in plan.steps
    )
    match = grounds.standing_match(run)
    moves.move(
        run,
        to=RunState.AWAITING_APPROVAL,
        sentence=grounds.waiting_sentence(match),
        plan=plan,
        planned_at=now,
        expires_at=now + timedelta(seconds=run.target.environment.approval_lifetime_s),
        lease_expires_at=None,
    )
    audit.record_run(actor=actor, action="run.planned", run=run, parts=plan.parts, steps=len(plan.steps))
    if run.target.environment.rehearsal != RehearsalDemand.ON_REQUEST:
        rehearsals.begin(run, actor=actor, now=now)
    if match.is_met:
        approvals.mark_approved(run, actor=actor, now=now)
    return plan


def _freeze(run: MigrationRun, draft: Draft, *, now: datetime) -> Plan:
    parts = _parts(run.target, draft)
    body = hashchain.canonical(
        {
            "format": FORMAT,
            "run": run.number,
            "target": run.target.label,
            "operation": run.operation,
            "requester": run.requester_name,
            "requested": draft.requested,
            "from": list(draft.from_revisions),
            "to": list(draft.to_revisions),
            "parts": parts,
        }
    )
    return Plan.objects.create(
        target=run.target,
        operation=run.operation,
        requested=draft.requested,
        from_revisions=list(draft.from_revisions),
        to_revisions=list(draft.to_revisions),
        destination=list(draft.destination),
        steps=[dict(step) for step in draft.steps],
        sql=draft.sql,
        sql_reason=draft.sql_reason,
        findings=[dict(finding) for finding in draft.findings],
        options=run.target.environment.policy_facts(),
        settings={
            **bound.kept(run.target),
            "connection": dict(draft.connection),
            "worker": dict(draft.worker),
        },
        authors=[dict(author) for author in draft.authors],
        identity=dict(draft.identity),
        snapshot=draft.snapshot,
        base_observation=draft.base_observation,
        parts=parts,
        body=body,
        digest=hashchain.digest(body),
        at=now,
    )


def _parts(target: Target, draft: Draft) -> dict[str, str]:
    steps = {"steps": list(draft.steps), "destination": list(draft.destination)}
    return {
        "scripts": draft.snapshot.digest,
        "sql": hashchain.digest(draft.sql or draft.sql_reason),
        "steps": hashchain.digest(hashchain.canonical(steps)),
        "start": start_digest(rows=draft.from_revisions, catalog=draft.base_observation.catalog_id or ""),
        "identity": hashchain.digest(hashchain.canonical(identity_facts(draft.identity))),
        "connection": settings_digest(draft.connection),
        "worker": settings_digest(draft.worker),
        **({"interpreter": draft.interpreter} if draft.interpreter else {}),
        **bound.parts(target),
    }


@audit.action
def fail(*, actor: Actor, number: int, epoch: int, code: str, sentence: str) -> None:
    """End a run that cannot be planned, saying why."""
    run = _current(number, epoch)
    moves.move(run, to=RunState.PLAN_FAILED, sentence=sentence, reason_code=code, finished_at=database_now())
    audit.record_run(actor=actor, action="run.plan_failed", run=run, code=code, sentence=sentence)


def start_digest(*, rows: Sequence[str], catalog: str) -> str:
    """The digest of a starting state: the version rows and the catalog's fingerprint."""
    return hashchain.digest(hashchain.canonical({"rows": sorted(rows), "catalog": catalog}))


def settings_digest(facts: Mapping[str, str]) -> str:
    """The digest of settings that only a worker knows."""
    return hashchain.digest(hashchain.canonical(facts))


def identity_facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of an identity an approval binds: which database it is, not which version its server happens to run."""
    return {name: identity[name] for name in ("endpoint", "system_identifier", "database_oid", "database")}


def is_for(plan: Plan, identity: Mapping[str, Any] | None) -> bool:
    """Whether ``identity`` is that of the database for which ``plan`` was made."""
    return identity is not None and identity_facts(identity) == identity_facts(plan.identity)


def identity_differences(approved: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """By which facts that an approval binds two identities differ: the fact, then, now."""
    then, now = _flat(approved), _flat(found)
    return [(name, then[name], now[name]) for name in then if then[name] != now[name]]


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    facts = identity_facts(identity)
    endpoint = {f"{name} of the URL": value for name, value in facts.pop("endpoint").items()}
    return {name.replace("_", " "): str(value) for name, value in (endpoint | facts).items()}


def identity_check(approved: Mapping[str, Any], found: Mapping[str, Any]) -> Check:
    """The evidence for a database that is not the one of the plan."""
    lines = [
        line
        for name, then, now in identity_differences(approved, found)
        for line in (f"- {name}: {then}", f"+ {name}: {now}")
    ]
    return Check(IDENTITY, "that of the plan", "another", Outcome.FAILED, tuple(lines))


def keep_what_changed(run: MigrationRun) -> None:
    """Store as evidence what makes ``run`` void at its claim, if it is, within the caller's transaction."""
    plan, enrolled = run.plan, run.target.identity
    if plan is None or run.run_state is not RunState.VOID:
        return
    checks = bound.checks(plan, run.target)
    if enrolled is None:
        checks.append(Check(IDENTITY, "that of the plan", "given up, and none is enrolled", Outcome.FAILED))
    elif not is_for(plan, enrolled):
        checks.append(identity_check(plan.identity, enrolled))
    evidence.store_checks(target=run.target, run=run, observation=None, checks=checks)


def _current(number: int, epoch: int) -> MigrationRun:
    run = moves.lock(number)
    if run.epoch != epoch:
        raise moves.StaleRun(f"{run} was taken up by {run.worker} meanwhile.")
    moves.expect(run, RunState.PLANNING, verb="planned")
    return run
