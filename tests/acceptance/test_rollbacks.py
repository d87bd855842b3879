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


def applied(portal: Portal, url: str) -> tuple[people.Place, MigrationRun]:
    """A verified run from r1 to r2 there."""
    change(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('r1')",
        "CREATE TABLE users (id int PRIMARY KEY)",
    )
    place = portal.place(url, SCRIPTS)
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
