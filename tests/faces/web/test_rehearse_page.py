"""The rehearsal on the run page: what it shows in each state, who may ask for one, and what hostile text becomes."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from migrations_audit.actions import plans, rehearsals
from migrations_audit.models import Environment, MigrationRun, Rehearsal
from migrations_audit.states import Outcome
from tests import people
from tests.domain import rehearsed, trail
from tests.faces.web.test_hostile_text import ANSI, BIDI, SCRIPT
from tests.faces.web.visitor import Visitor, VisitorOf


def awaiting(place: people.Place) -> MigrationRun:
    return people.make_run(place, state="awaiting_approval")


def passed(place: people.Place, run: MigrationRun, **more: Any) -> Rehearsal:
    values = {"grade": "lossy", "steps": [rehearsed.STEP], "impact": rehearsed.IMPACT, "server_version": "18.1"} | more
    return rehearsed.ended(place, run, Outcome.PASSED, **values)


def shown(visitor: Visitor, run: MigrationRun) -> str:
    return visitor.run(run).part("rehearsal")


def test_a_plan_without_one_says_so(place: people.Place, visitor: VisitorOf) -> None:
    words = shown(visitor("dba"), awaiting(place))

    assert "This plan was not rehearsed." in words


def test_one_that_waits_names_the_queue_and_who_asked(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    rehearsals.ask(actor=place.actor("dba"), number=run.number)

    words = shown(visitor("viewer"), run)

    assert "Waits for a worker of target-production , asked for by dba" in words


def test_one_that_runs_names_its_worker(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    rehearsed.claimed(place, run)

    page = visitor("dba").run(run)

    assert "worker@test plays this plan on a throw-away copy of market/production/main" in page.part("rehearsal")
    assert "Rehearse" not in page.buttons


def test_sizes_say_of_what_they_are_and_what_could_not_be_measured(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    common = {"rows": 10, "never_analyzed": False, "live": 10, "dead": 0, "sequential_scans": 0}
    whole = {**common, "partitions": 0, "heirs": 0, "heirs_bytes": 0, "unmeasured": ""}
    locked = "could not be measured: locked by session 9 of app (psql)"
    relations = [
        {**whole, "name": "public.locked", "bytes": None, "unmeasured": locked},
        {**whole, "name": "public.orders", "bytes": 2_048, "partitions": 12, "unmeasured": "1 of 12 could not"},
        {**whole, "name": "public.events", "bytes": 1_024, "heirs": 2, "heirs_bytes": 2_048},
        {**common, "name": "public.kept_before", "bytes": 1_024},
    ]
    passed(place, run, impact={**rehearsed.IMPACT, "relations": relations})

    words = shown(visitor("viewer"), run).replace("\xa0", " ")

    for piece in (
        f"public.locked {locked} 10",
        "public.orders at least 2.0 KB in 12 partitions 1 of 12 could not 10",
        "public.events 1.0 KB 2.0 KB more in 2 tables that inherit from it 10",
        "public.kept_before 1.0 KB 10",
    ):
        assert piece in words, piece


def test_one_that_passed_shows_grades_locks_changes_and_sql(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    passed(place, run)

    words = shown(visitor("viewer"), run)

    for piece in (
        "column public.users.note",
        "AccessExclusive on public.users (8.0 kB, about 10 rows).",
        "session 7 of app",
        "prepared transaction pay-7 of bank, 2.0 h old: only COMMIT PREPARED or ROLLBACK PREPARED ends it",
        "The plan would wait for this: AccessShare, RowExclusive on public.users",
        "Who holds locks on them (1)",
        "AccessShare, RowExclusive on public.users : session 8 of web (gunicorn), idle in transaction, open for 500 ms",
        ": UPDATE users SET name = ?",
        "Base backups that run: session 9 of backup (pg_basebackup), streaming database files.",
        "second (streaming, 3.0 s and 9 bytes behind)",
        "grant it pg_read_all_stats",
        "+ column public.users.note: text",
        "ALTER TABLE users ADD note text;",
        "7 more statements are not kept.",
        "Works outside a transaction in part",
        "PostgreSQL 18.1, a private server that is gone again",
    ):
        assert piece in words, piece


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"lag_s": 0.0}, "second (streaming, 0 ms and 9 bytes behind)"),
        ({"lag_s": 0.0, "behind_bytes": None}, "second (streaming, 0 ms behind)"),
        ({"lag_s": None, "behind_bytes": 0}, "second (streaming, nothing behind)"),
        ({"lag_s": None, "behind_bytes": 2048}, "second (streaming, 2.0 KB behind, for how long is not told)"),
        ({"lag_s": None, "behind_bytes": None}, "second (streaming, lag not told)"),
        (
            {"name": "", "state": "", "lag_s": None, "behind_bytes": None},
            "one without a name (state not told, lag not told)",
        ),
    ],
)
def test_what_is_not_told_of_a_standby_does_not_look_like_nothing(
    place: people.Place, visitor: VisitorOf, told: dict[str, Any], words: str
) -> None:
    run = awaiting(place)
    passed(place, run, impact={**rehearsed.IMPACT, "standbys": [{**rehearsed.IMPACT["standbys"][0], **told}]})

    assert words in shown(visitor("viewer"), run)


def test_the_way_back_is_shown_under_its_revision(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    passed(place, run)

    page = visitor("viewer").run(run)

    for piece in (
        "The way back, as executed on the copy: 1 change, 1 statement, 9 ms",
        "- column public.users.note ALTER TABLE users DROP note; -- 4 ms 3 more statements are not kept.",
        "Applied again after it: the same statements with the same changes, 11 ms.",
    ):
        assert piece in page.part("rehearsal"), piece
    assert '<details class="fold fine" id="fold-back-003">' in page.source


def test_a_way_back_and_a_second_application_that_failed_are_shown_as_far_as_they_came(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = awaiting(place)
    failed = {**rehearsed.STEP["back"]["statements"][0], "failed": True}
    back = {"ms": 0, "ended": False, "statements": [failed], "more_statements": 0, "changes": []}
    again = {**back, "statements": [], "same": False}
    passed(place, run, steps=[{**rehearsed.STEP, "back": back, "again": again}])

    words = shown(visitor("viewer"), run)

    assert (
        "The way back, as executed on the copy: did not come to its end ALTER TABLE users DROP note; -- failed" in words
    )
    assert "Applied again after it, as executed on the copy: did not come to its end It executed nothing." in words


@pytest.mark.parametrize("left_out", [{}, {"back": None, "again": None}])
def test_without_a_way_back_none_is_shown(place: people.Place, visitor: VisitorOf, left_out: dict[str, Any]) -> None:
    run = awaiting(place)
    step = {name: value for name, value in rehearsed.STEP.items() if name not in ("back", "again")}
    passed(place, run, steps=[{**step, **left_out}])

    words = shown(visitor("viewer"), run)

    assert "The way back" not in words
    assert "Applied again" not in words


def test_each_statement_names_its_locks_the_lighter_ones_too(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    locks = [["AccessExclusiveLock", "public.users"], ["RowExclusiveLock", 'public."Odd.one"']]
    statements = [
        {**rehearsed.STEP["statements"][0], "locks": locks},
        {**rehearsed.STEP["statements"][0], "text": "SELECT 1", "rewrites": [], "locks": []},
    ]
    passed(place, run, steps=[{**rehearsed.STEP, "statements": statements}])

    words = shown(visitor("viewer"), run)

    took = 'takes AccessExclusive on public.users, RowExclusive on public."Odd.one"'
    assert f"ALTER TABLE users ADD note text; -- 3 ms, rewrites public.users, {took} SELECT 1; -- 3 ms" in words
    assert words.count("takes ") == 1


def test_one_that_failed_names_the_locks_of_what_was_executed(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    locked = {**rehearsed.STEP["statements"][0], "rewrites": []}
    failed = {**locked, "text": "DROP TABLE gone", "locks": [], "failed": True}
    steps = [{**rehearsed.STEP, "ended": False, "grade": "", "reasons": [], "statements": [locked, failed]}]
    rehearsed.ended(place, run, Outcome.FAILED, steps=steps)

    words = shown(visitor("viewer"), run)

    assert "note text; -- 3 ms, takes AccessExclusive on public.users DROP TABLE gone; -- failed" in words


def test_one_that_failed_says_where(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    statement = {**rehearsed.STEP["statements"][0], "failed": True}
    steps = [{**rehearsed.STEP, "ended": False, "grade": "", "reasons": [], "statements": [statement]}]
    rehearsed.ended(place, run, Outcome.FAILED, sentence="The plan failed on the copy in 003: no.", steps=steps)

    words = shown(visitor("viewer"), run)

    assert "The plan failed on the copy in 003: no." in words
    assert "did not come to its end" in words
    assert "-- failed" in words


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_what_is_not_shown_of_a_statement_is_said(place: people.Place, visitor: VisitorOf, outcome: Outcome) -> None:
    run = awaiting(place)
    whole = rehearsed.STEP["statements"][0]
    statements = [
        whole,
        {**whole, "text": "SELECT 'x", "cut": 1000},
        {**whole, "text": "SELECT %(key_1)s", "has_values": True},
    ]
    rehearsed.ended(place, run, outcome, steps=[{**rehearsed.STEP, "statements": statements}])

    words = shown(visitor("viewer"), run)

    assert "SELECT 'x -- cut here: 1000 characters more" in words
    assert words.count("cut here") == words.count("values are not shown") == 1
    assert "values are not shown" in words.partition("SELECT %(key_1)s;")[2]


def test_one_that_could_not_run_says_why_and_shows_where_the_copy_differs(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = awaiting(place)
    rehearsed.ended(
        place,
        run,
        Outcome.COULD_NOT_RUN,
        sentence="No extension.",
        steps=[],
        problems=["extension x: no"],
        differences=["- extension x"],
    )

    words = shown(visitor("viewer"), run)

    assert "could not run" in words
    for piece in ("No extension.", "extension x: no", "- extension x", "(2)"):
        assert piece in words, piece


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.COULD_NOT_RUN])
def test_what_it_would_meet_is_told_although_no_copy_showed_it(
    place: people.Place, visitor: VisitorOf, outcome: Outcome
) -> None:
    run = awaiting(place)
    table = {"name": "public.users", "bytes": 8_192, "rows": 10, "never_analyzed": False, "dead": 1}
    impact = {**rehearsed.IMPACT, "relations": [table], "forecast": [], "asked": 2}
    rehearsed.ended(place, run, outcome, steps=[], impact=impact)

    words = shown(visitor("viewer"), run)

    assert "What it would meet on market/production/main" in words
    for piece in ("Tables that its SQL names (1)", "public.users", "session 7 of app", "second (streaming"):
        assert piece in words, piece
    assert "No statement of this plan holds up" not in words
    assert "What it makes of the catalog" not in words


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (0, "It has no SQL from offline mode either, so that no table could be asked for."),
        (3, "No table that its SQL names is there already."),
    ],
)
def test_why_no_table_is_told_without_a_copy(
    place: people.Place, visitor: VisitorOf, asked: int, sentence: str
) -> None:
    run = awaiting(place)
    impact = {**rehearsed.IMPACT, "forecast": [], "asked": asked}
    rehearsed.ended(place, run, Outcome.COULD_NOT_RUN, steps=[], impact=impact)

    assert sentence in shown(visitor("viewer"), run)


def test_nothing_is_said_of_a_target_that_was_not_asked(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    rehearsed.ended(place, run, Outcome.COULD_NOT_RUN, steps=[], impact={})

    assert "What it would meet" not in shown(visitor("viewer"), run)


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_the_sql_executed_on_a_copy_and_that_from_offline_mode_lead_to_each_other(
    place: people.Place, visitor: VisitorOf, outcome: Outcome
) -> None:
    run = awaiting(place)
    rehearsed.ended(place, run, outcome, steps=[rehearsed.STEP])

    page = visitor("dba").run(run)

    assert "SQL from Alembic's offline mode, 1 line" in page.words
    assert 'aria-label="SQL of 003 as executed on a copy"' in page.source
    for anchor, words in (("executed", "executed on a copy"), ("sql", "that from Alembic's offline mode")):
        assert page.source.count(f'id="{anchor}"') == 1
        assert f'<a href="#{anchor}">{words}</a>' in page.source


def test_without_sql_from_offline_mode_the_plan_leads_to_what_was_executed(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="planning")
    draft = people.make_draft(place, sql="", sql_reason="Offline mode failed.")
    plans.record(actor=people.WORKER, number=run.number, epoch=1, draft=draft)
    run = MigrationRun.objects.select_related("plan").get(number=run.number)
    passed(place, run)

    page = visitor("dba").run(run)

    assert "There is a text of it: that executed on a copy , in the rehearsal." in page.words
    assert 'href="#sql"' not in page.source


def test_a_plan_that_was_not_rehearsed_speaks_of_one_text_only(place: people.Place, visitor: VisitorOf) -> None:
    page = visitor("dba").run(awaiting(place))

    assert "SQL from Alembic's offline mode" in page.words
    assert 'href="#executed"' not in page.source


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_page(place: people.Place, visitor: VisitorOf, outcome: Outcome) -> None:
    run = awaiting(place)
    rehearsed.ended(place, run, outcome, steps=[], impact={})

    assert "It " in shown(visitor("viewer"), run)


def test_what_the_policy_misses_is_told_before_anybody_presses(place: people.Place, visitor: VisitorOf) -> None:
    place.environment.rehearsal = "passed"
    place.environment.save(update_fields=["rehearsal"])
    run = awaiting(place)
    taken = rehearsals.claim(actor=people.WORKER, rehearsal_id=run.rehearsals.get().pk)
    assert taken is not None

    assert "demands a rehearsal of this plan, and none has ended" in shown(visitor("dba"), run)


def test_hostile_text_is_only_text_and_made_visible(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    hostile = SCRIPT + BIDI + ANSI
    statement = {
        **rehearsed.STEP["statements"][0],
        "text": hostile,
        "rewrites": [hostile],
        "locks": [["ShareLock", hostile]],
    }
    passed(
        place,
        run,
        sentence=hostile,
        steps=[
            {
                **rehearsed.STEP,
                "message": hostile,
                "reasons": [hostile],
                "changes": [hostile],
                "statements": [statement],
                "back": {**rehearsed.STEP["back"], "changes": [hostile], "statements": [statement]},
                "again": {**rehearsed.STEP["back"], "changes": [hostile], "statements": [statement], "same": False},
            }
        ],
        problems=[hostile],
        differences=[hostile],
        impact={
            **rehearsed.IMPACT,
            "problem": hostile,
            "forecast": [{**rehearsed.FORECAST, "sentence": hostile, "statement": hostile}],
            "long": [
                {
                    **rehearsed.IMPACT["long"][0],
                    "user": hostile,
                    "program": hostile,
                    "state": hostile,
                    "query": hostile,
                },
                {**rehearsed.IMPACT["long"][1], "user": hostile, "gid": hostile},
            ],
            "holders": [
                {
                    **rehearsed.IMPACT["holders"][0],
                    **dict.fromkeys(("relation", "user", "program", "state", "query"), hostile),
                }
            ],
            "backups": [{**rehearsed.IMPACT["backups"][0], **dict.fromkeys(("user", "program", "phase"), hostile)}],
            "standbys": [{**rehearsed.IMPACT["standbys"][0], "name": hostile}],
        },
    )

    page = visitor("dba").run(run)

    assert SCRIPT not in page.source
    assert page.words.count(SCRIPT) >= 21
    for sign in ("\u202e", "\x1b", "\x07"):
        assert sign not in page.source
    assert "\\u202e" in page.source


# --- asking ---


@pytest.mark.parametrize("name", ["dba", "operator", "dev"])
def test_those_who_may_see_the_button_and_press_it(place: people.Place, visitor: VisitorOf, name: str) -> None:
    run = awaiting(place)
    person = visitor(name)

    assert "Rehearse" in person.run(run).buttons
    answer = person.press(run, "rehearse")

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    assert f"A worker was asked to rehearse the plan of Run {run.number}" in person.said()
    assert run.rehearsals.get().asked_by_name == name
    assert trail.of_run(run)[-1] == "run.rehearsal_asked"


@pytest.mark.parametrize("name", ["viewer", "auditor"])
def test_those_who_may_not_see_no_button_and_get_403(place: people.Place, visitor: VisitorOf, name: str) -> None:
    run = awaiting(place)
    person = visitor(name)

    assert "Rehearse" not in person.run(run).buttons
    assert person.client.post(f"/runs/{run.number}/rehearse").status_code == 403

    assert not run.rehearsals.exists()
    trail.denied(verb="rehearsals.ask", code="missing_role")


def test_an_outsider_gets_404(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)

    assert visitor("outsider").client.post(f"/runs/{run.number}/rehearse").status_code == 404


def test_asking_takes_a_post_and_the_pages_own_token(place: people.Place) -> None:
    run = awaiting(place)
    careful = Visitor(place.people["dba"], checks_csrf=True)

    assert careful.client.post(f"/runs/{run.number}/rehearse").status_code == 403
    assert careful.client.get(f"/runs/{run.number}/rehearse").status_code == 303
    assert not run.rehearsals.exists()


def test_who_asks_twice_is_told_in_a_sentence(place: people.Place, visitor: VisitorOf) -> None:
    run = awaiting(place)
    dba = visitor("dba")
    dba.press(run, "rehearse")
    dba.said()

    dba.press(run, "rehearse")

    assert "is waiting or running. Wait for what it shows." in dba.said()
    assert run.rehearsals.count() == 1


def test_a_page_costs_the_same_however_many_rehearsals_there_were(
    place: people.Place, visitor: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = awaiting(place)
    for _ in range(4):
        passed(place, run)
    dba = visitor("dba")
    dba.run(run)

    with django_assert_max_num_queries(60):
        assert "Other rehearsals of this plan (3)" in dba.run(run).part("rehearsal")


def test_a_rehearsal_that_has_aged_since_the_approval_keeps_nobody_from_starting(
    place: people.Place, visitor: VisitorOf
) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(rehearsal="passed", rehearsal_within_h=1)
    run = awaiting(place)
    assert run.plan is not None
    taken = rehearsals.claim(actor=people.WORKER, rehearsal_id=run.rehearsals.get().pk)
    assert taken is not None
    ended = rehearsals.finish(
        actor=people.WORKER,
        rehearsal_id=taken.pk,
        epoch=taken.epoch,
        result=rehearsed.result(steps=[rehearsed.STEP]),
        deltas=[],
    )
    assert ended is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    rehearsed.aged(run, ended.pk, 2)

    assert "Run now" in visitor("operator").run(run).buttons
