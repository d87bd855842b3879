"""The claim: exactly one delivery gets the run, and only if what was approved still stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from migrations_audit.actions import attempts, moves, runs, tokens
from migrations_audit.models import ApiToken
from migrations_audit.models.clock import database_now
from tests.domain import changes, trail
from tests.people import WORKER, Place, make_place, make_run

pytestmark = pytest.mark.django_db


def test_a_claim_takes_the_run_with_a_new_epoch_and_a_lease() -> None:
    place = make_place()
    queued = make_run(place, state="queued")

    run = attempts.claim(actor=WORKER, number=queued.number)

    assert (run.state, run.phase, run.epoch, run.worker) == ("running", "preflight", queued.epoch + 1, WORKER.name)
    assert run.started_at is not None
    assert run.lease_expires_at is not None
    assert run.lease_expires_at > database_now()
    assert trail.last("run.claimed").facts["facts"]["epoch"] == run.epoch


def test_a_second_delivery_gets_nothing() -> None:
    run = make_run(make_place(), state="running")

    with pytest.raises(attempts.NotClaimable, match="is running"):
        attempts.claim(actor=WORKER, number=run.number)

    assert trail.of_run(run).count("run.claimed") == 1


@pytest.mark.parametrize("state", ["requested", "planning", "awaiting_approval", "approved"])
def test_a_message_that_is_ahead_of_the_row_gets_nothing(state: str) -> None:
    run = make_run(make_place(), state=state)

    with pytest.raises(attempts.NotClaimable):
        attempts.claim(actor=WORKER, number=run.number)


def test_a_cancelled_run_is_not_claimed() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    runs.cancel(actor=place.actor("operator"), number=run.number)

    with pytest.raises(attempts.NotClaimable, match="is cancelled"):
        attempts.claim(actor=WORKER, number=run.number)


def test_a_message_about_no_run_gets_nothing() -> None:
    with pytest.raises(moves.NoSuchRun):
        attempts.claim(actor=WORKER, number=404)


@pytest.mark.parametrize("change", changes.REFUSED, ids=lambda change: change.__name__)
def test_a_claim_is_refused_after(change: changes.Change) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    change(place, run)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("refused", changes.REFUSED[change])
    assert claimed.finished_at is not None
    assert trail.of_run(run)[-1] == "run.refused"
    assert trail.last("run.refused").facts["facts"]["code"] == changes.REFUSED[change]


@pytest.mark.parametrize("change", changes.VOID, ids=lambda change: change.__name__)
def test_an_approval_is_void_at_the_claim_after(change: changes.Change) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    change(place, run)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("void", "approved_thing_changed")
    assert claimed.sentence == f"Changed since the plan was made: {changes.VOID[change]}. Request it again."
    assert trail.of_run(run)[-1] == "run.void"


def test_a_void_run_names_everything_that_changed() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    changes.other_url(place, run)
    changes.longer_deadline(place, run)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert "the target's or the project's settings and the environment's policy" in claimed.sentence


@pytest.mark.parametrize("change", changes.HARMLESS, ids=lambda change: change.__name__)
def test_a_claim_succeeds_after(change: changes.Change) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    change(place, run)

    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


def test_a_refused_run_frees_its_target() -> None:
    place = make_place()
    first = make_run(place, state="queued")
    second = make_run(place, state="approved", revision="003")
    changes.expire(place, first)
    attempts.claim(actor=WORKER, number=first.number)

    assert second.plan is not None
    started = runs.start(
        actor=place.actor("operator"), number=second.number, digest=second.plan.digest, confirm=place.target.label
    )
    assert started.state == "queued"


def test_a_heartbeat_prolongs_the_lease_and_leaves_no_event() -> None:
    run = make_run(make_place(), state="running")
    before = trail.head()
    type(run).objects.filter(number=run.number).update(lease_expires_at=database_now() + timedelta(seconds=1))

    lease = attempts.renew(number=run.number, epoch=run.epoch)

    run.refresh_from_db()
    assert lease == attempts.Lease(held=True, cancel_requested=False)
    assert run.lease_expires_at is not None
    assert run.lease_expires_at > database_now() + timedelta(seconds=20)
    assert trail.head() == before


def test_a_heartbeat_learns_of_a_cancel() -> None:
    place = make_place()
    run = make_run(place, state="running")
    runs.cancel(actor=place.actor("operator"), number=run.number)

    assert attempts.renew(number=run.number, epoch=run.epoch) == attempts.Lease(held=True, cancel_requested=True)


def test_a_heartbeat_of_another_epoch_holds_nothing() -> None:
    run = make_run(make_place(), state="running")

    for epoch in (run.epoch - 1, run.epoch + 1):
        assert not attempts.renew(number=run.number, epoch=epoch).held


def loses_the_role(place: Place) -> None:
    place.people["operator"].groups.clear()


def leaves(place: Place) -> None:
    User.objects.filter(username="operator").update(is_active=False)


@pytest.mark.parametrize(("then", "code"), [(loses_the_role, "missing_role"), (leaves, "starter_gone")])
def test_a_run_is_not_claimed_for_somebody_who_may_not_start_it_any_more(
    then: Callable[[Place], None], code: str
) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    then(place)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("refused", code)
    assert "operator" in claimed.sentence


def test_a_run_is_not_claimed_for_a_token_that_was_revoked() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None
    new = tokens.create(actor=place.actor("operator"), name="ci", scopes=["run"], days=1)
    ci = tokens.authenticate(secret=new.secret, address="127.0.0.1")
    runs.start(actor=ci, number=run.number, digest=run.plan.digest, confirm=place.target.label)
    ApiToken.objects.filter(pk=new.token.pk).update(revoked_at=database_now())

    assert attempts.claim(actor=WORKER, number=run.number).reason_code == "token_revoked"
