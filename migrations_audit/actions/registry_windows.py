"""The windows of an environment in the registry: when runs may and may not start there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrations_audit.actions import audit, registry_entries, registry_rules
from migrations_audit.actions.registry_entries import Changes
from migrations_audit.actions.registry_rights import NeedsSecondPerson, need
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import Window
from migrations_audit.queries import second_person

MOST = 50


@audit.action
def save(*, actor: Actor, window_id: int | None = None, **values: Any) -> Window:
    """Give an environment a window in which runs may or may not start, or change one. It stays in its environment.

    No approval becomes void by it: what the windows say is asked at each start and at each claim. Raises Invalid,
    MayNotRegister, and NeedsSecondPerson where it lets runs start at more times in production that is in use.
    """
    return _save(actor, window_id, values, is_confirmed=False)


def put(actor: Actor, window_id: int | None, values: Mapping[str, Any]) -> Window:
    """Store what a second person has confirmed, within the caller's transaction and after its questions."""
    return _save(actor, window_id, values, is_confirmed=True)


def _save(actor: Actor, window_id: int | None, values: Mapping[str, Any], *, is_confirmed: bool) -> Window:
    registry_entries.hold_environment(Window, window_id, values.get("environment"))
    window = registry_entries.open_entry(Window, window_id)
    changes = registry_entries.assign(window, values)
    registry_entries.need_parts(window, "environment")
    if not is_confirmed:
        need(actor, "add" if window_id is None else "change", Window, environment=window.environment)
    if window_id is not None and "environment" in changes:
        raise Invalid("A window stays in its environment. Add another one there.", field="environment")
    if window_id is None and window.environment.windows.count() >= MOST:
        raise Invalid(f"{window.environment} has {MOST} windows, and more are not taken. Remove one first.")
    registry_entries.store(window, changes, rules=registry_rules.check_window)
    if not is_confirmed:
        _need_one_person(window, changes)
    registry_entries.record(actor, window, changes, is_new=window_id is None)
    return window


@audit.action
def remove(*, actor: Actor, window_id: int) -> None:
    """Take a window from an environment. Raises MayNotRegister, NoSuchEntry, and NeedsSecondPerson as ``save`` does."""
    registry_entries.hold_environment(Window, window_id)
    window = registry_entries.open_entry(Window, window_id, for_removal=True)
    need(actor, "delete", Window, environment=window.environment)
    _need_one_person(window, None)
    registry_entries.remove(actor, window)


def take(actor: Actor, window_id: int) -> None:
    """Remove a window as a second person has confirmed, within the caller's transaction and after its questions."""
    registry_entries.remove(actor, registry_entries.open_entry(Window, window_id, for_removal=True))


def _need_one_person(window: Window, changes: Changes | None) -> None:
    if second_person.opens_more(window, changes) and second_person.is_in_use(window.environment):
        removed = {name: {"old": value, "new": None} for name, value in registry_entries.settings_of(window).items()}
        raise NeedsSecondPerson(
            f"{window.environment} is production and in use: what lets runs start there at more times is proposed, and takes "
            "effect when a second administrator confirms it.",
            changes=removed if changes is None else changes,
        )
