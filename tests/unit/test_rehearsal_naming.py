"""Which tables SQL names: by its words, without asking whether they are there."""

from __future__ import annotations

import pytest

from migrations_audit.engine.rehearsing import naming


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ALTER TABLE entries ALTER COLUMN amount TYPE bigint", [("", "entries")]),
        ("ALTER TABLE IF EXISTS ONLY book.Entries ADD note text", [("book", "entries")]),
        ('DROP TABLE "Large.one", book."two"', [("", "Large.one"), ("book", "two")]),
        ("CREATE INDEX CONCURRENTLY i ON entries (booked_at)", [("", "i"), ("", "entries")]),
        ("DROP INDEX CONCURRENTLY IF EXISTS booked_at", [("", "booked_at")]),
        ("INSERT INTO a SELECT * FROM b JOIN c ON true", [("", "a"), ("", "b"), ("", "c"), ("", "true")]),
        ("UPDATE entries SET note = 'FROM secrets'", [("", "entries")]),
        ("DELETE FROM a USING b", [("", "a"), ("", "b")]),
        ("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c (id)", [("", "a"), ("", "c")]),
        ("TRUNCATE a, b", [("", "a"), ("", "b")]),
        ("LOCK TABLE a IN SHARE MODE", [("", "a")]),
        ("DO $$ BEGIN UPDATE a SET b = 1; END $$", [("", "a")]),
        ("SELECT 1 /* FROM a */", []),
        ("", []),
        ("FROM", []),
    ],
)
def test_names_are_found_by_the_words_before_them(text: str, found: list[tuple[str, str]]) -> None:
    assert naming.tables([text]) == found


def test_each_name_is_told_once() -> None:
    assert naming.tables(["UPDATE a SET b = 1", "UPDATE A SET b = 2; TRUNCATE a"]) == [("", "a")]


def test_no_more_is_read_and_told_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(naming.tables(f"TRUNCATE t{number}" for number in range(1_000))) == naming.MOST
    monkeypatch.setattr(naming, "LONGEST_SQL", 12)

    assert naming.tables(["TRUNCATE a; TRUNCATE b", "TRUNCATE c"]) == [("", "a")]
