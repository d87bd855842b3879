"""Starting a run without approval: who may, what it takes, what stays, and what follows."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from migrations_audit import access
from migrations_audit.actions import approvals, attempts, glass, grounds, moves, runs, sign_ins
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import AuditEvent, GlassReview, MigrationRun, Notice, Role
from migrations_audit.models.clock import database_now
from migrations_audit.states import Outcome
from tests.domain import changes, raw, rehearsed, trail
from tests.people import PASSWORD, WORKER, Place, add_person, approve_by_all, at_once, finish, make_place, make_run

pytestmark = pytest.mark.django_db

WHY_NOW = "Sign-in answers 500 since 02:10; customers are locked out."
WHY_NOT = "Neither owner nor administrator answers the phone at this hour."


def chief(place: Place, name: str = "chief") -> Actor:
    """Somebody who is administrator and operator."""
    return add_person(place, name, (Role.ADMINISTRATOR, ""), (Role.OPERATOR, ""))


def break_glass(place: Place, run: MigrationRun, actor: Actor, **given: str) -> MigrationRun:
    assert run.plan is not None
    values = {
        "digest": run.plan.digest,
        "why_now": WHY_NOW,
        "why_not_approved": WHY_NOT,
        "password": PASSWORD,
        "confirm": place.target.label,
    } | given
    return glass.break_glass(actor=actor, number=run.number, **values)


def broken(place: Place) -> MigrationRun:
    """A run that was started without approval and has ended."""
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    return finish(place, attempts.claim(actor=WORKER, number=run.number))


def test_an_administrator_and_operator_starts_a_run_that_nobody_approved() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))

    run.refresh_from_db()
    assert (run.state, run.broke_glass_by_name, run.queued_by_name) == ("queued", "chief", "chief")
    assert run.sentence.startswith("Started WITHOUT APPROVAL by chief at ")
    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


def test_its_event_tells_both_reasons_what_was_missing_and_who_was_told() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))

    facts = trail.last("run.glass_broken").facts["facts"]

    assert (facts["why_now"], facts["why_not_approved"]) == (WHY_NOW, WHY_NOT)
    assert facts["missing"] == ["1 × database-administrator", "1 × owner"]
    assert (facts["is_requester"], facts["told"]) == (False, ["dba", "dev", "owner"])
    assert trail.of_run(run)[-1] == "run.glass_broken"


def test_everybody_who_would_have_approved_and_the_requester_find_a_notice() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))

    told = {notice.person.username: notice.text for notice in Notice.objects.select_related("person")}

    assert set(told) == {"dba", "dev", "owner"}
    assert f"Run {run.number} on market/production/main: Started WITHOUT APPROVAL by chief" in told["dba"]


def test_the_requester_may_and_then_it_is_said() -> None:
    place = make_place()
    for name in ("admin", "operator"):
        place.people["dev"].groups.add(place.people[name].groups.get())

    run = break_glass(place, make_run(place, state="awaiting_approval"), place.actor("dev"))

    assert "by dev, who also asked for it, at" in run.sentence
    assert trail.last("run.glass_broken").facts["facts"]["is_requester"] is True


@pytest.mark.parametrize("name", ["dev", "dba", "owner", "operator", "admin", "viewer"])
def test_one_of_the_two_roles_is_not_enough(name: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(access.MissingRole):
        break_glass(place, run, place.actor(name))

    trail.denied(verb="glass.may_break", code="missing_role")
    run.refresh_from_db()
    assert run.state == "awaiting_approval"


def test_a_superuser_alone_does_not() -> None:
    place = make_place()

    with pytest.raises(access.MissingRole, match="is not operator"):
        break_glass(place, make_run(place, state="awaiting_approval"), add_person(place, "root", superuser=True))


@pytest.mark.parametrize("kind", [ActorKind.TOKEN, ActorKind.COMMAND])
def test_no_token_and_no_command_breaks_glass(kind: ActorKind) -> None:
    place = make_place()
    person = chief(place)
    machine = Actor(kind=kind, name="ci", user_id=person.user_id, scopes=frozenset({"run", "request"}))

    with pytest.raises(glass.GlassNeedsPerson):
        break_glass(place, make_run(place, state="awaiting_approval"), machine)

    trail.denied(verb="glass.may_break", code="glass_needs_person")


def test_a_wrong_password_starts_nothing_and_is_counted_and_recorded_like_a_sign_in() -> None:
    place = make_place()
    person = dataclasses.replace(chief(place, "guessed"), address="203.0.113.77")
    run = make_run(place, state="awaiting_approval")

    for _ in range(sign_ins.MOST_HERE):
        with pytest.raises(sign_ins.PasswordRefused) as refused:
            break_glass(place, run, person, password="guess")
    with pytest.raises(sign_ins.SignInThrottled):
        break_glass(place, run, person)

    run.refresh_from_db()
    assert (run.state, refused.value.field) == ("awaiting_approval", "password")
    assert trail.last("user.sign_in_failed").object_id == "guessed"


def test_the_right_password_after_wrong_ones_begins_the_count_anew() -> None:
    place = make_place()
    person, run = chief(place, "chief2"), make_run(place, state="awaiting_approval")
    with pytest.raises(sign_ins.PasswordRefused):
        break_glass(place, run, person, password="guess")

    assert break_glass(place, run, person).state == "queued"


@pytest.mark.parametrize(
    ("field", "given", "named"),
    [
        ("why_now", "urgent", "why_now"),
        ("why_now", " " * 30, "why_now"),
        ("why_not_approved", "nobody there", "why_not_approved"),
        ("why_now", "x" * 2_001, "why_now"),
        ("confirm", "", "confirm_target"),
        ("confirm", "market/staging/main", "confirm_target"),
    ],
)
def test_it_takes_two_reasons_and_the_targets_name(field: str, given: str, named: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(Invalid) as refused:
        break_glass(place, run, chief(place), **{field: given})

    assert refused.value.field == named
    run.refresh_from_db()
    assert (run.state, run.broke_glass_at) == ("awaiting_approval", None)


def test_another_plan_than_the_one_that_was_seen_is_not_started() -> None:
    place = make_place()

    with pytest.raises(grounds.PlanChanged):
        break_glass(place, make_run(place, state="awaiting_approval"), chief(place), digest="a" * 64)


def test_a_run_that_expired_is_not_started() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    changes.expire(place, run)

    with pytest.raises(grounds.ApprovalExpired):
        break_glass(place, run, chief(place))


def test_a_run_that_is_approved_needs_no_broken_glass() -> None:
    place = make_place()

    with pytest.raises(glass.GlassNotNeeded, match="Press Run now"):
        break_glass(place, make_run(place, state="approved"), chief(place))


def test_an_approved_run_whose_approvals_no_longer_count_can_be_started() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    changes.lose_role(place, run)

    assert break_glass(place, run, chief(place)).state == "queued"


@pytest.mark.parametrize("state", ["requested", "planning", "queued", "running"])
def test_only_a_run_that_waits_is_started(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun):
        glass.break_glass(
            actor=chief(place),
            number=run.number,
            digest=run.plan.digest if run.plan else "",
            why_now=WHY_NOW,
            why_not_approved=WHY_NOT,
            password=PASSWORD,
            confirm=place.target.label,
        )


def test_runs_on_one_target_do_not_overlap_for_an_emergency_either() -> None:
    place = make_place()
    make_run(place, state="queued")

    with pytest.raises(runs.TargetBusy):
        break_glass(place, make_run(place, state="awaiting_approval", revision="003"), chief(place))


@pytest.mark.parametrize("change", [changes.other_url, changes.other_folder, changes.longer_deadline])
def test_what_changed_before_the_claim_makes_it_void_all_the_same(change: changes.Change) -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    change(place, run)

    assert attempts.claim(actor=WORKER, number=run.number).reason_code == "approved_thing_changed"


def test_whoever_lost_a_role_before_the_claim_started_nothing() -> None:
    place = make_place()
    person = chief(place)
    run = break_glass(place, make_run(place, state="awaiting_approval"), person)
    place.people["chief"].groups.clear()

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("refused", "missing_role")


def test_what_is_recorded_of_it_stays_for_ever() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))

    for column, value in {
        "broke_glass_at": None,
        "broke_glass_by_id": place.people["dba"].pk,
        "broke_glass_by_name": "dba",
        "broke_glass_why_now": WHY_NOT,
        "broke_glass_why_not": WHY_NOW,
    }.items():
        with raw.refused(match="broken glass stays as it is"):
            raw.execute(f"UPDATE migrations_audit_migrationrun SET {column} = %s WHERE number = %s", value, run.number)


def test_the_database_refuses_a_start_without_approval_and_without_broken_glass() -> None:
    run = make_run(make_place(), state="awaiting_approval")

    with raw.refused(match="without approval it starts only with broken glass"):
        raw.execute("UPDATE migrations_audit_migrationrun SET state = 'queued' WHERE number = %s", run.number)


@pytest.mark.parametrize(
    "column", ["broke_glass_by_id = NULL", "broke_glass_by_name = ''", "broke_glass_why_now = 'short'",
               "broke_glass_why_not = ''"]
)  # fmt: skip
def test_the_database_asks_for_who_and_why(column: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    whole = {
        "broke_glass_by_id": f"broke_glass_by_id = {place.people['dev'].pk}",
        "broke_glass_by_name": "broke_glass_by_name = 'dev'",
        "broke_glass_why_now": f"broke_glass_why_now = '{WHY_NOW}'",
        "broke_glass_why_not": f"broke_glass_why_not = '{WHY_NOT}'",
    }
    whole[column.partition(" ")[0]] = column

    with raw.refused(match="broken glass needs who and why"):
        raw.execute(
            "UPDATE migrations_audit_migrationrun SET state = 'queued', broke_glass_at = now(), "
            f"{', '.join(whole.values())} WHERE number = %s",
            run.number,
        )


def test_glass_is_broken_only_by_a_start() -> None:
    run = make_run(make_place(), state="awaiting_approval")

    with raw.refused(match="broken glass stays as it is"):
        raw.execute("UPDATE migrations_audit_migrationrun SET broke_glass_at = now() WHERE number = %s", run.number)


@pytest.mark.parametrize("name", ["dba", "owner", "auditor", "admin"])
def test_somebody_else_signs_the_review(name: str) -> None:
    place = make_place()
    run = broken(place)

    signed = glass.review(
        actor=place.actor(name), number=run.number, text="Read the log and the evidence; nothing odd."
    )

    assert (signed.person_name, signed.run_id) == (name, run.number)
    assert trail.last("run.reviewed_afterwards").facts["facts"]["text"] == signed.text


def test_the_starter_does_not_sign() -> None:
    place = make_place()
    run = broken(place)

    with pytest.raises(glass.SelfReview, match="somebody else reviews it"):
        glass.review(actor=place.actor("chief"), number=run.number, text="I was right to do so, I think.")
    with raw.refused(match="nobody_reviews_their_own_broken_glass"):
        GlassReview.objects.create(
            run=run, starter_id=place.people["chief"].pk, person_id=place.people["chief"].pk, person_name="chief",
            text="x", at=run.requested_at,
        )  # fmt: skip
    with raw.refused(match="names who started it"):
        GlassReview.objects.create(
            run=run, starter_id=place.people["dba"].pk, person_id=place.people["chief"].pk, person_name="chief",
            text="x", at=run.requested_at,
        )  # fmt: skip

    trail.denied(verb="glass.review", code="self_review")


@pytest.mark.parametrize("name", ["viewer", "dev", "operator"])
def test_not_everybody_signs(name: str) -> None:
    place = make_place()
    run = broken(place)

    with pytest.raises(access.MissingRole):
        glass.review(actor=place.actor(name), number=run.number, text="Read the log and the evidence.")


def test_a_token_signs_nothing() -> None:
    place = make_place()
    run = broken(place)

    with pytest.raises(glass.GlassNeedsPerson):
        glass.review(actor=place.token("dba", "run"), number=run.number, text="Read the log and the evidence.")


def test_a_review_is_signed_once_with_words_and_after_the_end() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    words = "Read the log and the evidence; nothing odd."

    with pytest.raises(Conflict, match="It is reviewed once it has ended"):
        glass.review(actor=place.actor("dba"), number=run.number, text=words)
    finish(place, attempts.claim(actor=WORKER, number=run.number))
    with pytest.raises(Invalid):
        glass.review(actor=place.actor("dba"), number=run.number, text="fine")
    glass.review(actor=place.actor("dba"), number=run.number, text=words)
    with pytest.raises(glass.NothingToReview):
        glass.review(actor=place.actor("owner"), number=run.number, text=words)


def test_an_approved_run_has_nothing_to_review() -> None:
    place = make_place()
    run = finish(place, make_run(place, state="running"))

    with pytest.raises(glass.NothingToReview):
        glass.review(actor=place.actor("dba"), number=run.number, text="Read the log and the evidence.")


def test_a_review_does_not_change() -> None:
    place = make_place()
    run = broken(place)
    signed = glass.review(actor=place.actor("dba"), number=run.number, text="Read the log and the evidence.")

    with raw.refused(match="these rows are a record"):
        GlassReview.objects.filter(pk=signed.pk).update(text="Nothing to see here, move on.")
    with raw.refused(match="these rows are a record"):
        signed.delete()


def test_a_notice_is_acknowledged_once_and_by_its_own_person() -> None:
    place = make_place()
    break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    notice = Notice.objects.get(person=place.people["dba"])

    with pytest.raises(glass.NoSuchNotice):
        glass.acknowledge(actor=place.actor("owner"), notice_id=notice.pk)
    glass.acknowledge(actor=place.actor("dba"), notice_id=notice.pk)
    with pytest.raises(Conflict):
        glass.acknowledge(actor=place.actor("dba"), notice_id=notice.pk)

    assert trail.last("run.notice_acknowledged").actor == "dba"


def test_an_approval_and_broken_glass_at_the_same_time_leave_one_start(real_transactions: None) -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    run, person = make_run(place, state="awaiting_approval"), chief(place)
    assert run.plan is not None
    digest = run.plan.digest
    rivals: list[Any] = [
        lambda: break_glass(place, run, person),
        lambda: approvals.approve(actor=place.actor("owner"), number=run.number, digest=digest),
    ]

    answers = at_once(2, lambda index: rivals[index]())

    run.refresh_from_db()
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(answer, Conflict) for answer in refused)
    assert (run.state == "queued") == (run.broke_glass_at is not None) == (not isinstance(answers[0], Exception))
    assert AuditEvent.objects.filter(action="run.glass_broken").count() == (run.state == "queued")


def test_an_approval_after_it_is_too_late() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    assert run.plan is not None

    with pytest.raises(moves.StaleRun):
        approve_by_all(place, run.number, run.plan.digest)


def test_an_approved_run_that_could_not_start_otherwise_is_started_and_the_event_says_what_was_passed_over() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    rehearsed.ended(place, run, Outcome.PASSED, grade="lossy")

    break_glass(place, run, chief(place))

    facts = trail.last("run.glass_broken").facts["facts"]
    assert (facts["missing"], len(facts["passed_over"])) == ([], 1)
    assert "asks for a runbook" in facts["passed_over"][0]


def test_a_broken_glass_that_is_claimed_late_is_not_told_of_an_approval_that_it_never_had() -> None:
    place = make_place()
    run = break_glass(place, make_run(place, state="awaiting_approval"), chief(place))
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))

    assert attempts.claim(actor=WORKER, number=run.number).state == "running"
