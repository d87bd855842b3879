"""A small chaos with a fixed seed: the same program as ``dev.py chaos``, on servers of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_a_small_chaos_leaves_no_wrong_verdict_nothing_twice_and_nothing_lost() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--runs", "12", "--seed", "211"]
    played = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False
    )

    said = f"{played.stdout[-6000:]}\n{played.stderr[-3000:]}"
    assert "12 runs: 0 wrong verdicts, 0 applied twice, 0 lost, chain verified" in played.stdout, said
    assert played.returncode == 0, said
