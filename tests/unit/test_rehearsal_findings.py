"""What a rehearsal gives cause for, from what the copy and the target told."""

from __future__ import annotations

from typing import Any

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing.types import Lock, Pass, Statement, Step
from migrations_audit.execution import rehearsal_findings
from migrations_audit.models import Environment, MigrationRun, Plan, Project, Target

SEEN = {"problem": "", "holders": []}
NONE = ""
KNOWN = {"table public.entries": "table", "column public.entries.amount": "integer not null"}
REWRITING = Statement(
    "ALTER TABLE entries ALTER COLUMN amount TYPE bigint",
    locks=[Lock("AccessExclusiveLock", "public.entries")],
    rewrites=["public.entries"],
)


def findings_of(
    *statements: Statement, impact: dict[str, Any] = SEEN, sql: str | None = None, untold: int = 0
) -> dict[str, str]:
    """The sentences of a plan of these statements, by code; ``sql`` is the plan's, else that of the statements."""
    said = "".join(f"{each.text};" for each in statements) if sql is None else sql
    found = played(Step("002", "upgrade", [*statements], untold=untold, before=KNOWN, after=KNOWN), impact, sql=said)
    return {each["code"]: each["sentence"] for each in found}


def played(step: Step, impact: dict[str, Any], *, sql: str) -> list[dict[str, Any]]:
    environment = Environment(slug="production", rewrite_limit_mb=20, lock_limit_ms=1000)
    target = Target(project=Project(slug="ledger"), environment=environment, slug="main")
    plan = Plan(steps=[{"revision": "002", "path": "versions/002.py"}], sql=sql)
    return rehearsal_findings.of_rehearsal(
        MigrationRun(target=target), plan, Pass(steps=(step,)), impact=impact, differs=False, reasons={}
    )


def relation(megabytes: int) -> dict[str, Any]:
    return {"name": "public.entries", "bytes": megabytes * 1024**2}


def test_a_table_over_the_limit_that_is_written_anew_is_named() -> None:
    found = findings_of(REWRITING, impact={**SEEN, "relations": [relation(39)]})

    assert found.keys() == {"large_rewrite"}
    assert "002 writes public.entries anew" in found["large_rewrite"]


def test_partitions_that_are_written_anew_count_together_and_are_one_finding() -> None:
    def rewritten(megabytes: int, **more: Any) -> dict[str, str]:
        names = ["public.entries_1", "public.entries_2"]
        rows = [{**relation(megabytes), "name": name, "partition_of": "public.entries", **more} for name in names]
        statement = Statement("ALTER TABLE entries ALTER COLUMN amount TYPE bigint", rewrites=names)
        return findings_of(statement, impact={**SEEN, "relations": rows})

    assert rewritten(10)["large_rewrite"] == (
        "002 writes partitions of public.entries anew, which together are larger than the 20 MB that the environment allows. "
        "Nothing reads or writes it meanwhile."
    )
    assert rewritten(9) == {}
    assert rewritten(9, unmeasured="could not be measured").keys() == {"impact_could_not_run"}


def test_a_smaller_table_and_one_that_the_plan_makes_itself_are_not() -> None:
    assert findings_of(REWRITING, impact={**SEEN, "relations": [relation(19)]}) == {}
    assert findings_of(REWRITING, impact={**SEEN, "relations": []}) == {}


def test_a_target_that_did_not_tell_its_sizes_is_a_finding_and_no_pass() -> None:
    found = findings_of(REWRITING, impact={"problem": "ledger/production/main did not answer."})

    assert found.keys() == {"impact_could_not_run"}
    assert "is not known" in found["impact_could_not_run"]


def test_without_a_lock_nothing_was_to_be_asked() -> None:
    assert findings_of(Statement("CREATE TABLE fresh (id int)"), impact={"problem": "It did not answer."}) == {}


