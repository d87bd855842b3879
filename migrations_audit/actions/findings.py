"""Accepting a finding with a reason and an end, and taking that back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from migrations_audit import access, listing
from migrations_audit.actions import audit, texts
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Denied, Invalid
from migrations_audit.models import Environment, FindingAcceptance, MigrationRun, Project
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings

LONGEST_REASON: Final = 2_000
MOST_DAYS: Final = 365
MOST_NAMED: Final = 5


class NotInPerson(Denied):
    """A finding is accepted by a person in the browser, never by a token, a worker or a command."""

    code = "not_in_person"


class SelfAcceptance(Denied):
    """Nobody accepts a finding of a run that they asked for."""

    code = "self_acceptance"


class NoSuchFinding(Conflict):
    """The plan of the run has no such finding. Reload the page and look again."""

    code = "no_such_finding"


class AlreadyAccepted(Conflict):
    """You have accepted this finding, and that still stands."""

    code = "already_accepted"


class AcceptanceEnded(Conflict):
    """This acceptance does not stand any more."""

    code = "acceptance_ended"


class FindingsOpen(Conflict):
    """The environment's policy wants findings accepted that nobody has accepted."""

    code = "findings_open"


@audit.action
def accept(*, actor: Actor, number: int, finding: str, reason: str, days: int) -> FindingAcceptance:
    """Accept a finding of run ``number``, named by its digest, for its project and for so many days, with a reason.

    For approvers and administrators of an environment of the project, in person, and not for who asked for the run. Raises
    NotInPerson, MissingRole, SelfAcceptance, NoSuchFinding, AlreadyAccepted, Invalid.
    """
    run = _run_for(actor, number)
    if actor.user_id is None or actor.user_id == run.requester_id:
        raise SelfAcceptance(f"You asked for {run}, so somebody else accepts what was found in its plan.")
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say why this may stay so: the approvers and the audit need it.", field="reason")
    if not 1 <= days <= MOST_DAYS:
        raise Invalid(f"An acceptance lives from 1 to {MOST_DAYS} days. Give a number of days.", field="days")
    now = database_now()
    found = next((each for each in findings.of_run(run, now=now) if each.digest == finding), None)
    if found is None:
        raise NoSuchFinding(f"The plan of {run} has no such finding. Reload the page and look again.")
    project = Project.objects.select_for_update(no_key=True).get(pk=run.target.project_id)
    mine = FindingAcceptance.objects.filter(
        project=project, digest=finding, accepted_by_id=actor.user_id, ended_at__isnull=True
    )
    if any(each.stands(now=now) for each in mine):
        raise AlreadyAccepted(f"You have accepted {found} of {project.slug}, and that still stands.")
    mine.update(ended_at=now)
    acceptance = FindingAcceptance.objects.create(
        project=project,
        code=found.code,
        place=found.place,
        sentence=found.sentence,
        digest=finding,
        reason=words,
        accepted_by_id=actor.user_id,
        accepted_by_name=actor.name,
        at=now,
        expires_at=now + timedelta(days=days),
    )
    audit.record_run(actor=actor, action="finding.accepted", run=run, **_facts(acceptance))
    return acceptance


@audit.action
def take_back(*, actor: Actor, number: int, acceptance_id: int) -> FindingAcceptance:
    """End an acceptance that the page of run ``number`` shows: the own one, or one that counts nowhere where the own would not.

    Raises NotInPerson, MissingRole, AcceptanceEnded.
    """
    run = _run_for(actor, number)
    now = database_now()
    project = Project.objects.select_for_update(no_key=True).get(pk=run.target.project_id)
    acceptance = FindingAcceptance.objects.filter(project=project, pk=acceptance_id).first()
    shown = {each.digest for each in findings.of_run(run, now=now)}
    if acceptance is None or acceptance.digest not in shown or not acceptance.stands(now=now):
        raise AcceptanceEnded(f"There is no such acceptance on the page of {run} that stands. Reload it.")
    _need_its_reach(acceptance, actor)
    acceptance.ended_at, acceptance.ended_by_name = now, actor.name
    acceptance.save(update_fields=["ended_at", "ended_by_name"])
    audit.record_run(actor=actor, action="finding.acceptance_withdrawn", run=run, **_facts(acceptance))
    return acceptance


def check_open(run: MigrationRun, *, now: datetime) -> None:
    """Raise FindingsOpen while a finding stands open that the policy of the run's environment wants accepted."""
    if not run.target.environment.findings_must_be_accepted:
        return
    blocking = [each for each in findings.of_run(run, now=now) if each.blocks]
    if not blocking:
        return
    named = listing.listed(blocking, MOST_NAMED, between="; ")
    raise FindingsOpen(
        f"{run} is neither approved nor started while {len(blocking)} finding{'s' if len(blocking) > 1 else ''} of its plan "
        f"stand{'' if len(blocking) > 1 else 's'} open: {named}. Correct the scripts and plan again, or have them accepted "
        "on the run's page."
    )


def _run_for(actor: Actor, number: int) -> MigrationRun:
    """The run, for somebody who may accept in its project. Raises Hidden, NotInPerson, MissingRole."""
    run = access.get_run_for(actor, number)
    if actor.kind is not ActorKind.USER:
        raise NotInPerson
    if not findings.may_accept(actor.user_id, run.target.project):
        raise access.MissingRole(
            f"{actor.name} is neither approver nor administrator of an environment of {run.target.project.slug}. "
            "An administrator can add the membership."
        )
    return run


def _need_its_reach(acceptance: FindingAcceptance, actor: Actor) -> None:
    """Raise MissingRole unless it is the actor's own, or the actor may accept wherever it counts."""
    person, giver = actor.user_id or 0, acceptance.accepted_by_id
    environments = Environment.objects.filter(targets__project=acceptance.project).distinct()
    able = findings.people_who_may([each.pk for each in environments], {person, giver})
    beyond = [each.name for each in environments if giver in able[each.pk] and person not in able[each.pk]]
    if person != giver and beyond:
        raise access.MissingRole(
            f"{actor.name} is neither approver nor administrator of {', '.join(beyond)}, where this acceptance of "
            f"{acceptance.accepted_by_name} counts. {acceptance.accepted_by_name} can take it back."
        )


def _facts(acceptance: FindingAcceptance) -> dict[str, str | int]:
    return {
        "project": acceptance.project.slug,
        "acceptance": acceptance.pk,
        "code": acceptance.code,
        "place": acceptance.place,
        "sentence": acceptance.sentence,
        "reason": acceptance.reason,
        "accepted_by": acceptance.accepted_by_name,
        "expires_at": acceptance.expires_at.isoformat(timespec="seconds"),
    }
