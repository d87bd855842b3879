"""Requirements files: pinned and hashed packages of the worker's index, and nothing else."""

from __future__ import annotations

import pytest

from migrations_audit.engine import requirements

HASH = "--hash=sha256:" + "0123456789abcdef" * 4
ALEMBIC = f"alembic==1.16.5 {HASH}"


def refusal(text: str) -> str:
    with pytest.raises(requirements.BuildRefused) as caught:
        requirements.read(text, path="db/requirements.lock")
    assert caught.value.code == "requirements_not_pinned"
    return caught.value.message


def test_a_file_as_uv_and_pip_tools_write_it_is_read() -> None:
    text = (
        "# This file was made by a tool\n"
        f"alembic==1.16.5 \\\n    {HASH} \\\n    --hash=sha512:{'a' * 128}\n    # via -r requirements.in\n\n"
        f"psycopg[binary]==3.2.1 ; python_version >= '3.11' and sys_platform != \"win32\" \\\n    {HASH}\n"
        f"typing-extensions==4.0+local.1; extra == 'x' {HASH}  # kept\n"
    )

    pins = requirements.read(text, path="requirements.lock")

    assert [pin.name for pin in pins] == ["alembic", "psycopg", "typing-extensions"]
    assert pins[0].line == f"alembic==1.16.5 {HASH} --hash=sha512:{'a' * 128}"
    assert pins[1].line.startswith(
        "psycopg[binary]==3.2.1 ; python_version >= '3.11' and sys_platform != \"win32\" --hash"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sqlalchemy==2.0.44", "has no --hash"),
        ("sqlalchemy", "does not pin"),
        (f"sqlalchemy>=2 {HASH}", "does not pin"),
        (f"sqlalchemy==2.* {HASH}", "has no --hash"),
        ("sqlalchemy==2.0 --hash=md5:" + "0" * 32, "has no --hash"),
        ("sqlalchemy==2.0 --hash=sha256:" + "0" * 63, "has no --hash"),
        (f"sqlalchemy @ https://h/x.whl {HASH}", "an address or a path"),
        (f"git+https://h/x#egg=x {HASH}", "an address or a path"),
        (f"./local {HASH}", "an address or a path"),
        ("-r other.txt", "is an option"),
        ("-e .", "is an option"),
        ("--index-url https://h/simple", "is an option"),
        ("--extra-index-url=https://h/simple", "is an option"),
        ("--find-links /tmp", "is an option"),
        (f"sqlalchemy==2.0 ; python_version > '3' --index-url https://h {HASH}", "an address or a path"),
        (f"sqlalchemy==2.0 {HASH} --find-links x", "has no --hash"),
        (f"sqlalchemy==2.0 --config-settings=x {HASH}", "has no --hash"),
    ],
)
def test_anything_but_a_pinned_package_with_hashes_is_refused_with_its_line(line: str, words: str) -> None:
    sentence = refusal(f"{ALEMBIC}\n{line}\n")

    assert sentence.startswith("Line 2 of db/requirements.lock")
    assert words in sentence


def test_a_line_that_goes_on_is_one_line() -> None:
    assert "Line 1 " in refusal(f"alembic==1 \\\n --index-url \\\n x {HASH}\n")
    assert "Line 2 " in refusal(f"{ALEMBIC}\nsqlalchemy==2 \\\n")


def test_a_file_without_alembic_is_refused() -> None:
    assert "does not name alembic" in refusal(f"sqlalchemy==2.0 {HASH}\n")
    assert "does not name alembic" in refusal("")
