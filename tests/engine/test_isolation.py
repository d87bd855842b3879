"""Migration code is kept from the portal's secrets, stays within its limits, and ends whole: at each level that works here."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from migrations_audit.engine import bubblewrap, children, isolation, process
from migrations_audit.states import Isolation
from tests.conftest import MakeTargetDatabase
from tests.engine import confined, runnable, running
from tests.engine.confined import Level
from tests.engine.running import Target
from tests.waiting import wait_for

APART = [Isolation.BUBBLEWRAP, Isolation.SEPARATE_USER]
GB = 1024**3

# Collects whatever holds a canary, with the way that led to it.
SNOOPING = r"""
    import json, os, re
    from alembic import context
    found = {}

    def look(way, data):
        if re.search(rb"canary-[0-9a-f]{8}", data):
            found.setdefault(way, 0)
            found[way] += 1

    def content(path):
        try:
            with open(path, "rb") as file:
                return file.read(1_000_000)
        except OSError:
            return b""

    look("own environment", repr(dict(os.environ)).encode())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        look("environment of a process", content(f"/proc/{pid}/environ"))
        look("command line of a process", content(f"/proc/{pid}/cmdline"))
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        if int(pid) != os.getpid():
            for each in descriptors:
                if os.path.isfile(f"/proc/{pid}/fd/{each}"):
                    look("descriptor of a process", content(f"/proc/{pid}/fd/{each}"))
    for path in json.loads(context.get_x_argument(as_dictionary=True)["files"]):
        look("file", content(path))
    inherited = {}
    for each in map(int, os.listdir("/proc/self/fd")):
        try:
            inherited[each] = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            pass  # the one that listed them
    print(json.dumps({"found": found, "inherited": inherited, "uid": os.getuid(), "variables": sorted(os.environ)}))
