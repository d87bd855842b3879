"""The run page: named by its target, where it stands, what would run, who decided, what was read back."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from migrations_audit.actions import attempts, plans, runs, sweeps
from migrations_audit.judgement import judge
from migrations_audit.models import AuditEvent, LogLine, MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import Phase
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf, events, plan_of


def test_a_run_is_named_by_its_target_and_revisions(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    page = visitor("viewer").run(run)

    assert f"Run {run.number}, upgrade market/production/main 002 → 003" in page.part("status")
    assert f"<title>Run {run.number}: market/production/main: 002 → 003 | Opsportal</title>" in page.source


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        ("requested", "Planned"),
        ("planning", "Planned"),
        ("awaiting_approval", "Approved"),
        ("approved", "Approved"),
        ("queued", "Queued"),
        ("running", "Running"),
    ],
)
def test_the_stepper_marks_where_the_run_is(place: people.Place, visitor: VisitorOf, state: str, stage: str) -> None:
    run = people.make_run(place, state=state)

    source = visitor("viewer").run(run).source

    current = source.partition('aria-current="step"')[2].partition("</li>")[0]
    assert f'<span class="stage">{stage}</span>' in current


@pytest.mark.parametrize(("state", "stage"), [("approved", "Approved"), ("queued", "Queued")])
def test_a_run_that_ended_before_its_start_stops_where_it_was_and_speaks_of_the_past(
    place: people.Place, visitor: VisitorOf, state: str, stage: str
) -> None:
    run = people.make_run(place, state=state)
    if state == "queued":
        runs.cancel(actor=place.actor("operator"), number=run.number)
    else:
        runs.withdraw(actor=place.actor("dev"), number=run.number, comment="")

    page = visitor("dba").run(run)

    current = page.source.partition('aria-current="step"')[2].partition("</li>")[0]
    assert f'<span class="stage">{stage}</span>' in current
    for words in ("What would have run", "What was known before"):
        assert words in page.words
    for words in ("What will run", "Know before you approve", "Nothing has been written yet", "Accept this finding"):
        assert words not in page.words


@pytest.mark.parametrize(
    ("state", "order"),
    [
        ("queued", ["log", "plan", "findings", "trail"]),
        ("running", ["log", "steps", "plan", "findings", "trail"]),
        ("approved", ["findings", "plan", "trail"]),
        ("applied", ["evidence", "steps", "log", "plan", "findings", "trail"]),
    ],
)
def test_while_it_runs_its_log_comes_first_and_the_evidence_once_it_ended(
    place: people.Place, visitor: VisitorOf, state: str, order: list[str]
) -> None:
    run = people.make_run(place, state="running" if state == "applied" else state)
    if state == "applied":
        people.finish(place, run)

    source = visitor("dba").run(run).source

    places = [source.index(f'<h2 id="{name}"') for name in order]
    assert places == sorted(places)


def test_a_running_run_shows_its_phase(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    attempts.enter_phase(actor=people.WORKER, number=run.number, epoch=1 + 1, phase=Phase.LOCK, sentence="Taking it.")

    page = visitor("viewer").run(run)

    assert '<li class="current" aria-current="step">' in page.source
    assert "preflight lock execute verify" in page.part("status")
    assert "Taking it." in page.part("status")


def test_the_sentence_says_what_it_waits_for(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert "Waiting for approval: 1 × database-administrator, 1 × owner." in visitor("viewer").run(run).words


def test_missing_approvals_name_who_could_give_them_but_never_the_requester(
    place: people.Place, visitor: VisitorOf
) -> None:
    people.add_person(place, "olga", ("approver", "owner"))
    place.people["dev"].groups.add(*place.people["owner"].groups.all())
    run = people.make_run(place, state="awaiting_approval")

    assert "owner missing; could be given by olga, owner" in visitor("viewer").run(run).part("approvals")


def test_a_role_that_nobody_holds_is_told(place: people.Place, visitor: VisitorOf) -> None:
    place.people["owner"].groups.clear()
    run = people.make_run(place, state="awaiting_approval")

    assert "missing, and nobody who may decide can fill it" in visitor("viewer").run(run).words


def test_the_request_is_shown_with_its_line_breaks(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, reason="Line one.\nLine two.", ticket="OPS-7")

    page = visitor("viewer").run(run)

    assert '<dd class="words">Line one.\nLine two.</dd>' in page.source
    assert "Ticket OPS-7" in page.words


def test_what_will_run_is_all_there(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    words = visitor("dba").run(run).words

    for part in (
        "migrator@db.example:5432/market",
        "7300000000000000001 , database oid 16384",
        "003 add phase 3 enhancements",
        "versions/003.py",
        "in a transaction",
        "CREATE TABLE analytics_modules",
        "the SQL",
        "the environment's policy",
        "the identity of the database",
        plan_of(run).digest,
        plan_of(run).parts["scripts"],
    ):
        assert part in words


def test_where_there_is_no_sql_the_reason_stands(place: people.Place, visitor: VisitorOf) -> None:
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    draft = people.make_draft(place, sql="", sql_reason="Offline mode cannot inspect a connection.")
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)

    words = visitor("dba").get(f"/runs/{asked.number}/").words

    assert "There is no SQL to show: Offline mode cannot inspect a connection." in words


def test_findings_are_shown_with_their_place(place: people.Place, visitor: VisitorOf) -> None:
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    finding = {"code": "no_downgrade", "severity": "warning", "place": "versions/003.py", "sentence": "No way back."}
    draft = people.make_draft(place, findings=[finding])
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)

    assert "warning no_downgrade No way back. in versions/003.py" in visitor("dba").get(f"/runs/{asked.number}/").words


def test_a_verified_run_shows_every_check_and_the_reading_it_rests_on(place: people.Place, visitor: VisitorOf) -> None:
    run = people.finish(place, people.make_run(place, state="running"))

    page = visitor("viewer").run(run)

    reading = MigrationRun.objects.get(number=run.number).verified_by_id
    assert "applied, verified" in page.part("status")
    assert "market/production/main was read at 003 on a fresh connection." in page.words
    for check in people.evidence_of(run.number):
        assert check.check_name in page.part("evidence")
    assert f'<a href="#observation-{reading}">' in page.source
    assert f'<tr id="observation-{reading}">' in page.source
    assert "table public.analytics_modules added" in page.words


def test_what_the_target_contradicts_is_compared_by_hand_not_planned_again(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="running")
    contradicted = judge(people.make_facts(new_invalid_indexes=("public.i",)), people.make_witness())
    people.finish(place, run, judgement=contradicted)

    words = visitor("dev").run(run).part("status")

    assert "Compare the target by hand with what the evidence expected." in words
    assert "plan again" not in words


def test_an_outcome_that_is_unknown_never_looks_good(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    MigrationRun.objects.filter(number=run.number).update(lease_expires_at=database_now())
    sweeps.sweep(actor=people.WORKER)

    page = visitor("viewer").run(run)

    assert "outcome unknown" in page.part("status")
    assert "Nobody guesses. A worker of target-production is asked to end its sessions" in page.words
    assert 'class="chip good"' not in page.source


def test_a_worker_that_fell_silent_is_told_before_any_sweep_noticed(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    heard = visitor("viewer").run(run).words
    MigrationRun.objects.filter(number=run.number).update(lease_expires_at=database_now())

    silent = visitor("viewer").run(run).words

    assert "no sign of life" not in heard
    assert "has given no sign of life within its lease" in silent
    assert "What reached market/production/main is unknown." in silent
    assert "has given no sign of life within its lease" in visitor("viewer").get("/").words


def test_a_run_whose_worker_was_asked_to_end_says_so(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    sweeps.see_worker(name="worker host/12", queues=["target-production"])
    MigrationRun.objects.filter(number=run.number).update(worker="worker host/12/34")
    before = visitor("viewer").run(run).words
    sweeps.see_worker_ending(name="worker host/12")

    words = visitor("viewer").run(run).words

    assert "was asked to end" not in before
    assert "worker host/12 was asked to end at" in words
    assert "It finishes this run first and takes no other." in words


def test_a_queue_that_nobody_listens_to_is_told(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="queued")
    alone = visitor("viewer").run(run).words
    sweeps.see_worker(name="worker@a", queues=["target-production"])

    heard = visitor("viewer").run(run).words

    assert "No live worker consumes the queue target-production" in alone
    assert "No live worker" not in heard


def test_the_trail_tells_every_event_of_the_run(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    trail = visitor("viewer").run(run).part("trail")

    for action in ("run.requested", "run.planned", "run.approval_given", "run.approved"):
        assert action in trail
    assert events("run.approved")[0].hash in trail


def test_the_log_shows_its_end_and_says_how_much_came_before(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    now = database_now()
    LogLine.objects.bulk_create(
        LogLine(run_id=run.number, seq=seq, at=now, stream="stdout", text=f"line {seq}") for seq in range(1, 601)
    )

    words = visitor("viewer").run(run).words

    assert "100 earlier lines: see the file." in words
    assert "line 600" in words
    assert "line 100 " not in words


def test_the_page_costs_a_bounded_number_of_queries(
    place: people.Place, visitor: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = people.finish(place, people.make_run(place, state="running"))
    viewer = visitor("viewer")

    with django_assert_max_num_queries(30):
        viewer.run(run)


def test_looking_changes_nothing_but_the_session(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    before = AuditEvent.objects.count(), MigrationRun.objects.values().get(number=run.number)

    for tail in ("", "live", "log", "log.txt"):
        visitor("operator").get(f"/runs/{run.number}/{tail}")

    assert (AuditEvent.objects.count(), MigrationRun.objects.values().get(number=run.number)) == before


def test_a_page_without_script_reloads_itself_while_a_worker_has_the_run(place: people.Place) -> None:
    waiting = people.make_run(place, state="awaiting_approval", revision="003")
    working = people.make_run(place, state="queued")
    viewer = Visitor(place.people["viewer"])

    assert 'http-equiv="refresh"' in viewer.run(working).source
    assert 'http-equiv="refresh"' not in viewer.run(waiting).source
