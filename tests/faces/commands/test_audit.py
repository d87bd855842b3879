"""The audit and its secrets from a shell."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from migrations_audit import exports, hashchain, sealing
from migrations_audit.actions import tokens
from migrations_audit.models import ApiToken
from tests import people
from tests.domain import trail
from tests.faces.commands.conftest import Run


def test_an_export_is_written_to_a_new_file_that_verifies(place: people.Place, run: Run, tmp_path: Path) -> None:
    people.make_run(place, state="approved")
    path = tmp_path / "export.jsonl"

    ended = run("export_audit", "--as", "auditor", "--output", path)

    assert ended.code == 0
    assert hashchain.main([str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "0 withheld" in ended.out


def test_an_export_takes_filters_and_the_form(place: people.Place, run: Run, tmp_path: Path) -> None:
    made = people.make_run(place)
    path = tmp_path / "export.csv"

    run(
        "export_audit",
        "--as",
        "auditor",
        "--form",
        "csv",
        "--output",
        path,
        "--run",
        made.number,
        "--since",
        "2020-01-01",
    )

    assert [line.split(",")[5] for line in path.read_text().splitlines()] == ["action", "run.requested"]


def test_an_export_never_replaces_a_file(place: people.Place, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("evidence of last year")
    head = trail.head()

    ended = run("export_audit", "--as", "auditor", "--output", path)

    assert ended.code == 2
    assert path.read_text() == "evidence of last year"
    assert trail.head() == head


def test_a_refused_export_leaves_no_file(place: people.Place, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"

    ended = run("export_audit", "--as", "dev", "--output", path)

    assert (ended.code, path.exists()) == (1, False)
    assert "(missing_role)" in ended.err


def test_an_export_that_breaks_off_leaves_no_file(
    place: people.Place, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(value: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "_line", break_off)
    path = tmp_path / "export.jsonl"

    ended = run("export_audit", "--as", "auditor", "--output", path)

    assert (ended.code, path.exists()) == (2, False)
    assert "No space left" in ended.err


def test_a_chain_that_holds_ends_with_0(place: people.Place, run: Run) -> None:
    people.make_run(place)

    ended = run("verify_audit")

    assert ended.code == 0
    assert f"{trail.head()} events" in ended.out


def test_a_chain_that_was_tampered_with_ends_with_1_and_names_the_event(place: people.Place, run: Run) -> None:
    people.make_run(place, state="approved")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE migrations_audit_auditevent DISABLE TRIGGER USER")
        cursor.execute("UPDATE migrations_audit_auditevent SET body = body || ' ' WHERE seq = 3")

    ended = run("verify_audit")

    assert ended.code == 1
    assert ended.out.startswith("BAD: event 3: its body was changed.")


def test_a_new_token_is_printed_alone_and_works(place: people.Place, run: Run) -> None:
    ended = run("create_token", "--as", "dev", "--name", "ci", "--scope", "read", "--scope", "request", "--days", "7")

    actor = tokens.authenticate(secret=ended.out.removesuffix("\n"), address="192.0.2.1")
    assert actor.scopes == {"read", "request"}
    assert actor.user_id == place.people["dev"].pk
    assert ended.out.strip() not in ended.err


def test_a_token_that_would_live_too_long_is_refused(place: people.Place, run: Run) -> None:
    ended = run("create_token", "--as", "dev", "--name", "ci", "--scope", "read", "--days", "367")

    assert (ended.code, ended.out) == (1, "")
    assert not ApiToken.objects.exists()


def test_a_scope_that_is_not_there_is_wrong_usage(place: people.Place, run: Run) -> None:
    assert run("create_token", "--as", "dev", "--name", "ci", "--scope", "approve").code != 0
    assert not ApiToken.objects.exists()


URL = "postgresql://migrator:hunter2@db.example:5432/market"


def test_a_url_from_standard_input_is_sealed(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{URL}\n"))

    ended = run("seal_url")

    reference = ended.out.strip()
    assert ended.code == 0
    sealing.check_reference(reference)
    assert sealing.unseal(reference.removeprefix("sealed:"), keys=settings.PORTAL_SEALING_KEYS) == URL
    assert "hunter2" not in ended.out + ended.err


@pytest.mark.parametrize(
    "text", ["", "\n", "hunter2", "postgresql://", f"{URL}\n{URL}", f"{URL} hunter2", "://hunter2\x00", "x" * 5_000]
)
def test_what_is_no_url_is_refused_and_never_repeated(run: Run, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    ended = run("seal_url")

    assert (ended.code, ended.out) == (2, "")
    assert "hunter2" not in ended.err


def test_a_url_that_is_too_long_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"postgresql://{'x' * 2_000}/a"))

    assert run("seal_url").code == 2


def test_without_a_key_nothing_is_sealed(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PORTAL_SEALING_KEYS = []
    monkeypatch.setattr(sys, "stdin", io.StringIO(URL))

    ended = run("seal_url")

    assert (ended.code, ended.out) == (1, "")
    assert "(no_sealing_key)" in ended.err


def test_a_url_cannot_be_passed_as_an_argument(run: Run) -> None:
    ended = run("seal_url", URL)

    assert ended.code != 0
    assert ended.out == ""
