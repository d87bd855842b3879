"""A rollback is a change like any other: planned from a run's page, rehearsed on its own, approved anew, run, verified."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.actions import approvals, runbooks
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings
from migrations_audit.states import RunState
from tests import people
from tests.acceptance.portal import ENDED, Portal
from tests.acceptance.test_rehearsals import approved_and_started, change, rehearsed
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.faces.web.visitor import Visitor

SCRIPTS = [
    *runnable.chain("users"),
    runnable.Script(
        "r2",
        'op.execute("ALTER TABLE users ADD note text")\nop.execute("CREATE INDEX users_note ON users (note)")',
        "r1",
        down='op.execute("DROP INDEX users_note")\nop.execute("ALTER TABLE users DROP COLUMN note")',
    ),
]


def applied(
    portal: Portal, url: str, scripts: list[runnable.Script] | None = None
) -> tuple[people.Place, MigrationRun]:
    """A verified run from r1 to the head there: r2, where no other scripts are given."""
    change(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('r1')",
        "CREATE TABLE users (id int PRIMARY KEY)",
    )
    place = portal.place(url, scripts or SCRIPTS)
    run = portal.ended(place)
    assert run.verdict == "verified", run.sentence
    return place, run


def planned_from(portal: Portal, place: people.Place, undone: MigrationRun) -> MigrationRun:
    """The rollback that a requester plans from the page of a run, as its form is filled in."""
    dev = Visitor(place.people["dev"])
    form = dev.get(f"/targets/{place.target.pk}/?rolls_back={undone.number}").source
    assert f'value="{undone.number}"' in form
    (chosen,) = (option.partition('"')[0] for option in form.split('<option value="') if '" selected>' in option)
    values = {"revision": chosen, "reason": "Notes hold up the writers.", "rolls_back": str(undone.number)}
    answer = dev.post(f"/targets/{place.target.pk}/rollback", **values)
    return portal.until(int(answer.location.strip("/").rpartition("/")[2]), "awaiting_approval", "plan_failed")


def test_a_rollback_is_rehearsed_on_its_own_and_names_what_is_lost(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("taken_back")
    place, undone = applied(portal, url)
    change(url, "INSERT INTO users VALUES (1, 'of value')")

    run = planned_from(portal, place, undone)
    rehearsal = rehearsed(portal, place, run)

    assert run.plan is not None
    assert (run.rolls_back, run.plan.from_revisions, run.plan.to_revisions) == (undone, ["r2"], ["r1"])
    assert (rehearsal.outcome, rehearsal.grade) == ("passed", "lossy"), rehearsal.sentence
    (step,) = rehearsal.steps
    assert (step["revision"], step["direction"], step["grade"]) == ("r2", "downgrade", "lossy")
    assert any("column public.users.note" in reason for reason in step["reasons"]), step["reasons"]
    executed = {each["text"]: each["locks"] for each in step["statements"]}
    assert "ALTER TABLE users DROP COLUMN note" in executed
    assert ["AccessExclusiveLock", "public.users"] in executed["DROP INDEX users_note"]
    assert {item["key"] for item in rehearsal.delta if item["sign"] == "-"} >= {
        "column public.users.note",
        "index public.users_note",
    }
    found = {each.code: each.sentence for each in findings.of_run(run, now=database_now())}
    assert found["drop_column"].startswith("ALTER TABLE users DROP COLUMN note")
    page = Visitor(place.people["dba"]).run(run)
    assert "This is a rollback: it takes revisions back, and what they held may be lost." in page.part("status")
    assert "column public.users.note" in page.part("rehearsal")
    assert "Another revision was chosen" not in page.words


def test_a_rollback_needs_approvals_of_its_own_and_is_verified(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("back_again")
    place, undone = applied(portal, url)
    run = planned_from(portal, place, undone)
    rehearsal = rehearsed(portal, place, run)

    assert (run.run_state, run.approvals.count()) == (RunState.AWAITING_APPROVAL, 0)
    assert run.plan is not None
    with pytest.raises(runbooks.RunbookMissing):
        approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)
    approved_and_started(place, run)
    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    assert {item.rehearsal_id for item in ended.approvals.all()} == {rehearsal.pk}
    assert ended.evidence.get(check_name="as rehearsed").outcome == "passed"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("r1",)]
        columns = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0"
        )
        assert [name for (name,) in columns if "dropped" not in name] == ["id"]
    words = Visitor(place.people["viewer"]).run(undone).part("status")
    assert f"Rollback asked for: run {run.number} (applied)" in words


BEHIND = 'op.execute("DROP INDEX users_note")'
LEAVES_THE_COLUMN = [*SCRIPTS[:-1], runnable.Script("r2", SCRIPTS[-1].up, "r1", down=BEHIND)]
BACK = "as before the run that is rolled back"


def taken_back(portal: Portal, place: people.Place, undone: MigrationRun) -> MigrationRun:
    """The rollback of a run, played nowhere before, as it ended."""
    run = planned_from(portal, place, undone)
    approved_and_started(place, run)
    return portal.until(run.number, *ENDED)


def test_without_a_rehearsal_what_is_not_as_before_the_run_contradicts(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place, undone = applied(portal, make_target_database("left_behind"), LEAVES_THE_COLUMN)

    ended = taken_back(portal, place, undone)

    assert (ended.state, ended.verdict) == ("failed", "contradicted"), ended.sentence
    assert f"{BACK}: expected what runs changed since run {undone.number} began is as before it" in ended.sentence
    assert "observed column public.users.note is still there." in ended.sentence
    check = ended.evidence.get(check_name=BACK)
    assert (check.outcome, check.detail) == ("failed", ["column public.users.note is still there"])


def test_without_a_rehearsal_a_rollback_is_verified_by_the_catalog_of_before_the_run(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place, undone = applied(portal, make_target_database("as_before"))

    ended = taken_back(portal, place, undone)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    check = ended.evidence.get(check_name=BACK)
    assert (check.outcome, check.observed) == ("passed", "all of it is as it was")


def test_what_moved_between_the_run_and_its_rollback_is_not_held_against_the_rollback(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("moved_between")
    place, undone = applied(portal, url)
    # An object of its own, one on the column that goes with it, and one more column of the table that the run changed.
    change(
        url,
        "CREATE TABLE beside (id int)",
        "CREATE INDEX by_hand ON users (lower(note))",
        "ALTER TABLE users ADD by_hand int",
    )

    ended = taken_back(portal, place, undone)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    assert ended.evidence.get(check_name=BACK).outcome == "passed"


def test_what_a_rollback_takes_away_beside_its_run_contradicts(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("too_much")
    down = f"{SCRIPTS[-1].down}\nop.execute('DROP TABLE stock')"
    change(url, "CREATE TABLE stock (id int)")
    place, undone = applied(portal, url, [*SCRIPTS[:-1], runnable.Script("r2", SCRIPTS[-1].up, "r1", down=down)])

    ended = taken_back(portal, place, undone)

    assert ended.verdict == "contradicted", ended.sentence
    assert "table public.stock is absent" in ended.evidence.get(check_name=BACK).detail


def test_runs_behind_it_are_taken_back_with_it_and_must_leave_nothing_either(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("two_runs")
    later = runnable.Script("r3", 'op.execute("CREATE TABLE later (id int)")', "r2", down="pass")
    change(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('r1')",
        "CREATE TABLE users (id int PRIMARY KEY)",
    )
    place = portal.place(url, [*SCRIPTS, later])
    undone = portal.ended(place, revision="r2")
    assert portal.ended(place, revision="r3").verdict == "verified"

    ended = taken_back(portal, place, undone)

    assert ended.verdict == "contradicted", ended.sentence
    assert ended.evidence.get(check_name=BACK).detail == [
        "table public.later is still there",
        "column public.later.id is still there",
    ]


def test_where_a_rehearsal_showed_what_stays_the_verdict_says_so_and_does_not_contradict(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place, undone = applied(portal, make_target_database("shown_before"), LEAVES_THE_COLUMN)
    run = planned_from(portal, place, undone)
    assert rehearsed(portal, place, run).outcome == "passed"
    approved_and_started(place, run)

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    assert f"As rehearsed, not all is as before run {undone.number}: column public.users.note" in ended.sentence
    assert ended.evidence.get(check_name=BACK).outcome == "warning"


def test_a_rollback_to_another_revision_says_that_it_could_not_be_compared_and_why(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place, undone = applied(
        portal,
        make_target_database("to_base"),
        [
            runnable.Script("r1", "pass", down="pass"),
            SCRIPTS[-1],
        ],
    )
    dev = Visitor(place.people["dev"])
    values = {"revision": "base", "reason": "All of it.", "rolls_back": str(undone.number)}
    answer = dev.post(f"/targets/{place.target.pk}/rollback", **values)
    run = portal.until(int(answer.location.strip("/").rpartition("/")[2]), "awaiting_approval")
    approved_and_started(place, run)

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    why = f"could not be compared: run {undone.number} began at r1, and this rollback leads to base"
    assert f"Whether all is as before run {undone.number} {why}." in ended.sentence
    check = ended.evidence.get(check_name=BACK)
    assert (check.outcome, check.observed) == ("warning", why)
    assert why in dev.run(ended).words
