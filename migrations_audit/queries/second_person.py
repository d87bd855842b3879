"""Which changes of the registry need a second person, and who could be that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from migrations_audit import policy, windows
from migrations_audit.models import (
    Environment,
    Membership,
    MigrationRun,
    Observation,
    PolicyProposal,
    Role,
    Tier,
    Window,
    WindowKind,
)
from migrations_audit.models.proposals import ProposalKind

MOST = 50

ALWAYS = frozenset(
    {
        "requirements",
        "isolation",
        "tier",
        "requires_verified_in",
        "rehearsal",
        "rehearsal_within_h",
        "scratch_reference",
        "findings_must_be_accepted",
    }
)
"""Fields of production's policy that two people change, whichever way."""

LOOSER_WHEN_GREATER = frozenset(
    {
        "approval_lifetime_s",
        "lock_timeout_ms",
        "statement_timeout_ms",
        "lock_retry_budget_s",
        "lock_budget_s",
        "deadline_s",
        "rewrite_limit_mb",
        "lock_limit_ms",
    }
)

LABELS = {
    "requirements": "who must approve",
    "isolation": "isolation demanded of workers",
    "requires_verified_in": "verified first in",
    "rehearsal": "rehearsal demanded",
    "rehearsal_within_h": "rehearsal newer than, in hours",
    "scratch_reference": "server for copies",
    "findings_must_be_accepted": "findings to accept from",
    "approval_lifetime_s": "an approval lives, in seconds",
    "lock_timeout_ms": "lock timeout, in milliseconds",
    "statement_timeout_ms": "statement timeout, in milliseconds",
    "lock_retry_budget_s": "begin anew after lock timeouts, in seconds",
    "lock_budget_s": "wait for the run lock, in seconds",
    "deadline_s": "a run may last, in seconds",
    "rewrite_limit_mb": "rewrites up to, in MB",
    "lock_limit_ms": "locks held up to, in milliseconds",
    "cron": "opens at (cron)",
    "duration_minutes": "lasts, in minutes",
    "overrun": "runs may outlast it",
}
"""Settings as people call them, where their name says too little or leaves the unit out."""


def is_in_use(environment: Environment) -> bool:
    """Whether something was read or run in it. Until then it is being set up, which one person does."""
    targets = environment.targets.all()
    return (
        Observation.objects.filter(target__in=targets).exists()
        or MigrationRun.objects.filter(target__in=targets).exists()
    )


