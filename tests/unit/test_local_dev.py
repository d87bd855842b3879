"""dev.py prepares an environment once, and says what is missing when it cannot."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dev


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with two lock files and an environment, as after a first start, but nothing stamped."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("version = 3.11.0\n")
    (tmp_path / dev.RUNTIME).write_text("a==1\n")
    (tmp_path / dev.DEV).write_text("a==1\nb==1\n")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(dev, "BROKEN", tmp_path / ".venv" / "opsportal-installing")
    return tmp_path


def mark(lock_file: str) -> None:
    dev.stamp(lock_file).write_text(dev.fingerprint(lock_file))


@pytest.mark.usefixtures("clone")
def test_an_environment_without_a_stamp_is_not_installed() -> None:
    assert not dev.is_installed(dev.RUNTIME)


@pytest.mark.usefixtures("clone")
def test_the_packages_of_the_tests_are_enough_for_the_demo_but_not_the_other_way_round() -> None:
    mark(dev.DEV)
    assert dev.is_installed(dev.RUNTIME)

    dev.stamp(dev.DEV).unlink()
    mark(dev.RUNTIME)
    assert not dev.is_installed(dev.DEV)


@pytest.mark.parametrize("changed", [dev.RUNTIME, ".venv/pyvenv.cfg"])
def test_a_changed_lock_or_python_asks_for_a_new_install(clone: Path, changed: str) -> None:
    mark(dev.RUNTIME)

    (clone / changed).write_text("other\n")

    assert not dev.is_installed(dev.RUNTIME)


@pytest.mark.usefixtures("clone")
def test_an_interrupted_install_is_repeated() -> None:
    mark(dev.RUNTIME)

    dev.BROKEN.touch()

    assert not dev.is_installed(dev.RUNTIME)


def test_an_environment_whose_python_has_gone_is_not_installed(clone: Path) -> None:
    mark(dev.RUNTIME)
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(clone / "gone")

    assert not dev.is_installed(dev.RUNTIME)


@pytest.mark.usefixtures("clone")
def test_a_python_with_neither_pip_nor_ensurepip_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(dev.Stop, match=r"neither pip nor ensurepip.*apt-get install python3-pip"):
        dev.make_environment()


@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_an_unknown_command_explains_itself_and_fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(words) == 2
    assert "python3 dev.py demo" in capsys.readouterr().out


def test_help_needs_no_environment(tmp_path: Path) -> None:
    copy = tmp_path / "dev.py"
    copy.write_text(Path(dev.__file__).read_text())

    ended = subprocess.run([sys.executable, "-S", copy, "demo", "--help"], capture_output=True, text=True, check=False)

    assert ended.returncode == 0
    assert "--walk" in ended.stdout
    assert not (tmp_path / ".venv").exists()


def test_dev_py_imports_the_standard_library_only() -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", Path(dev.__file__).read_text(), re.MULTILINE)

    assert set(imported) <= sys.stdlib_module_names


@pytest.mark.parametrize("lock_file", [dev.RUNTIME, dev.DEV, str(dev.UV)])
def test_every_locked_package_has_a_hash(lock_file: str) -> None:
    text = (dev.ROOT / lock_file).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)

    assert [each.partition(" ")[0] for each in entries if "==" in each and "--hash=sha256:" not in each] == []
    assert "--hash=sha256:" in text
