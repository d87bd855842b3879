"""What a real worker tells of a plan before anybody approves it."""

from __future__ import annotations

from pathlib import Path

from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

DANGEROUS = """
op.execute("CREATE TABLE lines (id int PRIMARY KEY, u int REFERENCES accounts (id))")
op.execute("-- squawk-ignore-file\\nCREATE INDEX i ON accounts (id)")
op.execute("DELETE FROM users")
"""


def findings(portal: Portal, place: people.Place, **asked: str) -> list[dict[str, str]]:
    run = portal.planned(place, **asked)  # type: ignore[arg-type]
    assert run.plan is not None, run.sentence
    return [each for each in run.plan.findings if each["code"] != "author_unknown"]  # the project is a folder


def test_sql_and_scripts_are_read_and_the_worst_comes_first(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    scripts = [*runnable.chain("users"), runnable.Script("r2", DANGEROUS, "r1")]
    place = portal.place(make_target_database("findings"), scripts)

    found = findings(portal, place)

    told = {(each["code"], each["severity"], each["place"].partition(",")[0].rpartition("/")[2]) for each in found}
    assert told >= {
        ("delete_without_where", "error", "r2.py"),
        ("references_lock", "warning", "r2.py"),
        ("index_blocks", "warning", "r2.py"),
        ("no_downgrade", "warning", "r2.py"),
    }
    assert found[0]["severity"] == "error"
    assert all(each["advice"] and each["sentence"] for each in found)
    assert not [each for each in found if each["code"] == "lint_could_not_run"]
    assert len(found) == len({(each["code"], each["place"], each["sentence"]) for each in found})


def test_a_plain_chain_has_no_finding_about_its_sql(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    place = portal.place(make_target_database("plain"), runnable.chain("users", "orders"))

    assert findings(portal, place) == []


def test_a_plan_without_sql_says_that_no_rule_was_applied(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    env = runnable.ONLINE_ENV.replace("if context.is_offline_mode():", "if False:")
    place = portal.place(make_target_database("no_sql"), [runnable.Script("r1", DANGEROUS)], env=env)

    told = findings(portal, place)

    (found,) = [each for each in told if each["code"] == "lint_could_not_run"]
    assert found["sentence"].startswith("There is no SQL of this plan, so no rule about SQL was applied.")
    assert found["severity"] == "error"
    assert "delete_without_where" in [each["code"] for each in told]


def test_a_revision_that_was_edited_after_a_verified_run_is_told_on_the_next_database(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    staging = portal.place(make_target_database("staging"), runnable.chain("users"))
    first = portal.ended(staging)
    assert first.verdict == "verified", first.sentence
    (script,) = Path(staging.project.folder).rglob("r1.py")
    script.write_text(script.read_text() + "\n# a second thought\n")

    (found,) = findings(portal, portal.register_again(staging, make_target_database("production")))

    assert (found["code"], found["place"].rpartition("/")[2]) == ("edited_after_applied", "r1.py")
    assert found["sentence"].endswith("is not the one that was executed on a database of another environment.")


def test_of_a_folder_the_files_are_named_whose_authors_nobody_knows(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    run = portal.planned(portal.place(make_target_database("folder"), runnable.chain("users")))

    assert run.plan is not None, run.sentence
    (found,) = [each for each in run.plan.findings if each["code"] == "author_unknown"]
    assert found["severity"] == "warning"
    assert "migrations/versions/r1.py (file " in found["sentence"]
    assert "come from a folder, which has no commits" in found["sentence"]
