"""Interpreters built by uv: from approved files only, wheels only, once, and usable or not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from migrations_audit.engine import bounded, caches, environments
from migrations_audit.engine.requirements import BuildRefused
from migrations_audit.errors import PortalError
from tests.engine.wheels import Index

PATH = "db/requirements.lock"
SECRET = "index-canary-55512"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path / "index")
    for name in ("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", made.address)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def recipe(text: str, *, path: str = PATH, **more: bytes) -> environments.Recipe:
    return environments.recipe({path: text.encode(), **more}, path=path)


def code(text: str, cache: str, **limits: Any) -> str:
    with pytest.raises(PortalError) as caught:
        environments.interpreter(recipe(text), cache=cache, limits=environments.Limits(**limits))
    assert caught.value.message.endswith(".")
    assert SECRET not in caught.value.message
    assert not [path for path in Path(cache).rglob("*") if path.name == "bin"]
    return caught.value.code


def says(python: str, statement: str) -> str:
    return subprocess.run([python, "-I", "-c", statement], capture_output=True, text=True, check=True).stdout.strip()


def record_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """The commands that are run from now on, each with its environment."""
    calls: list[tuple[Sequence[str], Mapping[str, str]]] = []
    run = bounded.run

    def recorded(command: Sequence[str], **given: Any) -> bounded.Ended:
        calls.append((command, given["environment"]))
        return run(command, **given)

    monkeypatch.setattr(bounded, "run", recorded)
    return calls


def test_an_interpreter_is_built_compiled_and_used_again(index: Index, cache: str) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": "__version__ = '9.9.9'\n"})

    python = environments.interpreter(recipe(text), cache=cache)
    built = Path(python).parent.stat().st_mtime_ns
    again = environments.interpreter(recipe(text), cache=cache)

    assert says(python, "import alembic; print(alembic.__version__)") == "9.9.9"
    assert (again, Path(python).parent.stat().st_mtime_ns) == (python, built)
    assert list(Path(python).parent.parent.rglob("alembic/__pycache__/*.pyc"))
    assert "unfinished" not in says(python, "import alembic; print(alembic.__loader__.get_code('alembic').co_filename)")


def test_nothing_of_a_dependency_runs_while_it_is_installed(index: Index, cache: str, tmp_path: Path) -> None:
    mark = tmp_path / "came-to-life"
    evil = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n"
    text = index.add_wheel(
        "alembic", "9.9.9", {"alembic/__init__.py": evil, "evil.pth": evil, "sitecustomize.py": evil}
    )

    python = environments.interpreter(recipe(text), cache=cache)

    assert not mark.exists()
    says(python, "pass")
    assert mark.exists()  # the trap works: it is sprung where the project runs, and not before


def test_a_source_distribution_is_refused_and_its_setup_never_runs(index: Index, cache: str, tmp_path: Path) -> None:
    mark = tmp_path / "came-to-life"
    text = index.add_source("alembic", "9.9.9", f"open({str(mark)!r}, 'w')\n")

    assert code(text, cache) == "build_needs_wheels"
    assert not mark.exists()


def test_another_file_than_the_approved_one_is_refused(index: Index, cache: str) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""})
    index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": "print('swapped')\n"})

    assert code(text, cache) == "build_hash_mismatch"


def test_a_dependency_that_is_not_named_is_refused(index: Index, cache: str) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""}, requires="mako")
    index.add_wheel("mako", "1.0", {"mako/__init__.py": ""})

    assert code(text, cache) == "requirements_not_pinned"


def test_an_index_that_does_not_answer_is_named_without_its_password(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://user:{SECRET}@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")

    assert code("alembic==9.9.9 --hash=sha256:" + "0" * 64, cache) == "index_unreachable"


def test_a_build_that_takes_too_long_or_too_much_leaves_nothing(index: Index, cache: str) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/data": "x" * 200_000})

    assert code(text, cache, build_s=0.0) == "build_timed_out"
    assert code(text, cache, max_bytes=100_000) == "build_too_large"
    with pytest.raises(caches.NoCache):
        environments.interpreter(recipe(text), cache="")


def test_what_a_lost_worker_left_half_built_is_removed(index: Index, cache: str) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""})
    python = environments.interpreter(recipe(text), cache=cache)
    folder = Path(python).parent.parent
    python_link = folder / "bin/python"
    python_link.unlink()
    (folder.parent / f"{folder.name}{caches.UNFINISHED}/bin").mkdir(parents=True)
    (folder.parent / f"{'0' * 64}{caches.UNFINISHED}/bin").mkdir(parents=True)

    environments.interpreter(recipe(text), cache=cache)

    assert os.access(python_link, os.X_OK)
    assert not list(folder.parent.glob(f"*{caches.UNFINISHED}"))


def test_of_two_at_once_one_builds(index: Index, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""})
    begin, found, calls = threading.Barrier(2), list[str](), record_calls(monkeypatch)

    def build() -> None:
        begin.wait()
        found.append(environments.interpreter(recipe(text), cache=cache))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [found[0]] * 2
    assert [command[1] for command, _ in calls].count("venv") == 1


def test_only_the_last_used_are_kept_and_what_may_still_be_in_use_stays(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        caches.note_use(tmp_path / name)
        os.utime(f"{tmp_path / name}{caches.USED}", (number, number))
    caches.note_use(tmp_path / "a")

    caches.keep_last_used(tmp_path, count=2)

    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "d"]
    caches.note_use(tmp_path / "d")
    caches.keep_last_used(tmp_path, count=0, idle_s=3_600)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "d"]


def test_the_environment_of_the_build_holds_nothing_of_the_workers(
    index: Index, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("UV_CONFIG_FILE", "/nowhere/uv.toml")
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""})
    calls = record_calls(monkeypatch)

    environments.interpreter(recipe(text), cache=cache)

    assert calls
    assert not [given for _, given in calls if SECRET in given.values() or "UV_CONFIG_FILE" in given]


def test_the_digest_covers_the_files_and_not_where_they_lie() -> None:
    text = "alembic==1.0 --hash=sha256:" + "0" * 64 + "\n"

    assert recipe(text).digest == recipe(text, path="elsewhere.txt").digest
    assert recipe(text).digest != recipe(text + "# changed\n").digest
    lock = environments.recipe({"uv.lock": b"", "pyproject.toml": b"a"}, path="uv.lock")
    assert lock.digest != environments.recipe({"uv.lock": b"", "pyproject.toml": b"b"}, path="uv.lock").digest


@pytest.mark.parametrize(
    ("files", "path"),
    [({}, PATH), ({"uv.lock": b""}, "uv.lock"), ({"a/uv.lock": b"", "pyproject.toml": b""}, "a/uv.lock")],
)
def test_files_that_are_not_in_the_snapshot_are_named(files: dict[str, bytes], path: str) -> None:
    with pytest.raises(BuildRefused, match="The snapshot has no file"):
        environments.recipe(files, path=path)


def test_without_uv_the_reason_is_said(
    index: Index, cache: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert code(text, cache) == "uv_missing"


@pytest.mark.slow
def test_a_published_lock_of_older_versions_becomes_an_interpreter(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["alembic==1.16.5", "sqlalchemy==2.0.44", "psycopg2-binary==2.9.10"]\n'
        '[dependency-groups]\ndev = ["ruff"]\n'
    )
    uv = [sys.executable, "-m", "uv", "lock", "--quiet", "--python", sys.executable]
    subprocess.run(uv, cwd=tmp_path, check=True, env={**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_CACHE": "1"})
    files = {name: (tmp_path / name).read_bytes() for name in ("uv.lock", "pyproject.toml")}

    python = environments.interpreter(environments.recipe(files, path="uv.lock"), cache=cache)

    shown = "import alembic, sqlalchemy, psycopg2; print(alembic.__version__, sqlalchemy.__version__, psycopg2.__version__[:6])"
    assert says(python, shown) == "1.16.5 2.0.44 2.9.10"
    assert says(python, "import importlib.util; print(importlib.util.find_spec('ruff'))") == "None"