"""


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("confined"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is to end gets a second before each of its signals."""
    monkeypatch.setattr(process, "GRACE_S", 1.0)
    monkeypatch.setattr(process, "TERM_S", 1.0)


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="opsportal-test-"))
    folder.chmod(0o755)
    yield confined.reachable_python(folder)
    shutil.rmtree(folder)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that every account can reach, unlike those that pytest makes."""
    folder = Path(tempfile.mkdtemp(prefix="opsportal-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=APART, ids=str)
def level(request: pytest.FixtureRequest, python: str) -> Level:
    return confined.offered(request.param, python=python)


def go(target: Target, scratch: Path, level: Level, up: str, **options: Any) -> running.Outcome:
    """Run one revision with the body ``up``."""
    request = options.pop("request", None) or running.upgrade_request(target, "r1")
    folder = runnable.write(scratch / "snapshot", [runnable.Script("r1", up)])
    return running.run(request, folder, interpreter=level.interpreter, confinement=level.confinement, **options)


# --- secrets ---

WORKERS = [
    ("root", Isolation.BUBBLEWRAP),
    ("root", Isolation.SEPARATE_USER),
    ("ordinary", Isolation.BUBBLEWRAP),
    ("ordinary", Isolation.NON_DUMPABLE),
]


def supervised(target: Target, scratch: Path, python: str, *, worker: str, level: Isolation) -> dict[str, Any]:
    """What came of a snooping run whose worker has canaries in its environment, files and an open descriptor."""
    root = os.geteuid() == 0
    if worker == "root" and not root:
        pytest.skip(f"{confined.NOT_OFFERED}a worker that is root, because the tests are not.")
    account = confined.ACCOUNT if worker == "ordinary" and root else None
    canary = f"canary-{secrets.token_hex(4)}"
    portal = scratch / "portal"
    files = [portal / ".env", portal / ".portal" / "secret"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(canary)
        file.chmod(0o600)
        if account:
            os.chown(file, account.pw_uid, account.pw_gid)
    above = scratch / "run"
    above.mkdir(mode=0o700)
    folder = runnable.write(
        above / "snapshot", runnable.chain("alpha"), env=dedent(SNOOPING) + runnable.env_with(runnable.INI_URL)
    )
    if account:
        os.chown(above, account.pw_uid, account.pw_gid)
    request = running.upgrade_request(target, "r1", x_arguments=(f"files={json.dumps([str(each) for each in files])}",))
    names = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "PORTAL_SEALING_KEYS")
    with files[0].open() as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        ended = subprocess.run(
            [python, "-m", "tests.engine.supervise", str(folder), str(above / "pid"), level.value],
            input=request.as_json(running.LIMITS),
            capture_output=True,
            check=True,
            close_fds=False,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **dict.fromkeys(names, canary)},
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=account and [],
        )
    outcome: dict[str, Any] = json.loads(ended.stdout)
    if "missing" in outcome:
        pytest.skip(f"{confined.NOT_OFFERED}{outcome['missing']}")
    assert outcome["exit"]["exit_code"] == 0, outcome["printed"]
    seen: dict[str, Any] = json.loads(outcome["printed"]["stdout"])
    return seen


@pytest.mark.parametrize(("worker", "level"), WORKERS, ids=lambda each: str(each))
def test_migration_code_finds_no_secret_of_its_worker(
    scratch: Path, target: Target, python: str, worker: str, level: Isolation
) -> None:
    seen = supervised(target, scratch, python, worker=worker, level=level)

    # The weakest level that is one says nothing about files: the account is the same.
    assert set(seen["found"]) <= ({"file"} if level is Isolation.NON_DUMPABLE else set())
    assert seen["uid"] != 0


@pytest.mark.parametrize(("worker", "level"), WORKERS, ids=lambda each: str(each))
def test_a_run_inherits_its_pipes_and_nothing_else(
    scratch: Path, target: Target, python: str, worker: str, level: Isolation
) -> None:
    seen = supervised(target, scratch, python, worker=worker, level=level)

    inherited = dict(sorted((int(number), link) for number, link in seen["inherited"].items()))
    kinds = [link.partition(":")[0] for link in inherited.values()]
    assert kinds == ["/dev/null", *["pipe"] * 5], inherited  # input; output, error; request, events, lifeline
    assert len(set(inherited.values())) == 6
    own = {"PATH", "HOME", "TMPDIR", children.MARK, "PWD"}  # bwrap says where it starts a program
    assert {*seen["variables"]} - {*children.INHERITED} <= own


def test_without_isolation_the_snooping_finds_what_the_levels_hide(scratch: Path, target: Target, python: str) -> None:
    seen = supervised(target, scratch, python, worker="ordinary", level=Isolation.NONE)

    assert "file" in seen["found"]
    assert "own environment" not in seen["found"]


def test_a_wrapped_run_has_no_capability_and_sees_neither_the_portal_nor_other_processes(
    scratch: Path, target: Target, python: str
) -> None:
    level = confined.offered(Isolation.BUBBLEWRAP, python=python)
    up = f"""
        import json, os
        print(json.dumps({{
            "processes": len([each for each in os.listdir("/proc") if each.isdigit()]),
            "portal": os.path.exists({isolation.__file__!r}),
            "above": os.listdir({str(scratch.parent)!r}),
            "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
            "bytes": os.statvfs(os.environ["HOME"]).f_blocks * os.statvfs(os.environ["HOME"]).f_frsize,
        }}))
    """

    seen = json.loads(go(target, scratch, level, up).printed["stdout"])

    assert seen["processes"] == 2
    assert seen["portal"] is False
    assert scratch.name in seen["above"]
    # The interpreter of the tests may lie below the same folder; it is what the run works with.
    prefixes = [Path(each) for each in (sys.prefix, sys.base_prefix)]
    own = {each.relative_to(scratch.parent).parts[0] for each in prefixes if each.is_relative_to(scratch.parent)}
    assert all(name.startswith("opsportal-") for name in set(seen["above"]) - own)
    assert seen["capabilities"] == ["0" * 16]
    assert seen["bytes"] <= bubblewrap.SCRATCH_BYTES


def test_a_run_writes_to_its_home_and_not_to_the_snapshot(scratch: Path, target: Target, level: Level) -> None:
    up = """
        import os
        open(os.path.join(os.environ["HOME"], "note"), "w").close()
        try:
            open("note", "w")
        except OSError as error:
            print(type(error).__name__, error.errno)
    """

    outcome = go(target, scratch, level, up)

    assert outcome.exit.exit_code == 0
    assert outcome.printed["stdout"].strip() in ("OSError 30", "PermissionError 13")
    assert not (scratch / "snapshot" / "note").exists()


def test_a_wrapped_run_can_read_the_keys_that_its_url_names(scratch: Path, target: Target, python: str) -> None:
    level = confined.offered(Isolation.BUBBLEWRAP, python=python)
    key = scratch / "keys" / "client.key"
    key.parent.mkdir(mode=0o700)
    key.write_text("the key")
    key.chmod(0o600)
    connection = replace(target.connection(), parameters={"sslmode": "disable", "sslkey": str(key)})
    request = running.upgrade_request(target, "r1", connection=connection)

    up = f"import os; print(open({str(key)!r}).read(), oct(os.stat({str(key)!r}).st_mode))"
    outcome = go(target, scratch, level, up, request=request)

    word, mode = outcome.printed["stdout"].rsplit(maxsplit=1)
    assert word == "the key"
    assert stat.S_IMODE(int(mode, 8)) == (0o640 if os.geteuid() == 0 else 0o600)  # what libpq accepts


# --- limits ---


def test_limits_of_memory_files_and_file_size_are_in_force(scratch: Path, target: Target, level: Level) -> None:
    up = """
        import errno, os
        try:
            bytearray(4 * 1024**3)
        except MemoryError:
            print("memory")
        with open(os.path.join(os.environ["HOME"], "large"), "wb") as file:
            try:
                os.pwrite(file.fileno(), b"x", 1024**3)
            except OSError as error:
                print(errno.errorcode[error.errno])
        kept = []
        try:
            while len(kept) < 5_000:
                kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            print(errno.errorcode[error.errno])
    """

    outcome = go(target, scratch, level, up, limits=replace(running.LIMITS, memory_bytes=GB))

    assert outcome.printed["stdout"].split()[:3] == ["memory", "EFBIG", "EMFILE"], outcome.printed


def test_a_run_out_of_memory_fails_with_the_limit_in_words(scratch: Path, target: Target, level: Level) -> None:
    outcome = go(target, scratch, level, "bytearray(4 * 1024**3)", limits=replace(running.LIMITS, memory_bytes=GB))

    assert outcome.exit.exit_code == 1
    assert outcome.one("error")["message"].startswith("Out of memory: a run may use 1024 MiB.")
    assert target.tables() <= {"alembic_version"}


def test_a_fork_bomb_is_bounded_and_ends_with_its_run(scratch: Path, target: Target, level: Level) -> None:
    before = confined.processes_of(confined.ACCOUNT.pw_uid)
    up = """
        import os, time
        most = 0
        def spread():
            while True:
                try:
                    if os.fork() == 0:
                        os.setsid()
                except OSError:
                    time.sleep(0.05)
        if os.fork() == 0:
            spread()
        while True:
            try:
                if os.fork() == 0:
                    os._exit(0)
                time.sleep(0.01)
            except OSError as error:
                print("bounded", flush=True)
                time.sleep(600)
    """

    outcome = go(
        target, scratch, level, up, limits=replace(running.LIMITS, processes=before + 40), stop=when_printed("bounded")
    )

    assert outcome.exit.signal in (signal.SIGTERM, signal.SIGKILL)
    wait_for(lambda: confined.processes_of(confined.ACCOUNT.pw_uid) <= before, what="the processes to be gone")


# --- ends ---


def when_printed(word: str) -> Any:
    return lambda told: "cancel" if word in told.printed["stdout"] else None


def test_a_cancel_reaches_the_runner_as_a_signal_that_it_can_handle(
    scratch: Path, target: Target, level: Level
) -> None:
    up = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("tidied up"))
        print("sleeping", flush=True)
        time.sleep(600)
    """

    outcome = go(target, scratch, level, up, stop=when_printed("sleeping"))

    assert (outcome.exit.ended_by, outcome.exit.exit_code, outcome.exit.signal) == ("cancel", 1, 0)
    assert "tidied up" in outcome.one("error")["message"]


