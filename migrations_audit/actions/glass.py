"""Breaking the glass: starting a run that was not approved, in an emergency, in plain sight of everybody; and what follows.

Only approvals are passed over, with what they wait for: rehearsal, runbook, accepted findings. The plan's digest, the settings,
windows and freezes, the identity of the database and the rights of whoever starts it are asked for as always, here and again at
the claim.
"""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth import get_user_model
from django.views.decorators.debug import sensitive_variables

from migrations_audit import access
from migrations_audit.actions import audit, grounds, moves, openings, runs, sign_ins, texts
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound, PortalError
from migrations_audit.models import GlassReview, MigrationRun, Notice, Role
from migrations_audit.models.clock import database_now
from migrations_audit.queries import eligibility
from migrations_audit.states import RunState

SHORTEST_REASON = 20
LONGEST_REASON = 2_000
REVIEWERS = (Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR)


class GlassNeedsPerson(Denied):
    """A token, a worker or a command breaks no glass. A person does it in the browser, with their password."""

    code = "glass_needs_person"


class GlassNotNeeded(Conflict):
    """The approvals carry a start. Press Run now."""

    code = "glass_not_needed"


class SelfReview(Denied):
    """Whoever started a run without approval does not review it. Somebody else does."""

    code = "self_review"


class NothingToReview(Conflict):
    """This run was not started without approval, or somebody has reviewed it already."""

    code = "nothing_to_review"


class NoSuchNotice(NotFound):
    """There is no such notice for you."""


@sensitive_variables("password")
def break_glass(
    *,
    actor: Actor,
    number: int,
    digest: str,
    why_now: str,
    why_not_approved: str,
    password: str,
    confirm: str = "",
) -> MigrationRun:
    """Start a run that was not approved. For somebody who is administrator and operator there, in person, with their password.

    The requester may, for it is for emergencies, and the run then says so. In production ``confirm`` is the target's name. Raises
    GlassNeedsPerson, MissingRole, Invalid, PasswordRefused, SignInThrottled, StaleRun, PlanChanged, ApprovalExpired,
    GlassNotNeeded, WindowClosed, Frozen and TargetBusy.
    """
    may_break(actor=actor, number=number)
    # Not in the transaction of the start: what is counted and recorded of a wrong password stays when that is rolled back.
    sign_ins.ask_again(actor=actor, password=password)
    return _break(
        actor=actor,
        number=number,
        digest=digest,
        why_now=why_now,
        why_not_approved=why_not_approved,
        confirm=confirm,
    )


@audit.action
def may_break(*, actor: Actor, number: int) -> None:
    """Raise what keeps this actor from breaking the glass of this run, whatever the password. It is asked again at the start."""
    run = access.get_run_for(actor, number)
    if actor.kind is not ActorKind.USER or actor.user_id is None:
        raise GlassNeedsPerson
    need_rights(run, actor)


@audit.action
def _break(
    *, actor: Actor, number: int, digest: str, why_now: str, why_not_approved: str, confirm: str
) -> MigrationRun:
    run = moves.lock(number)
    may_break(actor=actor, number=number)
    moves.expect(run, RunState.AWAITING_APPROVAL, RunState.APPROVED, verb="started without approval")
    now = database_now()
    grounds.check_plan(run, digest=digest, now=now)
    grounds.check_settings(run)
    passed_over = _passed_over(run, now=now)
    standing = eligibility.standing_of(run)
    reasons = {"why_now": why_now, "why_not_approved": why_not_approved}
    said = {name: _reason(text, field=name) for name, text in reasons.items()}
    openings.need_open(run, at=now)
    runs.check_confirmed(run, confirm)
    missing = [str(item) for item in standing.match.missing]
    is_requester = actor.user_id == run.requester_id
    who = f"{actor.name}, who also asked for it," if is_requester else actor.name
    sentence = f"Started WITHOUT APPROVAL by {who} at {now:%Y-%m-%d %H:%M:%S} UTC: {said['why_now']}"
    runs.queue(
        run,
        actor=actor,
        now=now,
        sentence=f"{sentence} Waiting for a worker of {run.target.environment.queue}.",
        broke_glass_at=now,
        broke_glass_by_id=actor.user_id,
        broke_glass_by_name=actor.name,
        broke_glass_why_now=said["why_now"],
        broke_glass_why_not=said["why_not_approved"],
    )
    told = _tell(run, standing, actor=actor, text=sentence)
    audit.record_run(
        actor=actor,
        action="run.glass_broken",
        run=run,
        missing=missing,
        passed_over=passed_over,
        is_requester=is_requester,
        told=told,
        **said,
    )
    return run


