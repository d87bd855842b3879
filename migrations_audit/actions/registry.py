"""The registry: environments with their policy, memberships, projects, targets. Every change says what was and what is.

An action creates when its id is None. It takes the fields to set by name; those left out stay as they are. With
``seen_version`` it refuses a change made on a page that is no longer true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from migrations_audit import dispatch, sealing
from migrations_audit.actions import audit, registry_entries, registry_rules, registry_sources
from migrations_audit.actions.registry_entries import Changes, Entry
from migrations_audit.actions.registry_rights import NeedsSecondPerson, Verb, need
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import Environment, Membership, MigrationRun, Observation, Project, Target, Window
from migrations_audit.queries import second_person

SEALED = "sealed value"
SEALED_ANEW = "sealed value changed"


class HasHistory(Conflict):
    """This has a history. What was read, planned and run stays under the name that it had."""

    code = "has_history"


class InUse(Conflict):
    """Something still belongs to this. Remove that first."""

    code = "in_use"


@audit.action
def save_environment(
    *, actor: Actor, environment_id: int | None = None, seen_version: int | None = None, **values: Any
) -> Environment:
    """Create an environment, or change its settings and policy. A changed policy voids the approvals that rest on it.

    Where production is in use, what touches who approves there or loosens its limits takes a second person:
    NeedsSecondPerson, and
    ``proposals.save_environment`` proposes it. Raises Invalid, MayNotRegister, HasHistory, ChangedMeanwhile as well.
    """
    need(actor, "add" if environment_id is None else "change", Environment)
    return _save_environment(actor, environment_id, values, seen_version=seen_version, is_confirmed=False)


def put_environment(actor: Actor, environment_id: int, values: Mapping[str, Any]) -> Environment:
    """Store what a second person has confirmed, within the caller's transaction and after its questions."""
    return _save_environment(actor, environment_id, values, seen_version=None, is_confirmed=True)


def _save_environment(
    actor: Actor,
    environment_id: int | None,
    values: Mapping[str, Any],
    *,
    seen_version: int | None,
    is_confirmed: bool,
) -> Environment:
    environment = registry_entries.open_entry(Environment, environment_id, seen_version=seen_version)
    tier_before = environment.tier
    changes = registry_entries.assign(environment, values)
    if environment_id is not None and "slug" in changes and has_history(environment):
        raise HasHistory(
            f"The short name of {environment} is in the audit of its targets and does not change any more."
        )
    registry_entries.store(environment, changes, rules=registry_rules.check_environment)
    guarded = second_person.guarded_fields(tier_before, changes) if environment_id is not None else []
    if guarded and not is_confirmed and second_person.is_in_use(environment):
        # After the checks, so that nobody proposes what could not be stored; the transaction takes it back.
        raise NeedsSecondPerson(
            f"{environment} is production and in use: a change of {', '.join(guarded)} is proposed, and takes effect "
            "when a second "
            "administrator confirms it.",
            changes=changes,
        )
    registry_entries.record(actor, environment, changes, is_new=environment_id is None)
    return environment


@audit.action
def remove_environment(*, actor: Actor, environment_id: int) -> None:
    """Remove an environment that has no targets, with its memberships and windows. Raises InUse, MayNotRegister, NoSuchEntry."""
    need(actor, "delete", Environment)
    environment = registry_entries.open_entry(Environment, environment_id, for_removal=True)
    _remove(
        actor,
        environment,
        memberships=[str(item) for item in environment.memberships.select_related("group")],
        windows=[str(item) for item in environment.windows.all()],
    )


@audit.action
def save_membership(*, actor: Actor, membership_id: int | None = None, **values: Any) -> Membership:
    """Give a group a role in an environment, or change which. The environment of a membership never changes.

    Raises Invalid, MayNotRegister, and NeedsSecondPerson where it adds approvers to production that is in use.
    """
    return _save_membership(actor, membership_id, values, is_confirmed=False)


def put_membership(actor: Actor, membership_id: int | None, values: Mapping[str, Any]) -> Membership:
    """Store what a second person has confirmed, within the caller's transaction and after its questions."""
    return _save_membership(actor, membership_id, values, is_confirmed=True)


