"""What a person holds, and which buttons that gives on a run.

The actions ask again; this only keeps buttons off a page that could not be pressed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model

from migrations_audit.models import Approval, Environment, Membership, MigrationRun, Role
from migrations_audit.models.approvals import Decision
from migrations_audit.queries import eligibility
from migrations_audit.states import Phase, RunState

S = RunState
BEFORE_START = frozenset({S.REQUESTED, S.PLANNING, S.AWAITING_APPROVAL, S.APPROVED})
DECIDABLE = frozenset({S.AWAITING_APPROVAL, S.APPROVED})
ASKED_AGAIN = frozenset({S.PLAN_FAILED, S.EXPIRED, S.VOID, S.REFUSED, S.FAILED, S.ERROR, S.CANCELLED})
"""How a run ends of which people may well want the same once more."""


@dataclass(frozen=True)
class Rights:
    """The roles of one person in one environment."""

    user_id: int | None
    roles: frozenset[str] = frozenset()
    approver_roles: frozenset[str] = frozenset()

    def holds(self, role: Role) -> bool:
        return role.value in self.roles


@dataclass(frozen=True)
class Buttons:
    """Which buttons this person may press on a run in its present state."""

    approve: bool
    reject: bool
    request_changes: bool
    take_back: bool
    withdraw: bool
    start: bool
    schedule: bool
    unschedule: bool
    cancel: bool
    verify_again: bool
    close_unknown: bool
    accept_leftovers: bool
    plan_again: bool
    plan_rollback: bool
    break_glass: bool
    review_glass: bool

    @property
    def any(self) -> bool:
        return any(vars(self).values())


def rights_of(user_id: int | None) -> Mapping[int, Rights]:
    """A person's rights by environment id, as ``access.roles_in`` gives them, in two queries for any number of environments."""
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True).first()
    if person is None:
        return {}
    roles: dict[int, set[str]] = defaultdict(set)
    approver_roles: dict[int, set[str]] = defaultdict(set)
    rows = Membership.objects.filter(group__user=person).order_by()
    for environment, role, approver_role in rows.values_list("environment_id", "role", "approver_role").distinct():
        roles[environment].add(role)
        if approver_role:
            approver_roles[environment].add(approver_role)
    if person.is_superuser:
        for environment in Environment.objects.values_list("pk", flat=True):
            roles[environment] |= {Role.VIEWER.value, Role.AUDITOR.value, Role.ADMINISTRATOR.value}
    return {
        environment: Rights(user_id, frozenset(held), frozenset(approver_roles[environment]))
        for environment, held in roles.items()
    }


def buttons_of(
    run: MigrationRun,
    *,
    rights: Rights,
    given: Sequence[Approval],
    stands: eligibility.Standing,
    now: datetime,
    is_blocked: bool = False,
    is_closed: bool = False,
    is_left_half: bool = False,
    lacks_groundwork: bool = False,
    is_unreviewed: bool = False,
) -> Buttons:
    """The buttons that ``rights`` give on ``run``. ``given`` are its decisions that were not taken back, ``stands`` their weight.

    ``is_blocked``: another run is live on the target; ``is_closed``: windows or a freeze keep it from starting;
    ``is_left_half``: what this one left there waits to be accepted; ``lacks_groundwork``: a rehearsal, a runbook or accepted
    findings are missing that the policy wants; ``is_unreviewed``: it was started without approval, and nobody has signed that.
    """
    state = run.run_state
    is_short, is_left_out = not stands.match.is_met, rights.user_id in stands.left_out
    wants_changes = {item.person_id for item in stands.wishes}
    mine = {item.decision for item in given if item.person_id == rights.user_id}
    is_requester = rights.user_id is not None and run.requester_id == rights.user_id
    expired = run.expires_at is not None and run.expires_at <= now
    decides = rights.holds(Role.APPROVER) and not is_requester and state in DECIDABLE and not expired
    can_stop = state is S.QUEUED or (
        state is S.RUNNING and run.phase != Phase.VERIFY.value and run.cancel_requested_at is None
    )
    operates = state is S.APPROVED and rights.holds(Role.OPERATOR) and not expired
    return Buttons(
        approve=decides
        and (state is S.AWAITING_APPROVAL or is_short)
        and not (is_left_out or lacks_groundwork or wants_changes - {rights.user_id})
        and Decision.APPROVE not in mine,
        reject=decides and Decision.REJECT not in mine,
        request_changes=decides and Decision.CHANGES not in mine,
        take_back=state in DECIDABLE and bool(mine & {Decision.APPROVE, Decision.CHANGES}),
        withdraw=state in BEFORE_START and (is_requester or rights.holds(Role.ADMINISTRATOR)),
        start=operates and not (is_blocked or is_closed or is_short or wants_changes or lacks_groundwork),
        schedule=operates and not (is_short or wants_changes or lacks_groundwork),
        unschedule=operates and run.scheduled_at is not None,
        cancel=can_stop and (is_requester or rights.holds(Role.OPERATOR)),
        verify_again=_waits_for_its_time(run, now) and (is_requester or rights.holds(Role.OPERATOR)),
        close_unknown=state is S.OUTCOME_UNKNOWN and not _is_being_read(run, now) and rights.holds(Role.ADMINISTRATOR),
        accept_leftovers=is_left_half and (rights.holds(Role.OPERATOR) or rights.holds(Role.ADMINISTRATOR)),
        break_glass=state in DECIDABLE
        and (state is S.AWAITING_APPROVAL or is_short or lacks_groundwork or bool(wants_changes))
        and rights.holds(Role.ADMINISTRATOR)
        and rights.holds(Role.OPERATOR)
        and not (expired or is_blocked or is_closed),
        plan_again=state in ASKED_AGAIN
        and rights.holds(Role.REQUESTER)
        and not (is_left_half or run.reason_code == "contradicted"),
        review_glass=is_unreviewed and may_review(run, rights),
        plan_rollback=state is S.APPLIED and run.operation == "upgrade" and rights.holds(Role.REQUESTER),
    )


def may_review(run: MigrationRun, rights: Rights) -> bool:
    """Whether this person may sign what was started without approval, now that it has ended."""
    holds = any(rights.holds(role) for role in (Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR))
    return run.is_terminal and run.broke_glass_by_id != rights.user_id and holds


def _waits_for_its_time(run: MigrationRun, now: datetime) -> bool:
    """Whether the outcome is unknown, nobody reads the target at the moment, and the next reading lies ahead."""
    due = run.reconcile_after_at is None or run.reconcile_after_at <= now
    return run.run_state is S.OUTCOME_UNKNOWN and not _is_being_read(run, now) and not due


def _is_being_read(run: MigrationRun, now: datetime) -> bool:
    return run.lease_expires_at is not None and run.lease_expires_at > now
