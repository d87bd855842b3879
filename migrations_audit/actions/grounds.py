"""What a start rests on: the plan as it was seen, approvals that still count, and what the policy asks for beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime

from migrations_audit import hashchain, policy
from migrations_audit.actions import findings, rehearsals, runbooks
from migrations_audit.errors import Conflict, Denied
from migrations_audit.models import Approval, MigrationRun
from migrations_audit.queries import bound, eligibility, promotion
from migrations_audit.states import RunState


class PlanChanged(Conflict):
    """The plan is not the one that you saw. Reload the page and read it again."""

    code = "plan_changed"


class ApprovalExpired(Conflict):
    """The approval has expired. Request the upgrade again."""

    code = "approval_expired"


class ApprovedThingChanged(Conflict):
    """The settings or the policy that an approval binds are not as they were at planning. Request the upgrade again."""

    code = "approved_thing_changed"


class NoPolicy(Denied):
    """A production environment names nobody who must approve. Nothing runs there until its policy does."""

    code = "no_policy"


class ApprovalIncomplete(Denied):
    """The approvals do not meet the policy."""

    code = "approval_incomplete"


class ChangesRequested(Conflict):
    """Somebody asked for changes, so nobody approves and nothing starts until that person takes it back."""

    code = "changes_requested"


class NotVerifiedEarlier(Denied):
    """The policy asks that the scripts were verified in an earlier environment first."""

    code = "not_verified_earlier"


def check_standing(run: MigrationRun, *, digest: str, now: datetime) -> None:
    """Raise unless the (locked) run's approvals carry a start now: the same plan, not expired, bound to the same settings.

    And every one of ``conditions``.
    """
    check_plan(run, digest=digest, now=now)
    for check in conditions(run, now=now):
        check()
    check_settings(run)


def conditions(run: MigrationRun, *, now: datetime) -> tuple[Callable[[], None], ...]:
    """What an approval is made of, each raising what it lacks. Breaking the glass passes over these and nothing else."""
    return (
        functools.partial(refuse_while_changes_are_asked, run),
        functools.partial(check_approved, run),
        functools.partial(check_promotion, run),
        functools.partial(check_rehearsed, run, now=now),
        functools.partial(findings.check_open, run, now=now),
    )


def check_approved(run: MigrationRun) -> None:
    """Raise NoPolicy or ApprovalIncomplete unless people who may decide by today's roles meet the policy.

    The policy of the plan and today's, whichever is stricter; whoever edited something since the request does not count.
    """
    environment = run.target.environment
    if eligibility.is_production(run) and not environment.requirements:
        raise NoPolicy(
            f"{environment.name} is production and its policy names nobody who must approve. {run} does not start."
        )
    standing = eligibility.standing_of(run)
    if not standing.match.is_met:
        missing = ", ".join(str(item) for item in standing.match.missing)
        why = " ".join(standing.not_counting)
        raise ApprovalIncomplete(f"The approvals of {run} no longer meet the policy; missing: {missing}. {why}".strip())


def check_rehearsed(run: MigrationRun, *, now: datetime) -> None:
    """Raise RehearsalMissing or RunbookMissing for what the policy wants before a start."""
    runbooks.check(run, rehearsals.check(run, now=now, at_approval=False))


def check_plan(run: MigrationRun, *, digest: str, now: datetime) -> None:
    """Raise what ``check_digest`` raises, and ApprovalExpired when the plan was approved, or made, too long ago."""
    check_digest(run, digest=digest)
    refuse_expired(run, now=now)


def check_digest(run: MigrationRun, *, digest: str) -> None:
    """Raise PlanChanged unless the stored plan is the one that was seen."""
    plan = run.plan
    if plan is None or plan.digest != digest or hashchain.digest(plan.body) != plan.digest:
        raise PlanChanged(f"The plan of {run} is not the one that you saw. Reload the page and read it again.")


def refuse_expired(run: MigrationRun, *, now: datetime) -> None:
    """Raise ApprovalExpired when the plan was approved, or made, too long ago."""
    if run.expires_at is not None and run.expires_at <= now:
        what = "approval" if run.run_state is not RunState.AWAITING_APPROVAL else "plan"
        raise ApprovalExpired(f"The {what} of {run} expired at {run.expires_at:%Y-%m-%d %H:%M} UTC. Request it again.")


def check_settings(run: MigrationRun) -> None:
    """Raise ApprovedThingChanged when what the plan binds of the settings and the policy is another by now."""
    changed = bound.changed(run.plan, run.target) if run.plan is not None else ""
    if changed:
        words = (
            "Changed since the plan was made:",
            f"{changed}.",
            *eligibility.edits_of(run)[-2:],
            "Request it again.",
        )
        raise ApprovedThingChanged(" ".join(words))


def changes_asked(run: MigrationRun) -> Approval | None:
    """The oldest standing wish for changes of somebody who may still decide, if there is one."""
    return next(iter(eligibility.standing_of(run).wishes), None)


def changes_sentence(asked: Approval) -> str:
    """What a run waits for while somebody wants something else, in words."""
    return (
        f"{asked.person_name} asked for changes: {asked.comment} It cannot be approved until {asked.person_name} takes that "
        "back, or the requester withdraws and asks again."
    )


def refuse_while_changes_are_asked(run: MigrationRun) -> None:
    """Raise ChangesRequested while somebody wants something else."""
    if (asked := changes_asked(run)) is not None:
        raise ChangesRequested(f"{run} waits: {changes_sentence(asked)}")


def standing_match(run: MigrationRun) -> policy.Match:
    """How the standing approvals meet the policy, by the roles that those people hold now and what they edited since."""
    return eligibility.standing_of(run).match


def waiting_sentence(match: policy.Match) -> str:
    """What an awaiting run waits for, in words."""
    return f"Waiting for approval: {', '.join(str(item) for item in match.missing)}."


def check_promotion(run: MigrationRun) -> None:
    """Raise NotVerifiedEarlier while the policy wants the scripts verified in an earlier environment and they were not."""
    if lacking := promotion.lacking(run):
        raise NotVerifiedEarlier(f"{run} waits: {lacking}")