def _save_membership(
    actor: Actor, membership_id: int | None, values: Mapping[str, Any], *, is_confirmed: bool
) -> Membership:
    registry_entries.hold_environment(Membership, membership_id, values.get("environment"))
    membership = registry_entries.open_entry(Membership, membership_id)
    changes = registry_entries.assign(membership, values)
    registry_entries.need_parts(membership, "environment", "group")
    if not is_confirmed:
        need(actor, "add" if membership_id is None else "change", Membership, environment=membership.environment)
    environment = membership.environment
    if membership_id is not None and "environment" in changes:
        raise Invalid("A membership stays in its environment. Add another one there.", field="environment")
    registry_entries.store(membership, changes, rules=registry_rules.check_membership)
    adds = second_person.adds_approvers(membership, changes)
    if adds and not is_confirmed and second_person.is_in_use(environment):
        raise NeedsSecondPerson(
            f"{environment} is production and in use: approvers are added by a proposal that a second administrator confirms.",
            changes=changes,
        )
    registry_entries.record(actor, membership, changes, is_new=membership_id is None)
    return membership


@audit.action
def remove_membership(*, actor: Actor, membership_id: int) -> None:
    """Take a role in an environment from a group. Raises MayNotRegister, NoSuchEntry."""
    registry_entries.hold_environment(Membership, membership_id)
    membership = registry_entries.open_entry(Membership, membership_id, for_removal=True)
    need(actor, "delete", Membership, environment=membership.environment)
    _remove(actor, membership)


@sensitive_variables("new_git_key", "key")
@audit.action
def save_project(
    *,
    actor: Actor,
    project_id: int | None = None,
    seen_version: int | None = None,
    git_key: str = "",
    new_git_key: str = "",
    remove_git_key: bool = False,
    **values: Any,
) -> Project:
    """Create a project, or change how it is run. That voids the approvals of its targets.

    Folder and repository are the worker's: they are checked as names and never opened here. An empty ``git_key`` keeps the
    reference that is stored; ``new_git_key`` is sealed at once, and not stored, shown or recorded in clear. Raises Invalid,
    MayNotRegister, HasHistory, ChangedMeanwhile, and NoSealingKey.
    """
    need(actor, "add" if project_id is None else "change", Project)
    project = registry_entries.open_entry(Project, project_id, seen_version=seen_version)
    changes = registry_entries.assign(project, values)
    if project_id is not None and "slug" in changes and has_history(project):
        raise HasHistory(f"The short name of {project} is in the audit of its targets and does not change any more.")
    key = new_git_key.replace("\r\n", "\n").strip()
    changes |= _new_key(project, git_key=git_key.strip(), new_git_key=key, remove=remove_git_key)
    registry_entries.store(project, changes, rules=registry_rules.check_project)
    registry_entries.record(actor, project, changes, is_new=project_id is None)
    return project


@audit.action
def remove_project(*, actor: Actor, project_id: int) -> None:
    """Remove a project that has no targets and no snapshots. Raises InUse, HasHistory, MayNotRegister, NoSuchEntry."""
    need(actor, "delete", Project)
    project = registry_entries.open_entry(Project, project_id, for_removal=True)
    _remove(actor, project)


@sensitive_variables("new_url")
@audit.action
def save_target(
    *,
    actor: Actor,
    target_id: int | None = None,
    seen_version: int | None = None,
    url_reference: str = "",
    new_url: str = "",
    **values: Any,
) -> Target:
    """Create a target, or change it; a worker then reads it. An empty reference keeps the one that is stored.

    ``new_url`` is sealed at once: it is not stored, shown or recorded in clear. Raises Invalid, MayNotRegister, HasHistory,
    ChangedMeanwhile, NoSuchEntry, and NoSealingKey.
    """
    target = registry_entries.open_entry(Target, target_id, seen_version=seen_version)
    verb: Verb = "add" if target_id is None else "change"
    if target_id is not None:
        need(actor, verb, Target, environment=target.environment)
    changes = registry_entries.assign(target, values)
    registry_entries.need_parts(target, "project", "environment")
    need(actor, verb, Target, environment=target.environment)
    if target_id is not None and changes and has_history(target):
        raise HasHistory(f"{target} has been read, so its project, environment and short name do not change any more.")
    changes |= _new_reference(target, url_reference=url_reference.strip(), new_url=new_url.strip())
    registry_entries.store(target, changes, rules=registry_rules.check_target)
    if "url_reference" in changes:
        dispatch.after_commit(dispatch.Wake.OBSERVE, queue=target.environment.queue, target_id=target.pk)
    registry_entries.record(actor, target, changes, is_new=target_id is None)
    return target


