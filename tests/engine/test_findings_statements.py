"""Statements that destroy, lock another table, or cannot run where they stand: how they are told."""

from __future__ import annotations

import pytest

from migrations_audit.engine.findings import statements
from migrations_audit.severities import Severity
from migrations_audit.states import Engine


def codes(sql: str, *, in_transaction: bool = False, engine: Engine = Engine.POSTGRESQL) -> set[str]:
    found = statements.of_sql(sql, place="x", in_transaction=in_transaction, engine=engine)
    return {each.code for each in found}


@pytest.mark.parametrize("quote", ["$$", "$x$", "'"])
def test_what_differs_in_the_quotes_of_a_block_is_told_in_another_sentence(quote: str) -> None:
    one, other = (
        {each.sentence for each in statements.of_sql(sql, place="x", in_transaction=True)}
        for sql in (f"DO {quote}BEGIN DROP TABLE a; END{quote}", f"DO {quote}BEGIN DROP TABLE b; END{quote}")
    )

    assert len(one) == len(other) == 2
    assert "DROP TABLE" not in "".join(each.partition(":")[0] for each in one)
    assert not one & other


def test_a_transaction_that_was_open_before_counts() -> None:
    sql = "CREATE INDEX CONCURRENTLY i ON orders (a)"

    assert "not_in_transaction" in codes(sql, in_transaction=True)
    assert "not_in_transaction" not in codes(sql, in_transaction=False)


def test_a_finding_says_where_how_bad_and_the_safer_way_without_any_literal() -> None:
    (found,) = statements.of_sql(
        "SELECT 1;\n\nUPDATE people SET password = 'hunter2'", place="versions/3.py", in_transaction=True
    )

    assert (found.code, found.severity, found.place) == (
        "update_without_where",
        Severity.ERROR,
        "versions/3.py, line 3",
    )
    assert found.sentence.startswith("UPDATE people SET password = '…': Every row")
    assert "WHERE" in found.advice
    assert found.as_dict()["severity"] == "error"


def test_on_another_engine_only_what_destroys_is_found() -> None:
    sql = "/*!40000 TRUNCATE orders */; CREATE TABLE l (o int REFERENCES orders (id)); BEGIN; BEGIN"

    assert codes(sql, engine=Engine.MARIADB) == {"truncate"}


def test_sql_that_is_too_long_is_told_and_not_passed_over() -> None:
    (found,) = statements.of_sql("-" * (statements.LONGEST_SQL + 1), place="x", in_transaction=True)

    assert found.code == "lint_could_not_run"
