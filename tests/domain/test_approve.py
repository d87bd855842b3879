"""Approving: who may, exactly what, and when it is enough."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from migrations_audit import access
from migrations_audit.actions import approvals, grounds, moves, plans, runs
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from migrations_audit.models import Approval, MigrationRun, Role
from migrations_audit.models.clock import database_now
from tests.domain import changes, rehearsed, trail
from tests.people import WORKER, Place, add_person, make_draft, make_place, make_run

pytestmark = pytest.mark.django_db

DBA = ("approver", "database-administrator")
OWNER = ("approver", "owner")


def awaiting(place: Place, **asked: str) -> tuple[MigrationRun, str]:
    run = make_run(place, state="awaiting_approval", **asked)
    assert run.plan is not None
    return run, run.plan.digest


def approve(place: Place, who: str | Actor, run: MigrationRun, digest: str) -> Approval:
    actor = place.actor(who) if isinstance(who, str) else who
    return approvals.approve(actor=actor, number=run.number, digest=digest, comment="Read it.")


def test_the_first_of_two_approvals_leaves_the_run_waiting_for_the_other() -> None:
    place = make_place()
    run, digest = awaiting(place)

    given = approve(place, "dba", run, digest)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("awaiting_approval", "Waiting for approval: 1 × owner.")
    assert (given.plan_digest, given.roles, given.person_name) == (digest, ["database-administrator"], "dba")


def test_the_last_approval_approves_the_run() -> None:
    place = make_place(approval_lifetime_s=600)
    run, digest = awaiting(place)
    first = approve(place, "dba", run, digest)

    last = approve(place, "owner", run, digest)

    run.refresh_from_db()
    assert (run.state, run.approved_at) == ("approved", last.at)
    assert run.expires_at == first.at + timedelta(seconds=600)  # the oldest that it rests on


def test_a_new_approval_makes_an_old_one_beside_it_no_younger() -> None:
    place = make_place(approval_lifetime_s=600)
    run, digest = awaiting(place)
    approve(place, "dba", run, digest)
    owner = approve(place, "owner", run, digest)
    approvals.take_back(actor=place.actor("dba"), number=run.number)

    approve(place, "dba", run, digest)

    run.refresh_from_db()
    assert run.expires_at == owner.at + timedelta(seconds=600)


def test_nothing_is_taken_back_once_the_time_is_over() -> None:
    place = make_place()
    run, digest = awaiting(place)
    approvals.request_changes(actor=place.actor("dba"), number=run.number, digest=digest, comment="Wait.")
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))

    with pytest.raises(grounds.ApprovalExpired, match="The plan of Run"):
        approvals.take_back(actor=place.actor("dba"), number=run.number)


def test_another_approver_who_stands_in_leaves_the_run_approved_in_words_too() -> None:
    place = make_place()
    add_person(place, "second", (Role.APPROVER, "owner"))
    run, digest = awaiting(place)
    approve(place, "dba", run, digest)
    approve(place, "owner", run, digest)
    place.people["owner"].groups.clear()

    approve(place, "second", run, digest)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("approved", approvals.APPROVED)


def test_an_approval_is_of_the_rehearsal_that_the_page_showed() -> None:
    place = make_place()
    run, digest = awaiting(place)
    seen = rehearsed.ended(place, run, grade="exact")
    newer = rehearsed.ended(place, run, grade="exact")
    dba = place.actor("dba")

    for stale in (0, seen.pk):
        with pytest.raises(approvals.RehearsalMoved):
            approvals.approve(actor=dba, number=run.number, digest=digest, seen_rehearsal=stale)
    approval = approvals.approve(actor=dba, number=run.number, digest=digest, seen_rehearsal=newer.pk)

    assert approval.rehearsal == newer


@pytest.mark.parametrize("change", [changes.longer_deadline, changes.other_folder, changes.other_url])
def test_what_would_be_void_is_not_approved(change: changes.Change) -> None:
    place = make_place()
    run, digest = awaiting(place)
    change(place, run)

    with pytest.raises(grounds.ApprovedThingChanged) as refused:
        approve(place, "dba", run, digest)

    assert refused.value.message == f"Changed since the plan was made: {changes.VOID[change]}. Request it again."


def test_a_wish_for_changes_of_somebody_who_may_not_decide_any_more_blocks_nothing() -> None:
    place = make_place()
    run, digest = awaiting(place)
    add_person(place, "third", (Role.APPROVER, "security"))
    approvals.request_changes(actor=place.actor("third"), number=run.number, digest=digest, comment="Wait.")
    place.people["third"].groups.clear()

    approve(place, "dba", run, digest)
    approve(place, "owner", run, digest)

    run.refresh_from_db()
    assert run.state == "approved"


def test_two_accounts_with_one_address_are_one_person() -> None:
    place = make_place()
    for name, address in (("dev", "Dev@Bank.example"), ("dba", "dev@bank.example "), ("owner", "o@bank.example")):
        User.objects.filter(username=name).update(email=address)
    add_person(place, "second", (Role.APPROVER, "database-administrator"))
    User.objects.filter(username="second").update(email="O@bank.example")
    run, digest = awaiting(place)

    with pytest.raises(approvals.SelfApproval, match="dba has the same e-mail address as dev, who asked for the run"):
        approve(place, "dba", run, digest)
    approve(place, "owner", run, digest)
    with pytest.raises(approvals.SamePerson, match="second has the same e-mail address as owner, who approved it"):
        approve(place, "second", run, digest)


def test_approvals_leave_events_with_roles_and_what_is_missing() -> None:
    place = make_place()
    run, digest = awaiting(place)

    approve(place, "dba", run, digest)
    first = trail.last("run.approval_given").facts["facts"]
    approve(place, "owner", run, digest)

    assert (first["roles"], first["still_missing"], first["comment"]) == (
        ["database-administrator"],
        ["1 × owner"],
        "Read it.",
    )
    assert first["plan_digest"] == digest
    assert trail.of_run(run)[-3:] == ["run.approval_given", "run.approval_given", "run.approved"]
    assert trail.last("run.approved").facts["facts"]["requirements"] == place.environment.requirements


def test_nobody_approves_a_run_that_they_asked_for() -> None:
    place = make_place()
    run, digest = awaiting(place)
    group = place.people["dba"].groups.get()
    place.people["dev"].groups.add(group)

    with pytest.raises(approvals.SelfApproval, match=f"You asked for Run {run.number}"):
        approve(place, "dev", run, digest)

    trail.denied(verb="approvals.approve", code="self_approval")


def test_a_superuser_does_not_approve_their_own_run_either() -> None:
    place = make_place()
    place.people["dev"].is_superuser = True
    place.people["dev"].save(update_fields=["is_superuser"])
    run, digest = awaiting(place)

    with pytest.raises(approvals.SelfApproval):
        approve(place, "dev", run, digest)


def test_a_superuser_without_an_approver_role_does_not_approve() -> None:
    place = make_place()
    run, digest = awaiting(place)

    with pytest.raises(access.MissingRole):
        approve(place, add_person(place, "root", superuser=True), run, digest)

    trail.denied(verb="approvals.approve", code="missing_role")


@pytest.mark.parametrize("name", ["viewer", "operator", "auditor", "admin"])
def test_nobody_approves_without_the_role(name: str) -> None:
    place = make_place()
    run, digest = awaiting(place)

    with pytest.raises(access.MissingRole, match=f"{name} is not approver in Production"):
        approve(place, name, run, digest)


def test_an_approver_of_another_environment_does_not_see_the_run() -> None:
    production = make_place()
    staging = make_place(slug="staging", tier="staging", project=production.project)
    elsewhere = add_person(staging, "dba2", DBA)
    run, digest = awaiting(production)

    with pytest.raises(access.Hidden, match=f"There is no run {run.number}, or you may not see it"):
        approve(production, elsewhere, run, digest)

    trail.denied(verb="approvals.approve", code="not_found")


def test_a_deactivated_approver_does_not_approve() -> None:
    place = make_place()
    run, digest = awaiting(place)
    place.people["dba"].is_active = False
    place.people["dba"].save(update_fields=["is_active"])

    with pytest.raises(access.Hidden):
        approve(place, "dba", run, digest)


@pytest.mark.parametrize("scopes", [(), ("read",), ("request", "run", "read", "export"), ("approve",)])
def test_a_token_does_not_approve_whatever_its_scopes(scopes: tuple[str, ...]) -> None:
    place = make_place()
    run, digest = awaiting(place)

    with pytest.raises(approvals.MachineApproval, match="A person decides in the browser"):
        approve(place, place.token("dba", *scopes), run, digest)

    trail.denied(verb="approvals.approve", code="machine_approval")


def test_a_worker_and_a_command_of_nobody_see_nothing_to_approve() -> None:
    place = make_place()
    run, digest = awaiting(place)

    for actor in (WORKER, Actor(kind=ActorKind.COMMAND, name="cron")):
        with pytest.raises(access.Hidden):
            approve(place, actor, run, digest)


def test_a_command_in_the_name_of_an_approver_proves_nothing_and_does_not_approve() -> None:
    place = make_place()
    run, digest = awaiting(place)

    with pytest.raises(approvals.MachineApproval):
        approve(place, Actor(kind=ActorKind.COMMAND, name="dba", user_id=place.people["dba"].pk), run, digest)

    assert not Approval.objects.exists()


def test_what_somebody_asked_for_with_a_token_is_not_approved_by_its_owner() -> None:
    place = make_place()
    person = add_person(place, "both", DBA, ("requester", ""))
    asked = runs.request(
        actor=place.token("both", "request"), target_id=place.target.pk, revision="head", reason="From CI."
    )
    begun = plans.begin(actor=WORKER, number=asked.number)
    plan = plans.record(actor=WORKER, number=asked.number, epoch=begun.epoch, draft=make_draft(place))

    with pytest.raises(approvals.SelfApproval):
        approve(place, person, asked, plan.digest)


def test_two_people_of_one_role_do_not_fill_two_different_slots() -> None:
    place = make_place()
    second_dba = add_person(place, "dba2", DBA)
    run, digest = awaiting(place)

    approve(place, "dba", run, digest)
    approve(place, second_dba, run, digest)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("awaiting_approval", "Waiting for approval: 1 × owner.")


def test_one_person_with_both_roles_fills_one_slot() -> None:
    place = make_place()
    both = add_person(place, "both", DBA, OWNER)
    run, digest = awaiting(place)

    approve(place, both, run, digest)

    run.refresh_from_db()
    assert run.state == "awaiting_approval"
    assert run.sentence.count("1 ×") == 1


@pytest.mark.parametrize("name", ["dba", "owner"])
def test_a_person_with_both_roles_and_one_with_either_are_enough(name: str) -> None:
    place = make_place()
    both = add_person(place, "both", DBA, OWNER)
    run, digest = awaiting(place)

    approve(place, both, run, digest)
    approve(place, name, run, digest)

    run.refresh_from_db()
    assert run.state == "approved"


def test_a_requirement_of_two_needs_two_people() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 2}])
    run, digest = awaiting(place)
    approve(place, "owner", run, digest)

    with pytest.raises(approvals.AlreadyDecided, match="already decided"):
        approve(place, "owner", run, digest)

    run.refresh_from_db()
    assert run.sentence == "Waiting for approval: 1 × owner."
    approve(place, add_person(place, "owner2", OWNER), run, digest)
    run.refresh_from_db()
    assert run.state == "approved"


def test_an_approval_more_than_needed_is_kept_and_approves_nothing_twice() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None

    approve(place, add_person(place, "owner2", OWNER), run, run.plan.digest)

    assert run.approvals.count() == 3
    assert trail.of_run(run).count("run.approved") == 1


@pytest.mark.parametrize("digest", ["", "x", "a" * 64])
def test_another_digest_than_the_one_that_is_there_is_refused(digest: str) -> None:
    place = make_place()
    run, _ = awaiting(place)

    with pytest.raises(grounds.PlanChanged, match="Reload the page"):
        approve(place, "dba", run, digest)

    assert not Approval.objects.exists()


def test_an_approval_is_not_replayed_on_a_second_run() -> None:
    place = make_place()
    _, first_digest = awaiting(place)
    second, _ = awaiting(place, revision="003")

    with pytest.raises(grounds.PlanChanged):
        approve(place, "dba", second, first_digest)


@pytest.mark.parametrize("state", ["requested", "planning", "queued", "running"])
def test_only_a_run_that_waits_for_it_is_approved(state: str) -> None:
    place = make_place()
    second_owner = add_person(place, "owner2", OWNER)
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match="cannot be approved any more: it is"):
        approve(place, second_owner, run, run.plan.digest if run.plan else "")


def test_an_overdue_request_is_not_approved_even_before_the_sweep_has_seen_it() -> None:
    place = make_place()
    run, digest = awaiting(place)
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))

    with pytest.raises(grounds.ApprovalExpired, match=r"The plan of Run \d+ on market/production/main expired"):
        approve(place, "dba", run, digest)


def test_an_approval_of_somebody_who_has_lost_the_role_does_not_count() -> None:
    place = make_place()
    run, digest = awaiting(place)
    approve(place, "dba", run, digest)
    place.people["dba"].groups.clear()

    approve(place, "owner", run, digest)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("awaiting_approval", "Waiting for approval: 1 × database-administrator.")


def test_a_comment_is_optional_and_has_a_longest_length() -> None:
    place = make_place()
    run, digest = awaiting(place)

    for comment in ("x" * 2_001, "a\x00b", "a\ud800b"):
        with pytest.raises(Invalid):
            approvals.approve(actor=place.actor("dba"), number=run.number, digest=digest, comment=comment)

    assert approvals.approve(actor=place.actor("dba"), number=run.number, digest=digest).comment == ""