def guarded_fields(tier_before: str, changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The changed fields of an environment for which a second person is needed."""
    if tier_before != Tier.PRODUCTION:
        return []
    looser = {name for name in LOOSER_WHEN_GREATER & set(changes) if changes[name]["new"] > changes[name]["old"]}
    return sorted(looser | (ALWAYS & set(changes)))


def adds_approvers(membership: Membership, changed: Collection[str]) -> bool:
    """Whether storing this membership gives an approver role to a group in production."""
    environment = membership.environment
    gives = membership.role == Role.APPROVER and bool({"role", "approver_role", "group"} & set(changed))
    return environment.tier == Tier.PRODUCTION and gives


def opens_more(window: Window, changes: Mapping[str, Mapping[str, Any]] | None) -> bool:
    """Whether runs may start at more times in production once the window is as it stands here, or gone (``changes`` is None).

    Only what can never open anything is left out: another window in which runs may not start, the first one in which they
    may, fewer of several such, a shorter or a longer one the stricter way, and its description.
    """
    if window.environment.tier != Tier.PRODUCTION:
        return False
    allows = window.kind == WindowKind.ALLOW
    has_others = window.environment.windows.filter(kind=WindowKind.ALLOW).exclude(pk=window.pk).exists()
    if changes is None:
        return not (allows and has_others) or bool(windows.fault_of(window.rule))
    if "environment" in changes:  # a new one: it never moves
        return allows and has_others
    return not all(_is_stricter(name, each, allows=allows) for name, each in changes.items())


def _is_stricter(name: str, change: Mapping[str, Any], *, allows: bool) -> bool:
    match name:
        case "description":
            return True
        case "overrun":
            return not change["new"]
        case "duration_minutes":
            return bool(change["new"] < change["old"]) == allows
        case _:
            return False


def guarded_groups(groups: Collection[Group]) -> dict[Group, list[Environment]]:
    """Those of the groups whose people may approve in production that is in use, each with these environments."""
    rows = Membership.objects.filter(
        group__in=groups, role=Role.APPROVER, environment__tier=Tier.PRODUCTION
    ).select_related("group", "environment")
    found: dict[Group, list[Environment]] = {}
    for row in rows:
        if is_in_use(row.environment) and row.environment not in found.get(row.group, ()):
            found.setdefault(row.group, []).append(row.environment)
    return found


def others_who_could(proposal: PolicyProposal, *, than: int | None) -> list[str]:
    """The names of the active people, but one, who may confirm this proposal."""
    able = _deciders([proposal])[proposal.pk] - {than or 0}
    found = get_user_model()._default_manager.filter(pk__in=able).order_by("username")
    return [user.get_username() for user in found]


def may_decide(user_id: int | None, proposal: PolicyProposal) -> bool:
    """Whether this person may confirm or decline it."""
    return (user_id or 0) in _deciders([proposal])[proposal.pk]


def _deciders(proposals: Collection[PolicyProposal]) -> Mapping[int, frozenset[int]]:
    """By proposal who may decide on it: in every environment that it touches superusers, its administrators, and its members who
    hold Django's permission to change environments."""
    if not proposals:
        return {}
    touched = {each.pk: _touched(each) for each in proposals}
    permission = Permission.objects.filter(codename="change_environment", content_type__app_label="migrations_audit")
    people = get_user_model()._default_manager.filter(is_active=True)
    everywhere = set(people.filter(is_superuser=True).values_list("pk", flat=True))
    holds = Q(user_permissions__in=permission) | Q(groups__permissions__in=permission)
    holders = set(people.filter(holds).values_list("pk", flat=True))
    able: dict[int, set[int]] = defaultdict(lambda: set(everywhere))
    members = Membership.objects.filter(
        environment__in={each for ids in touched.values() for each in ids}, group__user__is_active=True
    ).order_by()
    for environment, person, role in members.values_list("environment_id", "group__user", "role").distinct():
        if role == Role.ADMINISTRATOR or person in holders:
            able[environment].add(person)
    return {pk: frozenset(set.intersection(*(able[each] for each in ids))) for pk, ids in touched.items()}


def _touched(proposal: PolicyProposal) -> Collection[int]:
    """The environments that it is about: for another approver each in which the group approves."""
    if proposal.kind != ProposalKind.ACCOUNT:
        return [proposal.environment_id]
    groups = Group.objects.filter(pk__in=[value["pk"] for value in proposal.values.values()])
    return {proposal.environment_id} | {each.pk for found in guarded_groups(groups).values() for each in found}


@dataclass(frozen=True)
class Open:
    """An open proposal as one person sees it.

    ``about``: the window or membership as it is. ``changes``: field, what is, what would be.
    """

    proposal: PolicyProposal
    about: str
    changes: Sequence[tuple[str, str, str]]
    is_mine: bool
    may_decide: bool


def open_for(user_id: int | None) -> list[Open]:
    """The oldest proposals that wait in the environments that this person sees."""
    visible = Environment.objects.visible_to(user_id)
    rows = PolicyProposal.objects.filter(decision="", environment__in=visible)
    found = list(
        rows.select_related("environment", "window__environment", "membership__environment", "membership__group")[:MOST]
    )
    able = _deciders(found)
    return [
        Open(
            proposal=each,
            about=str(each.window or each.membership or ""),
            changes=[
                (LABELS.get(name, name.replace("_", " ")), _words(name, each.before[name]), _words(name, new))
                for name, new in each.after.items()
            ],
            is_mine=each.proposed_by_id == user_id,
            may_decide=(user_id or 0) in able[each.pk],
        )
        for each in found
    ]


def _words(name: str, value: Any) -> str:
    """A setting as people read it."""
    if name == "requirements":
        return policy.said(value or [])
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value in (None, "") else str(value)
