"""What a run sees of the portal, and what is kept of what it prints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from migrations_audit.engine import children, process, redaction
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


def test_what_is_printed_is_kept_at_both_ends_and_fit_to_store(tmp_path: Path, target: Target) -> None:
    printing = """
        import sys
        stream = sys.stdout.buffer
        stream.write(b"first line\\n\\x00 nul \\xff\\xfe broken\\n")
        for number in range(60_000):
            stream.write(b"line %d of a long story that nobody reads to its end\\n" % number)
        stream.write(b"no end")
        stream.flush()
    """
    env = dedent(printing) + runnable.env_with(runnable.INI_URL)

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        runnable.write(tmp_path, runnable.chain("alpha"), env=env),
        limits=replace(running.LIMITS, output_bytes=300_000),
    )

    printed = outcome.printed["stdout"]
    story = b"".join(b"line %d of a long story that nobody reads to its end\n" % number for number in range(60_000))
    whole = b"first line\n\x00 nul \xff\xfe broken\n" + story + b"no end"
    assert outcome.exit.exit_code == 0
    assert outcome.exit.output_cut is True
    assert outcome.exit.output_bytes == len(whole)
    assert outcome.exit.output_sha256 == hashlib.sha256(whole).hexdigest()
    assert printed.startswith("first line\n")
    assert printed.endswith("line 59999 of a long story that nobody reads to its end\nno end")
    assert "left out" in printed
    assert "\0" not in printed
    assert len(printed) < 400_000


def test_the_runner_sees_nothing_of_the_environment_of_the_portal(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "DATABASE_URL",
        "SECRET_KEY",
        "PGPASSWORD",
        "PGHOST",
        "PYTHONPATH",
        "ALEMBIC_CONFIG",
        "AWS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.setenv(name, "of the portal")
    env = "import json, os\nprint(json.dumps(dict(os.environ)))\n" + runnable.env_with(runnable.INI_URL)
    request = running.upgrade_request(target, "r1", extra_environment={"SHOP_MODE": "migrate"})

    outcome = running.run(request, runnable.write(tmp_path, runnable.chain("alpha"), env=env))

    seen = json.loads(outcome.printed["stdout"])
    assert set(seen) - set(children.INHERITED) == {"PATH", "HOME", "TMPDIR", "OPSPORTAL_RUN", "SHOP_MODE"}
    assert "of the portal" not in seen.values()
    assert not Path(seen["HOME"]).exists()


def test_the_module_path_holds_neither_the_portal_nor_the_working_directory(tmp_path: Path, target: Target) -> None:
    env = "import json, sys\nprint(json.dumps(sys.path))\n" + runnable.env_with(runnable.INI_URL)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, runnable.chain("alpha"), env=env)
    )

    path = json.loads(outcome.printed["stdout"])
    assert not {"", ".", str(tmp_path), str(children.PROGRAM), str(children.PROGRAM.parent)} & set(path)


def test_no_secret_is_in_the_command_line_or_the_first_environment(tmp_path: Path, target: Target) -> None:
    reading = """
        own = open("/proc/self/cmdline").read() + open("/proc/self/environ").read()
        print("found" if context.config.get_main_option("sqlalchemy.url") in own or PASSWORD in own else "clean")
    """
    setup = dedent(reading).replace("PASSWORD", repr(target.connection().password))
    env = "from alembic import context\n" + setup + runnable.env_with(runnable.INI_URL)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, runnable.chain("alpha"), env=env)
    )

    assert outcome.printed["stdout"] == "clean\n"


def test_a_printed_password_is_masked(tmp_path: Path, target: Target) -> None:
    env = "import sys\nfrom alembic import context\n" + dedent(f"""
        from sqlalchemy.engine import make_url
        print("out", make_url({runnable.INI_URL}).password)
        print("err", make_url({runnable.INI_URL}).password, file=sys.stderr)
    """)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, runnable.chain("alpha"), env=env)
    )

    assert outcome.printed == {"stdout": f"out {redaction.MASK}\n", "stderr": f"err {redaction.MASK}\n"}


@pytest.mark.parametrize("name", ["PGHOSTADDR", "LD_PRELOAD", "PYTHONSTARTUP", "PATH", "HOME"])
def test_an_extra_variable_that_could_redirect_the_run_is_refused(tmp_path: Path, target: Target, name: str) -> None:
    with pytest.raises(process.ForbiddenVariable, match=name):
        running.run(running.upgrade_request(target, "r1", extra_environment={name: "x"}), tmp_path)


def test_an_interpreter_that_is_not_there_is_an_error_with_its_path(tmp_path: Path, target: Target) -> None:
    with pytest.raises(children.CannotStart, match="nowhere/python"):
        running.run(running.upgrade_request(target, "r1"), tmp_path, interpreter=str(tmp_path / "nowhere/python"))