@pytest.mark.parametrize(("setup", "by"), [("", signal.SIGTERM), ("signal.signal(15, signal.SIG_IGN)", signal.SIGKILL)])
def test_the_signal_that_ended_a_run_is_told(
    scratch: Path, target: Target, level: Level, setup: str, by: signal.Signals
) -> None:
    up = f"import signal, time; {setup or 'pass'}; print('sleeping', flush=True); time.sleep(600)"

    outcome = go(target, scratch, level, up, stop=when_printed("sleeping"))

    assert (outcome.exit.ended_by, outcome.exit.signal, outcome.exit.exit_code) == ("cancel", by, 128 + by)


DAEMON = """
    import os, time
    import psycopg
    dsn = op.get_context().config.get_main_option("sqlalchemy.url").replace("+psycopg", "")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with psycopg.connect(dsn, application_name="daemon", autocommit=True) as hidden:
                time.sleep(600)
        os._exit(0)
    with psycopg.connect(dsn, autocommit=True) as mine:
        while not mine.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'daemon'").fetchone():
            time.sleep(0.05)
"""


def daemons(target: Target) -> list[tuple[Any, ...]]:
    return target.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'daemon'")


def test_a_daemon_that_a_revision_leaves_behind_is_ended_and_told(scratch: Path, target: Target, level: Level) -> None:
    outcome = go(target, scratch, level, DAEMON, limits=replace(running.LIMITS, deadline_s=20))

    assert outcome.exit.exit_code == 0, outcome.printed
    assert outcome.one("leftovers_killed")["count"] == 1
    wait_for(lambda: not daemons(target), what="the daemon's session to end")


