"""A plan that fails by a mistake of its own must not pass for one that only the copy could not play."""

from __future__ import annotations

import pytest

from migrations_audit.engine.rehearsing import shortcomings
from migrations_audit.engine.rehearsing.types import Pass

PROBLEM = ('extension hstore: extension "hstore" is not available',)


def because(sqlstate: str, problem: str, problems: tuple[str, ...] = (), code: str = "error") -> str:
    return shortcomings.of_the_copy(Pass((), problem, code, sqlstate), problems)


@pytest.mark.parametrize(
    ("sqlstate", "problem"),
    [
        ("42704", 'index "ix_nope" does not exist'),
        ("42704", 'constraint "nope" of relation "users" does not exist'),
        ("42704", 'type "mood" does not exist\nLINE 1: role "x" does not exist'),
        ("42704", 'operator class "gin_trgm_ops" does not exist for access method "gin"'),
        ("0A000", "cannot alter type of a column used by a view or rule"),
        ("42601", 'syntax error at or near "SELEC"'),
        ("42701", 'column "id" of relation "users" already exists'),
    ],
)
def test_an_ordinary_mistake_is_the_plans(sqlstate: str, problem: str) -> None:
    assert because(sqlstate, problem) == ""


@pytest.mark.parametrize(
    ("sqlstate", "problem"),
    [
        ("42704", 'role "auditor" does not exist'),
        ("42704", 'language "plpython3u" does not exist'),
        ("42704", 'access method "columnar" does not exist'),
        ("42704", 'tablespace "fast" does not exist'),
        ("42704", 'foreign-data wrapper "oracle_fdw" does not exist'),
        ("42704", 'publication "everything" does not exist'),
        ("42704", 'collation "de_AT" for encoding "UTF8" does not exist'),
        ("42704", 'unrecognized configuration parameter "app.tenant"'),
        ("0A000", 'extension "postgis" is not available'),
        ("0A000", "ICU is not supported in this build"),
        ("0A000", "compression method lz4 not supported"),
        ("42501", "permission denied to create event trigger"),
        ("58P01", 'could not access file "pgcrypto": No such file or directory'),
    ],
)
def test_what_a_copy_cannot_give_is_the_copys(sqlstate: str, problem: str) -> None:
    assert because(sqlstate, problem)


@pytest.mark.parametrize("sqlstate", ["42P01", "42703", "42704", "42883", "3F000"])
def test_something_missing_may_be_what_could_not_be_copied(sqlstate: str) -> None:
    assert because(sqlstate, "something does not exist") == ""
    assert because(sqlstate, "something does not exist", PROBLEM) == "the copy is not like its target"


@pytest.mark.parametrize("sqlstate", ["42601", "42701", "0A000", "23505", ""])
def test_what_could_not_be_copied_explains_no_other_failure(sqlstate: str) -> None:
    assert because(sqlstate, "something else", PROBLEM) == ""


@pytest.mark.parametrize("code", ["pooler", "standby", "lock_busy", "wrong_target", "too_long"])
def test_what_refuses_the_copy_says_nothing_about_the_target(code: str) -> None:
    assert because("", "refused", code=code)
