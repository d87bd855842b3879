"""``dev.py bench``: what the portal costs beside the bare tool, measured in one run. It prints, and asserts nothing."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django
import psycopg
from django.core.management import call_command

from opsportal.local import postgres, valkey

if TYPE_CHECKING:
    from tests.bench.portal_side import PortalSide, Spent

ROOT = Path(__file__).resolve().parent.parent.parent
MARKETEDGE = ROOT / "opsportal" / "demo" / "marketedge"


def timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def summary(values: list[float]) -> str:
    return f"median {statistics.median(values):7.3f} s  [{min(values):.3f} – {max(values):.3f}], n={len(values)}"


class Targets:
    """Fresh databases at revision 002, copied from one template."""

    def __init__(self, server: postgres.Postgres) -> None:
        self._server = server
        server.create_database("template_002")
        alembic(server.url("template_002"), "upgrade", "002")

    def fresh(self) -> str:
        name = f"bench_{secrets.token_hex(4)}"
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template_002')
        return self._server.url(name)


def alembic(url: str, *words: str) -> None:
    """Run the bare command, as a shell script would."""
    environment = {**os.environ, "DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1)}
    command = [sys.executable, "-m", "alembic", *words]
    subprocess.run(command, cwd=MARKETEDGE, env=environment, check=True, capture_output=True)


def bench(options: argparse.Namespace, target_server: postgres.Postgres) -> None:
    from tests.bench import portal_side  # Django is set up by now

    targets = Targets(target_server)
    urls = Path(tempfile.mkdtemp(prefix="opsportal-bench-urls-"))
    side = portal_side.PortalSide(MARKETEDGE, urls=urls)
    side.run_to_verdict(targets.fresh())  # warms caches on both sides
    alembic(targets.fresh(), "upgrade", "003")
    bench_runs(options.rounds, side, targets)
    bench_rehearsals(options.rounds, side, targets)
    current = bench_readings(options.readings, side, targets)
    with workers():
        bench_clicks(options.rounds, side, targets)
        bench_fleet(options.fleet, side, targets, current=current)
    shutil.rmtree(urls)


def bench_runs(rounds: int, side: PortalSide, targets: Targets) -> None:
    bare: list[float] = []
    spent: list[Spent] = []
    for _ in range(rounds):  # alternating, so that a busy minute hits both alike
        bare_url, portal_url = targets.fresh(), targets.fresh()
        bare.append(timed(lambda url=bare_url: alembic(url, "upgrade", "003")))  # type: ignore[misc]
        spent.append(side.run_to_verdict(portal_url))
    whole = [each.whole for each in spent]
    print(f"\n002 → 003 of the story, {rounds} rounds, alternating")
    print(f"  bare `alembic upgrade 003`            {summary(bare)}")
    print(f"  portal, claim to verdict              {summary(whole)}")
    print(f"    of that, the runner                 {summary([each.child for each in spent])}")
    print(f"    of that, around the runner          {summary([each.whole - each.child for each in spent])}")
    ours, theirs = statistics.median(whole), statistics.median(bare)
    print(f"  ratio {ours / theirs:.2f}, added {ours - theirs:.3f} s")


def bench_rehearsals(rounds: int, side: PortalSide, targets: Targets) -> None:
    """A rehearsal dumps, makes a server, restores, and runs Alembic three times; the bare tools dump and run it once."""
    dump = postgres.find_binaries() / "pg_dump"
    bare: list[float] = []
    ours: list[float] = []

    def by_hand(url: str) -> None:
        subprocess.run([dump, "--schema-only", "--file", os.devnull, url], check=True)
        alembic(url, "upgrade", "003")

    for _ in range(rounds):
        bare_url, portal_url = targets.fresh(), targets.fresh()
        bare.append(timed(lambda url=bare_url: by_hand(url)))  # type: ignore[misc]
        ours.append(side.rehearse(portal_url))
    print(f"\nRehearsal of 002 → 003: up, down and up on a private copy, {rounds} rounds, alternating")
    print(f"  bare `pg_dump` and `alembic upgrade`  {summary(bare)}")
    print(f"  portal, claim to result               {summary(ours)}")
    print(f"  ratio {statistics.median(ours) / statistics.median(bare):.2f}")


def bench_readings(readings: int, side: PortalSide, targets: Targets) -> float:
    """Print, and return the mean seconds of one `alembic current`."""
    url = targets.fresh()
    place = side.place(url)
    reading = [timed(lambda: side.observe(place)) for _ in range(readings)]
    current = [timed(lambda: alembic(url, "current")) for _ in range(readings)]
    print(
        f"\n{readings} observations (identity, rows, catalog, scripts; stored, audited) against {readings} `alembic current`"
    )
    print(f"  `alembic current`                     {summary(current)}, total {sum(current):.1f} s")
    print(f"  portal observation                    {summary(reading)}, total {sum(reading):.1f} s")
    print(f"  ratio {sum(reading) / sum(current):.3f} (1 : {sum(current) / sum(reading):.0f})")
    return statistics.mean(current)


def bench_clicks(rounds: int, side: PortalSide, targets: Targets) -> None:
    side.click_to_verdict(targets.fresh())
    bare: list[float] = []
    claimed: list[float] = []
    ended: list[float] = []
    for _ in range(rounds):
        bare_url, portal_url = targets.fresh(), targets.fresh()
        bare.append(timed(lambda url=bare_url: alembic(url, "upgrade", "003")))  # type: ignore[misc]
        to_claim, to_verdict = side.click_to_verdict(portal_url)
        claimed.append(to_claim)
        ended.append(to_verdict)
    print(f"\nThe same through the broker and a worker process, {rounds} rounds, alternating")
    print(f"  bare `alembic upgrade 003`            {summary(bare)}")
    print(f"  Run now to the claim                  {summary(claimed)}")
    print(f"  Run now to the verdict                {summary(ended)}")
    print(f"  ratio {statistics.median(ended) / statistics.median(bare):.2f}")


def bench_fleet(count: int, side: PortalSide, targets: Targets, *, current: float) -> None:
    urls = [targets.fresh() for _ in range(min(count, 50))]
    side.observe_fleet(urls[:2], 4)
    spent = side.observe_fleet(urls, count)
    bare = timed(lambda: two_at_once([lambda url=url: alembic(url, "current") for url in urls[:40]]))  # type: ignore[misc]
    per_target = bare / min(len(urls), 40)
    print(f"\n{count} targets in {len(urls)} databases, read by two worker processes")
    print(f"  portal                                total {spent:.1f} s, {count / spent:.0f} a second")
    print(f"  `alembic current`, two at once        {1 / per_target:.1f} a second, measured on {min(len(urls), 40)}")
    print(
        f"  ratio {spent / (per_target * count):.3f}; one after the other it would be {spent / (current * count):.3f}"
    )


def two_at_once(acts: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda act: act(), acts))


@contextmanager
def workers() -> Iterator[None]:
    """A Celery worker with two processes for the benchmark's queue."""
    command = [sys.executable, "-m", "celery", "-A", "opsportal", "worker", "-c", "2", "-Q", "portal,target-bench"]
    command += ["--without-gossip", "--without-mingle", "-l", "ERROR"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--readings", type=int, default=100)
    parser.add_argument("--fleet", type=int, default=1_000)
    options = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="opsportal-bench-"))
    folder.chmod(0o711)
    portal, target, queue = (
        postgres.Postgres(folder / "portal"),
        postgres.Postgres(folder / "target"),
        valkey.Valkey(folder / "valkey"),
    )
    try:
        with portal, target, queue:
            portal.create_database("opsportal")
            os.environ.update(
                DATABASE_URL=portal.url("opsportal"),
                REDIS_URL=queue.url(),
                SECRET_KEY=secrets.token_urlsafe(50),
                PORTAL_MODE="test",
                PORTAL_PROJECT_ROOTS=str(ROOT / "opsportal" / "demo"),
                DJANGO_SETTINGS_MODULE="opsportal.settings",
                LOG_LEVEL="ERROR",
            )
            django.setup()
            call_command("migrate", verbosity=0)
            bench(options, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
