"""Requirements and who meets them, against every possible assignment."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit import policy
from migrations_audit.errors import Invalid
from migrations_audit.policy import Holder, Requirement

ROLES = ("dba", "owner", "security")

requirements = st.dictionaries(st.sampled_from(ROLES), st.integers(1, 2), max_size=3).map(
    lambda counts: tuple(Requirement(role, count) for role, count in counts.items())
)
holders = st.lists(st.frozensets(st.sampled_from((*ROLES, "other"))), max_size=5).map(
    lambda held: [Holder(person, roles) for person, roles in enumerate(held, 1)]
)


def most_slots_filled(wanted: tuple[Requirement, ...], people: list[Holder]) -> int:
    """By trying every way to give each slot to a person or to nobody."""
    slots = [item.role for item in wanted for _ in range(item.count)]
    best = 0
    for chosen in itertools.product([None, *people], repeat=len(slots)):
        given_to = [holder for holder in chosen if holder is not None]
        fits = all(holder is None or role in holder.roles for role, holder in zip(slots, chosen, strict=True))
        if fits and len({holder.person_id for holder in given_to}) == len(given_to):
            best = max(best, len(given_to))
    return best


@settings(max_examples=150, deadline=None)
@given(requirements, holders)
def test_a_match_fills_as_many_slots_as_any_assignment_can(
    wanted: tuple[Requirement, ...], people: list[Holder]
) -> None:
    match = policy.match(wanted, people)

    short = sum(item.count for item in match.missing)
    assert sum(item.count for item in wanted) - short == most_slots_filled(wanted, people)
    assert match.is_met == (short == 0)


@given(requirements, holders)
def test_every_assigned_person_holds_the_role_of_the_slot(
    wanted: tuple[Requirement, ...], people: list[Holder]
) -> None:
    match = policy.match(wanted, people)

    roles = {holder.person_id: holder.roles for holder in people}
    assert all(role in roles[person] for person, role in match.assigned.items())


@given(requirements, holders)
def test_assigned_and_missing_add_up_to_what_is_required(wanted: tuple[Requirement, ...], people: list[Holder]) -> None:
    match = policy.match(wanted, people)

    counted = Counter(match.assigned.values()) + Counter({item.role: item.count for item in match.missing})
    assert counted == Counter({item.role: item.count for item in wanted})


@given(requirements, holders, st.randoms(use_true_random=False))
def test_the_order_of_approvals_does_not_matter(
    wanted: tuple[Requirement, ...], people: list[Holder], random: Any
) -> None:
    shuffled = random.sample(people, len(people))

    assert policy.match(wanted, people).is_met == policy.match(wanted, shuffled).is_met


def test_one_person_with_both_roles_fills_one_slot() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))

    match = policy.match(wanted, [Holder(1, frozenset({"dba", "owner"}))])

    assert [item.count for item in match.missing] == [1]


def test_a_person_with_both_roles_moves_to_the_slot_that_the_other_cannot_fill() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))
    versatile, dba_only = Holder(1, frozenset({"dba", "owner"})), Holder(2, frozenset({"dba"}))

    match = policy.match(wanted, [versatile, dba_only])

    assert match.assigned == {1: "owner", 2: "dba"}


def test_two_people_of_one_role_do_not_fill_two_different_slots() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))

    match = policy.match(wanted, [Holder(1, frozenset({"dba"})), Holder(2, frozenset({"dba"}))])

    assert match.missing == (Requirement("owner", 1),)


def test_no_requirement_is_met_by_nobody() -> None:
    assert policy.match((), []).is_met


def test_a_requirement_reads_as_people_say_it() -> None:
    assert str(Requirement("database-administrator", 2)) == "2 × database-administrator"


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "owner",
        [None],
        ["owner"],
        [{}],
        [{"role": "owner"}],
        [{"role": "owner", "count": 1, "more": 1}],
        [{"role": "owner", "count": 0}],
        [{"role": "owner", "count": -1}],
        [{"role": "owner", "count": 11}],
        [{"role": "owner", "count": True}],
        [{"role": "owner", "count": 1.0}],
        [{"role": "owner", "count": "1"}],
        [{"role": "", "count": 1}],
        [{"role": "-", "count": 1}],
        [{"role": "Owner", "count": 1}],
        [{"role": "an owner", "count": 1}],
        [{"role": 1, "count": 1}],
        [{"role": "owner", "count": 1}, {"role": "owner", "count": 2}],
    ],
)
def test_a_policy_that_is_not_one_is_refused_with_a_sentence(raw: Any) -> None:
    with pytest.raises(Invalid) as refused:
        policy.parse(raw)

    assert refused.value.field == "requirements"
    assert refused.value.message.endswith(".")


def test_a_policy_is_read_in_its_order() -> None:
    raw = [{"role": "database-administrator", "count": 1}, {"role": "owner", "count": 2}]

    assert policy.parse(raw) == (Requirement("database-administrator", 1), Requirement("owner", 2))
