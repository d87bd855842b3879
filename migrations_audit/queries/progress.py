"""Where a run stands in its life, for the stepper, and what comes next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from migrations_audit.models import MigrationRun
from migrations_audit.queries.rights import Buttons
from migrations_audit.states import Phase, RunState, Verdict

S = RunState


class Mark(StrEnum):
    """How a stage is drawn."""

    PASSED = "passed"
    CURRENT = "current"
    STOPPED = "stopped"
    DOUBTFUL = "doubtful"
    AHEAD = "ahead"


@dataclass(frozen=True)
class Stage:
    """One stage of the stepper. ``is_current`` marks where the run is, or where it ended."""

    name: str
    mark: Mark
    is_current: bool
    note: str = ""
    at: datetime | None = None
    phases: Sequence[tuple[str, Mark]] = ()


_REACHED = {
    S.REQUESTED: 1,
    S.PLANNING: 1,
    S.AWAITING_APPROVAL: 2,
    S.APPROVED: 2,
    S.QUEUED: 3,
    S.RUNNING: 4,
    S.OUTCOME_UNKNOWN: 4,
    S.APPLIED: 5,
}


_AGAIN = " Plan again asks for the same once more, from where the target is now."
_LOOK_AGAIN = "Read the evidence and the log before anybody asks again."
_COMPARE = (
    "Compare the target by hand with what the evidence expected. Then plan a rollback, or a repair as a revision of its own: "
    "planning the same again would find nothing to do."
)
_NEXT = {
    S.REQUESTED: "A worker freezes the scripts, reads the target and writes the plan. Then people decide.",
    S.PLANNING: "A worker freezes the scripts, reads the target and writes the plan. Then people decide.",
    S.AWAITING_APPROVAL: "When the policy is met, an operator can press Run now.",
    S.RUNNING: "The verdict follows after the target has been read back on a fresh connection.",
    S.APPLIED: "",
    S.FAILED: _LOOK_AGAIN,
    S.ERROR: _LOOK_AGAIN,
    S.CLOSED: "Check now reads the target; the next plan begins with what is there then.",
    S.PLAN_FAILED: "Correct what the sentence names first.",
}
_OVER = "Nothing of this run reaches the target any more."


def stages_of(run: MigrationRun) -> list[Stage]:
    """The six stages of a run with their marks."""
    times = (run.requested_at, run.planned_at, run.approved_at, run.queued_at, run.started_at, run.finished_at)
    names = ("Requested", "Planned", "Approved", "Queued", "Running", "Verdict")
    at = _position(run)
    stages = []
    for index, (name, when) in enumerate(zip(names, times, strict=True)):
        mark = Mark.PASSED if index < at else _mark(run) if index == at else Mark.AHEAD
        if name == "Approved" and run.broke_glass_at is not None:
            name, mark, when = "Not approved", Mark.STOPPED, run.broke_glass_at
        reached = when if index <= at else None
        stages.append(
            Stage(
                name=name,
                mark=mark,
                is_current=index == at,
                note=_note(run) if index == at else "",
                at=reached,
                phases=_phases(run) if name == "Running" and index == at else (),
            )
        )
    return stages


def next_step(
    run: MigrationRun,
    *,
    buttons: Buttons,
    blocked_by: MigrationRun | None,
    now: datetime,
    missing: Sequence[str] = (),
    closed_by: str = "",
    has_open_findings: bool = False,
    lacks_groundwork: bool = False,
) -> str:
    """What happens next, or what to do, in one or two sentences. Empty when there is nothing left to say.

    ``missing`` is what the standing approvals lack by the policy and the roles of now; ``closed_by`` is "window" or "freeze"
    where that keeps it from starting.
    """
    match run.run_state:
        case S.AWAITING_APPROVAL if buttons.approve:
            return "Read what will run, then approve or reject it. Your decision binds exactly this plan."
        case S.AWAITING_APPROVAL | S.APPROVED if has_open_findings:
            return "It goes on when the findings that the policy names are accepted, or when corrected scripts are planned."
        case S.AWAITING_APPROVAL | S.APPROVED if lacks_groundwork:
            what = "be approved" if run.run_state is S.AWAITING_APPROVAL else "start"
            return f"It cannot {what} as it stands. What is missing is said under “What you can do”."
        case S.APPROVED if missing:
            return f"The approvals do not carry a start any more; missing: {', '.join(missing)}."
        case S.APPROVED:
            return _before_start(run, buttons=buttons, blocked_by=blocked_by, now=now, closed_by=closed_by)
        case S.QUEUED:
            return f"A worker that consumes {run.target.environment.queue} takes it up."
        case S.RUNNING if run.cancel_requested_at is not None:
            return f"{run.cancel_requested_by} asked to cancel. The run ends with what the target then says."
        case S.FAILED if run.reason_code == "contradicted":
            return _COMPARE
        case S.OUTCOME_UNKNOWN:
            return _while_unknown(run, buttons=buttons, now=now)
        case state:
            return f"{_NEXT.get(state, _OVER)}{_AGAIN if buttons.plan_again else ''}"


def _while_unknown(run: MigrationRun, *, buttons: Buttons, now: datetime) -> str:
    """What is known, what is being tried and when, and what a person can do."""
    known = {
        Phase.PREFLIGHT.value: "It was still in its preflight, so the project had no connection.",
        Phase.LOCK.value: "It was waiting for the run lock, so the project had no connection.",
        Phase.EXECUTE.value: "It was executing: any part of the plan may have reached the target.",
        Phase.VERIFY.value: "The runner had ended, and the target was being read back.",
    }.get(run.phase, "")
    if run.lease_expires_at is not None and run.lease_expires_at > now:
        trying = f"{run.worker} is ending its sessions and reading {run.target} now."
    elif run.reconcile_after_at is not None and run.reconcile_after_at > now:
        trying = f"The next try to end its sessions and read {run.target} is at {run.reconcile_after_at:%H:%M:%S} UTC."
    else:
        trying = f"A worker of {run.target.environment.queue} is asked to end its sessions and read {run.target}."
    person = (
        " Correct what the sentence names, then press Verify again to have it read at once."
        if buttons.verify_again
        else ""
    )
    return f"{known} Nobody guesses. {trying}{person} Nothing else runs on {run.target} meanwhile.".strip()


_CLOSED = {
    "window": "Waiting for the window to open.",
    "freeze": "Waiting until the portal is thawed.",
}


def _before_start(
    run: MigrationRun, *, buttons: Buttons, blocked_by: MigrationRun | None, now: datetime, closed_by: str
) -> str:
    if run.expires_at is not None and run.expires_at <= now:
        return "The approval has expired. Request it again."
    if run.scheduled_at is not None and run.scheduled_as is not None:
        waits = f"It starts at {run.scheduled_at:%Y-%m-%d %H:%M:%S} UTC, as {run.scheduled_as['name']} scheduled it."
        return f"{waits} Rights, approvals, policy, settings and windows are asked again then."
    if closed_by:
        return f"{_CLOSED[closed_by]} An operator can schedule it."
    if blocked_by is not None:
        return f"{blocked_by} is {blocked_by.get_state_display()}; this run can start when that one has ended."
    if buttons.start:
        return "Press Run now to queue it. Approvals, policy and settings are checked again before anything is touched."
    return "An operator of the environment can press Run now."


def _position(run: MigrationRun) -> int:
    """The index of the stage where the run is, or where it ended."""
    state = run.run_state
    if state in _REACHED:
        return _REACHED[state]
    if state in (S.FAILED, S.ERROR, S.CANCELLED, S.CLOSED) and run.started_at is not None:
        return 5
    # As for a run under way: what waits for approval, or has it, is at the stage Approved.
    for index, when in ((4, run.started_at), (3, run.queued_at), (2, run.planned_at)):
        if when is not None:
            return index
    return 1


def _mark(run: MigrationRun) -> Mark:
    state = run.run_state
    if state in (S.OUTCOME_UNKNOWN, S.CLOSED):
        return Mark.DOUBTFUL
    if state is S.APPROVED:
        return Mark.PASSED
    if not run.is_terminal:
        return Mark.CURRENT
    if state is S.APPLIED:
        return Mark.PASSED if run.verdict == Verdict.VERIFIED.value else Mark.DOUBTFUL
    return Mark.STOPPED


def _note(run: MigrationRun) -> str:
    if run.run_state is S.APPLIED or run.verdict != Verdict.UNVERIFIED.value:
        return f"{run.get_state_display()}, {run.get_verdict_display()}"
    return "" if run.run_state in (S.RUNNING, S.QUEUED, S.APPROVED) else run.get_state_display()


def _phases(run: MigrationRun) -> list[tuple[str, Mark]]:
    phases = (Phase.PREFLIGHT, Phase.LOCK, Phase.EXECUTE, Phase.VERIFY)
    here = phases.index(Phase(run.phase)) if run.phase else -1
    return [
        (phase.value, Mark.PASSED if index < here else _mark(run) if index == here else Mark.AHEAD)
        for index, phase in enumerate(phases)
    ]
