"""A chaos that has found something must be able to try the same again."""

from __future__ import annotations

from tests.chaos import plan
from tests.chaos.plan import Anchor, FaultKind
from tests.chaos.projects import KINDS


def test_a_seed_gives_one_plan() -> None:
    assert plan.draw(runs=50, seed=4, lease_s=4) == plan.draw(runs=50, seed=4, lease_s=4)
    assert plan.draw(runs=50, seed=4, lease_s=4) != plan.draw(runs=50, seed=5, lease_s=4)


def test_more_runs_leave_the_first_ones_as_they_are() -> None:
    assert plan.draw(runs=200, seed=4, lease_s=4)[:20] == plan.draw(runs=20, seed=4, lease_s=4)


def test_two_hundred_runs_meet_every_project_and_every_fault() -> None:
    drawn = plan.draw(runs=200, seed=1, lease_s=4)

    assert {each.kind for each in drawn} == set(KINDS)
    assert {fault.kind for each in drawn for fault in each.faults} == set(FaultKind)
    assert {fault.anchor for each in drawn for fault in each.faults} == set(Anchor)


def test_what_is_frozen_sleeps_longer_than_the_lease() -> None:
    drawn = plan.draw(runs=200, seed=1, lease_s=4)
    frozen = [fault for each in drawn for fault in each.faults if fault.kind is FaultKind.FREEZE_CHILD]

    assert frozen
    assert min(fault.length_s for fault in frozen) > 4
