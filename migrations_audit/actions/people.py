"""Accounts and groups, for superusers. People are switched off and never deleted, because the audit names them.

No password and no hash of one enters an event. Names and addresses of people are told as changed, without their values: the chain
cannot forget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

from migrations_audit import access
from migrations_audit.actions import audit
from migrations_audit.actions.registry_rights import NeedsSecondPerson
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound
from migrations_audit.models import Environment
from migrations_audit.queries import second_person

SWITCHES = ("is_active", "is_staff", "is_superuser")
PERSONAL = ("first_name", "last_name", "email")


class NotSuperuser(Denied):
    """Only a superuser changes accounts and groups."""

    code = "not_superuser"


class NoSuchAccount(NotFound):
    """There is no such account or group. Go back to the list."""


class LastSuperuser(Conflict):
    """This is the last active superuser. Make another one first, or nobody could administer the portal."""

    code = "last_superuser"


class GroupInUse(Conflict):
    """The group holds roles. Remove its memberships first, so that each loss of a role is on record."""

    code = "group_in_use"


@sensitive_variables("password")
@audit.action
def create_user(*, actor: Actor, username: str, password: str | None) -> User:
    """Create an account without any right; None for a password means that it cannot sign in with one.

    Raises Invalid and NotSuperuser.
    """
    _need_superuser(actor)
    name = username.strip()
    if User.objects.filter(username__iexact=name).exists():
        raise Invalid("There is an account of this name already, perhaps in other letter case.", field="username")
    user = User(username=name)
    _set_password(user, password, field="password1")
    _check(user)
    user.save(force_insert=True)
    audit.record(
        actor=actor,
        action="user.created",
        object_kind="user",
        object_id=name,
        facts={"has_password": password is not None},
    )
    return user


@audit.action
def change_user(
    *,
    actor: Actor,
    user_id: int,
    groups: Iterable[Group] | None = None,
    user_permissions: Iterable[Permission] | None = None,
    **values: Any,
) -> User:
    """Change an account's switches, personal data, groups and permissions; what is left out stays. A username never changes.

    A group that may approve in production takes a second person: NeedsSecondPerson, and ``proposals.change_user``
    proposes it. Raises
    Invalid, NotSuperuser, NoSuchAccount, LastSuperuser as well.
    """
    _need_superuser(actor)
    _lock_superusers()
    user = _lock_user(user_id)
    wanted = None if groups is None else list(groups)
    _refuse_new_approver(user, wanted or [])
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in SWITCHES + PERSONAL:
            raise Invalid(f"{name} is not a field that can be set here.", field=name)
        if getattr(user, name) != value:
            changed[name] = {"old": getattr(user, name), "new": value} if name in SWITCHES else "changed"
            setattr(user, name, value)
    _check(user)
    if ("is_superuser" in changed or "is_active" in changed) and not (user.is_superuser and user.is_active):
        _keep_a_superuser(without=user)
    if changed:
        user.save(update_fields=list(changed))
    changed |= _set_related(user, "groups", wanted) | _set_related(user, "user_permissions", user_permissions)
    if changed:
        facts = {"changed": changed}
        audit.record(actor=actor, action="user.changed", object_kind="user", object_id=user.username, facts=facts)
    return user


def put_into_group(actor: Actor, user_id: int, group: Group) -> User:
    """Store what a second person has confirmed, within the caller's transaction and after its questions."""
    user = _lock_user(user_id)
    changed = _set_related(user, "groups", [*user.groups.all(), group])
    if changed:
        facts = {"changed": changed}
        audit.record(actor=actor, action="user.changed", object_kind="user", object_id=user.username, facts=facts)
    return user


def guarded_groups_for(user: User, wanted: Iterable[Group]) -> dict[Group, list[Environment]]:
    """Those of the wanted groups in which this person is not yet, and whose people may approve in production."""
    return second_person.guarded_groups(set(wanted) - set(user.groups.all()))


def _refuse_new_approver(user: User, wanted: Iterable[Group]) -> None:
    guarded = guarded_groups_for(user, wanted)
    if guarded:
        names = ", ".join(sorted(group.name for group in guarded))
        raise NeedsSecondPerson(
            f"People of {names} may approve in production: that {user.username} enters is proposed, and takes effect "
            "when a second "
            "administrator confirms it.",
            changes={},
        )


