"""Who cannot approve, and whose approval stops counting: authors of the scripts, and editors of what the run rests on."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import approvals, attempts, enrolment, grounds, plans, registry, runs
from migrations_audit.actors import Actor
from migrations_audit.models import MigrationRun, Role, Snapshot
from migrations_audit.queries import eligibility
from tests.domain import trail
from tests.people import WORKER, Place, add_person, approve_by_all, make_draft, make_place, make_run, make_user, observe

pytestmark = pytest.mark.django_db

COMMIT = {
    "id": "0123456789abcdef0123456789abcdef01234567",
    "author": "Somebody Else",
    "email": "somebody@bank.example",
    "time": "2026-01-31T00:00:00Z",
    "subject": "Add analytics_modules",
    "ref": "main",
}


def awaiting(place: Place, **commit: str) -> tuple[MigrationRun, str]:
    """A run that waits for approval of scripts from a commit."""
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Needed.")
    begun = plans.begin(actor=WORKER, number=run.number)
    said = COMMIT | commit
    snapshot = Snapshot.objects.create(
        project=place.project, digest=hashchain.digest(str(said)), archive=b"archive", files=[],
        graph={"heads": ["003"], "revisions": [], "problems": []}, commit=said, at=run.requested_at,
    )  # fmt: skip
    draft = make_draft(place, snapshot=snapshot, base_observation=observe(place))
    plan = plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=draft)
    run.refresh_from_db()
    return run, plan.digest


def editor(place: Place, name: str = "edith") -> Actor:
    """An approver who is superuser too, and so may edit everything."""
    return add_person(place, name, (Role.APPROVER, "database-administrator"), superuser=True)


def edit_target(place: Place, actor: Actor) -> None:
    registry.save_target(actor=actor, target_id=place.target.pk, url_reference="env:ANOTHER_URL")


def edit_project(place: Place, actor: Actor) -> None:
    registry.save_project(actor=actor, project_id=place.project.pk, version_table="another_version")


def edit_policy(place: Place, actor: Actor) -> None:
    registry.save_environment(actor=actor, environment_id=place.environment.pk, lock_timeout_ms=900)


def edit_identity(place: Place, actor: Actor) -> None:
    enrolment.forget_identity(actor=actor, target_id=place.target.pk, reason="It was moved to a new server.")


EDITS = {
    edit_target: "the target market/staging/main (url_reference)",
    edit_project: "the project market (version_table)",
    edit_policy: "the environment staging (lock_timeout_ms)",
    edit_identity: "the target market/staging/main",
}


@pytest.fixture
def place(settings: Any) -> Place:
    settings.PORTAL_PROJECT_ROOTS = ["/srv"]
    return make_place(slug="staging", tier="staging")


@pytest.mark.parametrize(
    ("account", "commit"),
    [
        ({"email": "Priya@Bank.Example"}, {"email": "priya@bank.example"}),
        ({}, {"author": "DBA"}),
        ({}, {"email": "dba@bank.example"}),
        ({}, {"email": "1234+DBA@users.noreply.example"}),
        ({"first_name": "Priya", "last_name": "Rao"}, {"author": "priya  rao"}),
    ],
)
def test_the_author_of_the_commit_does_not_approve(
    place: Place, account: dict[str, str], commit: dict[str, str]
) -> None:
    person = place.people["dba"]
    for name, value in account.items():
        setattr(person, name, value)
    person.save(update_fields=list(account) or None)
    run, digest = awaiting(place, **commit)

    with pytest.raises(
        approvals.CommitAuthor, match="dba is the author of commit 0123456, from which the scripts come"
    ):
        approvals.approve(actor=place.actor("dba"), number=run.number, digest=digest)

    trail.denied(verb="approvals.approve", code="commit_author")


def test_an_account_without_an_address_is_not_the_author_of_a_commit_without_one(place: Place) -> None:
    run, digest = awaiting(place, email="", author="")

    assert approvals.approve(actor=place.actor("dba"), number=run.number, digest=digest).decision == "approve"


def test_an_address_that_is_added_after_the_approval_makes_it_stop_counting(place: Place) -> None:
    run, digest = awaiting(place, email="priya@bank.example")
    approve_by_all(place, run.number, digest)
    place.people["dba"].email = "priya@bank.example"
    place.people["dba"].save(update_fields=["email"])

    with pytest.raises(grounds.ApprovalIncomplete, match="The approval of dba does not count: dba is the author"):
        runs.start(actor=place.actor("operator"), number=run.number, digest=digest)


def test_the_author_may_reject(place: Place) -> None:
    run, digest = awaiting(place, author="dba")

    approvals.reject(actor=place.actor("dba"), number=run.number, digest=digest, comment="My own mistake.")

    run.refresh_from_db()
    assert run.state == "rejected"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_whoever_edited_what_the_run_rests_on_does_not_approve(place: Place, edit: Any) -> None:
    edith = editor(place)
    observe(place)
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Needed.")
    edit(place, edith)
    begun = plans.begin(actor=WORKER, number=run.number)
    plan = plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=make_draft(place))

    with pytest.raises(approvals.EditedAfterRequest) as refused:
        approvals.approve(actor=edith, number=run.number, digest=plan.digest)

    assert EDITS[edit] in refused.value.message
    assert "UTC, after the request. Somebody else approves it" in refused.value.message
    trail.denied(verb="approvals.approve", code="edited_after_request")


def test_an_edit_before_the_request_is_no_reason(place: Place) -> None:
    edith = editor(place)
    edit_project(place, edith)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None

    assert approvals.approve(actor=edith, number=run.number, digest=run.plan.digest).person_name == "edith"


def test_a_new_name_of_the_environment_is_no_edit_of_its_policy(place: Place) -> None:
    edith = editor(place)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    registry.save_environment(actor=edith, environment_id=place.environment.pk, name="Rehearsal", position=7)

    assert approvals.approve(actor=edith, number=run.number, digest=run.plan.digest).person_name == "edith"


def test_an_edit_of_another_target_is_no_reason(place: Place) -> None:
    edith = editor(place)
    other = make_place(slug="development", tier="development", project=place.project)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    edit_target(other, edith)

    assert approvals.approve(actor=edith, number=run.number, digest=run.plan.digest).person_name == "edith"


def test_an_approval_of_somebody_who_edits_afterwards_stops_counting_at_the_start(place: Place) -> None:
    edith = editor(place)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    for actor in (edith, place.actor("owner")):
        approvals.approve(actor=actor, number=run.number, digest=run.plan.digest)
    edit_project(place, edith)

    with pytest.raises(grounds.ApprovalIncomplete) as refused:
        runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest)

    assert "missing: 1 × database-administrator" in refused.value.message
    assert "The approval of edith does not count: edith edited the project market" in refused.value.message


def test_an_approval_of_somebody_who_edits_in_the_queue_stops_counting_at_the_claim(place: Place) -> None:
    edith = editor(place)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    for actor in (edith, place.actor("owner")):
        approvals.approve(actor=actor, number=run.number, digest=run.plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest)
    edit_policy(place, edith)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("refused", "approval_incomplete")
    assert "edith edited the environment staging (lock_timeout_ms)" in claimed.sentence


def test_somebody_else_can_stand_in_for_an_approval_that_stopped_counting(place: Place) -> None:
    edith = editor(place)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    for actor in (edith, place.actor("owner")):
        approvals.approve(actor=actor, number=run.number, digest=run.plan.digest)
    registry.save_environment(actor=edith, environment_id=place.environment.pk, fresh_for_s=1_000)

    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)

    assert runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest).state == "queued"


def test_who_is_left_out_is_found_for_many_runs_at_once(place: Place, django_assert_num_queries: Any) -> None:
    found = [make_run(place, state="awaiting_approval", revision=name) for name in ("head", "003", "+1")]
    edith = editor(place)
    edit_project(place, edith)
    people = [edith.user_id or 0, place.people["dev"].pk, place.people["dba"].pk]

    with django_assert_num_queries(4):
        left_out = eligibility.excluded(found, people=people)

    for run in found:
        codes = {person: exclusion.code for person, exclusion in left_out[run.number].items()}
        assert codes == {edith.user_id: "edited_after_request", place.people["dev"].pk: "self_approval"}


def test_who_wrote_one_of_the_files_cannot_approve_although_another_made_the_newest_commit(place: Place) -> None:
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Needed.")
    begun = plans.begin(actor=WORKER, number=run.number)
    wrote = {"id": "f" * 40, "author": "Olga", "email": "owner@bank.example", "path": "versions/003.py"}
    plan = plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=make_draft(place, authors=[wrote]))

    with pytest.raises(approvals.CommitAuthor, match=r"owner wrote versions/003\.py in commit fffffff\. Somebody else"):
        approvals.approve(actor=place.actor("owner"), number=run.number, digest=plan.digest)
    assert approvals.approve(actor=place.actor("dba"), number=run.number, digest=plan.digest).decision == "approve"


@pytest.mark.parametrize("name", ["ada", "ad"])
def test_only_the_whole_name_makes_an_author(name: str) -> None:
    commit = {"email": "ada@bank.example", "author": "Ada Byron"}

    assert eligibility.is_author(commit, make_user(name)) == (name == "ada")
