"""Approval requirements and who satisfies them. Pure.

Requirements are a set of slots ("1 database administrator and 1 owner"); approvals are distinct people, each holding one or
more roles. They are matched as a whole (Kuhn's augmenting paths), so that no person fills the wrong slot and nothing dead-locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrations_audit.errors import Invalid

MAX_PEOPLE = 10


@dataclass(frozen=True)
class Requirement:
    """``count`` distinct people who hold the approver role ``role``."""

    role: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} × {self.role}"


@dataclass(frozen=True)
class Holder:
    """A person who approved, with the approver roles held at that moment."""

    person_id: int
    roles: frozenset[str]


@dataclass(frozen=True)
class Match:
    """``missing`` is what is still needed; empty means that the requirements are met."""

    missing: tuple[Requirement, ...]
    assigned: Mapping[int, str]

    @property
    def is_met(self) -> bool:
        return not self.missing


def parse(raw: Any) -> tuple[Requirement, ...]:
    """Requirements from ``[{"role": "owner", "count": 1}, …]``.

    Raises Invalid for anything else, naming what is wrong.
    """
    if not isinstance(raw, list):
        raise Invalid("Approval requirements are a list of roles with counts.", field="requirements")
    requirements: list[Requirement] = []
    for entry in raw:
        if not isinstance(entry, dict) or set(entry) != {"role", "count"}:
            raise Invalid('Each requirement looks like {"role": "owner", "count": 1}.', field="requirements")
        role, count = entry["role"], entry["count"]
        if not isinstance(role, str) or not role.replace("-", "").isalnum() or role != role.lower():
            raise Invalid(
                "A role is written in lower case with hyphens, like database-administrator.", field="requirements"
            )
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_PEOPLE:
            raise Invalid(f"The count for {role} must be a whole number from 1 to {MAX_PEOPLE}.", field="requirements")
        requirements.append(Requirement(role=role, count=count))
    roles = [item.role for item in requirements]
    if len(roles) != len(set(roles)):
        raise Invalid("Name each role once and give its count.", field="requirements")
    return tuple(requirements)


def match(requirements: Sequence[Requirement], holders: Iterable[Holder]) -> Match:
    """Fit distinct people to the requirements as well as it can be done, and say what is missing."""
    slots = [item.role for item in requirements for _ in range(item.count)]
    people = {holder.person_id: holder.roles for holder in holders}
    filled: dict[int, int] = {}

    def place(person: int, tried: set[int]) -> bool:
        for slot, role in enumerate(slots):
            if slot in tried or role not in people[person]:
                continue
            tried.add(slot)
            if slot not in filled or place(filled[slot], tried):
                filled[slot] = person
                return True
        return False

    for person in people:
        place(person, set())
    missing = tuple(
        Requirement(role=item.role, count=short)
        for item in requirements
        if (short := sum(1 for slot, role in enumerate(slots) if role == item.role and slot not in filled))
    )
    return Match(missing=missing, assigned={person: slots[slot] for slot, person in filled.items()})
