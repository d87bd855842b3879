"""A project that runs on an interpreter built by the worker: older versions than the portal's own, from approved files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from migrations_audit.models import Project
from migrations_audit.models.projects import BUILT, Driver
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

VERSION_SAYING = """
from alembic import __version__
op.execute(f"CREATE TABLE made_by (version text DEFAULT '{__version__}')")
"""


def lock_into(folder: Path) -> None:
    wanted = "alembic==1.16.5\nsqlalchemy==2.0.44\npsycopg2-binary==2.9.10\n"
    options = ["--quiet", "--generate-hashes", "--output-file", "requirements.lock", "-"]
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_CACHE": "1"}
    command = [sys.executable, "-m", "uv", "pip", "compile", *options]
    subprocess.run(command, cwd=folder, input=wanted.encode(), check=True, env=environment)


@pytest.mark.slow
def test_an_upgrade_runs_on_the_interpreter_that_the_plan_names(
    portal: Portal, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    portal.workers.kill(portal.workers.processes[-1])
    slugs = ",".join(f"a{number}" for number in range(9))
    portal.workers.start(PORTAL_CACHE=str(tmp_path), PORTAL_BUILD_FOR=slugs, PORTAL_BUILD_FOR_PRODUCTION=slugs)
    scripts = [runnable.Script("r1", VERSION_SAYING)]
    place = portal.place(
        make_target_database("built"),
        scripts,
        interpreter=BUILT,
        requirements="requirements.lock",
        driver=Driver.PSYCOPG2,
    )
    lock_into(Path(Project.objects.get(pk=place.project.pk).folder))

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.plan is not None
    assert len(run.plan.parts["interpreter"]) == 64
    assert run.log.filter(stream="statement", text__contains="DEFAULT '1.16.5'").exists()
