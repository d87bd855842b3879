"""Production may ask that the same scripts were verified in an earlier environment first."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import approvals, attempts, grounds, plans, registry, runs
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, MigrationRun, Project, Snapshot
from migrations_audit.models.clock import database_now
from migrations_audit.states import Operation
from tests.domain import trail
from tests.people import WORKER, Place, add_person, approve_by_all, finish, make_draft, make_place, make_run, read_back

pytestmark = pytest.mark.django_db

CHAIN = [
    {"revision": "002", "down_revisions": []},
    {"revision": "003", "down_revisions": ["002"], "branch_labels": ["ledger"]},
    {"revision": "004", "down_revisions": [], "depends_on": ["003"]},
    {"revision": "005", "down_revisions": [], "depends_on": ["ledger"]},
]


def places() -> tuple[Place, Place]:
    """Staging, and production that asks for it."""
    staging = make_place(slug="staging", tier="staging")
    Environment.objects.filter(pk=staging.environment.pk).update(position=2)
    production = make_place(project=staging.project, requires_verified_in=staging.environment)
    return staging, production


def snapshot_of(project: Project, name: str = "scripts") -> Snapshot:
    found = Snapshot.objects.filter(project=project, digest=hashchain.digest(name)).first()
    return found or Snapshot.objects.create(
        project=project, digest=hashchain.digest(name), archive=b"archive", files=[], at=database_now(),
        graph={"heads": ["004"], "revisions": CHAIN, "problems": []},
    )  # fmt: skip


def planned(place: Place, *, scripts: str = "scripts", to: str = "003", **asked: Any) -> MigrationRun:
    """A run of these scripts to this revision that waits for approval."""
    run = runs.request(
        actor=place.actor("dev"), target_id=place.target.pk, reason="Needed.", **({"revision": to} | asked)
    )
    begun = plans.begin(actor=WORKER, number=run.number)
    draft = make_draft(place, to_revisions=[to], snapshot=snapshot_of(place.project, scripts))
    plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=draft)
    return MigrationRun.objects.select_related("plan", "target__environment", "target__project").get(number=run.number)


def digest_of(run: MigrationRun) -> str:
    assert run.plan is not None
    return run.plan.digest


def claimed(place: Place, **how: Any) -> MigrationRun:
    """A run that was approved and started there, and claimed."""
    run = planned(place, **how)
    approve_by_all(place, run.number, digest_of(run))
    runs.start(actor=place.actor("operator"), number=run.number, digest=digest_of(run), confirm=run.target.label)
    return attempts.claim(actor=WORKER, number=run.number)


def verified(place: Place, **how: Any) -> MigrationRun:
    """A run that was applied and verified there."""
    run = claimed(place, **how)
    return finish(place, run, observation=read_back(place, run))


def approve(place: Place, run: MigrationRun) -> None:
    approvals.approve(actor=place.actor("dba"), number=run.number, digest=digest_of(run))


def test_what_was_not_verified_earlier_is_not_approved() -> None:
    _, production = places()
    run = planned(production)

    with pytest.raises(grounds.NotVerifiedEarlier) as refused:
        approve(production, run)

    assert "no upgrade of market to 003 from snapshot" in refused.value.message
    assert "was verified there. Run it there, then come back." in refused.value.message
    trail.denied(verb="approvals.approve", code="not_verified_earlier")


def test_what_was_verified_earlier_is_approved_and_passes_the_claims_own_look_at_it() -> None:
    staging, production = places()
    verified(staging)

    claim = claimed(production)

    # Both places of this test are one database, which is refused for its identity: the last thing that a claim looks at.
    assert claim.reason_code == "identity_changed"


@pytest.mark.parametrize("further", ["004", "005"])
def test_to_have_gone_further_there_is_enough(further: str) -> None:
    staging, production = places()
    verified(staging, to=further)

    approve(production, planned(production, to="003"))


def test_to_have_gone_less_far_there_is_not() -> None:
    staging, production = places()
    verified(staging, to="003")

    with pytest.raises(grounds.NotVerifiedEarlier):
        approve(production, planned(production, to="004"))


def test_other_scripts_are_not() -> None:
    staging, production = places()
    verified(staging, scripts="scripts of yesterday")

    with pytest.raises(grounds.NotVerifiedEarlier):
        approve(production, planned(production))


def test_a_run_that_was_started_and_is_not_verified_there_is_not() -> None:
    staging, production = places()
    run = planned(staging)
    approve_by_all(staging, run.number, digest_of(run))
    runs.start(actor=staging.actor("operator"), number=run.number, digest=digest_of(run))

    with pytest.raises(grounds.NotVerifiedEarlier):
        approve(production, planned(production))


def test_a_project_without_a_target_there_is_told_what_to_do() -> None:
    staging, production = places()
    staging.target.delete()

    with pytest.raises(grounds.NotVerifiedEarlier, match="market has no target there"):
        approve(production, planned(production))


def test_a_rollback_is_not_held_up() -> None:
    _, production = places()
    run = planned(production, revision="002", operation=Operation.ROLLBACK)

    approve(production, run)


def test_a_policy_that_asks_for_it_after_the_approval_keeps_the_run_from_starting() -> None:
    staging, production = places()
    Environment.objects.filter(pk=production.environment.pk).update(requires_verified_in=None)
    production.target.environment.refresh_from_db()
    run = planned(production)
    approve_by_all(production, run.number, digest_of(run))
    Environment.objects.filter(pk=production.environment.pk).update(requires_verified_in=staging.environment)

    with pytest.raises(grounds.NotVerifiedEarlier):
        runs.start(
            actor=production.actor("operator"), number=run.number, digest=digest_of(run), confirm=run.target.label
        )


def test_a_policy_that_asks_for_it_no_longer_still_holds_for_a_plan_made_under_it() -> None:
    _, production = places()
    run = planned(production)
    Environment.objects.filter(pk=production.environment.pk).update(requires_verified_in=None)

    with pytest.raises(grounds.NotVerifiedEarlier):
        approve(production, run)


def test_it_is_part_of_what_an_approval_binds_and_only_where_it_is_asked_for() -> None:
    staging, production = places()

    assert production.environment.policy_facts()["requires_verified_in"] == "staging"
    assert "requires_verified_in" not in staging.environment.policy_facts()


def test_an_environment_waits_only_for_one_before_it() -> None:
    staging, production = places()
    root = add_person(staging, "root", superuser=True)

    for earlier in (staging.environment, production.environment):
        with pytest.raises(Invalid, match="comes before it in the order of promotion"):
            registry.save_environment(actor=root, environment_id=staging.environment.pk, requires_verified_in=earlier)
    with pytest.raises(Invalid, match="so the position must stay lower than 3"):
        registry.save_environment(actor=root, environment_id=staging.environment.pk, position=3)


def test_an_environment_that_another_waits_for_is_not_removed() -> None:
    staging, _ = places()
    root = add_person(staging, "root", superuser=True)
    staging.target.delete()

    with pytest.raises(registry.InUse, match="Production asks that scripts were verified in Staging first"):
        registry.remove_environment(actor=root, environment_id=staging.environment.pk)


def test_a_run_of_the_standard_place_is_not_held_up() -> None:
    assert make_run(make_place(), state="approved").state == "approved"
