"""Two people for what loosens production: a change of its policy or windows is proposed by one, and another confirms it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.db.models import Model

from migrations_audit import access
from migrations_audit.actions import audit, people, registry, registry_entries, registry_rights, registry_windows, texts
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound
from migrations_audit.models import Environment, Membership, PolicyProposal, Window
from migrations_audit.models.clock import database_now
from migrations_audit.models.proposals import ProposalDecision, ProposalKind
from migrations_audit.queries import second_person

LONGEST_REASON = 2_000


class OpenProposal(Conflict):
    """Somebody has proposed a change of this policy already. Confirm or decline that one first."""

    code = "open_proposal"


class SelfConfirmation(Denied):
    """Nobody confirms a change that they proposed. A second administrator does; you may decline your own."""

    code = "self_confirmation"


class AlreadyClosed(Conflict):
    """Somebody has decided on this proposal already."""

    code = "proposal_closed"


class NoSuchProposal(NotFound):
    """There is no such proposal, or you may not see it."""


@audit.action
def save_environment(
    *, actor: Actor, environment_id: int | None = None, seen_version: int | None = None, **values: Any
) -> Environment | PolicyProposal:
    """Store the environment as ``registry.save_environment`` does; or propose it, where that takes a second person."""
    try:
        return registry.save_environment(
            actor=actor, environment_id=environment_id, seen_version=seen_version, **values
        )
    except registry_rights.NeedsSecondPerson as error:
        environment = Environment.objects.get(pk=environment_id or 0)
        return _propose(actor, environment, error.changes, values)


@audit.action
def save_membership(*, actor: Actor, membership_id: int | None = None, **values: Any) -> Membership | PolicyProposal:
    """Store the membership as ``registry.save_membership`` does; or propose it, where it would add approvers to production."""
    try:
        return registry.save_membership(actor=actor, membership_id=membership_id, **values)
    except registry_rights.NeedsSecondPerson as error:
        membership = Membership.objects.filter(pk=membership_id or 0).first()
        environment = membership.environment if membership is not None else values["environment"]
        return _propose(actor, environment, error.changes, values, kind=ProposalKind.MEMBERSHIP, membership=membership)


@audit.action
def save_window(*, actor: Actor, window_id: int | None = None, **values: Any) -> Window | PolicyProposal:
    """Store the window as ``registry_windows.save`` does; or propose it, where it lets runs start in production at more times."""
    try:
        return registry_windows.save(actor=actor, window_id=window_id, **values)
    except registry_rights.NeedsSecondPerson as error:
        window = Window.objects.select_related("environment").filter(pk=window_id or 0).first()
        environment = window.environment if window is not None else values["environment"]
        return _propose(actor, environment, error.changes, values, kind=ProposalKind.WINDOW, window=window)


@audit.action
def remove_window(*, actor: Actor, window_id: int) -> PolicyProposal | None:
    """Remove the window as ``registry_windows.remove`` does; or propose that, where runs could start in production more often."""
    try:
        registry_windows.remove(actor=actor, window_id=window_id)
    except registry_rights.NeedsSecondPerson as error:
        window = Window.objects.select_related("environment").get(pk=window_id)
        return _propose(actor, window.environment, error.changes, {}, kind=ProposalKind.REMOVAL, window=window)
    return None


@audit.action
def change_user(
    *, actor: Actor, user_id: int, groups: Iterable[Group] | None = None, **values: Any
) -> list[PolicyProposal]:
    """Change the account as ``people.change_user`` does, and propose what takes a second person: entering an approvers' group.

    Returns the proposals that were made. Raises OpenProposal for a group that was proposed for this account before.
    """
    wanted = None if groups is None else list(groups)
    try:
        people.change_user(actor=actor, user_id=user_id, groups=wanted, **values)
    except registry_rights.NeedsSecondPerson:
        user = User.objects.get(pk=user_id)
        guarded = people.guarded_groups_for(user, wanted or [])
        people.change_user(
            actor=actor, user_id=user_id, groups=[each for each in wanted or [] if each not in guarded], **values
        )
        names = sorted(user.groups.values_list("name", flat=True))
        return [
            _propose(
                actor,
                environments[0],
                {f"groups of {user.username}": {"old": names, "new": [*names, group.name]}},
                {f"groups of {user.username}": group},
                kind=ProposalKind.ACCOUNT,
                account=user,
            )
            for group, environments in guarded.items()
        ]
    return []


@audit.action
def confirm(*, actor: Actor, proposal_id: int) -> PolicyProposal:
    """Put a proposed change into force, as a second administrator in person.

    Raises SelfConfirmation, AlreadyClosed, MayNotRegister, ChangedMeanwhile when the settings moved on since, and Invalid.
    """
    proposal = _open(actor, proposal_id)
    if actor.user_id == proposal.proposed_by_id:
        raise SelfConfirmation(f"You proposed this. {who_confirms(proposal)}")
    if _is_overtaken(proposal):
        raise ChangedMeanwhile(
            "What this is about was changed since it was proposed. Decline it, and propose it again."
        )
    values = _restored(proposal.values)
    match proposal.kind:
        case ProposalKind.MEMBERSHIP:
            registry.put_membership(actor, proposal.membership_id, values)
        case ProposalKind.ACCOUNT:
            for group in values.values():
                people.put_into_group(actor, proposal.account_id or 0, group)
        case ProposalKind.WINDOW:
            registry_windows.put(actor, proposal.window_id, values)
        case ProposalKind.REMOVAL:
            registry_windows.take(actor, proposal.window_id or 0)
        case _:
            registry.put_environment(actor, proposal.environment_id, values)
    _close(proposal, actor, ProposalDecision.CONFIRMED, reason="")
    _tell(actor, "policy.confirmed", proposal, proposed_by=proposal.proposed_by_name)
    return proposal


@audit.action
def decline(*, actor: Actor, proposal_id: int, reason: str) -> PolicyProposal:
    """Turn a proposed change down, with a reason; whoever proposed it may do so too. Raises as ``confirm`` does, and Invalid."""
    proposal = _open(actor, proposal_id)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say why you decline it: whoever proposed it and the audit need it.", field="reason")
    _close(proposal, actor, ProposalDecision.DECLINED, reason=words)
    _tell(actor, "policy.declined", proposal, proposed_by=proposal.proposed_by_name, reason=words)
    return proposal


def who_confirms(proposal: PolicyProposal) -> str:
    """Who could confirm it, or what to do when nobody else could, as a sentence."""
    others = second_person.others_who_could(proposal, than=proposal.proposed_by_id)
    if others:
        return f"It takes effect when one of these confirms it: {', '.join(others)}."
    return (
        "Nobody else could confirm it, for you are the only administrator. A superuser makes a second one: an account "
        f"in a group that is administrator of {proposal.environment}. Until then everything stays as it is."
    )


def _propose(
    actor: Actor,
    environment: Environment,
    changes: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    *,
    kind: ProposalKind = ProposalKind.POLICY,
    membership: Membership | None = None,
    account: User | None = None,
    window: Window | None = None,
) -> PolicyProposal:
    access.need_scope(actor, "")
    stored = {name: _stored(value) for name, value in values.items() if name in changes}
    same = PolicyProposal.objects.filter(environment=environment, decision="", kind=kind)
    if kind is not ProposalKind.POLICY:
        same = same.filter(membership=membership, account=account, window=window, values=stored)
    if same.exists():
        raise OpenProposal(f"{same.first()} is open, by {same[0].proposed_by_name}. Confirm or decline that one first.")
    proposal = PolicyProposal.objects.create(
        environment=environment,
        kind=kind,
        membership=membership,
        account=account,
        window=window,
        before={**_seen(membership or window), **{name: change["old"] for name, change in changes.items()}},
        after={name: change["new"] for name, change in changes.items()},
        values=stored,
        proposed_by=get_user_model()._default_manager.get(pk=actor.user_id or 0),
        proposed_by_name=actor.name,
        proposed_at=database_now(),
    )
    _tell(actor, "policy.proposed", proposal)
    return proposal


def _open(actor: Actor, proposal_id: int) -> PolicyProposal:
    """The locked proposal, if it is open and this person may decide on it."""
    # The environment first, as whatever changes its windows and memberships does.
    held = Environment.objects.select_for_update(no_key=True, of=("self",)).filter(proposals=proposal_id)
    list(held.order_by("pk"))
    locked = PolicyProposal.objects.select_for_update(no_key=True, of=("self",)).filter(pk=proposal_id)
    proposal = locked.select_related("environment").first()
    if (
        proposal is None
        or not Environment.objects.visible_to(actor.user_id).filter(pk=proposal.environment_id).exists()
    ):
        raise NoSuchProposal
    if actor.kind is not ActorKind.USER or not second_person.may_decide(actor.user_id, proposal):
        raise registry_rights.MayNotRegister(
            f"{actor.name} may not decide on {proposal}. An administrator of every environment that it touches can, in the "
            "browser."
        )
    if proposal.decision:
        raise AlreadyClosed(
            f"{proposal.decided_by_name} has {proposal.get_decision_display()} this at {proposal.decided_at:%Y-%m-%d %H:%M} UTC."
        )
    return proposal


def _seen(entry: Membership | Window | None) -> dict[str, Any]:
    """All of what a proposal is about, as whoever proposed it saw it: it may not become about something else."""
    return registry_entries.settings_of(entry) if entry is not None else {}


def _is_overtaken(proposal: PolicyProposal) -> bool:
    """Whether what it would change is not any more as whoever proposed it saw it. Raises Invalid when it is gone."""
    entry: Environment | Membership | Window | None
    match proposal.kind:
        case ProposalKind.ACCOUNT:
            return False
        case ProposalKind.POLICY:
            entry = proposal.environment
        case ProposalKind.MEMBERSHIP:
            entry = proposal.membership
        case _:
            entry = proposal.window
    if entry is None and "environment" not in proposal.values:
        raise Invalid("What this is about is not there any more. Decline it.")
    now = {name: registry_entries.shown(getattr(entry, name)) for name in proposal.before} if entry else proposal.before
    return bool(now != proposal.before)


def _close(proposal: PolicyProposal, actor: Actor, decision: ProposalDecision, *, reason: str) -> None:
    proposal.decision, proposal.reason = decision, reason
    proposal.decided_by_id, proposal.decided_by_name, proposal.decided_at = actor.user_id, actor.name, database_now()
    proposal.save(update_fields=["decision", "reason", "decided_by", "decided_by_name", "decided_at"])


def _tell(actor: Actor, action: str, proposal: PolicyProposal, **facts: Any) -> None:
    """The object is the environment, so that whoever looks for changes of its policy finds these."""
    changed = {name: {"old": proposal.before[name], "new": proposal.after[name]} for name in proposal.after}
    audit.record(
        actor=actor,
        action=action,
        object_kind="environment",
        object_id=proposal.environment.slug,
        environment=proposal.environment.slug,
        facts={"proposal": proposal.pk, "kind": proposal.kind, "changed": changed, **facts},
    )


def _stored(value: Any) -> Any:
    return {"pk": value.pk, "model": value._meta.label_lower} if isinstance(value, Model) else value


def _restored(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as an action takes them. Raises Invalid when something that they name is gone."""
    return {name: _found(name, value) for name, value in values.items()}


def _found(name: str, value: Any) -> Any:
    if not (isinstance(value, dict) and set(value) == {"pk", "model"}):
        return value
    model = Membership._meta.apps.get_model(value["model"])
    found = model._default_manager.filter(pk=value["pk"]).first()
    if found is None:
        raise Invalid(f"The {name} that this names is not there any more. Decline it.", field=name)
    return found
