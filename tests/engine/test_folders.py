"""Folders of a worker: gone at the end, kept while their process lives, swept when it was killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrations_audit.engine import folders
from tests.project.sources import python_files

HOLDING = """
import sys
from pathlib import Path
from migrations_audit.engine import folders
with folders.made("run") as folder:
    (folder / "snapshot" / "closed").mkdir(parents=True)
    (folder / "snapshot" / "env.py").write_text("pass")
    (folder / "snapshot" / "closed").chmod(0)
    print(folder, flush=True)
    sys.stdin.read()
"""
NOBODY = 65_534


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@contextmanager
def worker() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has a folder in hand."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def left_by_a_killed_worker() -> Path:
    with worker() as (_, folder):
        pass
    assert folder.exists()
    return folder


def test_a_folder_and_its_lock_are_gone_at_the_end(place: Path) -> None:
    with folders.made("run") as folder:
        (folder / "file").touch()
        assert len(list(place.iterdir())) == 2

    assert list(place.iterdir()) == []


def test_what_a_killed_worker_left_is_swept(place: Path) -> None:
    left_by_a_killed_worker()

    swept = folders.sweep()

    assert swept == 1
    assert list(place.iterdir()) == []


def test_another_worker_that_lives_keeps_its_folder() -> None:
    with worker() as (process, folder):
        swept = folders.sweep()

        assert swept == 0
        assert (folder / "snapshot" / "env.py").exists()
        assert process.poll() is None


def test_a_program_that_a_worker_started_does_not_hold_its_lock() -> None:
    with folders.made("run") as folder, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        held = {os.readlink(path) for path in Path(f"/proc/{child.pid}/fd").iterdir()}

    assert f"{folder}{folders.LOCK}" not in held


def test_a_folder_without_our_lock_is_left(place: Path) -> None:
    named = place / "opsportal-run-somebody"
    named.mkdir()

    assert folders.sweep() == 0
    assert named.exists()


def test_a_lock_that_was_only_just_made_is_left(place: Path) -> None:
    (place / "opsportal-run-young").mkdir()
    (place / "opsportal-run-young.lock").touch()

    assert folders.sweep() == 0
    assert len(list(place.iterdir())) == 2


def test_a_link_in_the_place_of_a_folder_is_not_followed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "kept").touch()
    folder = left_by_a_killed_worker()
    folder.rename(place / "moved")
    folder.symlink_to(other)

    assert folders.sweep() == 0
    assert (other / "kept").exists()


def test_a_link_inside_a_folder_is_not_followed(tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "kept").touch()
    other.chmod(0o750)
    (left_by_a_killed_worker() / "link").symlink_to(other)

    assert folders.sweep() == 1
    assert (other / "kept").exists()
    assert other.stat().st_mode & 0o777 == 0o750


def test_another_folder_of_the_same_name_is_left(place: Path) -> None:
    folder = left_by_a_killed_worker()
    folder.rename(place / "moved")
    folder.mkdir()

    assert folders.sweep() == 0
    assert folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_the_lock_of_another_account_is_left() -> None:
    folder = left_by_a_killed_worker()
    os.chown(f"{folder}{folders.LOCK}", NOBODY, NOBODY)

    assert folders.sweep() == 0
    assert folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another account")
def test_a_folder_that_was_given_to_the_account_of_the_runs_is_swept() -> None:
    folder = left_by_a_killed_worker()
    os.chown(folder, NOBODY, NOBODY)

    assert folders.sweep() == 1
    assert not folder.exists()


def test_whatever_a_worker_makes_for_the_moment_is_made_here() -> None:
    elsewhere = [
        path.name
        for path in python_files("migrations_audit")
        if path.name != "folders.py" and re.search(r"\b(?:TemporaryDirectory|mkdtemp)\b", path.read_text())
    ]

    assert elsewhere == []
