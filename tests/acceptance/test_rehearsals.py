"""A plan is played on a copy of its target by a real worker: what was seen there is what must come true on the target."""

from __future__ import annotations

import psycopg

from migrations_audit.actions import rehearsals, runbooks, runs
from migrations_audit.execution import observing
from migrations_audit.models import Environment, MigrationRun, Rehearsal, RevisionDelta
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings
from tests import people
from tests.acceptance.portal import ENDED, Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.faces.web.visitor import Visitor
from tests.reliability import truth
from tests.waiting import wait_for


def rehearsed(portal: Portal, place: people.Place, run: MigrationRun) -> Rehearsal:
    """What a worker saw when an approver pressed Rehearse."""
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    wait_for(
        lambda: Rehearsal.objects.get(pk=asked.pk).has_ended,
        within=60,
        what=f"the rehearsal; {portal.workers.said()[-1500:]}",
    )
    return Rehearsal.objects.get(pk=asked.pk)


def approved_and_started(place: people.Place, run: MigrationRun) -> None:
    """What production asks for, as its people do it."""
    assert run.plan is not None
    runbooks.write(
        actor=place.actor("dev"), number=run.number, text="Tell the on-call; nothing can be taken back here."
    )
    people.approve_by_all(place, run.number, run.plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_plan_is_played_up_down_and_up_on_a_copy(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("rehearsed")
    change(
        url,
        "CREATE TABLE big (id int PRIMARY KEY, note text)",
        "INSERT INTO big SELECT n, 'x' FROM generate_series(1, 100) n",
    )
    scripts = [
        runnable.Script(
            "r1", 'op.execute("CREATE TABLE users (id int PRIMARY KEY)")', down='op.execute("DROP TABLE users")'
        ),
        runnable.Script(
            "r2",
            'op.execute("ALTER TABLE big ALTER COLUMN id TYPE bigint")\nop.execute("CREATE INDEX big_note ON big (note)")',
            "r1",
            down='op.execute("DROP INDEX big_note")\nop.execute("ALTER TABLE big ALTER COLUMN id TYPE int")',
        ),
    ]
    place = portal.place(url, scripts)
    run = portal.planned(place)

    rehearsal = rehearsed(portal, place, run)

    assert (rehearsal.outcome, rehearsal.code) == ("passed", "rehearsed"), rehearsal.sentence
    assert rehearsal.differences == []
    assert [step["grade"] for step in rehearsal.steps] == ["lossy", "lossy"], rehearsal.steps
    assert "table public.users" in rehearsal.steps[0]["reasons"][0]
    back = rehearsal.steps[1]["back"]
    assert [each["text"] for each in back["statements"]][:2] == [
        "DROP INDEX big_note",
        "ALTER TABLE big ALTER COLUMN id TYPE int",
    ]
    assert back["statements"][1]["rewrites"] == ["public.big"]
    assert "- index public.big_note" in back["changes"]
    assert [step["again"]["same"] for step in rehearsal.steps] == [True, True]
    alter = next(each for each in rehearsal.steps[1]["statements"] if "TYPE bigint" in each["text"])
    assert ["AccessExclusiveLock", "public.big"] in alter["locks"]
    assert alter["rewrites"] == ["public.big"]
    assert {change["key"] for change in rehearsal.delta} >= {
        "table public.users",
        "index public.big_note",
        "column public.big.id",
    }
    assert RevisionDelta.objects.filter(rehearsal=rehearsal).count() == 2
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('users'), count(*) FROM big").fetchone() == (None, 100)


def test_what_the_copy_showed_is_what_the_run_must_have_made(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("as_rehearsed")
    place = portal.place(url, runnable.chain("users", "orders"))
    run = portal.planned(place)
    rehearsal = rehearsed(portal, place, run)
    approved_and_started(place, run)

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    check = ended.evidence.get(check_name="as rehearsed")
    assert (check.outcome, check.observed) == ("passed", "all of them, and nothing else of what is compared")
    assert f"rehearsal {rehearsal.pk}" in check.expected
    assert {item.rehearsal_id for item in ended.approvals.all()} == {rehearsal.pk}


def test_what_env_py_does_before_and_behind_the_steps_is_expected_too(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("by_env_py")
    change(url, "CREATE TABLE stock (n int, old int)", "CREATE INDEX stock_n ON stock (n)")
    before = 'connection.execute(text("CREATE SCHEMA IF NOT EXISTS app"))\nconnection.commit()'
    behind = "        connection.execute(text('CREATE TABLE IF NOT EXISTS kept (id int)'))\n"
    up = 'op.execute("DROP INDEX stock_n")\nop.execute("ALTER TABLE stock DROP old")'
    place = portal.place(
        url, [runnable.Script("r1", up)], env=runnable.env_with(runnable.INI_URL, before=before) + behind
    )
    run = portal.planned(place)
    rehearsal = rehearsed(portal, place, run)
    approved_and_started(place, run)

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    assert {f"{change['sign']} {change['key']}" for change in rehearsal.delta} == {
        "+ schema app",
        "+ table public.kept",
        "+ column public.kept.id",
        "- index public.stock_n",
        "- column public.stock.old",
    }


def test_what_somebody_else_changes_during_a_run_contradicts_it(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("not_as_rehearsed")
    place = portal.place(
        url, [runnable.Script("r1", 'op.execute("CREATE TABLE users (id int)")\nop.execute("SELECT pg_sleep(3)")')]
    )
    run = portal.planned(place)
    rehearsed(portal, place, run)
    approved_and_started(place, run)
    wait_for(lambda: truth.active(url), within=60, what="the revision to sleep")
    change(url, "CREATE TABLE smuggled (id int)")

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("failed", "contradicted"), ended.sentence
    assert "as rehearsed" in ended.sentence
    assert "+ table public.smuggled was not expected" in ended.evidence.get(check_name="as rehearsed").detail


def test_a_revision_that_was_only_stamped_is_named_by_the_next_reading(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("stamped")
    place = portal.place(url, runnable.chain("users", "analytics_modules"))
    rehearsed(portal, place, portal.planned(place))
    change(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('r2')",
        "CREATE TABLE users (id int PRIMARY KEY)",
    )

    observation = observing.observe_target(target_id=place.target.pk, worker_name="reader@test")

    assert observation.status == "tables_missing"
    assert "r2 is recorded, but table public.analytics_modules is absent" in observation.sentence


def test_what_a_run_of_the_portal_recorded_is_not_laid_on_somebody_else(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("recorded")
    place = portal.place(url, runnable.chain("users", "analytics_modules"))
    run = portal.planned(place)
    rehearsed(portal, place, run)
    approved_and_started(place, run)
    portal.until(run.number, *ENDED)
    change(url, "DROP TABLE analytics_modules")

    observation = observing.observe_target(target_id=place.target.pk, worker_name="reader@test")

    assert f"Run {run.number} recorded r2 at" in observation.sentence
    assert "Somebody stamped" not in observation.sentence


def test_another_target_of_the_project_may_have_it_in_another_schema_and_must_have_it_somewhere(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place = portal.place(make_target_database("first"), runnable.chain("users", "analytics_modules"))
    rehearsed(portal, place, portal.planned(place))
    url = make_target_database("tenant")
    beside = portal.register_again(place, url)
    change(
        url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('r2')",
        "CREATE SCHEMA tenant",
        "CREATE TABLE tenant.users (id int PRIMARY KEY)",
    )

    lacking = observing.observe_target(target_id=beside.target.pk, worker_name="reader@test")
    change(url, "CREATE TABLE tenant.analytics_modules (id int PRIMARY KEY)")
    whole = observing.observe_target(target_id=beside.target.pk, worker_name="reader@test")

    assert "r2 is recorded, but table public.analytics_modules is absent" in lacking.sentence
    assert whole.status == "in_sync", whole.sentence


def test_an_extension_that_the_copys_server_lacks_is_a_reason_and_no_failure(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("no_extension")
    place = portal.place(url, [runnable.Script("r1", 'op.execute("CREATE EXTENSION no_such_extension")')])

    rehearsal = rehearsed(portal, place, portal.planned(place))

    assert rehearsal.outcome == "could_not_run"
    assert "no_such_extension" in rehearsal.sentence
    assert [each["code"] for each in rehearsal.findings] == ["rehearsal_could_not_run"]


def test_a_plan_that_fails_on_the_copy_says_where_and_why(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("fails_on_copy")
    change(url, "CREATE TABLE stock (n int)", "CREATE TABLE beside (n int)")
    scripts = [
        *runnable.chain("users"),
        runnable.Script("r2", 'op.execute("ALTER TABLE users ADD COLUMN id int")', "r1"),
        runnable.Script("r3", 'op.execute("ALTER TABLE stock ADD COLUMN m int")', "r2"),
    ]
    place = portal.place(url, scripts)

    rehearsal = rehearsed(portal, place, portal.planned(place))

    assert rehearsal.outcome == "failed"
    assert "failed on the copy in r2" in rehearsal.sentence
    assert [step["ended"] for step in rehearsal.steps] == [True, False]
    assert [each["code"] for each in rehearsal.findings] == ["rehearsal_failed"]
    assert [row["name"] for row in rehearsal.impact["relations"]] == ["public.stock"]


def test_a_wrong_name_fails_the_plan_and_makes_a_downgrade_impossible(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("wrong_name")
    change(url, "CREATE TABLE stock (n int)")
    wrong = portal.place(url, [runnable.Script("r1", 'op.execute("DROP INDEX ix_nope")')])
    failed = rehearsed(portal, wrong, portal.planned(wrong))
    script = runnable.Script(
        "r2", 'op.execute("CREATE INDEX stock_id ON stock (id)")', "r1", down='op.execute("DROP INDEX ix_nope")'
    )
    back = portal.place(make_target_database("wrong_way_back"), [*runnable.chain("stock"), script])

    graded = rehearsed(portal, back, portal.planned(back))

    assert failed.outcome == "failed", failed.sentence
    assert [step["grade"] for step in graded.steps][-1] == "impossible", graded.steps


def test_each_downgrade_is_graded_also_below_one_that_fails(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("graded")
    change(url, "CREATE TABLE stock (n int)")
    scripts = [
        runnable.Script(
            "r1", 'op.execute("CREATE INDEX stock_n ON stock (n)")', down='op.execute("DROP INDEX stock_n")'
        ),
        runnable.Script(
            "r2",
            "op.execute(\"CREATE TYPE mood AS ENUM ('ok')\")",
            "r1",
            down='raise NotImplementedError("one way")',
        ),
        runnable.Script("r3", 'op.execute("ALTER TABLE stock ADD m int")', "r2", down="pass"),
        runnable.Script(
            "r4", 'op.execute("ALTER TABLE stock ADD o int")', "r3", down='op.execute("ALTER TABLE stock DROP o")'
        ),
    ]
    place = portal.place(url, scripts)

    rehearsal = rehearsed(portal, place, portal.planned(place))

    assert rehearsal.outcome == "passed", rehearsal.sentence
    grades = {step["revision"]: (step["grade"], " ".join(step["reasons"])) for step in rehearsal.steps}
    assert grades["r1"] == ("exact", "")
    assert grades["r2"][0] == "impossible"
    assert "one way" in grades["r2"][1]
    assert grades["r3"] == ("impossible", "Its downgrade is absent or empty, so that nothing is taken back.")
    assert grades["r4"][0] == "lossy"
    assert "column public.stock.o" in grades["r4"][1]
    assert rehearsal.grade == "impossible"
    assert [each["place"][-5:] for each in rehearsal.findings if each["code"] == "downgrade_failed"] == ["r2.py"]
    assert [step["back"]["ended"] for step in rehearsal.steps] == [True, False, True, True]
    assert rehearsal.steps[0]["again"]["same"] is True
    assert [step["again"] is None for step in rehearsal.steps] == [False, True, False, True]


def test_above_a_downgrade_that_fails_revisions_are_applied_again_too(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("again")
    change(url, "CREATE TABLE stock (n int)")
    index = 'op.execute("CREATE INDEX stock_{0} ON stock (n)")', 'op.execute("DROP INDEX stock_{0}")'
    mood = "op.execute(\"CREATE TYPE mood AS ENUM ('ok')\")\n"
    scripts = [
        runnable.Script("r1", index[0].format(1), down='raise NotImplementedError("one way")'),
        runnable.Script("r2", index[0].format(2), "r1", down=index[1].format(2)),
        runnable.Script("r3", mood + index[0].format(3), "r2", down=index[1].format(3)),
    ]
    place = portal.place(url, scripts)

    rehearsal = rehearsed(portal, place, portal.planned(place))

    assert [step["grade"] for step in rehearsal.steps] == ["impossible", "exact", "lossy"], rehearsal.steps
    assert rehearsal.steps[1]["again"]["same"] is True
    assert rehearsal.steps[2]["again"]["ended"] is False
    assert rehearsal.steps[2]["again"]["statements"][-1]["failed"] is True
    assert 'Applied again after its downgrade, it failed on the copy: type "mood"' in rehearsal.steps[2]["reasons"][-1]


def test_a_downgrade_that_fails_over_what_a_later_one_left_is_graded_by_itself(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    up = 'op.execute("CREATE TABLE orders (id int REFERENCES users)")'
    scripts = [*runnable.chain("users"), runnable.Script("r2", up, "r1", down="pass")]
    place = portal.place(make_target_database("left_behind"), scripts)

    rehearsal = rehearsed(portal, place, portal.planned(place))

    assert [step["grade"] for step in rehearsal.steps] == ["lossy", "impossible"], rehearsal.steps
    assert rehearsal.steps[0]["reasons"] == ["The downgrade removes what was written since: table public.users."]


def test_a_dangerous_revision_is_caught_with_the_right_words(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("dangerous")
    change(
        url,
        "CREATE TABLE entries (id int PRIMARY KEY, amount int, note text)",
        "INSERT INTO entries SELECT n, n, repeat('x', 100) FROM generate_series(1, 20000) n",
        "ANALYZE",
    )
    up = """
op.execute("ALTER TABLE entries ALTER COLUMN amount TYPE bigint")
op.execute("UPDATE entries SET note = trim(note)")
"""
    place = portal.place(
        url, [runnable.Script("r1", up, down='op.execute("ALTER TABLE entries ALTER amount TYPE int")')]
    )
    Environment.objects.filter(pk=place.environment.pk).update(rewrite_limit_mb=1)

    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM entries")
        rehearsal = rehearsed(portal, place, portal.planned(place))

    codes = {each["code"]: each for each in rehearsal.findings}
    assert codes["large_rewrite"]["severity"] == "error"
    assert "writes public.entries anew" in codes["large_rewrite"]["sentence"]
    assert codes["depends_on_data"]["severity"] == "warning"
    assert codes["depends_on_data"]["sentence"].startswith(
        "r1, UPDATE entries SET note = trim (note): it reads rows of entries"
    )
    assert codes["depends_on_data"]["sentence"].endswith("To check on the target: SELECT count(*) FROM entries;")
    worst = rehearsal.impact["forecast"][0]
    assert worst["mode"] == "AccessExclusiveLock"
    assert "the table is written anew meanwhile" in worst["sentence"]
    assert worst["held_by"] == 1


def test_a_script_that_drops_only_where_it_does_not_write_its_sql_is_caught(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("two_faces")
    change(url, "CREATE TABLE users (id int)", "CREATE TABLE orders (id int)")
    up = """
from alembic import context
op.execute("ALTER TABLE orders ADD COLUMN mail text")
if not context.is_offline_mode():
    op.execute("DROP TABLE users")
"""
    place = portal.place(url, [runnable.Script("r1", up)])
    run = portal.planned(place)

    rehearsal = rehearsed(portal, place, run)

    assert run.plan is not None
    assert "DROP TABLE users" not in run.plan.sql
    assert "ADD COLUMN mail" in run.plan.sql
    assert [each["sentence"].partition(":")[0] for each in rehearsal.findings if each["severity"] == "error"] == [
        "DROP TABLE users"
    ]


def test_without_sql_from_offline_mode_the_rules_read_what_was_executed(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("reflecting")
    change(url, "CREATE TABLE users (id int)", "CREATE TABLE kept (id int)")
    up = """
import sqlalchemy as sa
sa.inspect(op.get_bind()).get_columns("users")
op.execute("DROP TABLE users")
with op.get_context().autocommit_block():
    op.execute("TRUNC" + "ATE kept")
"""
    place = portal.place(url, [runnable.Script("r1", up)])
    run = portal.planned(place)

    rehearsal = rehearsed(portal, place, run)

    assert run.plan is not None
    assert run.plan.sql == ""
    assert {each["code"] for each in rehearsal.findings} >= {"drop_table", "truncate"}
    shown = {each.code for each in findings.of_run(run, now=database_now())}
    assert "drop_table" in shown
    assert "lint_could_not_run" not in shown


def test_only_a_session_whose_lock_is_in_the_way_is_said_to_hold_up_the_plan(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("in_the_way")
    change(url, "CREATE TABLE read_only (id int)", "CREATE TABLE vacuumed (id int)", "CREATE TABLE altered (id int)")
    statements = (
        "ALTER TABLE read_only ALTER COLUMN id SET STATISTICS 10",
        "ALTER TABLE vacuumed ALTER COLUMN id SET STATISTICS 10",
        "ALTER TABLE altered ADD note text",
    )
    place = portal.place(url, [runnable.Script("r1", "\n".join(f'op.execute("{each}")' for each in statements))])
    run = portal.planned(place)

    with psycopg.connect(url, application_name="holder") as holder:
        holder.execute("SELECT * FROM read_only, altered")
        holder.execute("LOCK TABLE vacuumed IN SHARE UPDATE EXCLUSIVE MODE")
        found = rehearsed(portal, place, run)

    assert {row["relation"]: row["in_the_way"] for row in found.impact["holders"]} == {
        "public.read_only": False,
        "public.vacuumed": True,
        "public.altered": True,
    }
    held = {entry["relation"]: entry["held_by"] for entry in found.impact["forecast"] if entry["relation"]}
    assert held == {"public.read_only": 0, "public.vacuumed": 1, "public.altered": 1}


def test_a_table_that_somebody_has_locked_leaves_the_others_measured(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("locked_away")
    change(url, "CREATE TABLE busy (id int)", "CREATE TABLE free AS SELECT n FROM generate_series(1, 1000) n")
    up = 'op.execute("ALTER TABLE busy ADD note text")\nop.execute("ALTER TABLE free ADD note text")'
    place = portal.place(url, [runnable.Script("r1", up)])
    run = portal.planned(place)

    with psycopg.connect(url, application_name="holder") as holder:
        holder.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        found = rehearsed(portal, place, run)

    assert found.outcome == "could_not_run", found.sentence
    told = {row["name"]: row for row in found.impact["relations"]}
    assert (told["public.busy"]["bytes"], told["public.free"]["bytes"] > 0) == (None, True)
    assert "(holder)" in told["public.busy"]["unmeasured"]
    words = Visitor(place.people["dba"]).run(run).part("rehearsal")
    assert "public.busy could not be measured: locked by session" in words


def test_partitions_that_are_written_anew_count_together(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("partitions")
    change(
        url,
        "CREATE TABLE orders (id int, note text) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (1500)",
        "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (1500) TO (3000)",
        "INSERT INTO orders SELECT n, repeat('x', 500) FROM generate_series(0, 2999) n",
    )
    up = 'op.execute("ALTER TABLE orders ALTER COLUMN note TYPE varchar(600)")'
    place = portal.place(url, [runnable.Script("r1", up)])
    Environment.objects.filter(pk=place.environment.pk).update(rewrite_limit_mb=1)
    run = portal.planned(place)

    found = rehearsed(portal, place, run)

    sizes = {row["name"]: row["bytes"] for row in found.impact["relations"]}
    assert sizes["public.orders"] == sizes["public.orders_1"] + sizes["public.orders_2"] > 1024**2
    assert max(sizes["public.orders_1"], sizes["public.orders_2"]) < 1024**2
    told = [each["sentence"] for each in found.findings if each["code"] == "large_rewrite"]
    assert len(told) == 1, (told, found.steps)
    assert "partitions of public.orders anew, which together are larger than the 1 MB" in told[0]
    assert any("in 2 partitions, about 3,000 rows" in each["sentence"] for each in found.impact["forecast"])
