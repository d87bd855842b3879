"""A decision, and at the same moment what makes it pointless: one is first, and nothing starts that somebody stopped."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from migrations_audit.actions import approvals, attempts, grounds, moves, registry, runs, sweeps
from migrations_audit.errors import PortalError
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.queries import bound
from tests.domain import trail
from tests.domain.racing import ROUNDS, one_winner, race, refusals
from tests.people import WORKER, Place, add_person, finish, make_place, make_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_transactions")]


def prepared(place: Place, state: str) -> tuple[int, str]:
    run = make_run(place, state=state)
    assert run.plan is not None
    return run.number, run.plan.digest


def start(place: Place, number: int, digest: str) -> Any:
    return partial(runs.start, actor=place.actor("operator"), number=number, digest=digest, confirm=place.target.label)


def stored(number: int) -> MigrationRun:
    return MigrationRun.objects.get(number=number)


def test_reject_against_start_has_one_winner() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        number, digest = prepared(place, "approved")

        outcomes = race(
            partial(approvals.reject, actor=place.actor("dba"), number=number, digest=digest, comment="No."),
            start(place, number, digest),
        )

        one_winner(outcomes)
        assert [type(error) for error in refusals(outcomes)] == [moves.StaleRun]
        assert stored(number).state == ("queued" if outcomes[0].error else "rejected")
        assert ("run.queued" in trail.of_run(stored(number))) is (outcomes[0].error is not None)
        if outcomes[0].error:
            runs.cancel(actor=place.actor("operator"), number=number)


def test_a_wish_for_changes_against_the_last_approval_keeps_the_run_waiting_whoever_is_first() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            partial(approvals.request_changes, actor=place.actor("dba"), number=number, digest=digest, comment="Less."),
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
        )

        assert outcomes[0].error is None
        assert all(isinstance(error, grounds.ChangesRequested) for error in refusals(outcomes))
        run = stored(number)
        assert run.state == "awaiting_approval"
        assert "asked for changes: Less." in run.sentence
        with pytest.raises(PortalError):
            start(place, number, digest)()
        runs.withdraw(actor=place.actor("dev"), number=number)


def test_an_approval_in_the_moment_of_expiry_either_counts_or_comes_too_late() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    for turn in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")
        over_at = database_now() + timedelta(milliseconds=25 * turn)
        MigrationRun.objects.filter(number=number).update(expires_at=over_at)

        outcomes = race(
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
            partial(sweeps.sweep, actor=WORKER),
        )

        assert outcomes[1].error is None
        assert all(isinstance(error, (grounds.ApprovalExpired, moves.StaleRun)) for error in refusals(outcomes))
        sweeps.sweep(actor=WORKER)
        run = stored(number)
        assert run.state == ("expired" if outcomes[0].error else "approved")
        assert ("run.expired" in trail.of_run(run)) is (outcomes[0].error is not None)
        if run.state == "approved":
            assert outcomes[0].value.at < over_at
            runs.withdraw(actor=place.actor("dev"), number=number)


def test_of_three_approvals_at_once_where_two_are_asked_for_all_stand_and_it_is_approved_once() -> None:
    place = make_place(requirements=[{"people": 2}])
    third = add_person(place, "owner2", ("approver", "owner"))
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            *(
                partial(approvals.approve, actor=actor, number=number, digest=digest)
                for actor in (place.actor("dba"), place.actor("owner"), third)
            )
        )

        assert refusals(outcomes) == []
        run = stored(number)
        assert run.state == "approved"
        assert run.expires_at is not None
        oldest = min(outcome.value.at for outcome in outcomes)
        assert run.expires_at <= oldest + timedelta(seconds=place.environment.approval_lifetime_s)
        assert trail.of_run(run).count("run.approved") == 1
        runs.withdraw(actor=place.actor("dev"), number=number)


def edit(place: Place, turn: int) -> Any:
    """Somebody changes what the plan binds of the target."""
    return partial(
        registry.save_target,
        actor=place.actor("admin"),
        target_id=place.target.pk,
        url_reference=f"env:URL_{turn}",
    )


def test_an_edit_of_the_target_against_the_start_never_runs_what_was_not_approved() -> None:
    place = make_place()
    for turn in range(ROUNDS):
        number, digest = prepared(place, "approved")

        outcomes = race(edit(place, turn), start(place, number, digest))

        assert outcomes[0].error is None
        assert all(isinstance(error, grounds.ApprovedThingChanged) for error in refusals(outcomes))
        if outcomes[1].error is None:
            assert attempts.claim(actor=WORKER, number=number).state == "void"
        else:
            runs.withdraw(actor=place.actor("dev"), number=number)


def test_an_edit_of_the_target_against_the_claim_voids_it_or_comes_after_it() -> None:
    place = make_place()
    for turn in range(ROUNDS):
        number, _ = prepared(place, "queued")

        outcomes = race(edit(place, turn), partial(attempts.claim, actor=WORKER, number=number))

        assert outcomes[0].error is None
        run = outcomes[1].value
        assert run.state in ("void", "running")
        if run.state == "running":
            assert bound.changed(run.plan, run.target) == ""
            finish(place, run)


def test_an_approval_against_an_edit_of_the_target_is_of_no_use_afterwards() -> None:
    place = make_place()
    for turn in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")
        approvals.approve(actor=place.actor("dba"), number=number, digest=digest)

        outcomes = race(
            edit(place, turn),
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
        )

        assert outcomes[0].error is None
        assert all(isinstance(error, grounds.ApprovedThingChanged) for error in refusals(outcomes))
        with pytest.raises(PortalError):
            start(place, number, digest)()
        runs.withdraw(actor=place.actor("dev"), number=number)