@sensitive_variables("password")
@audit.action
def set_password(*, actor: Actor, user_id: int, password: str | None) -> User:
    """Give an account another password, or none. A superuser may, and everybody for themselves.

    Raises Invalid, NotSuperuser, NoSuchAccount.
    """
    access.need_scope(actor, "")
    if actor.user_id != user_id:
        _need_superuser(actor)
    user = _lock_user(user_id)
    _set_password(user, password, field="password1")
    user.save(update_fields=["password"])
    audit.record(
        actor=actor,
        action="user.password_set",
        object_kind="user",
        object_id=user.username,
        facts={"has_password": password is not None},
    )
    return user


@audit.action
def save_group(
    *, actor: Actor, group_id: int | None = None, name: str, permissions: Iterable[Permission] | None = None
) -> Group:
    """Create a group or change its name and permissions. Raises Invalid, NotSuperuser, NoSuchAccount."""
    _need_superuser(actor)
    group = Group() if group_id is None else _lock_group(group_id)
    old, new = group.name, name.strip()
    if not new.isprintable():
        raise Invalid("A group is named in printable characters.", field="name")
    group.name = new
    _check(group)
    group.save()
    changed = {"name": {"old": old, "new": new}} if old != new else {}
    changed |= _set_related(group, "permissions", permissions)
    if changed:
        action = "group.created" if group_id is None else "group.changed"
        audit.record(actor=actor, action=action, object_kind="group", object_id=group.name, facts={"changed": changed})
    return group


@audit.action
def remove_group(*, actor: Actor, group_id: int) -> None:
    """Remove a group that holds no role in any environment. Raises GroupInUse, NotSuperuser, NoSuchAccount."""
    _need_superuser(actor)
    group = _lock_group(group_id)
    refuse_removal(group)
    facts = {
        "people": list(group.user_set.order_by("username").values_list("username", flat=True)),
        "permissions": _names(group.permissions),
    }
    audit.record(actor=actor, action="group.removed", object_kind="group", object_id=group.name, facts=facts)
    group.delete()


def refuse_removal(group: Group) -> None:
    """Raise GroupInUse while the group holds roles."""
    count = group.portal_memberships.count()
    if count:
        raise GroupInUse(
            f"{group} holds {count} role{'s' if count > 1 else ''} in environments. Remove those memberships first, "
            "so that each loss of a role is on record."
        )


def _need_superuser(actor: Actor) -> None:
    access.need_scope(actor, "")
    if not access.is_superuser(actor):
        raise NotSuperuser(f"{actor.name} is not a superuser, and only a superuser changes accounts and groups.")


def _lock_superusers() -> None:
    """Make changes of accounts wait for each other, so that two superusers cannot switch each other off."""
    list(User.objects.select_for_update(no_key=True).filter(is_superuser=True).order_by("pk").values_list("pk"))


def _lock_user(user_id: int) -> User:
    user = User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
    if user is None:
        raise NoSuchAccount
    return user


def _lock_group(group_id: int) -> Group:
    group = Group.objects.select_for_update(no_key=True).filter(pk=group_id).first()
    if group is None:
        raise NoSuchAccount
    return group


def _keep_a_superuser(*, without: User) -> None:
    if not User.objects.filter(is_superuser=True, is_active=True).exclude(pk=without.pk).exists():
        raise LastSuperuser(
            f"{without.username} is the last active superuser. Make another one first, or nobody could administer the portal."
        )


@sensitive_variables("password")
def _set_password(user: User, password: str | None, *, field: str) -> None:
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise Invalid(" ".join(error.messages), field=field) from None
    user.set_password(password)


def _set_related(
    entry: User | Group, name: str, wanted: Iterable[Group] | Iterable[Permission] | None
) -> dict[str, Any]:
    if wanted is None:
        return {}
    related = getattr(entry, name)
    old = _names(related)
    related.set(list(wanted))
    new = _names(related)
    return {name: {"old": old, "new": new}} if old != new else {}


def _names(related: Any) -> list[str]:
    if related.model is Group:
        return list(related.order_by("name").values_list("name", flat=True))
    rows = related.order_by("content_type__app_label", "codename").values_list("content_type__app_label", "codename")
    return [f"{label}.{codename}" for label, codename in rows]


def _check(entry: User | Group) -> None:
    try:
        entry.full_clean()
    except ValidationError as error:
        name, errors = next(iter(error.error_dict.items()))
        raise Invalid(" ".join(errors[0].messages), field=None if name == "__all__" else name) from None
