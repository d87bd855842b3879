"""What a rollback of a run is held against, and why it cannot be: readings of other databases, other versions, or none."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import evidence
from migrations_audit.engine import catalog
from migrations_audit.engine.types import Catalog, Identity, Reading
from migrations_audit.execution import going_back
from migrations_audit.models import MigrationRun, Observation, Plan
from migrations_audit.states import Operation, TargetStatus
from tests.people import IDENTITY, WORKER, Place, finish, make_place, make_run, make_snapshot

pytestmark = pytest.mark.django_db

USERS = {"table public.users": "table"}
MADE = {**USERS, "table public.analytics_modules": "table"}
BACK = Plan(from_revisions=["003"], to_revisions=["002"])


def seen(place: Place, run: MigrationRun, purpose: str, body: dict[str, str], **read: Any) -> Observation:
    """A reading of the run, as a worker leaves it."""
    values: dict[str, Any] = {"identity": IDENTITY, "revisions": ["002"], "facts": {"kinds": catalog.KINDS}} | read
    return evidence.record_observation(
        actor=WORKER,
        target=place.target,
        purpose=purpose,
        read=evidence.Read(
            status=TargetStatus.BEHIND, sentence="read", catalog=(hashchain.digest(str(body)), body), **values
        ),
        snapshot=make_snapshot(place.project),
        run=run,
    )


def undone_and_back(place: Place, **read_before: Any) -> tuple[MigrationRun, MigrationRun]:
    """A run that made a table, by its readings, and the rollback that takes it back."""
    undone = make_run(place, state="running")
    seen(place, undone, "preflight", USERS, **read_before)
    finish(place, undone, observation=seen(place, undone, "verify", MADE))
    return undone, rollback(place, undone)


def rollback(place: Place, undone: MigrationRun) -> MigrationRun:
    return make_run(place, operation=Operation.ROLLBACK, revision="002", rolls_back=undone.number)


def held_against(run: MigrationRun, found: dict[str, str], *, plan: Plan = BACK, **identity: Any) -> dict[str, Any]:
    """What is said of the catalog that is found behind the rollback."""
    reading = Reading(
        Identity.from_dict({**IDENTITY, **identity}),
        ("002",),
        Catalog(fingerprint="0" * 64, body=found),
        pooled=False,
        duration_ms=1,
    )
    return going_back.facts(run, plan, reading, changes=catalog.diff(MADE, found))


def test_what_a_run_made_must_be_gone_behind_its_rollback() -> None:
    undone, run = undone_and_back(make_place())

    name = f"run {undone.number}"
    assert held_against(run, USERS) == {"rolls_back": name, "not_as_before": ()}
    assert held_against(run, MADE) == {
        "rolls_back": name,
        "not_as_before": ("table public.analytics_modules is still there",),
    }


def test_a_rollback_of_no_run_is_not_held_against_any() -> None:
    run = make_run(make_place(), operation=Operation.ROLLBACK, revision="002")

    assert held_against(run, USERS) == {}


def test_a_reading_of_another_database_says_nothing() -> None:
    undone, run = undone_and_back(make_place())

    told = held_against(run, USERS, system_identifier="7300000000000000002")

    assert told["before_not_known"] == f"what was read before run {undone.number} was another database"


def test_a_reading_by_another_version_of_the_portal_says_nothing() -> None:
    undone, run = undone_and_back(make_place(), facts={"kinds": "of before"})

    told = held_against(run, USERS)

    assert told["before_not_known"].startswith(
        f"what was read before run {undone.number} was read by another version of the portal"
    )


def test_a_server_of_a_later_version_is_the_same_database() -> None:
    _, run = undone_and_back(make_place())

    assert held_against(run, USERS, server_version="18.7")["not_as_before"] == ()


@pytest.mark.parametrize(("purpose", "missing"), [("preflight", "after"), ("verify", "before")])
def test_where_a_reading_is_missing_it_says_which(purpose: str, missing: str) -> None:
    place = make_place()
    undone = make_run(place, state="running")
    seen(place, undone, purpose, USERS)

    told = held_against(MigrationRun(target=place.target, rolls_back=undone), USERS)

    assert told["before_not_known"] == f"no catalog was read {missing} run {undone.number}"


def test_a_rollback_that_leads_elsewhere_says_where_its_run_began() -> None:
    undone, run = undone_and_back(make_place())

    told = held_against(run, {}, plan=Plan(from_revisions=["003"], to_revisions=[]))

    assert told["before_not_known"] == f"run {undone.number} began at 002, and this rollback leads to base"
