"""The script of one rehearsal: claim, look at the target, copy its schema, play the plan there, keep what was seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import DatabaseError

from migrations_audit.actions import attempts, rehearsals
from migrations_audit.actors import worker
from migrations_audit.engine import catalog, folders, types
from migrations_audit.engine.rehearsing import copying, grading, shortcomings
from migrations_audit.engine.rehearsing.types import Copy, Pass, Scratch
from migrations_audit.errors import PortalError
from migrations_audit.execution import (
    impacts,
    keeping,
    observing,
    places,
    playing,
    rehearsal_findings,
    scratches,
)
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.execution.playing import Played, Player
from migrations_audit.models import Plan, Rehearsal
from migrations_audit.queries import bound
from migrations_audit.states import Engine, Grade, Operation, Outcome

logger = logging.getLogger(__name__)

APPLICATION: Final = "opsportal/rehearsal"


class CannotRehearse(PortalError):
    """The plan could not be played on a copy."""

    code = "cannot_rehearse"

    def __init__(self, message: str, *, code: str = "cannot_rehearse") -> None:
        super().__init__(message)
        self.code = code


def rehearse(*, rehearsal_id: int, worker_name: str) -> Rehearsal | None:
    """Play the plan of a rehearsal on a copy and keep what was seen. None when another worker has it or nobody waits for it."""
    actor = worker(worker_name)
    rehearsal = rehearsals.claim(actor=actor, rehearsal_id=rehearsal_id)
    if rehearsal is None:
        scratches.clear_up(rehearsal_id)
        return None
    held = {"rehearsal_id": rehearsal.pk, "epoch": rehearsal.epoch}
    with Heartbeat(name=str(rehearsal), renew=lambda: _lease(**held)) as heartbeat:
        look: observing.Look | None = None
        try:
            look = observing.look(rehearsal.run.target, actor=actor, purpose="rehearse", run=rehearsal.run)
            result, deltas = _play(rehearsal, look, heartbeat=heartbeat)
        except PortalError as error:
            impact = _impact_without_copy(rehearsal, look) if error.code != playing.Interrupted.code else {}
            rehearsals.give_up(actor=actor, code=error.code, sentence=error.message, impact=impact, **held)
            return None
        except DatabaseError:
            raise  # the portal's own: the lease runs out, and another worker takes it up
        except Exception as error:  # the outermost frame of a rehearsal; its outcome is stored
            logger.exception("%s was given up.", rehearsal)
            sentence = f"{actor.name} hit an error of its own ({type(error).__name__}). Its log has the details."
            impact = _impact_without_copy(rehearsal, look)
            rehearsals.give_up(actor=actor, code="worker_error", sentence=sentence, impact=impact, **held)
            return None
    return rehearsals.finish(actor=actor, result=result, deltas=deltas, **held)


def _lease(*, rehearsal_id: int, epoch: int) -> attempts.Lease:
    return attempts.Lease(held=rehearsals.renew(rehearsal_id=rehearsal_id, epoch=epoch), cancel_requested=False)


@dataclass(frozen=True)
class _Stage:
    """What a rehearsal plays with, once it is all there."""

    rehearsal: Rehearsal
    look: observing.Look
    copy: Copy
    scratch: Scratch
    player: Player


def _impact_without_copy(rehearsal: Rehearsal, look: observing.Look | None) -> dict[str, Any]:
    """What the plan would meet on its target, for who decides without a copy. Nothing where none answered, or another one."""
    if look is None or look.url is None or look.reading is None or look.differences:
        return {}
    if look.reading.engine is not Engine.POSTGRESQL:
        return {}
    return impacts.read(look.url, Pass(()), sql=rehearsal.plan.sql)


def _play(
    rehearsal: Rehearsal, look: observing.Look, *, heartbeat: Heartbeat
) -> tuple[rehearsals.Result, Sequence[Mapping[str, Any]]]:
    run = rehearsal.run
    reading = _fit_to_copy(rehearsal, look)
    with (
        scratches.server_for(run.target.environment) as scratch,
        folders.made("rehearsal") as place,
    ):
        name, kept = scratches.names(rehearsal, scratch)
        try:
            copy = copying.make(
                source=places.url_of(run.target),
                reading=reading,
                scratch=scratch,
                folder=place,
                version_table=run.target.project.version_table,
                version_schema=run.target.project.version_table_schema,
                application_name=APPLICATION,
                name=name,
            )
            copying.keep(copy, scratch, name=kept)
            player = _player(rehearsal, scratch, copy, kept, place, heartbeat)
            played = player.play()
        finally:
            scratches.drop(scratch, rehearsal, epochs=range(1, rehearsal.epoch + 1))
        return _result(_Stage(rehearsal, look, copy, scratch, player), played)


def _fit_to_copy(rehearsal: Rehearsal, look: observing.Look) -> types.Reading:
    """The reading, if the target still stands where the plan begins. Raises CannotRehearse."""
    run, reading = rehearsal.run, look.reading
    if reading is None or look.url is None:
        raise CannotRehearse(look.observation.sentence, code=look.observation.error_code or "not_read")
    if look.differences:
        raise CannotRehearse(look.observation.sentence, code="wrong_database")
    if not reading.transactional_ddl:
        raise CannotRehearse(
            f"{run.target} is on {reading.engine.label}, and copies are made of PostgreSQL only. Rehearse on your own.",
            code="no_copies_of_engine",
        )
    if bound.parts(run.target)["target"] != rehearsal.plan.parts["target"]:
        raise CannotRehearse(
            f"The settings of {run.target} were changed since this was planned: {bound.differences(rehearsal.plan, run.target)}. "
            "Plan again.",
            code="settings_changed",
        )
    if sorted(reading.revisions or ()) != sorted(rehearsal.plan.from_revisions):
        raise CannotRehearse(
            f"{run.target} is no longer where this plan begins: {look.observation.sentence} Plan again from there.",
            code="start_changed",
        )
    return reading


def _player(rehearsal: Rehearsal, scratch: Scratch, copy: Copy, kept: str, place: Path, heartbeat: Heartbeat) -> Player:
    run, plan = rehearsal.run, rehearsal.plan
    interpreter = places.interpreter_of(
        run.target, snapshot=plan.snapshot, approved=plan.parts.get("interpreter", "")
    ).path
    scripts = places.Scripts(snapshot=plan.snapshot, graph=places.graph_from_dict(plan.snapshot.graph))
    folder = place / "snapshot"
    places.unpack(scripts.snapshot, folder)
    return Player(
        run=run,
        plan=plan,
        scripts=scripts,
        scratch=scratch,
        copy=copy,
        kept=kept,
        folder=folder,
        interpreter=interpreter,
        confinement=places.confinement(plan.options["isolation"], interpreter=interpreter),
        heartbeat=heartbeat,
        application_name=APPLICATION,
    )


def _result(stage: _Stage, played: Played) -> tuple[rehearsals.Result, Sequence[Mapping[str, Any]]]:
    plan, there = stage.rehearsal.plan, played.there
    graded = _grades(stage, played)
    table = stage.rehearsal.run.target.project.version_table
    steps = keeping.steps(played, plan, graded, version_table=table)
    outcome, code, sentence = _verdict(stage, there)
    worst = grading.worst(item.grade for item in graded.values()) if there.came_to_its_end else None
    passed = outcome is Outcome.PASSED
    impact = impacts.read(places.url_of(stage.rehearsal.run.target), there, sql=plan.sql, version_table=table)
    result = rehearsals.Result(
        outcome=outcome,
        code=code,
        sentence=sentence,
        grade=worst.value if worst is not None else "",
        isolation=stage.player.confinement.level,
        server_version=stage.copy.identity.server_version,
        is_private=stage.scratch.private,
        observation=stage.look.observation,
        steps=steps,
        delta=_delta(stage.copy.catalog.body, played.after, table) if passed else (),
        differences=stage.copy.differences,
        problems=stage.copy.problems,
        findings=_findings(stage, there, outcome, sentence, impact=impact, steps=steps),
        impact=impact,
    )
    return result, _deltas(plan, there, table) if passed else ()


def _findings(
    stage: _Stage,
    there: Pass,
    outcome: Outcome,
    sentence: str,
    *,
    impact: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    run = stage.rehearsal.run
    if outcome is not Outcome.PASSED:
        return rehearsal_findings.of_outcome(run, failed=outcome is Outcome.FAILED, sentence=sentence)
    return rehearsal_findings.of_rehearsal(
        run,
        stage.rehearsal.plan,
        there,
        impact=impact,
        differs=bool(stage.copy.differences or stage.copy.problems),
        reasons=rehearsal_findings.grade_reasons(steps),
    )


def _verdict(stage: _Stage, there: Pass) -> tuple[Outcome, str, str]:
    plan, copy = stage.rehearsal.plan, stage.copy
    if not there.came_to_its_end:
        at = next((f" in {step.revision}" for step in there.steps if not step.ended), "")
        because = shortcomings.of_the_copy(there, copy.problems)
        if because:
            return (
                Outcome.COULD_NOT_RUN,
                there.code or "not_played",
                f"The plan did not come to its end on the copy{at}, and {because}: {there.problem}",
            )
        return Outcome.FAILED, there.code or "failed_on_copy", f"The plan failed on the copy{at}: {there.problem}"
    if there.uninspected:
        return (
            Outcome.COULD_NOT_RUN,
            "not_inspected",
            f"The plan ran on the copy but could not be looked at: {there.uninspected}",
        )
    ms = sum(step.ms for step in there.steps)
    count = len(there.steps)
    return (
        Outcome.PASSED,
        "rehearsed",
        f"{count} revision{'s' if count != 1 else ''} ran on a copy without data in {ms} ms: {plan.span}.",
    )


def _grades(stage: _Stage, played: Played) -> dict[str, grading.Graded]:
    """What could be said of each revision that ran. A rollback is graded by what it takes away itself."""
    plan = stage.rehearsal.plan
    table = stage.rehearsal.run.target.project.version_table
    known = {item["revision"]: item for item in plan.snapshot.graph["revisions"]}
    graded: dict[str, grading.Graded] = {}
    for step in played.there.steps:
        if plan.operation == Operation.ROLLBACK:
            graded[step.revision] = grading.of_rollback(
                step, has_downgrade=known[step.revision]["has_downgrade"], version_table=table
            )
            continue
        if played.no_way_back:
            graded[step.revision] = grading.Graded(Grade.UNTESTED, (played.no_way_back,))
            continue
        stuck = played.stuck.get(step.revision)
        if stuck is not None and (unclear := shortcomings.of_the_copy(stuck, stage.copy.problems)):
            reason = f"Its downgrade did not come to its end on the copy, and {unclear}: {stuck.problem}"
            graded[step.revision] = grading.Graded(Grade.UNTESTED, (reason,))
            continue
        graded[step.revision] = grading.grade(
            step,
            played.back.get(step.revision),
            problem=stuck.problem if stuck is not None else "",
            has_downgrade=known[step.revision]["has_downgrade"],
            version_table=table,
        )
    return _not_again(graded, played.again, stage.copy.problems)


def _not_again(
    graded: dict[str, grading.Graded], again: Sequence[Pass], problems: Sequence[str]
) -> dict[str, grading.Graded]:
    """A revision that cannot be applied again after its downgrade was not taken back whole, unless only the copy was at fault.

    Of one that was not taken back at all nothing else was to be expected.
    """
    for each in again:
        failed = next((step.revision for step in each.steps if not step.ended), "")
        if each.came_to_its_end or shortcomings.of_the_copy(each, problems) or failed not in graded:
            continue
        if graded[failed].grade is not Grade.IMPOSSIBLE:
            reason = f"Applied again after its downgrade, it failed on the copy: {each.problem}"
            graded[failed] = grading.worse(graded[failed], grading.Graded(Grade.LOSSY, (reason,)))
    return graded


def _delta(before: Mapping[str, str], after: Mapping[str, str], version_table: str) -> list[dict[str, str]]:
    return [
        vars(change) for change in catalog.diff(before, after) if not grading.is_of_table(change.key, version_table)
    ]


def _deltas(plan: Plan, there: Pass, version_table: str) -> list[dict[str, Any]]:
    """The delta of each revision by its file. What a downgrade does says nothing about the revision that it takes back."""
    if plan.operation != Operation.UPGRADE:
        return []
    found = []
    for step in there.steps:
        planned = plan.step_for(step.revision)
        if planned is not None:
            changes = _delta(step.before, step.after, version_table)
            found.append({"revision": step.revision, "sha256": planned["sha256"], "changes": changes})
    return found
