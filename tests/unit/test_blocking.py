"""What is kept of another session's statement: its shape, and no value of somebody else's data."""

from __future__ import annotations

import pytest

from migrations_audit.execution import blocking


@pytest.mark.parametrize(
    ("query", "shape"),
    [
        ("SELECT * FROM users", "SELECT * FROM users"),
        ("UPDATE users SET email = 'a@b.c' WHERE id = 42", "UPDATE users SET email = ? WHERE id = ?"),
        ("INSERT INTO t2 VALUES ('it''s', 4111111111111111, -1.5e3)", "INSERT INTO t2 VALUES (?, ?, -?)"),
        (r"SELECT 'C:\', 'pin'", "SELECT ?, ?"),
        (r"SELECT E'a\'b', U&'pin', x'1F'", "SELECT ?, ?, ?"),
        ("DO $$ pin $$; SELECT $a$ $$pin$$ $a$", "DO ?; SELECT ?"),
        ("SELECT 1 -- it's\n, 'pin'", "SELECT ? \n, ?"),
        ("SELECT 1 -- it's\r, 'pin'", "SELECT ? \r, ?"),
        ("SELECT /* it's */ 'pin'", "SELECT  ?"),
        ("""SELECT "it's", 'pin' FROM "T1" WHERE a = $1""", """SELECT "it's", ? FROM "T1" WHERE a = $1"""),
        ("INSERT INTO notes VALUES ('cut by the ser", "INSERT INTO notes VALUES (?"),
        ("DO $body$ cut by the ser", "DO ?"),
    ],
)
def test_of_a_statement_its_shape_is_kept(query: str, shape: str) -> None:
    assert blocking.shape(query) == shape
