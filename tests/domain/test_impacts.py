"""What a rehearsal keeps of the target's own answers: bounded, without values, and a failure told as such."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migrations_audit.engine import impact
from migrations_audit.engine.impact import Impact
from migrations_audit.engine.rehearsing import naming
from migrations_audit.engine.rehearsing.types import Lock, Pass, Statement, Step
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.execution import impacts

URL = TargetUrl(driver="", host="db.example", port=5432, database="market", user="migrator", password="swordfish")


def played(*relations: str, mode: str = "AccessExclusiveLock") -> Pass:
    locks = [Lock(mode, name) for name in relations]
    return Pass((Step("r1", "upgrade", [Statement("ALTER TABLE a ADD b int", locks=locks)]),))


def answers(monkeypatch: pytest.MonkeyPatch, found: Impact | Exception) -> list[Any]:
    asked: list[Any] = []

    def read(url: TargetUrl, *, names: list[str], named: list[naming.Name], application_name: str) -> Impact:
        asked.append((names, named))
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(impact, "read", read)
    return asked


def size(name: str) -> dict[str, Any]:
    return {"name": name, "bytes": 1, "rows": 1, "never_analyzed": False, "live": 1}


def test_each_locked_relation_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, Impact())

    found = impacts.read(
        URL, played("public.b", "public.a", "public.b"), sql="DROP TABLE c", version_table="alembic_version"
    )

    assert asked == [(["public.a", "public.b"], [])]
    assert found["asked"] == 2


@pytest.mark.parametrize(
    "there", [replace(played("public.b"), problem="It failed."), replace(played("public.b"), uninspected="Too much.")]
)
def test_where_the_copy_did_not_show_all_the_tables_of_the_sql_are_asked_for_too(
    monkeypatch: pytest.MonkeyPatch, there: Pass
) -> None:
    asked = answers(monkeypatch, Impact())

    found = impacts.read(URL, there, sql="DROP TABLE c")

    assert asked == [(["public.b"], [("", "c"), ("", "a")])]
    assert found["asked"] == 3


def test_without_any_copy_the_tables_of_the_sql_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, Impact(relations=[size("public.c")]))

    found = impacts.read(URL, Pass(()), sql="DROP TABLE c")

    assert asked == [([], [("", "c")])]
    assert (found["relations"], found["forecast"]) == ([size("public.c")], [])


def test_a_target_that_does_not_answer_is_told_and_the_locks_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, CannotRead("db.example does not answer."))

    found = impacts.read(URL, played("public.a"), sql="", version_table="alembic_version")

    assert found["problem"] == "db.example does not answer."
    assert [entry["sentence"].partition(",")[0] for entry in found["forecast"]] == [
        "AccessExclusive on public.a (size not told)"
    ]


def test_queries_of_others_are_kept_without_their_values_and_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "relation": "public.a",
        "mode": "AccessShareLock",
        "query": "UPDATE a SET mail = 'eve@example.com'" + " OR b" * 10_000,
        "transaction_s": 1,
    }
    answers(monkeypatch, Impact(relations=[size("public.a")], holders=[dict(row)], long=[dict(row)]))

    found = impacts.read(URL, played("public.a"), sql="", version_table="alembic_version")

    for each in (*found["holders"], *found["long"]):
        assert "eve@example.com" not in each["query"]
        assert len(each["query"]) <= impacts.LONGEST_QUERY


def test_no_more_is_kept_than_a_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"public.t{number}" for number in range(1_000)]
    answers(monkeypatch, Impact(relations=[size(name) for name in names]))

    found = impacts.read(URL, played(*names), sql="", version_table="alembic_version")

    assert len(found["forecast"]) == impacts.MOST_ENTRIES
    assert len(found["relations"]) == impacts.MOST_RELATIONS


def test_that_alembic_writes_its_own_rows_is_no_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, Impact(relations=[size("public.alembic_version"), size("public.a")]))
    there = played("public.alembic_version", "public.a", mode="RowExclusiveLock")

    found = impacts.read(URL, there, sql="", version_table="alembic_version")

    assert [entry["relation"] for entry in found["forecast"]] == ["public.a"]


def test_whom_the_plan_would_wait_for_comes_first_and_only_those_are_said_to_be_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, vacuum = (
        {"relation": "public.a", "pid": pid, "mode": mode, "query": "", "transaction_s": 3_600.0}
        for pid, mode in ((1, "AccessShareLock"), (2, "ShareUpdateExclusiveLock"))
    )
    answers(monkeypatch, Impact(relations=[size("public.a")], holders=[reader, vacuum]))

    found = impacts.read(URL, played("public.a", mode="ShareUpdateExclusiveLock"), sql="")

    assert [(row["pid"], row["in_the_way"]) for row in found["holders"]] == [(2, True), (1, False)]
    assert [entry["held_by"] for entry in found["forecast"]] == [1]
