"""Whether runs may start, in words: the freeze of the portal first, then the windows of an environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import prefetch_related_objects

from migrations_audit import windows
from migrations_audit.models import Approval, Environment, Freeze, MigrationRun, Window
from migrations_audit.models.approvals import Decision
from migrations_audit.states import RunState
from migrations_audit.wallclock import said
from migrations_audit.windows import Opening


@dataclass(frozen=True)
class WindowRow:
    """One window of an environment, and whether it is open now. ``words`` say until when, or when it opens next."""

    window: Window
    is_open: bool
    words: str


def freeze_at(at: datetime) -> Freeze | None:
    """The freeze that keeps runs from starting at ``at``, as far as is known now."""
    return Freeze.objects.in_force(at).first()


def of_run(run: MigrationRun, *, at: datetime) -> Opening:
    """Whether ``run`` may start at ``at``. A plan without a deadline is taken to last for as long as its environment allows."""
    freeze = freeze_at(at)
    return under(freeze) if freeze is not None else windows_of_run(run, at=at)


def windows_of_run(run: MigrationRun, *, at: datetime) -> Opening:
    """What the windows of its environment say of ``run``."""
    return windows.verdict(rules_of(run.target.environment), now=at, lasts=_lasts(run))


def windows_of_runs(runs: Sequence[MigrationRun], *, at: datetime) -> Mapping[int, Opening]:
    """The same for many, by number: worked out once for all those that may last as long in the same environment."""
    prefetch_related_objects([run.target.environment for run in runs], "windows")
    found: dict[tuple[int, timedelta], Opening] = {}
    for run in runs:
        alike = (run.target.environment_id, _lasts(run))
        if alike not in found:
            found[alike] = windows_of_run(run, at=at)
    return {run.number: found[run.target.environment_id, _lasts(run)] for run in runs}


def too_late(run: MigrationRun, opening: Opening, *, standing: Iterable[Approval], now: datetime) -> str:
    """That the approval of a run which waits for it, or has it, ends before it may start, and what to do; else empty.

    ``standing`` are the decisions that were not taken back: an approval lives from the oldest of them.
    """
    lifetime = timedelta(seconds=run.target.environment.approval_lifetime_s)
    since = min((each.at for each in standing if each.decision == Decision.APPROVE), default=None)
    ends = run.expires_at if run.run_state is RunState.APPROVED else (since or now) + lifetime
    if opening.is_open or opening.opens_at is None or ends is None or opening.opens_at < ends:
        return ""
    again = opening.opens_at - lifetime
    if run.expires_at is not None and run.expires_at <= again:
        remedy = f"plan it again after {_utc(again)}"
    elif since is not None:
        remedy = "take the approval back and approve again" + (f" after {_utc(again)}" if again > now else "")
    else:
        remedy = f"approve it after {_utc(again)}"
    held = "Approved" if since is not None or run.run_state is RunState.APPROVED else "An approval of now would last"
    return f"{held} until {_utc(ends)}; it may start at {_utc(opening.opens_at)} at the earliest: {remedy}, or change the window."


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _lasts(run: MigrationRun) -> timedelta:
    options = run.plan.options if run.plan is not None else {}
    return timedelta(seconds=options.get("deadline_s", run.target.environment.deadline_s))


def of_environment(environment: Environment, *, now: datetime) -> Opening:
    """Whether a run with the environment's deadline may start there now."""
    freeze = freeze_at(now)
    if freeze is not None:
        return under(freeze)
    return windows.verdict(rules_of(environment), now=now, lasts=timedelta(seconds=environment.deadline_s))


def rules_of(environment: Environment) -> list[windows.Window]:
    """The windows of an environment as the rules know them."""
    return [window.rule for window in environment.windows.all()]


def under(freeze: Freeze) -> Opening:
    """What a freeze says."""
    sentence = f"{freeze.sentence.rstrip('.')}. No run starts on any target meanwhile."
    return Opening(is_open=False, sentence=sentence, until=freeze.until, opens_at=freeze.until)


def rows_of(found: Iterable[Window], *, now: datetime) -> Sequence[WindowRow]:
    """Each window by itself, for the page of its environment."""
    return [_row(window, now) for window in found]


def _row(window: Window, now: datetime) -> WindowRow:
    if fault := windows.fault_of(window.rule):
        return WindowRow(window, False, f"cannot be read: {fault}")
    schedule, duration = window.rule.schedule, window.rule.duration
    last, following = schedule.last(now), schedule.next(now)
    if last is not None and last + duration > now:
        return WindowRow(window, True, f"until {said(last + duration, window.time_zone)}")
    return WindowRow(window, False, f"opens {said(following, window.time_zone)}" if following else "never opens")
