"""From a reference to a URL, and what is said when it leads nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrations_audit import sealing
from migrations_audit.engine import references
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import Invalid

URL = "postgresql://u:hunter2@db/orders"


def resolve(reference: str, environment: dict[str, str] | None = None) -> TargetUrl:
    return references.resolve(reference, environment=environment or {}, unseal=lambda token: f"{URL}_{token[:5]}")


def test_a_variable_of_the_worker_is_read() -> None:
    assert resolve("env:ORDERS_URL", {"ORDERS_URL": URL}).database == "orders"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_is_read_with_or_without_its_last_line_end(tmp_path: Path, ending: str) -> None:
    (tmp_path / "url").write_text(URL + ending, newline="")

    assert resolve(f"file:{tmp_path}/url").password == "hunter2"


def test_a_sealed_value_is_unsealed() -> None:
    assert resolve("sealed:gAAAA" + "b" * 80).database == "orders_gAAAA"


def test_what_cannot_be_unsealed_is_told_by_the_sealing() -> None:
    def refuse(token: str) -> str:
        raise sealing.CannotUnseal

    with pytest.raises(sealing.CannotUnseal):
        references.resolve("sealed:gAAAA" + "b" * 80, environment={}, unseal=refuse)


@pytest.mark.parametrize("environment", [{}, {"ORDERS_URL": ""}])
def test_a_missing_variable_is_named_with_what_to_do(environment: dict[str, str]) -> None:
    with pytest.raises(references.CannotResolve, match=r"ORDERS_URL .* in this worker\. Set it where"):
        resolve("env:ORDERS_URL", environment)


def test_a_missing_file_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(references.CannotResolve, match=r"/url \(No such file or directory\)"):
        resolve(f"file:{tmp_path}/url")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 9000, b"hunter2", URL.encode() + b"\nhunter2\n"])
def test_a_file_that_does_not_hold_only_a_url_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "url").write_bytes(content)

    with pytest.raises(references.CannotResolve) as caught:
        resolve(f"file:{tmp_path}/url")
    assert "hunter2" not in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(references.CannotResolve, match="Is a directory"):
        resolve(f"file:{tmp_path}")


def test_a_named_pipe_does_not_hold_the_worker(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(references.CannotResolve, match="not a regular file"):
        resolve(f"file:{tmp_path}/pipe")


def test_a_variable_that_holds_no_url_is_named_without_its_value() -> None:
    with pytest.raises(references.CannotResolve, match=r"env:ORDERS_URL .*port") as caught:
        resolve("env:ORDERS_URL", {"ORDERS_URL": "postgresql://u:hunter2@db:hunter2/orders"})

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_malformed_reference_is_refused_before_anything_is_looked_up() -> None:
    with pytest.raises(Invalid):
        resolve("env:DATABASE_URL", {"DATABASE_URL": URL})
