"""Decisions on a plan digest: approve, reject, ask for changes, take back."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db.models import Min

from migrations_audit import access, policy
from migrations_audit.actions import audit, findings, grounds, moves, rehearsals, runbooks, texts
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Denied, Invalid
from migrations_audit.models import Approval, MigrationRun, Rehearsal, Role
from migrations_audit.models.approvals import Decision
from migrations_audit.models.clock import database_now
from migrations_audit.queries import eligibility
from migrations_audit.states import RunState

LONGEST_COMMENT = 2_000
APPROVED = "Approved; waiting for an operator to press Run now."
VERBS = {
    Decision.APPROVE: "approved any more",
    Decision.REJECT: "rejected any more",
    Decision.CHANGES: "sent back for changes any more",
}


class SelfApproval(Denied):
    """Nobody approves a run that they asked for."""

    code = "self_approval"


class CommitAuthor(Denied):
    """Nobody approves scripts of which they are the author."""

    code = eligibility.AUTHOR


class EditedAfterRequest(Denied):
    """Nobody approves a run whose target, project or policy they edited after it was requested."""

    code = eligibility.EDITED


class MachineApproval(Denied):
    """A token, a worker or a command cannot approve. A person decides in the browser."""

    code = "machine_approval"


class RehearsalMoved(Conflict):
    """Another rehearsal has ended since you opened the page. Reload it and read what that one saw."""

    code = "rehearsal_moved"


class SamePerson(Denied):
    """Nobody approves a run with a second account."""

    code = eligibility.SAME


class AlreadyDecided(Conflict):
    """You have already decided on this run."""

    code = "already_decided"


@audit.action
def approve(
    *, actor: Actor, number: int, digest: str, comment: str = "", seen_rehearsal: int | None = None
) -> Approval:
    """Approve exactly the plan with ``digest``. The run becomes approved when the policy's requirements are matched.

    ``seen_rehearsal`` is the one that the page showed, 0 for none; left out, the newest counts. Raises SelfApproval,
    SamePerson, CommitAuthor, EditedAfterRequest, NotVerifiedEarlier, MachineApproval, MissingRole, PlanChanged,
    ApprovedThingChanged, RehearsalMoved, AlreadyDecided, ApprovalExpired, FindingsOpen, RehearsalMissing, RunbookMissing,
    StaleRun.
    """
    words = texts.check(comment, field="comment", longest=LONGEST_COMMENT)
    run = moves.lock(number)
    approval = _decide(
        run, actor=actor, decision=Decision.APPROVE, digest=digest, comment=words, seen_rehearsal=seen_rehearsal
    )
    findings.check_open(run, now=approval.at)
    match = grounds.standing_match(run)
    audit.record_run(
        actor=actor,
        action="run.approval_given",
        run=run,
        roles=approval.roles,
        comment=approval.comment,
        rehearsal=approval.rehearsal_id,
        still_missing=[str(item) for item in match.missing],
    )
    if match.is_met and run.run_state is RunState.AWAITING_APPROVAL:
        mark_approved(run, actor=actor, now=approval.at)
    else:
        sentence = APPROVED if match.is_met else grounds.waiting_sentence(match)
        MigrationRun.objects.filter(number=run.number, state=run.state).update(sentence=sentence)
    return approval


@audit.action
def reject(*, actor: Actor, number: int, digest: str, comment: str) -> Approval:
    """Reject the plan, with a reason. That ends the run. Raises as ``approve`` does, and Invalid without a reason."""
    words = texts.check(comment, field="comment", longest=LONGEST_COMMENT)
    if not words:
        raise Invalid("Say why you reject it: the requester and the audit need it.", field="comment")
    run = moves.lock(number)
    approval = _decide(run, actor=actor, decision=Decision.REJECT, digest=digest, comment=words)
    moves.move(run, to=RunState.REJECTED, sentence=f"Rejected by {actor.name}: {words}", finished_at=approval.at)
    audit.record_run(actor=actor, action="run.rejected", run=run, roles=approval.roles, comment=words)
    return approval


@audit.action
def request_changes(*, actor: Actor, number: int, digest: str, comment: str) -> Approval:
    """Ask the requester for something else, with a comment. The run waits, and cannot be approved or started meanwhile.

    It goes on when this person takes it back, or the requester withdraws and asks anew. Raises as ``reject`` does.
    """
    words = texts.check(comment, field="comment", longest=LONGEST_COMMENT)
    if not words:
        raise Invalid("Say what should be different: the requester needs it.", field="comment")
    run = moves.lock(number)
    asked = _decide(run, actor=actor, decision=Decision.CHANGES, digest=digest, comment=words)
    if run.run_state is RunState.APPROVED:
        moves.move(run, to=RunState.AWAITING_APPROVAL, sentence=grounds.changes_sentence(asked), approved_at=None)
    else:
        MigrationRun.objects.filter(number=run.number, state=run.state).update(sentence=grounds.changes_sentence(asked))
    audit.record_run(actor=actor, action="run.changes_requested", run=run, roles=asked.roles, comment=words)
    return asked


@audit.action
def take_back(*, actor: Actor, number: int) -> Approval:
    """Withdraw one's own approval, or one's wish for changes, before the start.

    The run waits for approval again if it is now short of one, and is approved if nothing but the wish was in the way. Raises
    Conflict without such a decision, StaleRun, and ApprovalExpired once its time is over.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    access.need_scope(actor, "")
    moves.expect(run, RunState.AWAITING_APPROVAL, RunState.APPROVED, verb="un-approved")
    grounds.refuse_expired(run, now=database_now())
    approval = run.approvals.filter(person_id=actor.user_id, withdrawn_at__isnull=True).first()
    if approval is None:
        raise Conflict(f"You have no standing decision on {run}.")
    approval.withdrawn_at = database_now()
    approval.save(update_fields=["withdrawn_at"])
    match = grounds.standing_match(run)
    if run.run_state is RunState.APPROVED and not match.is_met:
        moves.move(run, to=RunState.AWAITING_APPROVAL, sentence=grounds.waiting_sentence(match), approved_at=None)
    audit.record_run(actor=actor, action="run.approval_withdrawn", run=run, decision=approval.decision)
    if approval.decision == Decision.CHANGES:
        _go_on(run, match, actor=actor)
    elif run.run_state is RunState.AWAITING_APPROVAL and not match.is_met:
        _say_what_it_waits_for(run, match)
    return approval


