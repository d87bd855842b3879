"""Ways in which real projects are set up, each as a tiny project that the runner executes."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations_audit.engine import graph, resolve, snapshot
from migrations_audit.states import Operation, UrlDelivery
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target
from tests.environments import Environment

ONE = runnable.chain("alpha")


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


BRANCHES = {
    "core": {
        "c1": ("None", "None", "('core',)"),
        "c2": ("'c1'", "None", "None"),
        "c3": ("'c1'", "None", "None"),
        "c4": ("('c2', 'c3')", "None", "None"),
    },
    "billing": {"b1": ("None", "'c2'", "('billing',)"), "b2": ("'b1'", "('core',)", "None")},
}


def write_branches(folder: Path) -> Path:
    """Two labelled branches in folders of their own; one forks and merges, the other depends on it by id and by label."""
    runnable.write(folder, [], ini="version_locations = %(here)s/core;%(here)s/billing\npath_separator = ;\n")
    for name, revisions in BRANCHES.items():
        (folder / name).mkdir()
        for revision, (down, depends, labels) in revisions.items():
            header = (
                f"revision = {revision!r}\ndown_revision = {down}\ndepends_on = {depends}\nbranch_labels = {labels}\n"
            )
            body = f"def upgrade():\n    op.execute('CREATE TABLE {revision} (id int)')\n"
            body += f"def downgrade():\n    op.execute('DROP TABLE {revision}')\n"
            (folder / name / f"{revision}.py").write_text("from alembic import op\n" + header + body)
    return folder


@pytest.mark.parametrize("requested", ["heads", "core@head", "billing@head"])
def test_labels_merges_and_dependencies_over_several_version_folders_run_as_planned(
    tmp_path: Path, target: Target, requested: str
) -> None:
    folder = write_branches(tmp_path)
    frozen = snapshot.freeze(folder, config_path="alembic.ini", ini_section="alembic")
    read = graph.read(snapshot.files(frozen.archive), config_path="alembic.ini", ini_section="alembic")
    plan = resolve.resolve(read, operation=Operation.UPGRADE, requested=requested, current=())
    steps = [step.revision for step in plan.steps]

    outcome = running.run(running.upgrade_request(target, *steps, destination=(resolve.argument(plan),)), folder)

    assert outcome.exit.exit_code == 0
    assert [event["revision"] for event in outcome.all("step_ended")] == steps
    assert target.tables() == {"alembic_version", *steps}
    assert target.revisions() == list(plan.result)


def test_an_env_py_that_chooses_its_folders_is_run_when_the_configuration_names_the_same(
    tmp_path: Path, target: Target
) -> None:
    chosen = "from pathlib import Path\ncontext.script.version_locations = [str(Path(__file__).parent / 'postgresql')]"
    wrapper = "import runpy\nrunpy.run_path('migrations/env.py')\n"
    runnable.write(tmp_path, ONE, env=runnable.env_with(runnable.INI_URL, setup=chosen))
    (tmp_path / "migrations" / "versions").rename(tmp_path / "migrations" / "postgresql")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "env.py").write_text(wrapper)
    ini = "[alembic]\nscript_location = scripts\nversion_locations = migrations/postgresql\n"
    (tmp_path / "alembic.ini").write_text(ini)
    frozen = snapshot.freeze(tmp_path, config_path="alembic.ini", ini_section="alembic")
    read = graph.read(snapshot.files(frozen.archive), config_path="alembic.ini", ini_section="alembic")

    outcome = running.run(running.upgrade_request(target, "r1"), tmp_path)

    assert graph.fatal(read) == ()
    assert read.heads == ("r1",)
    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r1"]


def test_an_env_py_whose_settings_are_cached_at_import_gets_the_url_of_each_run(
    tmp_path: Path, make_target_database: MakeTargetDatabase
) -> None:
    env = "from shop_settings import URL\n" + runnable.env_with("URL")
    folder = runnable.write(tmp_path, ONE, env=env, ini="prepend_sys_path = .\n")
    (folder / "shop_settings.py").write_text("import os\nURL = os.environ['SHOP_DATABASE']\n")
    targets = [Target(make_target_database("cached")) for _ in range(2)]
    delivery = {"url_delivery": UrlDelivery.ENVIRONMENT, "url_delivery_name": "SHOP_DATABASE"}

    codes = [
        running.run(running.upgrade_request(target, "r1", **delivery), folder).exit.exit_code for target in targets
    ]

    assert codes == [0, 0]
    assert [target.revisions() for target in targets] == [["r1"], ["r1"]]


def test_an_env_py_that_takes_locks_of_its_own_does_not_meet_the_lock_of_the_run(
    tmp_path: Path, target: Target
) -> None:
    elsewhere = f"""
        guard = create_engine({runnable.INI_URL}).connect()
        guard.execute(text("SELECT pg_advisory_lock(hashtext('alembic'))"))
        guard.commit()
    """
    inside = "connection.execute(text('SELECT pg_advisory_xact_lock(11223344)')); connection.commit()"
    up = """
        print("locks:", op.get_bind().exec_driver_sql(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").scalar())
    """
    env = runnable.env_with(runnable.INI_URL, setup=elsewhere, before=inside)
    env += "guard.execute(text(\"SELECT pg_advisory_unlock(hashtext('alembic'))\"))\n"

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)
    )

    assert outcome.exit.exit_code == 0
    assert outcome.printed["stdout"] == "locks: 2\n"
    assert target.revisions() == ["r1"]


def test_a_timeout_that_env_py_sets_replaces_that_of_the_run(tmp_path: Path, target: Target) -> None:
    before = """connection.execute(text("SET lock_timeout = '15s'")); connection.commit()"""
    up = """print(op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar())"""
    env = runnable.env_with(runnable.INI_URL, before=before)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)
    )

    assert outcome.exit.exit_code == 0
    assert outcome.one("connected")["settings"]["lock_timeout"] == "4000"
    assert outcome.printed["stdout"] == "15s\n"


def test_a_project_that_prints_nothing_is_followed_all_the_same(tmp_path: Path, target: Target) -> None:
    outcome = running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, ONE))

    assert outcome.printed == {"stdout": "", "stderr": ""}
    assert outcome.names("step_started", "step_ended", "commit") == ["step_started", "step_ended", "commit"]


def test_a_configuration_below_the_folder_leads_to_scripts_beside_it(tmp_path: Path, target: Target) -> None:
    runnable.write(tmp_path, ONE)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "alembic.ini").unlink()
    ini = "[DEFAULT]\nscript_location = %(here)s/../migrations\n[main]\n"
    (tmp_path / "deploy" / "database.ini").write_text(ini)

    request = running.upgrade_request(target, "r1", config_path="database.ini", ini_section="main")
    outcome = running.run(request, tmp_path / "deploy")

    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r1"]


def test_pg8000_carries_a_run_with_the_settings_that_it_can_be_given(tmp_path: Path, target: Target) -> None:
    environment = Environment("pg8000")
    environment.make()
    up = 'op.execute("CREATE TABLE alpha (id int)"); print(op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar())'
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(
        running.upgrade_request(target, "r1", driver="pg8000"), folder, interpreter=str(environment.interpreter)
    )

    assert outcome.exit.exit_code == 0
    assert outcome.one("connected")["driver"].startswith("pg8000")
    assert outcome.one("connected")["settings"]["application_name"] == running.TAG
    assert outcome.printed["stdout"] == "4s\n"
    assert outcome.one("finished")["commit_after_version"] is True
    assert target.tables() == {"alembic_version", "alpha"}
