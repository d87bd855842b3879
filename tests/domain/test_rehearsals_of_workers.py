"""Taking a rehearsal up, keeping it, losing it, and storing what was seen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from migrations_audit import dispatch
from migrations_audit.actions import rehearsals, runs, sweeps
from migrations_audit.models import Rehearsal, RevisionDelta
from migrations_audit.models.clock import database_now
from migrations_audit.states import Outcome
from tests.domain import raw, rehearsed, trail
from tests.people import WORKER, make_place, make_run

pytestmark = pytest.mark.django_db


def lose(rehearsal: Rehearsal) -> None:
    """Let the lease of its worker run out."""
    Rehearsal.objects.filter(pk=rehearsal.pk).update(lease_expires_at=database_now() - timedelta(seconds=1))


def finish(rehearsal: Rehearsal, outcome: Outcome = Outcome.PASSED, **more: Any) -> Rehearsal | None:
    return rehearsals.finish(
        actor=WORKER, rehearsal_id=rehearsal.pk, epoch=rehearsal.epoch, result=rehearsed.result(outcome), **more
    )


def test_a_claim_takes_it_with_an_epoch_and_a_lease() -> None:
    place = make_place()

    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    assert (taken.state, taken.epoch, taken.worker) == ("running", 1, WORKER.name)
    assert taken.lease_expires_at is not None
    assert taken.lease_expires_at > database_now()


def test_a_second_worker_gets_nothing() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    assert rehearsals.claim(actor=WORKER, rehearsal_id=taken.pk) is None
    assert Rehearsal.objects.get(pk=taken.pk).epoch == 1


def test_a_message_about_no_rehearsal_gets_nothing() -> None:
    with pytest.raises(rehearsals.NoSuchRehearsal):
        rehearsals.claim(actor=WORKER, rehearsal_id=404)


def test_a_lease_is_renewed_by_who_holds_it_only() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    assert rehearsals.renew(rehearsal_id=taken.pk, epoch=1)
    assert not rehearsals.renew(rehearsal_id=taken.pk, epoch=0)
    assert not rehearsals.renew(rehearsal_id=taken.pk, epoch=2)


def test_a_lease_is_not_renewed_when_nobody_waits_any_more() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    taken = rehearsed.claimed(place, run)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    assert not rehearsals.renew(rehearsal_id=taken.pk, epoch=taken.epoch)


def test_another_worker_takes_up_what_a_lost_one_held() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    lose(taken)

    again = rehearsals.claim(actor=WORKER, rehearsal_id=taken.pk)

    assert again is not None
    assert again.epoch == 2


def test_a_late_end_of_a_lost_worker_writes_nothing() -> None:
    place = make_place()
    lost = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    lose(lost)
    rehearsals.claim(actor=WORKER, rehearsal_id=lost.pk)

    late = finish(lost, deltas=[{"revision": "003", "sha256": "a" * 64, "changes": []}])

    assert late is None
    assert not RevisionDelta.objects.exists()
    assert Rehearsal.objects.get(pk=lost.pk).state == "running"
    assert not Rehearsal.objects.passed().exists()


def test_a_second_end_writes_nothing() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    finish(taken)

    assert finish(taken, Outcome.FAILED) is None
    assert Rehearsal.objects.get(pk=taken.pk).outcome == "passed"


def test_three_lost_workers_end_it() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    for _ in range(3):
        taken = rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk)
        assert taken is not None
        lose(taken)

    assert rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk) is None

    asked.refresh_from_db()
    assert (asked.state, asked.outcome, asked.code) == ("ended", "could_not_run", "workers_lost")
    assert "3 workers" in asked.sentence


@pytest.mark.parametrize("was_running", [False, True])
def test_a_run_that_is_over_ends_its_rehearsal(was_running: bool) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    if was_running:
        rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk)
        lose(asked)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    assert rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk) is None

    asked.refresh_from_db()
    assert (asked.outcome, asked.code) == ("could_not_run", "run_over")
    assert "withdrawn" in asked.sentence


def test_what_was_seen_is_stored_with_the_deltas_of_its_files() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    ended = rehearsed.ended(place, run)

    kept = Rehearsal.objects.get(pk=ended.pk)
    assert (kept.state, kept.outcome, kept.grade, kept.lease_expires_at) == ("ended", "passed", "exact", None)
    assert kept.ended_at is not None
    assert kept.steps == [{"revision": "003", "statements": []}]
    delta = RevisionDelta.objects.get(rehearsal=kept)
    assert (delta.project, delta.revision, delta.sha256) == (place.project, "003", "a" * 64)


def test_its_end_leaves_an_event() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    ended = rehearsed.ended(place, run, Outcome.FAILED, code="failed_on_copy")

    facts = trail.last("run.rehearsed").facts["facts"]
    assert (facts["rehearsal"], facts["outcome"], facts["code"]) == (ended.pk, "failed", "failed_on_copy")


def test_giving_up_says_why() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    rehearsals.give_up(
        actor=WORKER, rehearsal_id=taken.pk, epoch=taken.epoch, code="no_copy", sentence="pg_dump is absent."
    )

    taken.refresh_from_db()
    assert (taken.outcome, taken.code, taken.sentence) == ("could_not_run", "no_copy", "pg_dump is absent.")
    assert taken.impact == {}


def test_what_the_target_told_is_kept_although_it_was_given_up() -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    rehearsals.give_up(
        actor=WORKER,
        rehearsal_id=taken.pk,
        epoch=taken.epoch,
        code="no_copy",
        sentence="No.",
        impact=rehearsed.IMPACT,
    )

    taken.refresh_from_db()
    assert taken.impact == rehearsed.IMPACT


# --- the sweep ---

Sent = list[tuple[dispatch.Wake, dict[str, Any]]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What is handed to the dispatcher."""
    messages: Sent = []
    monkeypatch.setattr(dispatch, "after_commit", lambda wake, **values: messages.append((wake, values)))
    return messages


