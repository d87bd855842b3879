"""Failpoints: armed by a test's environment only."""

from __future__ import annotations

import pytest

from migrations_audit import failpoints


def test_outside_tests_nothing_is_armed() -> None:
    assert failpoints.parse({"PORTAL_MODE": "production", "PORTAL_FAILPOINTS": "after_claim=kill"}) == {}


def test_a_test_arms_by_name() -> None:
    armed = failpoints.parse({"PORTAL_MODE": "test", "PORTAL_FAILPOINTS": "after_claim=kill;before_finish=wait:5"})

    assert armed == {"after_claim": "kill", "before_finish": "wait:5"}


@pytest.mark.parametrize("words", ["no_such_place=kill", "after_claim=explode", "after_claim=wait:soon"])
def test_a_failpoint_that_does_not_exist_is_an_error(words: str) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        failpoints.parse({"PORTAL_MODE": "test", "PORTAL_FAILPOINTS": words})


def test_an_armed_failpoint_acts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_armed", {"after_claim": "raise"})

    with pytest.raises(failpoints.ReachedFailpoint):
        failpoints.reach("after_claim")
    failpoints.reach("after_claim")
