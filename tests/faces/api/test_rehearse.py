"""Rehearsals by the API: asking for one and reading what it showed, within rights and scopes."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit.models import Rehearsal
from tests import people
from tests.domain import rehearsed, trail
from tests.faces.api.caller import Caller


def test_a_pipeline_asks_for_one_and_reads_what_came_of_it(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")

    asked = dev.post(f"runs/{run.number}/rehearse")

    assert asked.status == 202
    assert run.plan is not None
    assert (asked.body["state"], asked.body["outcome"], asked.body["plan"]) == ("waiting", None, run.plan.digest)
    (shown,) = dev.get(f"runs/{run.number}/rehearsals").body
    assert shown == asked.body
    assert trail.last("run.rehearsal_asked").facts["actor"]["kind"] == "token"


def test_what_was_seen_is_there_newest_first(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")
    first, second = rehearsed.ended(place, run), rehearsed.ended(place, run)

    newest, oldest = dev.get(f"runs/{run.number}/rehearsals").body

    assert (newest["id"], oldest["id"]) == (second.pk, first.pk)
    assert (newest["outcome"], newest["grade"], newest["steps"][0]["revision"]) == ("passed", "exact", "003")
    assert newest["delta"][0]["key"] == "table public.x"


def test_many_cost_as_many_queries_as_one(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            dev.get(f"runs/{run.number}/rehearsals")
        assert not any(
            '"migrations_audit_plan"."sql"' in query["sql"] for query in asked if "_rehearsal" in query["sql"]
        )
        return len(asked)

    rehearsed.ended(place, run)
    one = queries()
    for _ in range(6):
        rehearsed.ended(place, run)
    assert queries() == one


@pytest.mark.parametrize(("scopes", "status"), [(["read"], 403), (["read", "run"], 403), (["request"], 202)])
def test_asking_takes_the_scope_request(place: people.Place, scopes: list[str], status: int) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = Caller.of(place, "dev", scopes=scopes).post(f"runs/{run.number}/rehearse")

    assert answer.status == status
    assert Rehearsal.objects.exists() is (status == 202)


def test_reading_takes_the_scope_read(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = Caller.of(place, "dev", scopes=["request"]).get(f"runs/{run.number}/rehearsals")

    assert (answer.status, answer.code) == (403, "missing_scope")


def test_a_viewer_reads_and_does_not_ask(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")
    viewer = Caller.of(place, "viewer")

    assert viewer.get(f"runs/{run.number}/rehearsals").body == []
    assert viewer.post(f"runs/{run.number}/rehearse").code == "missing_role"


def test_what_is_hidden_is_not_there(place: people.Place, outsider: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert outsider.get(f"runs/{run.number}/rehearsals").status == 404
    assert outsider.post(f"runs/{run.number}/rehearse").status == 404


def test_without_a_token_nothing_is_told(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert Caller().get(f"runs/{run.number}/rehearsals").status == 401
    assert Caller().post(f"runs/{run.number}/rehearse").status == 401


@pytest.mark.parametrize(("state", "code"), [("requested", "stale_run"), ("queued", "stale_run")])
def test_a_run_in_another_state_is_a_conflict(place: people.Place, dev: Caller, state: str, code: str) -> None:
    run = people.make_run(place, state=state)

    answer = dev.post(f"runs/{run.number}/rehearse")

    assert (answer.status, answer.code) == (409, code)


def test_asking_twice_is_a_conflict(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dev.post(f"runs/{run.number}/rehearse")

    answer = dev.post(f"runs/{run.number}/rehearse")

    assert (answer.status, answer.code) == (409, "already_rehearsing")
