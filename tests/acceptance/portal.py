"""A whole portal for acceptance tests: its own database, a real Celery worker process, real projects and real targets."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import optuna
import psycopg
from django.conf import settings
from django.db import connection

from migrations_audit import sealing
from migrations_audit.actions import runs, sweeps
from migrations_audit.actors import worker
from migrations_audit.models import MigrationRun, Project, Target
from migrations_audit.states import Operation
from tests import people
from tests.engine import runnable
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
OPTUNA = Path(optuna.__file__).parent / "storages" / "_rdb"
SWEEP = worker("sweep@test")
ENDED = ("applied", "failed", "error", "cancelled", "refused", "void", "plan_failed")


@dataclass
class Workers:
    """The Celery worker processes of one test module."""

    database_url: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        """Start a worker for all queues and wait until it says that it lives."""
        name = f"acceptance-{len(self.processes)}"
        command = [sys.executable, "-m", "celery", "-A", "opsportal", "worker", "-n", f"{name}@test", "-c", "2"]
        command += ["-Q", ",".join(("portal", *QUEUES)), "--without-gossip", "--without-mingle", "-l", "INFO"]
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": self.database_url, **ENVIRONMENT, **more},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        wait_for(lambda: _is_ready(process, log), within=60, what=f"the worker {name}")
        return process

    @contextmanager
    def beating(self, beats: int = 1) -> Iterator[None]:
        """So many beat processes, which send a sweep every second each, for the length of the block."""
        started = [self._beat(number) for number in range(beats)]
        try:
            yield
        finally:
            for each in started:
                each.terminate()
                each.wait(20)

    def _beat(self, number: int) -> subprocess.Popen[bytes]:
        schedule = self.folder / f"beat-{number}"
        command = [sys.executable, "-m", "celery", "-A", "opsportal", "beat", "-s", str(schedule), "--pidfile="]
        environment = {**os.environ, "DATABASE_URL": self.database_url, "PORTAL_SWEEP_S": "1", **ENVIRONMENT}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL the worker with all its processes, as when its host is gone."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)

    def said(self) -> str:
        """Everything that the workers logged."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("acceptance-*.log")))


def _is_ready(process: subprocess.Popen[bytes], log: Path) -> bool:
    said = log.read_text()
    assert process.poll() is None, f"The worker ended at its start:\n{said[-3000:]}"
    return "ready." in said


QUEUES = tuple(f"target-a{number}" for number in range(40))
ENVIRONMENT = {"PORTAL_LEASE_S": "4", "PORTAL_RESEND_S": "2"}


@dataclass
class Web:
    """A real web process, on a port of its own."""

    database_url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> None:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "opsportal.asgi:application",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        command += ["--timeout-graceful-shutdown", "3", "--no-access-log", "--no-proxy-headers"]
        log = self.folder / "web.log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": self.database_url, "PORTAL_DB_POOL": "1", **ENVIRONMENT},
                stdout=output,
                stderr=output,
            )
        wait_for(lambda: "Uvicorn running" in log.read_text(), within=60, what="the web process")
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)


@dataclass
class Portal:
    """What a test drives. Each ``place`` is an environment with its people, a project from files, and a real target."""

    workers: Workers
    web: Web
    roots: Path
    places: int = 0

    def place(
        self, target_url: str, scripts: Sequence[runnable.Script], *, env: str = runnable.ONLINE_ENV, **more: object
    ) -> people.Place:
        """Register a project with these scripts, and the database behind ``target_url`` as its target."""
        folder = runnable.write(self.roots / secrets.token_hex(4), scripts, env=env)
        return self.register(target_url, folder, **more)

    def register(self, target_url: str, folder: Path, **more: object) -> people.Place:
        """Register the project in ``folder`` as it stands, and the database behind ``target_url`` as its target."""
        project, reference = self._project(folder, **more), _sealed(target_url)
        return people.make_place(
            slug=project.slug, project=project, url_reference=reference, lock_budget_s=5, deadline_s=30
        )

    def register_beside(self, place: people.Place, target_url: str, folder: Path, **more: object) -> people.Place:
        """The same in the environment of ``place``: a database belongs to one environment, and may hold several chains."""
        project, reference = self._project(folder, **more), _sealed(target_url)
        target = Target.objects.create(
            project=project, environment=place.environment, slug="main", url_reference=reference
        )
        return people.Place(place.environment, project, target, place.people)

    def register_again(self, place: people.Place, target_url: str) -> people.Place:
        """Another database of the project of ``place``, in an environment of its own."""
        slug = f"a{self.places}"
        self.places += 1
        return people.make_place(
            slug=slug, project=place.target.project, url_reference=_sealed(target_url), lock_budget_s=5, deadline_s=30
        )

    def _project(self, folder: Path, **more: object) -> Project:
        slug = f"a{self.places}"
        self.places += 1
        return Project.objects.create(slug=slug, name=slug.upper(), folder=str(folder), **more)

    def planned(
        self, place: people.Place, *, revision: str = "head", operation: Operation = Operation.UPGRADE
    ) -> MigrationRun:
        """A run that a worker has planned, or could not."""
        run = runs.request(
            actor=place.actor("dev"),
            target_id=place.target.pk,
            revision=revision,
            reason="Needed.",
            operation=operation,
        )
        return self.until(run.number, "awaiting_approval", "plan_failed")

    def started(self, place: people.Place, **asked: object) -> MigrationRun:
        """A run that was approved by both and started by the operator."""
        run = self.planned(place, **asked)  # type: ignore[arg-type]
        assert run.plan is not None, run.sentence
        people.approve_by_all(place, run.number, run.plan.digest)
        return runs.start(
            actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label
        )

    def ended(self, place: people.Place, **asked: object) -> MigrationRun:
        """A run that was started and has ended."""
        return self.until(self.started(place, **asked).number, *ENDED)

    def until(self, number: int, *states: str, within: float = 60) -> MigrationRun:
        """Wait for a state. The sweep, which beat would call, is called meanwhile."""

        def there() -> MigrationRun | None:
            sweeps.sweep(actor=SWEEP)
            run = MigrationRun.objects.select_related("plan", "target__environment", "target__project").get(
                number=number
            )
            return run if run.state in states else None

        found = wait_for(there, within=within, what=f"run {number} to be {' or '.join(states)}; {self._story()}")
        assert found is not None
        return found

    def _story(self) -> str:
        return f"workers said: {self.workers.said()[-1500:]}"


def _sealed(target_url: str) -> str:
    return f"sealed:{sealing.seal(target_url, keys=settings.PORTAL_SEALING_KEYS)}"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def database_url(name: str) -> str:
    """The portal's DATABASE_URL with another database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{name}"))


def on_server(statement: str) -> None:
    """Run one statement on the portal's server, outside any transaction."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(statement)


def use_database(name: str) -> str:
    """Point this process's Django at another database; returns the one before."""
    before = str(connection.settings_dict["NAME"])
    connection.close()
    connection.settings_dict["NAME"] = name
    return before
