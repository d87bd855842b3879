"""Runs and plans through the API: everything that a pipeline does with them, except deciding."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit import hashchain
from migrations_audit.actions import attempts, evidence, glass, runs
from migrations_audit.actions.attempts import Line
from migrations_audit.judgement import Check, Judgement
from migrations_audit.models import AuditEvent, MigrationRun
from migrations_audit.states import Outcome, RunState, TargetStatus, Verdict
from tests import people
from tests.domain import trail
from tests.faces.api.caller import Answer, Caller

LABEL = "market/production/main"


def ask(caller: Caller, **changes: object) -> Answer:
    return caller.post("runs", {"target": LABEL, "revision": "head", "reason": "Release 7 needs 003."} | changes)


def test_a_pipeline_asks_for_an_upgrade(place: people.Place, dev: Caller) -> None:
    answer = ask(dev, ticket="OPS-7")

    assert answer.status == 201
    run = MigrationRun.objects.get(number=answer.body["number"])
    assert (run.requester, run.requested, run.ticket) == (place.people["dev"], "head", "OPS-7")
    assert (answer.body["state"], answer.body["target"], answer.body["requester"]) == ("requested", LABEL, "dev")
    assert answer.headers["Location"] == f"/api/v1/runs/{run.number}"
    assert trail.last("run.requested").facts["actor"]["name"].startswith("dev (token ")


def test_a_target_may_be_named_by_its_id(place: people.Place, dev: Caller) -> None:
    assert ask(dev, target=str(place.target.pk)).body["target"] == LABEL


def test_a_rollback_names_the_run_that_it_takes_back(place: people.Place, dev: Caller) -> None:
    first = people.make_run(place, revision="003")

    answer = ask(dev, operation="rollback", revision="-1", rolls_back=first.number)

    assert (answer.body["operation"], answer.body["rolls_back"]) == ("rollback", first.number)


def test_an_upgrade_does_not_name_a_run_that_it_takes_back(place: people.Place, dev: Caller) -> None:
    first = people.make_run(place, revision="003")

    answer = ask(dev, rolls_back=first.number)

    assert (answer.status, answer.code, answer.error["field"]) == (422, "invalid", "rolls_back")


def test_asking_twice_makes_one_run_and_names_it(place: people.Place, dev: Caller) -> None:
    first = ask(dev).body["number"]

    second = ask(dev)

    assert (second.status, second.code) == (409, "already_requested")
    assert f"Run {first} " in second.error["message"]
    assert MigrationRun.objects.count() == 1


def test_the_same_request_with_its_key_gets_the_same_run_also_after_it_has_ended(
    place: people.Place, dev: Caller
) -> None:
    body, key = {"target": LABEL, "revision": "head", "reason": "x"}, {"Idempotency-Key": "build-7f1"}
    first = dev.post("runs", body, **key)
    dev.post(f"runs/{first.body['number']}/withdraw")

    again = dev.post("runs", body, **key)

    assert (first.status, again.status) == (201, 201)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.body["state"] == "withdrawn"
    assert MigrationRun.objects.count() == 1
    assert AuditEvent.objects.filter(action="run.requested").count() == 1


@pytest.mark.parametrize("change", [{"reason": "y"}, {"revision": "003"}, {"ticket": "OPS-1"}])
def test_a_key_with_another_request_is_refused_and_makes_no_run(
    place: people.Place, dev: Caller, change: dict[str, str]
) -> None:
    body = {"target": LABEL, "revision": "head", "reason": "x"}
    dev.post("runs", body, **{"Idempotency-Key": "7f1"})

    answer = dev.post("runs", body | change, **{"Idempotency-Key": "7f1"})

    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert MigrationRun.objects.count() == 1


def test_a_key_belongs_to_one_person(place: people.Place, dev: Caller) -> None:
    people.add_person(place, "dev2", ("requester", ""))
    body = {"target": LABEL, "revision": "head", "reason": "x"}

    numbers = {
        caller.post("runs", body, **{"Idempotency-Key": "7f1"}).body["number"]
        for caller in (dev, Caller.of(place, "dev2"))
    }

    assert len(numbers) == 2


@pytest.mark.parametrize("key", ["a b", "x" * 256, "k\u00e4y"])
def test_an_odd_key_is_refused(place: people.Place, dev: Caller, key: str) -> None:
    answer = dev.post("runs", {"target": LABEL, "revision": "head", "reason": "x"}, **{"Idempotency-Key": key})

    assert (answer.status, answer.error["field"]) == (422, "Idempotency-Key")
    assert not MigrationRun.objects.exists()


@pytest.mark.parametrize(
    "revision", ["--sql", "--sq", "-1", "base", "", "a b", "x" * 200, "head --sql", "current", "\u202ehead"]
)
def test_a_revision_that_is_none_is_refused_by_name(place: people.Place, dev: Caller, revision: str) -> None:
    answer = ask(dev, revision=revision)

    assert (answer.status, answer.error["field"]) == (422, "revision")


def test_a_request_without_the_role_is_refused_and_recorded(place: people.Place) -> None:
    answer = ask(Caller.of(place, "viewer"))

    assert (answer.status, answer.code) == (403, "missing_role")
    trail.denied(verb="runs.request", code="missing_role")


def test_a_run_is_shown_with_its_decisions_and_steps(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="approved")

    shown = dev.get(f"runs/{run.number}").body

    assert [each["person"] for each in shown["approvals"]] == ["dba", "owner"]
    assert [(each["revision"], each["state"]) for each in shown["steps"]] == [("003", "waiting")]
    assert (shown["from_revisions"], shown["to_revisions"]) == (["002"], ["003"])
    assert shown["state"] == "approved"


def test_a_plan_is_shown_with_all_that_its_digest_covers(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")
    assert run.plan is not None

    shown = dev.get(f"plans/{run.plan.digest}").body

    assert hashchain.digest(shown["body"]) == shown["digest"] == run.plan.digest
    assert shown["sql"].startswith("CREATE TABLE analytics_modules")
    assert set(shown["parts"]) == {
        *("scripts", "sql", "steps", "start", "identity", "connection", "worker", "target", "policy")
    }
    assert shown["runs"] == [run.number]


def test_runs_are_listed_newest_first_page_by_page(place: people.Place, dev: Caller) -> None:
    numbers = [people.make_run(place, revision=f"00{number}").number for number in range(5)]

    first = dev.get("runs", limit=3).body
    rest = dev.get("runs", limit=3, before=first["next_before"]).body

    assert [item["number"] for item in first["items"] + rest["items"]] == numbers[::-1]
    assert rest["next_before"] is None


def test_runs_are_found_by_state_target_environment_and_requester(place: people.Place, dev: Caller) -> None:
    waiting, withdrawn = people.make_run(place), people.make_run(place, revision="003")
    runs.withdraw(actor=place.actor("dev"), number=withdrawn.number)

    def found(**query: str) -> list[int]:
        return [item["number"] for item in dev.get("runs", **query).body["items"]]

    assert found(state="requested") == [waiting.number]
    assert found(target=LABEL, state="withdrawn") == [withdrawn.number]
    assert found(environment="elsewhere") == []
    assert found(requester="dev") == [withdrawn.number, waiting.number]
    assert found(requester="dba") == []


def test_the_number_of_queries_does_not_grow_with_the_runs(place: people.Place, dev: Caller) -> None:
    people.make_run(place)
    dev.get("runs")
    with CaptureQueriesContext(connection) as few:
        dev.get("runs")
    for number in range(5):
        people.make_run(place, revision=f"00{number}")
    with CaptureQueriesContext(connection) as many:
        dev.get("runs")

    assert len(many) == len(few)


def test_an_operators_pipeline_starts_an_approved_run(place: people.Place, operator: Caller) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None

    answer = operator.post(
        f"runs/{run.number}/start", {"digest": run.plan.digest, "confirm_target": "market/production/main"}
    )

    assert (answer.status, answer.body["state"]) == (200, "queued")
    assert answer.body["queued_by"].startswith("operator (token ")


def test_a_start_in_production_without_the_targets_name_is_refused_and_names_the_field(
    place: people.Place, operator: Caller
) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None

    for typed in ({}, {"confirm_target": "market/staging/main"}):
        answer = operator.post(f"runs/{run.number}/start", {"digest": run.plan.digest, **typed})

        assert (answer.status, answer.code, answer.error["field"]) == (422, "invalid", "confirm_target")
    assert operator.get(f"runs/{run.number}").body["state"] == "approved"


def test_a_run_that_was_started_without_approval_says_so_and_who_signed_it(
    place: people.Place, operator: Caller
) -> None:
    people.add_person(place, "chief", ("administrator", ""), ("operator", ""))
    run = people.make_run(place, state="awaiting_approval")
    assert run.plan is not None
    glass.break_glass(
        actor=place.actor("chief"),
        number=run.number,
        digest=run.plan.digest,
        why_now="Sign-in answers 500 since 02:10.",
        why_not_approved="Nobody answers the phone.",
        password=people.PASSWORD,
        confirm=place.target.label,
    )
    people.finish(place, attempts.claim(actor=people.WORKER, number=run.number))
    before = operator.get(f"runs/{run.number}").body
    glass.review(actor=place.actor("dba"), number=run.number, text="Read the log and the evidence.")

    shown, listed = operator.get(f"runs/{run.number}").body, operator.get("runs").body["items"][0]

    assert (before["glass_review"], shown["glass_review"]["person"]) == (None, "dba")
    assert (shown["broke_glass_by"], listed["broke_glass_by"]) == ("chief", "chief")
    assert shown["broke_glass_why_now"] == "Sign-in answers 500 since 02:10."
    assert shown["broke_glass_why_not_approved"] == "Nobody answers the phone."
    assert listed["broke_glass_at"] == shown["broke_glass_at"] != ""


def test_a_start_with_another_digest_is_refused(place: people.Place, operator: Caller) -> None:
    run = people.make_run(place, state="approved")

    answer = operator.post(f"runs/{run.number}/start", {"digest": "0" * 64})

    assert (answer.status, answer.code) == (409, "plan_changed")


def test_a_start_before_the_approvals_is_refused(place: people.Place, operator: Caller) -> None:
    run = people.make_run(place, state="awaiting_approval")
    assert run.plan is not None

    answer = operator.post(
        f"runs/{run.number}/start", {"digest": run.plan.digest, "confirm_target": "market/production/main"}
    )

    assert (answer.status, answer.code) == (409, "stale_run")
    assert "Waiting for approval" in answer.error["message"]


def test_a_start_needs_the_role_operator(place: people.Place, dev: Caller) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None

    assert dev.post(f"runs/{run.number}/start", {"digest": run.plan.digest}).code == "missing_role"


def test_a_queued_run_is_cancelled(place: people.Place, operator: Caller) -> None:
    run = people.make_run(place, state="queued")

    assert operator.post(f"runs/{run.number}/cancel", {}).body["state"] == "cancelled"
    assert operator.post(f"runs/{run.number}/cancel").code == "stale_run"


def test_a_request_is_withdrawn_with_or_without_words(place: people.Place, dev: Caller) -> None:
    one, two = people.make_run(place), people.make_run(place, revision="003")

    assert dev.post(f"runs/{one.number}/withdraw").body["state"] == "withdrawn"
    assert "Not needed." in dev.post(f"runs/{two.number}/withdraw", {"comment": "Not needed."}).body["sentence"]


def test_a_log_is_read_on_from_where_one_was(place: people.Place, dev: Caller) -> None:
    run = running(place)
    lines = [Line("stdout", f"line {number} <b>\x1b[31m\u202e") for number in range(1, 6)]
    attempts.append_log(number=run.number, epoch=run.epoch, lines=lines)

    first = dev.get(f"runs/{run.number}/log", limit=2).body
    rest = dev.get(f"runs/{run.number}/log", after=first["next_after"]).body

    assert [line["seq"] for line in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert rest["items"][-1]["text"] == lines[-1].text
    assert (first["is_complete"], rest["is_complete"], rest["state"]) == (False, False, "running")
    assert dev.get(f"runs/{run.number}/log", after=5).body["next_after"] == 5


def test_the_evidence_of_a_run_that_ended_is_shown_and_its_log_is_complete(place: people.Place, dev: Caller) -> None:
    run = running(place)
    attempts.append_log(number=run.number, epoch=run.epoch, lines=[Line("portal", "Connecting.")])
    verify(place, run)

    told = dev.get(f"runs/{run.number}/evidence").body
    log = dev.get(f"runs/{run.number}/log").body

    assert told["verdict"] == "verified"
    assert [(item["check"], item["outcome"], item["expected"]) for item in told["items"]] == [
        ("revision rows", "passed", "003")
    ]
    assert told["items"][0]["observation"] == told["verified_by"]
    assert log["is_complete"] is True
    assert dev.get(f"runs/{run.number}").body["verdict"] == "verified"


def running(place: people.Place) -> MigrationRun:
    run = people.make_run(place, state="queued")
    return attempts.claim(actor=people.WORKER, number=run.number)


def verify(place: people.Place, run: MigrationRun) -> None:
    """End a running run with a reading that says what was planned."""
    read = evidence.Read(
        status=TargetStatus.IN_SYNC,
        sentence="in sync: at 003",
        identity=people.IDENTITY,
        revisions=["003"],
        heads=["003"],
    )
    observation = evidence.record_observation(
        actor=people.WORKER, target=place.target, purpose="verify", read=read, snapshot=None, run=run
    )
    check = Check("revision rows", "003", "003", Outcome.PASSED)
    judgement = Judgement(RunState.APPLIED, Verdict.VERIFIED, "verified", "It was read at 003.", (check,))
    attempts.finish(
        actor=people.WORKER, number=run.number, epoch=run.epoch, judgement=judgement, observation=observation
    )