def test_nothing_of_a_wrapped_run_survives_the_sigkill_of_its_worker(
    scratch: Path, target: Target, python: str
) -> None:
    confined.offered(Isolation.BUBBLEWRAP, python=python)
    up = dedent(DAEMON) + "time.sleep(600)"
    folder = runnable.write(scratch / "snapshot", [runnable.Script("r1", up)])
    command = [python, "-m", "tests.engine.supervise", str(folder), str(scratch / "pid"), Isolation.BUBBLEWRAP.value]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(scratch)}) as supervisor:
        assert supervisor.stdin is not None
        supervisor.stdin.write(running.upgrade_request(target, "r1").as_json(running.LIMITS))
        supervisor.stdin.close()
        wait_for(lambda: daemons(target), what="the daemon to be there")

        supervisor.kill()

    wait_for(lambda: not daemons(target), what="the daemon to end")
    wait_for(lambda: not target.ours(), what="the runner's session to end")


# --- choosing ---


def test_the_best_level_that_works_is_chosen() -> None:
    works = [level for level in Isolation if not isolation.why_not(level, isolation.Wish(), interpreter=sys.executable)]

    assert isolation.choose(isolation.Wish(), interpreter=sys.executable).level is works[-1]


def test_a_named_level_that_does_not_work_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    isolation._found.cache_clear()

    with pytest.raises(isolation.IsolationMissing, match=r"bubblewrap, which does not work here: The program bwrap"):
        isolation.choose(isolation.Wish(level="bubblewrap"), interpreter=sys.executable)

    isolation._found.cache_clear()


@pytest.mark.parametrize("user", ["root", "nobody-of-that-name"])
def test_an_account_that_cannot_keep_anything_apart_is_refused(user: str) -> None:
    wish = isolation.Wish(level="separate_user", user=user)

    with pytest.raises(isolation.IsolationMissing, match=r"root|no account nobody-of-that-name"):
        isolation.choose(wish, interpreter=sys.executable)


def test_root_is_never_kept_apart_by_a_scrubbed_environment() -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{confined.NOT_OFFERED}a worker that is root, because the tests are not.")

    assert "root" in isolation.why_not(Isolation.NON_DUMPABLE, isolation.Wish(), interpreter=sys.executable)


def test_an_interpreter_that_is_not_there_lets_no_level_but_none_work(tmp_path: Path) -> None:
    missing = str(tmp_path / "python")

    assert [level for level in Isolation if not isolation.why_not(level, isolation.Wish(), interpreter=missing)] == [
        Isolation.NONE
    ]