def swept(sent: Sent) -> list[int]:
    """Sweep once; the rehearsals that were sent."""
    sent.clear()
    sweeps.sweep(actor=WORKER)
    return [values["rehearsal_id"] for wake, values in sent if wake is dispatch.Wake.REHEARSE]


def sent_ago(rehearsal: Rehearsal, seconds: float | None) -> None:
    at = None if seconds is None else database_now() - timedelta(seconds=seconds)
    Rehearsal.objects.filter(pk=rehearsal.pk).update(dispatched_at=at)


@pytest.mark.parametrize(("seconds", "again"), [(3, False), (3_600, True), (None, True)])
def test_a_message_that_nobody_took_is_sent_again(sent: Sent, seconds: float | None, again: bool) -> None:
    place = make_place()
    asked = rehearsals.ask(actor=place.actor("dba"), number=make_run(place, state="awaiting_approval").number)
    sent_ago(asked, seconds)

    assert swept(sent) == ([asked.pk] if again else [])


def test_it_is_not_sent_again_at_once(sent: Sent) -> None:
    place = make_place()
    asked = rehearsals.ask(actor=place.actor("dba"), number=make_run(place, state="awaiting_approval").number)
    sent_ago(asked, 3_600)
    swept(sent)

    assert swept(sent) == []


def test_one_that_a_living_worker_plays_is_left_alone(sent: Sent) -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    sent_ago(taken, 3_600)

    assert swept(sent) == []


def test_one_whose_worker_was_lost_is_sent_again(sent: Sent) -> None:
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    sent_ago(taken, 3_600)
    lose(taken)

    assert swept(sent) == [taken.pk]


def test_one_that_has_ended_is_left_alone(sent: Sent) -> None:
    place = make_place()
    rehearsed.ended(place, make_run(place, state="awaiting_approval"))

    assert swept(sent) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_transactions")
def test_the_sweep_does_not_wait_for_a_rehearsal_that_somebody_holds(sent: Sent) -> None:
    place = make_place()
    asked = rehearsals.ask(actor=place.actor("dba"), number=make_run(place, state="awaiting_approval").number)
    sent_ago(asked, 3_600)
    with raw.another_session() as other:
        other.execute("SELECT FROM migrations_audit_rehearsal WHERE id = %s FOR UPDATE", [asked.pk])

        assert swept(sent) == []

    assert swept(sent) == [asked.pk]
