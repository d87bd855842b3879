"""``dev.py chaos``: many runs on real servers while things around them are killed, frozen, restarted and sent twice.

At the end every verdict is compared with what the target holds. Exit code 0 only if nothing was wrong, twice or lost.
"""

from __future__ import annotations

import argparse
import base64
import os
import queue
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import django
from django.core.management import call_command

from tests.chaos import plan as plans
from tests.chaos.stage import Stage

LEASE_S, RESEND_S, SWEEP_S = 4, 2, 1


def options_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py chaos",
        description=__doc__,
        epilog="The seed decides each run's project and faults, as times after the run was asked for, queued, claimed, or "
        "reached a phase. It does not decide how fast this machine is at that moment: the plan is the same every time, "
        "what comes of it is not.",
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3, help="worker processes, each with two pool children")
    parser.add_argument("--at-once", type=int, default=6, help="how many runs overlap")
    parser.add_argument("--patience", type=float, default=240.0, help="seconds after which a run counts as lost")
    parser.add_argument("--show-plan", action="store_true", help="print the plan of this seed and stop")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the servers' data and all logs")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    options = options_of(words)
    drawn = plans.draw(runs=options.runs, seed=options.seed, lease_s=LEASE_S)
    if options.show_plan:
        print("\n".join(plans.lines(drawn)))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="opsportal-chaos-"))
    folder.chmod(0o711)
    try:
        with Stage(folder) as stage:
            return _on_stage(stage, folder, drawn, options)
    finally:
        if options.keep:
            print(f"Kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _on_stage(stage: Stage, folder: Path, drawn: Sequence[plans.RunPlan], options: argparse.Namespace) -> int:
    for name in ("logs", "projects"):
        (folder / name).mkdir()
    os.environ.update(
        stage.environment,
        SECRET_KEY=secrets.token_urlsafe(50),
        PORTAL_SEALING_KEYS=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        PORTAL_MODE="test",
        PORTAL_PROJECT_ROOTS=str(folder / "projects"),
        PORTAL_LEASE_S=str(LEASE_S),
        PORTAL_RESEND_S=str(RESEND_S),
        PORTAL_SWEEP_S=str(SWEEP_S),
        DJANGO_SETTINGS_MODULE="opsportal.settings",
    )
    environment = dict(os.environ)
    os.environ["LOG_LEVEL"] = "CRITICAL"  # of this process; what the broker's absence makes it say is no news here
    django.setup()
    call_command("migrate", verbosity=0)
    from tests.chaos import show  # Django is set up by now

    stories: queue.SimpleQueue[Sequence[plans.RunPlan]] = queue.SimpleQueue()
    for _, story in groupby(drawn, key=lambda each: each.story):
        stories.put(list(story))
    played = show.Show(stage=stage, folder=folder, environment=environment, workers=options.workers)
    clean = played.play(
        stories, drivers=options.at_once, patience_s=options.patience, lease_s=LEASE_S, seed=options.seed
    )
    return 0 if clean and played.count == options.runs else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