@audit.action
def remove_target(*, actor: Actor, target_id: int) -> None:
    """Remove a target that was never read and never run on. Raises HasHistory, MayNotRegister, NoSuchEntry."""
    target = registry_entries.open_entry(Target, target_id, for_removal=True)
    need(actor, "delete", Target, environment=target.environment)
    _remove(actor, target)


def has_history(entry: Environment | Project | Target) -> bool:
    """Whether something was read, frozen or run under this entry, so that its name is on record."""
    if isinstance(entry, Project) and entry.snapshots.exists():
        return True
    targets = Target.objects.filter(pk=entry.pk) if isinstance(entry, Target) else entry.targets.all()
    return (
        Observation.objects.filter(target__in=targets).exists()
        or MigrationRun.objects.filter(target__in=targets).exists()
    )


def refuse_removal(entry: Entry) -> None:
    """Raise HasHistory or InUse when the entry cannot be removed."""
    if isinstance(entry, Membership | Window):
        return
    if isinstance(entry, Environment | Project) and (count := entry.targets.count()):
        raise InUse(
            f"{entry} has {count} target{'s' if count > 1 else ''}. Remove those first; one with a history stays."
        )
    if isinstance(entry, Environment) and (later := entry.required_by.first()) is not None:
        raise InUse(f"{later} asks that scripts were verified in {entry} first. Change that policy first.")
    if has_history(entry):
        raise HasHistory(f"{entry} has a history: what was read, frozen and run is a record. It stays.")


@sensitive_variables("new_url")
def _new_reference(target: Target, *, url_reference: str, new_url: str) -> Changes:
    """Put the reference onto the target and say what changed, without saying a sealed value."""
    old, old_kind = target.shown_reference, target.reference_kind
    if new_url:
        if url_reference not in ("", target.url_reference):
            raise Invalid("Give either a reference or a new URL, not both.", field="url_reference")
        registry_rules.check_url(new_url)
        target.url_reference = f"sealed:{sealing.seal(new_url, keys=settings.PORTAL_SEALING_KEYS)}"
    elif url_reference or target._state.adding:
        registry_rules.check_reference(url_reference)
        if url_reference == target.url_reference:
            return {}
        target.url_reference = url_reference
    else:
        return {}
    new = SEALED_ANEW if old_kind == "sealed" == target.reference_kind else target.shown_reference
    return {"url_reference": {"old": old, "new": new}}


@sensitive_variables("new_git_key")
def _new_key(project: Project, *, git_key: str, new_git_key: str, remove: bool) -> Changes:
    """Put the reference to the repository's key onto the project and say what changed, without saying a sealed value."""
    old, was_sealed = project.shown_git_key, project.git_key.startswith("sealed:")
    if sum((bool(new_git_key), remove, git_key not in ("", project.git_key))) > 1:
        raise Invalid("Give a reference, or a new key, or remove the stored one: one of the three.", field="git_key")
    if new_git_key:
        registry_sources.check_new_key(new_git_key)
        project.git_key = f"sealed:{sealing.seal(new_git_key, keys=settings.PORTAL_SEALING_KEYS)}"
    elif remove and project.git_key:
        project.git_key = ""
    elif git_key not in ("", project.git_key):
        registry_sources.check_key_reference(git_key)
        project.git_key = git_key
    else:
        return {}
    return {"git_key": {"old": old, "new": SEALED_ANEW if was_sealed and new_git_key else project.shown_git_key}}


def _remove(actor: Actor, entry: Entry, **facts: Any) -> None:
    refuse_removal(entry)
    registry_entries.remove(actor, entry, **facts)