def test_what_is_executed_and_stands_in_no_sql_of_the_plan_is_read_too() -> None:
    step = Step("002", "upgrade", [Statement("SELECT 1"), Statement("DROP TABLE entries")])

    (found,) = played(step, SEEN, sql="SELECT 1;")

    assert (found["code"], found["severity"]) == ("drop_table", "error")
    assert found["place"].startswith("versions/002.py, as executed on a copy")


def test_what_is_gone_though_no_statement_says_so_is_named() -> None:
    changes = catalog.diff({"table public.entries": "table"}, {})
    statement = Statement("DO $$ BEGIN EXECUTE 'DROP ' || 'TABLE entries'; END $$")

    found = played(Step("002", "upgrade", [statement], changes=changes), SEEN, sql=f"{statement.text};")

    assert [each["code"] for each in found] == ["drop_table"]
    assert "left no table public.entries on the copy" in found[0]["sentence"]


def test_no_more_findings_are_kept_than_of_a_plan() -> None:
    step = Step("002", "upgrade", [Statement(f"DROP TABLE t{number}") for number in range(400)])

    found = played(step, SEEN, sql="")

    assert len(found) == rehearsal_findings.MOST + 1
    assert found[0]["code"] == "lint_could_not_run"


# --- the rules about SQL, where offline mode gave none ---


def test_what_a_script_puts_together_in_an_autocommit_block_is_read() -> None:
    assert "drop_table" in findings_of(Statement("DROP TABLE ledger", in_autocommit=True), sql=NONE)
    assert findings_of(Statement("DROP TABLE ledger", in_autocommit=True), sql="DROP TABLE ledger;") == {}


def test_concurrently_belongs_into_an_autocommit_block() -> None:
    text = "CREATE INDEX CONCURRENTLY i ON ledger (id)"

    inside = findings_of(Statement("SELECT 1"), Statement(text), sql=NONE)
    outside = findings_of(Statement("CREATE TYPE mood AS ENUM ('ok')"), Statement(text, in_autocommit=True), sql=NONE)
    behind = findings_of(Statement("VACUUM ledger", in_autocommit=True), Statement(text), sql=NONE)

    assert "not_in_transaction" in inside
    assert outside == {}
    assert "not_in_transaction" in behind


def test_a_comment_at_the_end_of_a_statement_hides_no_other() -> None:
    assert "drop_table" in findings_of(Statement("SET x.y = 1 -- why"), Statement("DROP TABLE ledger"), sql=NONE)


def test_a_statement_that_was_cut_is_not_called_read_and_hides_no_other() -> None:
    cut = Statement("INSERT INTO ledger VALUES ('x", cut=900)

    found = findings_of(cut, Statement("DROP TABLE ledger"), sql=NONE)

    assert found.keys() >= {"lint_could_not_run", "drop_table"}
    assert "002: A statement is longer than what is told of it." in found["lint_could_not_run"]


def test_what_a_cut_statement_says_before_is_read_where_it_stands() -> None:
    text = "VACUUM ledger; DROP TABLE ledger; INSERT INTO ledger VALUES ('x"

    inside = findings_of(Statement(text, cut=900), sql=NONE)
    outside = findings_of(Statement(text, cut=900, in_autocommit=True), sql=NONE)

    assert inside.keys() >= {"drop_table", "not_in_transaction"}
    assert "drop_table" in outside
    assert "not_in_transaction" not in outside


def test_statements_that_were_not_told_are_not_called_read() -> None:
    found = findings_of(Statement("CREATE TYPE mood AS ENUM ('ok')"), sql=NONE, untold=3)

    assert found.keys() == {"lint_could_not_run"}
    assert "not applied to the rest" in found["lint_could_not_run"]


def test_behind_a_query_may_stand_what_is_none() -> None:
    assert findings_of(Statement("SELECT 1 ;\n"), sql=NONE) == {}
    assert "drop_table" in findings_of(Statement("SELECT 1; DROP TABLE ledger"), sql=NONE)
    assert "lint_could_not_run" in findings_of(Statement("SELECT 'x", cut=900), sql=NONE)
