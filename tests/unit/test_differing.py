"""Two texts side by side: what is shown, what is hidden, and what is never too much."""

from __future__ import annotations

import time

import pytest

from migrations_audit.execution import differing
from migrations_audit.models.evidence import TITLE


def lines(then: str, now: str) -> list[str]:
    return list(differing.of_texts(then, now, is_python=True))


def numbered(count: int, **changed: str) -> str:
    return "\n".join(changed.get(f"line{number}", f"line{number}") for number in range(count))


def test_a_changed_line_stands_with_its_signs_between_those_around_it() -> None:
    assert lines(numbered(9), numbered(9, line4="other")) == [
        *("@@ -2,7 +2,7 @@", " line1", " line2", " line3", "-line4", "+other", " line5", " line6", " line7")
    ]


def test_lines_keep_their_numbers_however_much_stands_before_them() -> None:
    then, now = numbered(5_000), numbered(5_000, line4000="other")

    assert lines(then, now)[0] == "@@ -3998,7 +3998,7 @@"


def test_a_line_end_alone_is_a_difference() -> None:
    assert lines("a\n", "a") == ["@@ -1,2 +1,1 @@", " a", "-"]
    assert differing.bounded(lines("a\r\nb", "a\nb"))[1:3] == ("-a\\x0d", "+a")


def test_passwords_are_masked_and_a_change_of_one_is_told_without_it() -> None:
    then, now = 'password = "first horse"\n', 'password = "second horse"\n'

    assert lines(then, now) == [" only what is masked here as a password differs"]
    assert "horse" not in "".join(lines(then, now + "x = 1\n"))


def test_files_are_told_with_what_became_of_them_those_of_the_steps_first() -> None:
    then = {"a.py": b"1", "b.py": b"1", "same.py": b"1", "z.py": b"1"}
    now = {"b.py": b"2", "c.py": b"1\n2", "same.py": b"1", "z.py": b"2"}

    told = differing.of_files(then, now, first=["z.py"])

    assert [line for line in told if line.startswith(TITLE)] == [
        *(f"{TITLE}changed: z.py", f"{TITLE}removed: a.py", f"{TITLE}changed: b.py", f"{TITLE}added: c.py")
    ]
    assert told[-2:] == ("+1", "+2")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a\0b", " not a text"), (b"x" * 200_001, " longer than 200,000 bytes, so not compared line by line")],
)
def test_what_is_no_text_or_too_long_is_named_only(content: bytes, told: str) -> None:
    assert differing.of_files({"a.sql": b"1"}, {"a.sql": content}) == (f"{TITLE}changed: a.sql", told)


def test_no_more_is_kept_than_fits() -> None:
    many = differing.bounded(f"+{number}" for number in range(10_000))
    long = differing.bounded("+" + "x" * 100_000 for _ in range(10_000))

    assert (len(many), many[-1]) == (differing.MOST_LINES + 1, f"{TITLE}more differs than is kept here")
    assert len("".join(long)) < differing.MOST_CHARACTERS + 100
    assert len(long[0]) == differing.LONGEST_LINE + 1


def test_what_cannot_be_stored_or_would_deceive_is_written_out() -> None:
    assert differing.bounded(["+a\u202eb", "+\ud800"]) == ("+a\\u202eb", "+\\ud800")


@pytest.mark.parametrize("count", [differing.MOST_COMPARED, 50_000])
def test_a_hostile_pair_takes_no_more_than_seconds(count: int) -> None:
    then = "\n".join(str(number % 7) for number in range(count))
    now = "\n".join(str((number * 3 + 1) % 7) for number in range(count))
    began = time.monotonic()

    differing.bounded(differing.of_texts(then, now))

    assert time.monotonic() - began < 20
