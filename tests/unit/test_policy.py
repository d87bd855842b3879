"""Requirements and who meets them, against every possible assignment."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit import policy
from migrations_audit.errors import Invalid
from migrations_audit.policy import Holder, Requirement

ROLES = ("dba", "owner", "security")

requirements = st.dictionaries(st.sampled_from((*ROLES, policy.ANY_ROLE)), st.integers(1, 2), max_size=3).map(
    lambda counts: tuple(Requirement(role, count) for role, count in sorted(counts.items(), reverse=True))
)
holders = st.lists(st.frozensets(st.sampled_from((*ROLES, "other"))), max_size=5).map(
    lambda held: [Holder(person, roles) for person, roles in enumerate(held, 1)]
)


def slots_of(wanted: Sequence[Requirement]) -> list[str]:
    return [item.role for item in wanted for _ in range(item.count)]


def what_can_be_filled(wanted: Sequence[Requirement], people: Sequence[Holder]) -> list[Counter[str]]:
    """By trying every way to give each slot to a person or to nobody: how many slots of each role are filled then."""
    slots = slots_of(wanted)
    found = []
    for chosen in itertools.product([None, *people], repeat=len(slots)):
        given_to = [holder.person_id for holder in chosen if holder is not None]
        fits = all(
            holder is None or (role in holder.roles if role else len(holder.roles) > 0)
            for role, holder in zip(slots, chosen, strict=True)
        )
        if fits and len(set(given_to)) == len(given_to):
            found.append(Counter(role for role, holder in zip(slots, chosen, strict=True) if holder is not None))
    return found


def most_slots_filled(wanted: Sequence[Requirement], people: Sequence[Holder]) -> int:
    return max(filled.total() for filled in what_can_be_filled(wanted, people))


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
    assert all(role in roles[person] or (not role and roles[person]) for person, role in match.assigned.items())


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


@settings(max_examples=60, deadline=None)
@given(requirements, holders)
def test_of_all_subsets_of_five_people_exactly_those_are_enough_that_can_be_assigned(
    wanted: tuple[Requirement, ...], people: list[Holder]
) -> None:
    needed = len(slots_of(wanted))

    for size in range(len(people) + 1):
        for some in itertools.combinations(people, size):
            assert policy.match(wanted, some).is_met == (most_slots_filled(wanted, some) == needed)


@given(requirements, holders)
def test_a_slot_of_any_role_is_missing_only_after_those_of_a_role_were_filled(
    wanted: tuple[Requirement, ...], people: list[Holder]
) -> None:
    short = Counter({item.role: item.count for item in policy.match(wanted, people).missing})
    by_role = [item for item in wanted if item.role]

    missing_of_roles = short.total() - short[policy.ANY_ROLE]
    assert len(slots_of(by_role)) - missing_of_roles == most_slots_filled(by_role, people)


@settings(max_examples=150, deadline=None)
@given(requirements, holders, st.integers(0, 5))
def test_who_could_names_exactly_those_who_would_fill_a_missing_slot(
    wanted: tuple[Requirement, ...], people: list[Holder], decided: int
) -> None:
    given_by, others = people[:decided], people[decided:]
    now = policy.match(wanted, given_by)
    filled = Counter(now.assigned.values())

    outlook = policy.who_could(wanted, given_by, others)

    for short in now.missing:
        better = filled + Counter({short.role: 1})
        helpful = {each.person_id for each in others if better in what_can_be_filled(wanted, [*given_by, each])}
        assert set(outlook.by_role[short.role]) == helpful


@given(requirements, holders, st.integers(0, 5))
def test_nobody_is_stuck_who_could_be_helped_and_the_sentence_is_there_otherwise(
    wanted: tuple[Requirement, ...], people: list[Holder], decided: int
) -> None:
    outlook = policy.who_could(wanted, people[:decided], people[decided:])

    is_possible = most_slots_filled(wanted, people) == len(slots_of(wanted))
    assert (outlook.stuck == ()) == is_possible == (outlook.sentence == "")


@settings(max_examples=100, deadline=None)
@given(requirements, requirements, holders)
def test_the_stricter_of_two_policies_is_met_only_by_who_meets_both(
    then: tuple[Requirement, ...], now: tuple[Requirement, ...], people: list[Holder]
) -> None:
    both = policy.match(then, people).is_met and policy.match(now, people).is_met

    assert both or not policy.match(policy.stricter(then, now), people).is_met


@given(requirements)
def test_a_policy_that_did_not_change_is_as_strict_as_it_was(wanted: tuple[Requirement, ...]) -> None:
    assert Counter(slots_of(policy.stricter(wanted, wanted))) == Counter(slots_of(wanted))


def test_somebody_who_frees_a_slot_for_another_is_named_for_the_role_that_is_missing() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))
    versatile, dba_only = Holder(1, frozenset({"dba", "owner"})), Holder(2, frozenset({"dba"}))

    assert policy.who_could(wanted, [versatile], [dba_only]).by_role == {"owner": (2,)}


def test_when_nobody_holds_the_role_the_sentence_says_what_to_do() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))

    outlook = policy.who_could(wanted, [], [Holder(1, frozenset({"dba"}))])

    assert outlook.sentence == (
        "Nobody who may decide holds the role owner: an administrator adds somebody to the group that holds it, or the requester "
        "withdraws."
    )


def test_one_person_alone_for_two_slots_is_too_few() -> None:
    wanted = (Requirement("dba", 1), Requirement("owner", 1))

    outlook = policy.who_could(wanted, [], [Holder(1, frozenset({"dba", "owner"}))])

    assert outlook.sentence.startswith("The people who may still decide are too few")


def test_a_person_with_both_roles_counts_once_towards_the_people_in_all() -> None:
    wanted = policy.parse([{"role": "dba", "count": 1}, {"role": "owner", "count": 1}, {"people": 2}])

    match = policy.match(wanted, [Holder(1, frozenset({"dba", "owner"}))])

    assert [item.count for item in match.missing] == [1]


def test_people_in_all_beyond_the_roles_may_hold_any_approver_role_and_not_none() -> None:
    wanted = policy.parse([{"role": "dba", "count": 1}, {"people": 2}])
    dba, security, nobody = Holder(1, frozenset({"dba"})), Holder(2, frozenset({"security"})), Holder(3, frozenset())

    assert policy.match(wanted, [dba, security]).is_met
    assert not policy.match(wanted, [dba, nobody]).is_met
    assert str(policy.match(wanted, [dba]).missing[0]) == "1 more of any approver role"


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
        [{"people": 0}],
        [{"people": 21}],
        [{"people": True}],
        [{"people": "2"}],
        [{"people": 2}, {"people": 2}],
        [{"people": 2, "role": "owner"}],
        [{"role": "owner", "count": 2}, {"people": 1}],
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


def test_the_people_in_all_may_stand_anywhere_and_leave_what_the_roles_do_not_need() -> None:
    owner = {"role": "owner", "count": 1}

    assert policy.parse([{"people": 3}, owner]) == (Requirement("owner", 1), Requirement(policy.ANY_ROLE, 2))
    assert policy.parse([owner, {"people": 1}]) == (Requirement("owner", 1),)
