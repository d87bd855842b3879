"""The audit export and its verifier, through the API."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.test import AsyncClient

from migrations_audit import downloads, exports, hashchain
from tests import people
from tests.domain import trail
from tests.faces.api.caller import ROOT, Caller


@pytest.fixture
def auditor(place: people.Place) -> Caller:
    return Caller.of(place, "auditor", scopes=["export"])


def test_an_export_and_the_verifier_from_the_same_portal_fit_together(
    place: people.Place, auditor: Caller, tmp_path: Path
) -> None:
    people.make_run(place, state="approved", reason="Größe 🦆 \u202egnp.exe")
    (tmp_path / "export.jsonl").write_bytes(auditor.get("audit/export").content)
    (tmp_path / "hashchain.py").write_bytes(Caller().get("audit/verifier").content)

    ended = subprocess.run(
        [sys.executable, "-I", "hashchain.py", "export.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every link holds" in ended.stdout


def test_an_export_is_a_download_with_a_name_that_the_portal_made(auditor: Caller) -> None:
    headers = auditor.get("audit/export", actor='"; filename="evil.exe').headers

    assert headers["Content-Disposition"].startswith('attachment; filename="audit-empty-')
    assert headers["Content-Disposition"].count("filename") == 1
    assert headers["Content-Type"] == "application/jsonl; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_csv_export_holds_the_matching_rows(place: people.Place, auditor: Caller) -> None:
    people.make_run(place)

    lines = auditor.get("audit/export", form="csv", action="run.requested").content.decode().splitlines()

    assert len(lines) == 2
    assert lines[0].startswith("seq,at,actor,")


def test_an_export_takes_every_filter(place: people.Place, auditor: Caller) -> None:
    run = people.make_run(place)
    query = {
        "actor": "dev",
        "action": "run.",
        "environment": "production",
        "target": "market/",
        "run": run.number,
        "since": "2020-01-01T00:00:00Z",
        "until": "2120-01-01T00:00:00+02:00",
    }

    manifest = json.loads(auditor.get("audit/export", **query).content.splitlines()[0])

    assert manifest["matched"] == 1
    assert set(manifest["filters"]) == set(query)


def test_an_export_of_somebody_who_is_no_auditor_is_refused_and_recorded(dev: Caller) -> None:
    assert (dev.get("audit/export").status, dev.get("audit/export").code) == (403, "missing_role")
    assert trail.last("access.denied").facts["facts"]["verb"] == "exports.export"


def test_a_denied_export_is_recorded_once(dev: Caller) -> None:
    before = trail.head()

    dev.get("audit/export")

    assert trail.head() == before + 1


def test_under_asgi_an_export_is_streamed_in_blocks(
    place: people.Place, auditor: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CHUNK", 2)
    monkeypatch.setattr(downloads, "LINES_AT_ONCE", 3)
    given_back: list[None] = []
    # As Django's own test client does: the connection of this test's transaction must stay.
    monkeypatch.setattr(downloads, "close_old_connections", lambda: given_back.append(None))
    people.make_run(place, state="approved")

    async def fetch() -> list[bytes]:
        response = await AsyncClient().get(f"{ROOT}audit/export", headers={"Authorization": f"Bearer {auditor.secret}"})
        assert isinstance(response, StreamingHttpResponse)
        assert response.is_async
        return [block async for block in response.streaming_content]

    blocks = async_to_sync(fetch)()

    assert len(blocks) > 3
    assert all(block.count(b"\n") <= 3 for block in blocks)
    assert len(given_back) == len(blocks) + 1
    assert hashchain.verify_export(b"".join(blocks).decode().splitlines())[1].holds
