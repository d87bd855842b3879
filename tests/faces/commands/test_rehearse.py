"""Having a plan rehearsed from a shell."""

from __future__ import annotations

import pytest

from migrations_audit.models import Rehearsal
from tests import people
from tests.domain import trail
from tests.faces.commands.conftest import Run


def test_a_person_has_a_plan_rehearsed(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="awaiting_approval")

    ended = run("rehearse_run", "--as", "dba", made.number)

    assert (ended.code, ended.err) == (0, "")
    assert f"rehearse the plan of Run {made.number}" in ended.out
    assert "market/production/main" in ended.out
    assert trail.last("run.rehearsal_asked").facts["actor"]["kind"] == "command"


@pytest.mark.parametrize(
    ("person", "state", "code"),
    [
        ("viewer", "awaiting_approval", "missing_role"),
        ("outsider", "awaiting_approval", "not_found"),
        ("dba", "requested", "stale_run"),
    ],
)
def test_a_refusal_ends_with_1_and_its_code(place: people.Place, run: Run, person: str, state: str, code: str) -> None:
    made = people.make_run(place, state=state)

    ended = run("rehearse_run", "--as", person, made.number)

    assert (ended.code, ended.out) == (1, "")
    assert f"({code})" in ended.err
    assert not Rehearsal.objects.exists()


def test_asking_twice_ends_with_1(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="awaiting_approval")
    run("rehearse_run", "--as", "dba", made.number)

    ended = run("rehearse_run", "--as", "operator", made.number)

    assert ended.code == 1
    assert "(already_rehearsing)" in ended.err


def test_somebody_who_may_not_act_ends_with_2(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="awaiting_approval")

    assert run("rehearse_run", "--as", "nobody", made.number).code == 2


def test_a_run_that_nobody_knows_ends_with_1(place: people.Place, run: Run) -> None:
    assert run("rehearse_run", "--as", "dba", 404).code == 1
