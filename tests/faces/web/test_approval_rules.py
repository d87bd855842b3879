"""What the run page says of the policy: slots, who could fill them, who is left out and why, and what keeps everybody."""

from __future__ import annotations

import pytest

from migrations_audit.actions import approvals, plans, registry
from migrations_audit.models import Environment, MigrationRun, Role, Snapshot
from tests import people
from tests.faces.web.visitor import VisitorOf, plan_of

DBA = {"role": "database-administrator", "count": 1}
OWNER = {"role": "owner", "count": 1}


def test_people_in_all_have_a_slot_that_any_approver_fills(place: people.Place, visitor: VisitorOf) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(requirements=[DBA, OWNER, {"people": 3}])
    people.add_person(place, "sam", (Role.APPROVER, "security"))
    place.target.environment.refresh_from_db()
    run = people.make_run(place, state="awaiting_approval")

    part = visitor("dba").run(run).part("approvals")

    assert "any approver role missing; could be given by dba, owner, sam" in part


def test_when_nobody_could_the_page_says_what_to_do(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    place.people["owner"].groups.clear()

    part = visitor("dba").run(run).part("approvals")

    assert "Nobody who may decide holds the role owner: an administrator adds somebody to the group" in part


def test_an_environment_that_asks_for_nobody_says_so(place: people.Place, visitor: VisitorOf) -> None:
    development = people.make_place(slug="development", tier="development", requirements=[], project=place.project)
    run = people.make_run(development, state="approved")

    part = visitor("operator").run(run).part("approvals")

    assert "This environment asks for no approval: the policy of Development is an empty list" in part


@pytest.mark.parametrize("tier", ["production", "development"])
def test_an_ended_run_says_nothing_of_what_the_policy_asks_now(
    place: people.Place, visitor: VisitorOf, tier: str
) -> None:
    there = people.make_place(slug="other", tier=tier, requirements=[OWNER], project=place.project)
    run = people.make_run(there, state="planning")
    plans.fail(
        actor=people.WORKER, number=run.number, epoch=run.epoch, code="x", sentence="The scripts have two heads."
    )

    part = visitor("viewer").run(run).part("approvals")

    assert "No approval was asked for: there was no plan that anybody could have approved." in part
    assert "asks for no approval" not in part


def test_an_author_has_no_button_and_the_page_says_why(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    commit = {"id": "0123456789", "author": "DBA", "email": "", "time": "", "subject": "", "ref": "main"}
    with_commit = Snapshot(
        project=place.project, digest="c" * 64, archive=b"", files=[], graph=plan_of(run).snapshot.graph,
        commit=commit, at=run.requested_at,
    )  # fmt: skip
    with_commit.save()
    run = people.make_run(place, state="planning", revision="003")
    plans.record(
        actor=people.WORKER, number=run.number, epoch=run.epoch, draft=people.make_draft(place, snapshot=with_commit)
    )
    run.refresh_from_db()

    page = visitor("dba").run(run)

    assert "Approve" not in page.buttons
    assert "Reject" in page.buttons
    assert "dba cannot approve: dba is the author of commit 0123456, from which the scripts come." in page.words
    assert visitor("dba").press(run, "approve").status == 403
    assert "Approve" in visitor("owner").run(run).buttons


def test_an_approval_that_stopped_counting_is_named_and_another_can_be_given(
    place: people.Place, visitor: VisitorOf
) -> None:
    edith = people.add_person(place, "edith", (Role.APPROVER, "database-administrator"), superuser=True)
    run = people.make_run(place, state="awaiting_approval")
    for actor in (edith, place.actor("owner")):
        approvals.approve(actor=actor, number=run.number, digest=plan_of(run).digest)
    registry.save_environment(actor=edith, environment_id=place.environment.pk, fresh_for_s=1_200)

    page = visitor("dba").run(run)

    assert (
        "The approval of edith does not count: edith edited the environment production (fresh_for_s) at" in page.words
    )
    assert "The approvals do not carry a start any more; missing: 1 × database-administrator." in page.words
    assert "Approve" in page.buttons
    assert "Run now" not in visitor("operator").run(run).buttons
    assert f"Run {run.number}" in visitor("dba").get("/").words.partition("To approve or reject")[2]
    visitor("dba").press(run, "approve")
    assert "Run now" in visitor("operator").run(run).buttons


def test_what_was_not_verified_earlier_is_said_and_has_no_approve_button(
    place: people.Place, visitor: VisitorOf
) -> None:
    staging = people.make_place(slug="staging", tier="staging", project=place.project)
    Environment.objects.filter(pk=place.environment.pk).update(requires_verified_in=staging.environment)
    place.target.environment.refresh_from_db()
    run = people.make_run(place, state="awaiting_approval")

    page = visitor("dba").run(run)

    assert "Production asks that scripts were verified in Staging first, and no upgrade of market to 003" in page.words
    assert "Approve" not in page.buttons
    assert "waits: Production asks that" in visitor("dba").press(run, "approve").words


def test_an_ended_run_shows_the_approvals_as_they_were(place: people.Place, visitor: VisitorOf) -> None:
    run = people.finish(place, people.make_run(place, state="running"))
    Environment.objects.filter(pk=place.environment.pk).update(requirements=[DBA, {"role": "owner", "count": 2}])
    place.people["dba"].groups.clear()

    part = visitor("viewer").run(run).part("approvals")

    assert "database-administrator approved by dba" in part
    assert "was not given" not in part


def test_production_shows_its_identity_beside_the_field_for_its_name(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    decide = visitor("operator").run(run).part("decide")

    assert "Host db.example Database market System identifier 7300000000000000001 Revisions 1" in decide
    assert "This is production. Type the target’s name to start: market/production/main" in decide


def test_another_name_starts_nothing_and_is_shown_again(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    page = visitor("operator").press(run, "start", confirm_target="market/staging/main")

    assert page.status == 400
    assert "type the target's name, market/production/main, to start. What was typed is another name." in page.words
    assert 'value="market/staging/main"' in page.source
    assert MigrationRun.objects.get().state == "approved"


def test_elsewhere_there_is_no_such_field(place: people.Place, visitor: VisitorOf) -> None:
    staging = people.make_place(slug="staging", tier="staging", project=place.project)
    run = people.make_run(staging, state="approved")

    page = visitor("operator").run(run)

    assert "Type the target’s name" not in page.words
    visitor("operator").post(f"/runs/{run.number}/start", digest=plan_of(run).digest)
    assert MigrationRun.objects.get().state == "queued"
