"""What waits for one person on the dashboard: nothing that needs that person is left out, and nothing of theirs ends unseen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.actions import approvals, plans, proposals
from migrations_audit.models import Role
from migrations_audit.queries import waiting as queries
from migrations_audit.states import Outcome, TargetStatus
from tests import people
from tests.domain import rehearsed
from tests.faces.web.test_break_glass import GIVEN
from tests.faces.web.visitor import Visitor, VisitorOf, plan_of


def waiting(visitor: Visitor) -> str:
    return visitor.get("/").words.partition("Waiting for me")[2].partition("Databases")[0]


def test_a_proposal_waits_for_whoever_may_confirm_it(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    root = people.add_person(place, "root", superuser=True)
    proposals.save_environment(
        actor=root, environment_id=place.environment.pk, requirements=[{"role": "owner", "count": 1}]
    )

    assert "To confirm or decline 1 change of production" in waiting(visitor("admin"))
    assert "Nothing waits for you." not in waiting(visitor("admin"))
    assert "To confirm or decline" not in waiting(visitor("root"))


def test_a_review_waits_for_whoever_may_sign_it(place: people.Place, visitor: VisitorOf) -> None:
    people.add_person(place, "chief", (Role.ADMINISTRATOR, ""), (Role.OPERATOR, ""))
    run = people.make_run(place, state="awaiting_approval")
    chief = Visitor(place.people["chief"])
    chief.press(run, "break-glass", **GIVEN)
    under_way = waiting(visitor("dba"))
    chief.press(run, "cancel")

    heading = f"Started without approval, to review and sign Run {run.number}"
    assert heading not in under_way
    assert heading in waiting(visitor("dba"))
    assert heading not in waiting(chief)


def test_a_wish_for_changes_waits_for_the_requester(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    approvals.request_changes(
        actor=place.actor("dba"), number=run.number, digest=plan_of(run).digest, comment="Use a WHERE."
    )

    words = waiting(visitor("dev"))

    assert f"My requests, waiting for me Run {run.number}" in words
    assert "dba asked for changes" in words
    assert "waiting for others" not in words


def test_a_missing_runbook_waits_for_the_requester(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    rehearsed.ended(place, run, Outcome.PASSED, grade="lossy")

    assert f"My requests, waiting for me Run {run.number}" in waiting(visitor("dev"))
    assert "needs a runbook" in waiting(visitor("dev"))


def test_a_request_that_ended_badly_is_listed_for_a_day(
    place: people.Place, visitor: VisitorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = people.make_run(place, state="planning")
    plans.fail(
        actor=people.WORKER, number=run.number, epoch=run.epoch, code="x", sentence="The scripts have two heads."
    )
    dev = visitor("dev")

    fresh = waiting(dev)
    others = waiting(visitor("dba"))
    monkeypatch.setattr(queries, "LATELY", timedelta(0))

    assert f"My requests that ended Run {run.number}" in fresh
    assert "The scripts have two heads." in fresh
    assert "My requests that ended" not in others
    assert "Nothing waits for you." in waiting(dev)


def test_a_run_that_went_well_is_not_among_them(place: people.Place, visitor: VisitorOf) -> None:
    people.finish(place, people.make_run(place, state="running"))

    assert "My requests that ended" not in waiting(visitor("dev"))


@pytest.mark.parametrize("tier", ["staging", "development"])
def test_what_is_behind_before_production_is_not_called_nothing(
    place: people.Place, visitor: VisitorOf, tier: str
) -> None:
    people.observe(place, status=TargetStatus.IN_SYNC, revisions=["003"], pending=[])
    before = people.make_place(slug=tier, tier=tier, requirements=[], project=place.project)
    people.observe(before, identity=people.IDENTITY | {"database_oid": 16_385})

    words = visitor("viewer").get("/").words

    assert "1 target before production lacks revisions that the scripts have" in words


def test_somebody_without_a_role_is_not_told_that_there_is_no_target(place: people.Place, visitor: VisitorOf) -> None:
    words = visitor("outsider").get("/").words

    assert "You see no target, so nothing is watched for you." in words
    assert "No target is registered" not in words
