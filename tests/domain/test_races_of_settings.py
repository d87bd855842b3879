"""People who change settings and accounts while runs go on: nobody waits for the other in a circle."""

from __future__ import annotations

from functools import partial

import pytest

from migrations_audit.actions import people, registry, runs
from tests.domain.racing import ROUNDS, race, refusals
from tests.people import add_person, finish, make_place, make_run, read_back

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_transactions")]


def test_a_changed_target_and_the_end_of_a_run_on_it_do_not_block_each_other() -> None:
    place = make_place(tier="development", requirements=[])
    for turn in range(ROUNDS):
        run = make_run(place, state="running")
        reading = read_back(place, run)

        outcomes = race(
            partial(finish, place, run, observation=reading),
            partial(
                registry.save_target,
                actor=place.actor("admin"),
                target_id=place.target.pk,
                url_reference=f"env:URL_{turn}",
            ),
        )

        assert refusals(outcomes) == []


def test_a_changed_account_and_a_request_of_that_person_do_not_block_each_other() -> None:
    place = make_place()
    root = add_person(place, "root", superuser=True)
    for turn in range(ROUNDS):
        outcomes = race(
            partial(
                runs.request,
                actor=place.actor("dev"),
                target_id=place.target.pk,
                revision="head",
                reason="While changed.",
            ),
            partial(people.change_user, actor=root, user_id=place.people["dev"].pk, first_name=f"Name {turn}"),
        )

        assert refusals(outcomes) == []
        runs.withdraw(actor=place.actor("dev"), number=outcomes[0].value.number)
