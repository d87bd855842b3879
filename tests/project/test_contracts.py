"""The layers, and Django's own migrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.project.sources import ROOT, calls, python_files


def test_the_layers_hold() -> None:
    program = Path(sys.executable).parent / "lint-imports"

    checked = subprocess.run([str(program), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert checked.returncode == 0, checked.stdout


@pytest.mark.django_db
def test_the_models_and_the_migrations_say_the_same() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_every_row_lock_leaves_the_key_alone() -> None:
    # A lock of the key makes every row that refers to it wait, at commit, with the audit chain in its hands: a deadlock.
    strict = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in python_files("migrations_audit")
        for name, call in calls(path)
        if name == "select_for_update" and "no_key" not in {keyword.arg for keyword in call.keywords}
    ]

    assert strict == []
