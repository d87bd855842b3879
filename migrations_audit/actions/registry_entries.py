"""How an entry of the registry is opened, changed and stored, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from migrations_audit.actions import audit, registry_rules
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid, NotFound
from migrations_audit.models import Environment, Membership, Project, Target, Window

Entry: TypeAlias = Environment | Membership | Project | Target | Window
E = TypeVar("E", Environment, Membership, Project, Target, Window)
Changes: TypeAlias = dict[str, dict[str, Any]]
"""The changed fields by name, each with ``old`` and ``new`` as the audit shows them."""


class NoSuchEntry(NotFound):
    """There is no such entry in the registry, or you may not see it. Go back to the list."""


class ChangedMeanwhile(Conflict):
    """Somebody changed this since you opened the page, so nothing was stored. Reload the page and look again."""

    code = "changed_meanwhile"


REFERENCES = ("url_reference", "git_key")


def settable(model: type[Entry]) -> list[str]:
    """The fields that a caller may set by name. References to secrets are not among them: they have parameters of their own."""
    return [
        field.name
        for field in model._meta.fields
        if field.editable and not field.primary_key and field.name not in REFERENCES
    ]


def open_entry(model: type[E], pk: int | None, *, seen_version: int | None = None, for_removal: bool = False) -> E:
    """A new entry when ``pk`` is None, else the stored one, its row locked. Raises NoSuchEntry and ChangedMeanwhile.

    The lock leaves the key alone: a run that ends refers to its target, and must not wait here while it holds the chain.
    Only what is to be removed is locked as a whole: nothing may come to refer to it meanwhile.
    """
    if pk is None:
        return model()
    # In the order of the key: the models' own order would join, and so lock, the entries that this one belongs to.
    entry = model._default_manager.select_for_update(no_key=not for_removal).order_by("pk").filter(pk=pk).first()
    if entry is None:
        raise NoSuchEntry
    if seen_version is not None and getattr(entry, "settings_version", seen_version) != seen_version:
        raise ChangedMeanwhile(
            f"Somebody changed {entry} since you opened the page, so nothing was stored. Reload the page and look again."
        )
    return entry


def assign(entry: Entry, values: Mapping[str, Any]) -> Changes:
    """Set the fields named in ``values`` and return those that changed. Raises Invalid for any other name."""
    for name in values:
        if name not in settable(type(entry)):
            raise Invalid(f"{name} is not a field that can be set here.", field=name)
    changes: Changes = {}
    for name, value in values.items():
        new = value.strip() if isinstance(value, str) else value
        old = None if entry._state.adding else getattr(entry, name)
        if entry._state.adding or old != new:
            changes[name] = {"old": shown(old), "new": shown(new)}
        setattr(entry, name, new)
    return changes


def store(entry: E, changes: Changes, *, rules: Callable[[E], None]) -> None:
    """Check the entry by ``rules`` and by its model, and write what changed. Raises Invalid and ChangedMeanwhile."""
    registry_rules.check_texts({name: getattr(entry, name) for name in changes})
    _check_fields(entry)
    rules(entry)
    is_new = entry._state.adding
    if not is_new and not changes:
        return
    fields = list(changes)
    if not is_new and not isinstance(entry, Membership | Window):
        entry.settings_version += 1
        fields.append("settings_version")
    try:
        with transaction.atomic():
            _check_constraints(entry)
            entry.save(force_insert=is_new, update_fields=None if is_new else fields)
    except IntegrityError as error:
        raise ChangedMeanwhile from error


def shown(value: Any) -> Any:
    """A value as the audit shows it: another entry by its name."""
    if isinstance(value, Environment | Project):
        return value.slug
    return value if value is None or isinstance(value, str | int | list | dict) else str(value)


def hold_environment(part: type[Membership | Window], pk: int | None, environment: Environment | None = None) -> None:
    """Keep the environment of a part to this transaction: what its windows and memberships allow is a question about all of
    them, and whoever confirms a proposal about one of them takes the environment first too."""
    ids = [environment.pk] if environment is not None else []
    if pk is not None:
        ids = list(part._default_manager.filter(pk=pk).values_list("environment_id", flat=True))
    list(Environment.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk"))


def need_parts(entry: Membership | Target | Window, *names: str) -> None:
    """Raise Invalid for the first of the named entries that it needs and does not have."""
    for name in names:
        if getattr(entry, f"{name}_id") is None:
            raise Invalid(f"Name the {name}.", field=name)


def record(actor: Actor, entry: Entry, changes: Changes, *, is_new: bool) -> None:
    """Leave the event of what was stored."""
    if is_new:
        _tell(actor, entry, "created", {"settings": settings_of(entry)})
    elif changes:
        _tell(actor, entry, "changed", {"changed": changes})


def remove(actor: Actor, entry: Entry, **facts: Any) -> None:
    """Delete the entry and leave the event, which keeps its settings."""
    facts = {"settings": settings_of(entry)} | facts
    pk = entry.pk
    entry.delete()
    entry.pk = pk
    _tell(actor, entry, "removed", facts)


def settings_of(entry: Entry) -> dict[str, Any]:
    """Its settings as the audit shows them: of a reference to a secret only what may be seen."""
    facts = {name: shown(getattr(entry, name)) for name in settable(type(entry))}
    if isinstance(entry, Project):
        return facts | {"git_key": entry.shown_git_key}
    return facts | ({"url_reference": entry.shown_reference} if isinstance(entry, Target) else {})


def _tell(actor: Actor, entry: Entry, what: str, facts: dict[str, Any]) -> None:
    kind = str(entry._meta.verbose_name)
    if isinstance(entry, Target):
        audit.record(
            actor=actor, action=f"{kind}.{what}", object_kind=kind, object_id=entry.pk, target=entry, facts=facts
        )
        return
    is_part = isinstance(entry, Membership | Window)
    environment = entry.environment if isinstance(entry, Membership | Window) else entry
    audit.record(
        actor=actor,
        action=f"{kind}.{what}",
        object_kind=kind,
        object_id=entry.pk if isinstance(entry, Membership | Window) else entry.slug,
        environment=environment.slug if isinstance(environment, Environment) else "",
        facts=facts | ({"sentence": str(entry)} if is_part else {}),
    )


def _check_fields(entry: Entry) -> None:
    try:
        entry.clean_fields()
    except ValidationError as error:
        raise _first(error) from None


def _check_constraints(entry: Entry) -> None:
    try:
        entry.validate_unique()
        entry.validate_constraints()
    except ValidationError as error:
        raise _first(error) from None


def _first(error: ValidationError) -> Invalid:
    name, errors = next(iter(error.error_dict.items()))
    return Invalid(" ".join(errors[0].messages), field=None if name == "__all__" else name)