def _passed_over(run: MigrationRun, *, now: datetime) -> list[str]:
    """What of the approval's conditions such a start leaves unmet, as sentences. Raises GlassNotNeeded when it leaves none."""
    unmet: list[str] = []
    for check in grounds.conditions(run, now=now):
        try:
            check()
        except PortalError as error:
            unmet.append(error.message)
    if not unmet and run.run_state is RunState.APPROVED:
        raise GlassNotNeeded(f"The approvals of {run} carry a start. Press Run now.")
    return unmet


def need_rights(run: MigrationRun, actor: Actor) -> None:
    """Raise MissingRole unless the person is administrator and operator of the run's environment."""
    for role in (Role.ADMINISTRATOR, Role.OPERATOR):
        access.need(actor, run.target.environment, role)


@audit.action
def review(*, actor: Actor, number: int, text: str) -> GlassReview:
    """Sign, as somebody else than the starter, what was found when looking at a run that was started without approval.

    For approvers, auditors and administrators of the environment in person, once the run has ended. Raises SelfReview,
    NothingToReview, MissingRole, GlassNeedsPerson and Invalid.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    if actor.kind is not ActorKind.USER or actor.user_id is None:
        raise GlassNeedsPerson("A person reviews what was started without approval, in the browser.")
    held = access.roles_in(run.target.environment, user_id=actor.user_id)
    if not held & {role.value for role in REVIEWERS}:
        access.need(actor, run.target.environment, Role.APPROVER)
    if run.broke_glass_by_id is None or GlassReview.objects.filter(run=run).exists():
        raise NothingToReview
    if actor.user_id == run.broke_glass_by_id:
        raise SelfReview(f"You started {run} without approval, so somebody else reviews it.")
    if not run.is_terminal:
        raise Conflict(f"{run} is {run.get_state_display()}. It is reviewed once it has ended.")
    words = _reason(text, field="text")
    signed = GlassReview.objects.create(
        run=run,
        starter_id=run.broke_glass_by_id,
        person_id=actor.user_id,
        person_name=actor.name,
        text=words,
        at=database_now(),
    )
    audit.record_run(actor=actor, action="run.reviewed_afterwards", run=run, text=words)
    return signed


@audit.action
def acknowledge(*, actor: Actor, notice_id: int) -> Notice:
    """Say that one has read a notice. Raises NoSuchNotice for another person's, and Conflict the second time."""
    access.need_scope(actor, "")
    notice = Notice.objects.select_for_update(no_key=True).filter(pk=notice_id, person_id=actor.user_id or 0).first()
    if notice is None:
        raise NoSuchNotice
    if notice.acknowledged_at is not None:
        raise Conflict("You have acknowledged this notice already.")
    notice.acknowledged_at = database_now()
    notice.save(update_fields=["acknowledged_at"])
    audit.record_run(actor=actor, action="run.notice_acknowledged", run=moves.read(notice.run_id))
    return notice


def _reason(text: str, *, field: str) -> str:
    words = texts.check(text, field=field, longest=LONGEST_REASON)
    if len(words) < SHORTEST_REASON:
        raise Invalid(
            f"Write at least {SHORTEST_REASON} characters that somebody else understands tomorrow; this stays in the audit.",
            field=field,
        )
    return words


def _tell(run: MigrationRun, standing: eligibility.Standing, *, actor: Actor, text: str) -> list[str]:
    """Leave a notice for everybody who would have approved and for the requester. Returns their names."""
    people = {*standing.approvers, run.requester_id} - {actor.user_id}
    found = get_user_model()._default_manager.filter(pk__in=people, is_active=True).order_by("username")
    now = database_now()
    Notice.objects.bulk_create(Notice(person_id=user.pk, run=run, text=f"{run}: {text}", at=now) for user in found)
    return [user.get_username() for user in found]
