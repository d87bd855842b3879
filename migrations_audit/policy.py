"""Approval requirements and who satisfies them. Pure.

Requirements are a set of slots ("1 database administrator and 1 owner", and "3 people in all"); approvals are
distinct people, each
holding one or more roles, and one person fills one slot. They are matched as a whole (Kuhn's augmenting paths), so that no person
fills the wrong slot and nothing dead-locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrations_audit.errors import Invalid

MAX_PEOPLE = 10
MAX_IN_ALL = 20

ANY_ROLE = ""
"""The role of a slot that any approver of the environment fills."""


@dataclass(frozen=True)
class Requirement:
    """``count`` distinct people who hold the approver role ``role``; with ANY_ROLE, so many more of whatever approver role."""

    role: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} × {self.role}" if self.role else f"{self.count} more of any approver role"


@dataclass(frozen=True)
class Holder:
    """A person who approved, with the approver roles held at that moment."""

    person_id: int
    roles: frozenset[str]

    def fits(self, role: str) -> bool:
        """Whether this person may fill a slot of ``role``."""
        return role in self.roles if role else bool(self.roles)


@dataclass(frozen=True)
class Match:
    """``missing`` is what is still needed; empty means that the requirements are met. ``assigned``: the slot's role by person."""

    missing: tuple[Requirement, ...]
    assigned: Mapping[int, str]

    @property
    def is_met(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class Outlook:
    """Who could still bring a decision nearer.

    ``by_role`` has, for each role that is missing, the people who could fill it. ``stuck`` is what stays missing even when all
    of them approve.
    """

    by_role: Mapping[str, tuple[int, ...]]
    stuck: tuple[Requirement, ...]

    @property
    def sentence(self) -> str:
        """What to do when nobody can meet the policy; empty while somebody can."""
        if not self.stuck:
            return ""
        nobody = [item.role for item in self.stuck if item.role and not self.by_role.get(item.role)]
        if nobody:
            roles = " and ".join(nobody)
            return (
                f"Nobody who may decide holds the role {roles}: an administrator adds somebody to the group that "
                "holds it, or the "
                "requester withdraws."
            )
        short = ", ".join(str(item) for item in self.stuck)
        return (
            f"The people who may still decide are too few, for one person fills one slot; short of: {short}. An "
            "administrator adds "
            "somebody to a group that holds it, or the requester withdraws."
        )


def parse(raw: Any) -> tuple[Requirement, ...]:
    """Requirements from ``[{"role": "owner", "count": 1}, …, {"people": 3}]``.

    ``{"people": N}`` is the number of distinct people in all. What it exceeds the roles' counts by may be any
    approvers, and comes
    back as the last requirement, of ANY_ROLE. Raises Invalid for anything else, naming what is wrong.
    """
    if not isinstance(raw, list):
        raise Invalid("Approval requirements are a list of roles with counts.", field="requirements")
    totals = [entry["people"] for entry in raw if isinstance(entry, dict) and set(entry) == {"people"}]
    roles = [_of_role(entry) for entry in raw if not (isinstance(entry, dict) and set(entry) == {"people"})]
    names = [item.role for item in roles]
    if len(names) != len(set(names)):
        raise Invalid("Name each role once and give its count.", field="requirements")
    if len(totals) > 1:
        raise Invalid("Give the number of people in all once.", field="requirements")
    by_role = sum(item.count for item in roles)
    for total in totals:
        if not _is_count(total, most=MAX_IN_ALL):
            raise Invalid(f"The people in all are a whole number from 1 to {MAX_IN_ALL}.", field="requirements")
        if total < by_role:
            raise Invalid(
                f"The roles alone need {by_role} people, for one person fills one slot; so they cannot be {total} in all.",
                field="requirements",
            )
    return (*roles, *(Requirement(ANY_ROLE, total - by_role) for total in totals if total > by_role))


def said(raw: Sequence[Mapping[str, Any]], *, between: str = ", ") -> str:
    """Stored requirements as people write them; “nobody” for none."""
    lines = [
        f"{item['people']} people in all" if "people" in item else f"{item['count']} {item['role']}" for item in raw
    ]
    return between.join(lines) or "nobody"


def _of_role(entry: Any) -> Requirement:
    if not isinstance(entry, dict) or set(entry) != {"role", "count"}:
        raise Invalid(
            'Each requirement looks like {"role": "owner", "count": 1}, and the people in all like {"people": 3}.',
            field="requirements",
        )
    role, count = entry["role"], entry["count"]
    if not isinstance(role, str) or not role.replace("-", "").isalnum() or role != role.lower():
        raise Invalid(
            "A role is written in lower case with hyphens, like database-administrator.", field="requirements"
        )
    if not _is_count(count, most=MAX_PEOPLE):
        raise Invalid(f"The count for {role} must be a whole number from 1 to {MAX_PEOPLE}.", field="requirements")
    return Requirement(role=role, count=count)


def _is_count(value: Any, *, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def stricter(then: Sequence[Requirement], now: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """One set that is met only by people who meet both: of each role the greater count, and the greater number in all."""
    counts: dict[str, int] = {}
    for item in (*then, *now):
        if item.role:
            counts[item.role] = max(counts.get(item.role, 0), item.count)
    by_role = sum(counts.values())
    total = max(sum(item.count for item in then), sum(item.count for item in now))
    extra = [Requirement(ANY_ROLE, total - by_role)] if total > by_role else []
    return (*(Requirement(role, count) for role, count in counts.items()), *extra)


def match(requirements: Sequence[Requirement], holders: Iterable[Holder]) -> Match:
    """Fit distinct people to the requirements as well as it can be done, and say what is missing.

    Slots of a role are filled first: whoever is left over may fill one of any role, and never the other way round.
    """
    people = {holder.person_id: holder for holder in holders}
    wanted = [item.role for item in requirements if item.role for _ in range(item.count)]
    filled = _fill(wanted, people)
    assigned = {person: wanted[slot] for slot, person in filled.items()}
    left_over = [person for person, holder in people.items() if holder.fits(ANY_ROLE) and person not in assigned]
    extra = sum(item.count for item in requirements if not item.role)
    assigned |= dict.fromkeys(left_over[:extra], ANY_ROLE)
    given = list(assigned.values())
    missing = tuple(
        Requirement(item.role, short) for item in requirements if (short := item.count - given.count(item.role)) > 0
    )
    return Match(missing=missing, assigned=assigned)


def _fill(slots: Sequence[str], people: Mapping[int, Holder]) -> dict[int, int]:
    """The person of each slot that is filled, as many slots as can be."""
    filled: dict[int, int] = {}

    def place(person: int, tried: set[int]) -> bool:
        for slot, role in enumerate(slots):
            if slot in tried or not people[person].fits(role):
                continue
            tried.add(slot)
            if slot not in filled or place(filled[slot], tried):
                filled[slot] = person
                return True
        return False

    for person in people:
        place(person, set())
    return filled


def who_could(requirements: Sequence[Requirement], approved: Iterable[Holder], others: Iterable[Holder]) -> Outlook:
    """For each role that ``approved`` leave missing, who of ``others`` (those who may still decide) could fill it.

    A person counts for a role also when somebody who approved would move to it and leave a slot that the person fits.
    """
    given, open_to = list(approved), list(others)
    now = match(requirements, given)
    roles = {holder.person_id: holder for holder in given}
    by_role: dict[str, tuple[int, ...]] = {}
    for short in now.missing:
        by_role[short.role] = tuple(
            holder.person_id for holder in open_to if short.role in _reached(holder, now, roles, requirements)
        )
    return Outlook(by_role=by_role, stuck=match(requirements, [*given, *open_to]).missing)


def _reached(
    person: Holder, now: Match, approved: Mapping[int, Holder], requirements: Sequence[Requirement]
) -> set[str]:
    """The roles in which a slot would become filled or free if ``person`` approved and the others moved over."""
    names = {item.role for item in requirements}
    reached: set[str] = set()
    ahead = [person]
    while ahead:
        holder = ahead.pop()
        for role in names - reached:
            if holder.fits(role):
                reached.add(role)
                ahead += [approved[each] for each, slot in now.assigned.items() if slot == role]
    return reached