def _go_on(run: MigrationRun, match: policy.Match, *, actor: Actor) -> None:
    """After somebody took back a wish for changes: the next such wish, approved, or what is still missing."""
    if match.is_met and grounds.changes_asked(run) is None:
        mark_approved(run, actor=actor, now=database_now())
    else:
        _say_what_it_waits_for(run, match)


def _say_what_it_waits_for(run: MigrationRun, match: policy.Match) -> None:
    other = grounds.changes_asked(run)
    sentence = grounds.changes_sentence(other) if other is not None else grounds.waiting_sentence(match)
    MigrationRun.objects.filter(number=run.number, state=run.state).update(sentence=sentence)


def mark_approved(run: MigrationRun, *, actor: Actor, now: datetime) -> None:
    """Move an awaiting run whose requirements are met to approved, within the caller's transaction.

    It lives from the oldest approval that it rests on: a new one beside it does not make that one any younger.
    """
    lifetime = timedelta(seconds=run.target.environment.approval_lifetime_s)
    standing = run.approvals.filter(decision=Decision.APPROVE, withdrawn_at__isnull=True)
    since = standing.aggregate(at=Min("at"))["at"] or now
    moves.move(run, to=RunState.APPROVED, sentence=APPROVED, approved_at=now, expires_at=since + lifetime)
    audit.record_run(actor=actor, action="run.approved", run=run, requirements=run.target.environment.requirements)


def _decide(
    run: MigrationRun,
    *,
    actor: Actor,
    decision: Decision,
    digest: str,
    comment: str,
    seen_rehearsal: int | None = None,
) -> Approval:
    access.get_run_for(actor, run.number)
    if actor.kind is not ActorKind.USER or actor.user_id is None:
        raise MachineApproval
    if actor.user_id == run.requester_id:
        raise SelfApproval(f"You asked for {run}, so somebody else decides. You may withdraw it.")
    access.need(actor, run.target.environment, Role.APPROVER)
    moves.expect(run, RunState.AWAITING_APPROVAL, RunState.APPROVED, verb=VERBS[decision])
    if run.plan is None or run.plan.digest != digest:
        raise grounds.PlanChanged(f"The plan of {run} is not the one that you saw. Reload the page and read it again.")
    if decision is Decision.APPROVE:
        _refuse_excluded(run, person=actor.user_id)
        grounds.check_promotion(run)
        grounds.check_settings(run)
        asked = grounds.changes_asked(run)
        if asked is not None and asked.person_id != actor.user_id:
            raise grounds.ChangesRequested(f"{run} waits: {grounds.changes_sentence(asked)}")
    now = database_now()
    grounds.refuse_expired(run, now=now)
    rehearsal = _rehearsal_for(run, decision, now=now)
    if seen_rehearsal not in (None, rehearsal.pk if rehearsal is not None else 0):
        raise RehearsalMoved
    if run.approvals.filter(person_id=actor.user_id, withdrawn_at__isnull=True, decision=decision).exists():
        raise AlreadyDecided(f"You have already decided on {run}. One decision per person counts.")
    run.approvals.filter(person_id=actor.user_id, withdrawn_at__isnull=True).update(withdrawn_at=now)
    person = get_user_model()._default_manager.get(pk=actor.user_id)
    return Approval.objects.create(
        run=run,
        plan=run.plan,
        plan_digest=digest,
        person=person,
        person_name=person.get_username(),
        requester_id=run.requester_id,
        roles=sorted(access.approver_roles_in(run.target.environment, user_id=actor.user_id)),
        decision=decision,
        comment=comment,
        rehearsal=rehearsal,
        at=now,
    )


def _rehearsal_for(run: MigrationRun, decision: Decision, *, now: datetime) -> Rehearsal | None:
    """What the decision rests on. A rejection needs none."""
    if decision is Decision.APPROVE:
        rehearsal = rehearsals.check(run, now=now, at_approval=True)
        runbooks.check(run, rehearsal)
        return rehearsal
    return run.rehearsals.filter(plan=run.plan).telling_first().first()


def _refuse_excluded(run: MigrationRun, *, person: int) -> None:
    """Raise what keeps this person from approving. Whoever is left out may still reject."""
    exclusion = eligibility.excluded([run], people=[person])[run.number].get(person)
    if exclusion is not None:
        error = {each.code: each for each in (SelfApproval, SamePerson, CommitAuthor, EditedAfterRequest)}[
            exclusion.code
        ]
        raise error(f"You cannot approve {run}: {exclusion.sentence} Somebody else approves it; you may reject it.")
