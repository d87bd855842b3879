"""Clone, standby, failover, replaced database, pooler, a version that went back: each is recognised, and refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from migrations_audit import sealing
from migrations_audit.actions import enrolment, runs
from migrations_audit.execution import observing
from migrations_audit.models import AuditEvent, Environment, MigrationRun, Observation, Project, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import gate
from migrations_audit.states import Operation, TargetStatus
from opsportal.local import postgres
from tests import people
from tests.acceptance.portal import ENDED, Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import clusters, runnable
from tests.engine.clusters import execute, one
from tests.engine.conftest import MakeRole, make_role, related_clusters
from tests.waiting import wait_for

__all__ = ["make_role", "related_clusters"]

CHAIN = runnable.chain("users", "orders", "analytics_modules")
HELD = [
    *runnable.chain("users"),
    runnable.Script("r2", 'op.execute("CREATE TABLE orders (id int)")\nop.execute("SELECT pg_sleep(60)")', "r1"),
]
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%'"


@pytest.fixture
def primary(related_clusters: clusters.Clusters) -> postgres.Postgres:
    return related_clusters.primary()


@pytest.fixture
def address(primary: postgres.Postgres) -> Iterator[clusters.Address]:
    """What the target's URL names; it leads to the primary at first."""
    made = clusters.Address(primary)
    yield made
    made.close()


def read(place: people.Place) -> Observation:
    """What a worker leaves that reads the target now."""
    return observing.observe_target(target_id=place.target.pk, worker_name="reader@test")


def stored(place: people.Place) -> Target:
    return Target.objects.get(pk=place.target.pk)


def beside(portal: Portal, place: people.Place, url: str) -> people.Place:
    """The same project in an environment of its own, with another database."""
    slug = f"a{portal.places}"
    portal.places += 1
    reference = f"sealed:{sealing.seal(url, keys=settings.PORTAL_SEALING_KEYS)}"
    return people.make_place(slug=slug, project=place.project, url_reference=reference, lock_budget_s=5, deadline_s=30)


def gate_of(place: people.Place, expect: str) -> gate.Gate:
    return gate.check(actor=place.actor("viewer"), target=str(place.target), expect=expect, now=database_now())


def accept(place: people.Place) -> None:
    enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Refreshed for tests.")


def approved(portal: Portal, place: people.Place) -> MigrationRun:
    run = portal.planned(place)
    assert run.plan is not None, run.sentence
    people.approve_by_all(place, run.number, run.plan.digest)
    return run


def start(portal: Portal, place: people.Place, run: MigrationRun) -> MigrationRun:
    assert run.plan is not None
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)
    return portal.until(run.number, *ENDED, "outcome_unknown")


def test_the_first_reading_enrols_and_marks(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("marked")
    place = portal.place(url, CHAIN)

    first = read(place)
    second = read(place)

    marker = stored(place).marker
    assert one(url, "SELECT id::text, target FROM opsportal.marker") == (marker, str(place.target))
    assert (second.facts["marker"]["id"], second.facts["remarks"]) == (marker, [])
    assert first.catalog_id == second.catalog_id
    event = AuditEvent.objects.get(action="target.marked", target=str(place.target))
    assert marker in event.body


def test_an_environment_that_wants_no_markers_gets_none(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("unmarked")
    place = portal.place(url, CHAIN)
    Environment.objects.filter(pk=place.environment.pk).update(marks_targets=False)

    found = read(place)

    assert (stored(place).marker, found.facts["remarks"]) == ("", [])
    assert one(url, "SELECT to_regnamespace('opsportal')") == (None,)


def test_a_role_that_may_not_mark_is_a_remark_and_no_error(
    portal: Portal, make_role: MakeRole, make_target_database: MakeTargetDatabase
) -> None:
    url, role = make_target_database("plain"), make_role()
    server = url.partition("@")[2]
    place = portal.place(f"postgresql://{role.user}:{role.password}@{server}", CHAIN)

    found = read(place)

    assert (found.status, stored(place).marker) == (TargetStatus.NOT_INITIALISED, "")
    (remark,) = found.facts["remarks"]
    assert remark == "Not marked: the role may not create a schema; a copy of this database cannot be told apart."


def test_a_marker_that_is_gone_is_remarked_until_the_database_is_enrolled_anew(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("restored")
    place = portal.place(url, CHAIN)
    read(place)
    execute(url, "DROP SCHEMA opsportal CASCADE")

    found = read(place)
    accept(place)
    read(place)
    after = read(place)

    assert found.status == TargetStatus.NOT_INITIALISED
    assert "The marker is gone" in found.facts["remarks"][0]
    assert after.facts["remarks"] == []
    assert after.facts["marker"]["id"] == stored(place).marker


def test_two_projects_of_one_database_share_its_marker(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("shared")
    first = portal.place(url, CHAIN)
    read(first)
    folder = runnable.write(portal.roots / "second", runnable.chain("other"))
    project = Project.objects.create(slug="second", name="Second", folder=str(folder), version_table="other_version")
    second = replace(
        first,
        project=project,
        target=Target.objects.create(
            project=project,
            environment=first.environment,
            slug="main",
            url_reference=first.target.url_reference,
        ),
    )

    read(second)

    assert stored(first).marker == stored(second).marker != ""
    assert read(first).facts["remarks"] == read(second).facts["remarks"] == []


def test_a_copy_by_template_is_refused_as_a_copy(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("original")
    original = portal.place(url, CHAIN)
    read(original)
    copy = beside(portal, original, make_target_database("copied", template=url.rpartition("/")[2]))

    found = read(copy)

    assert (found.status, found.error_code) == (TargetStatus.WRONG_DATABASE, "copy")
    assert f"This looks like a copy of {original.target} (marker written " in found.sentence
    assert stored(copy).identity is None


@pytest.mark.slow
def test_a_clone_is_refused_until_it_is_said_to_be_meant(
    portal: Portal, primary: postgres.Postgres, related_clusters: clusters.Clusters
) -> None:
    production = portal.place(primary.url(), CHAIN)
    read(production)
    staging = beside(portal, production, related_clusters.clone(primary).url())

    refused = read(staging)
    plan = portal.planned(staging)
    accept(staging)
    enrolled = read(staging)
    wait_for(lambda: read(staging).facts["marker"]["target"] == str(staging.target), what="the new marker")

    assert (refused.status, refused.error_code) == (TargetStatus.WRONG_DATABASE, "copy")
    assert (plan.state, plan.reason_code) == ("plan_failed", "wrong_database")
    assert f"copy of {production.target}" in plan.sentence
    assert enrolled.was_read
    assert stored(staging).marker not in ("", stored(production).marker)
    assert read(production).was_read
    assert portal.ended(staging).verdict == "verified"
    assert read(production).status == TargetStatus.NOT_INITIALISED


def test_the_original_under_another_address_is_never_accepted_as_its_copy(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address
) -> None:
    production = portal.place(primary.url(), CHAIN)
    read(production)
    read(production)
    alias = beside(portal, production, address.url(primary))
    assert read(alias).error_code == "copy"
    accept(alias)

    found = read(alias)

    assert (found.status, found.error_code) == (TargetStatus.WRONG_DATABASE, "enrolled_elsewhere")
    assert stored(alias).identity is None
    assert read(production).facts["marker"]["id"] == stored(production).marker


@pytest.mark.slow
def test_a_clone_that_took_the_place_of_the_target_is_refused_before_the_run(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, related_clusters: clusters.Clusters
) -> None:
    """The clone was marked as a target of its own: without that, at this address, nothing could tell it from the original."""
    place = portal.place(address.url(primary), CHAIN)
    read(place)
    clone = related_clusters.clone(primary)
    staging = beside(portal, place, clone.url())
    read(staging)
    accept(staging)
    read(staging)
    run = approved(portal, place)
    address.lead_to(clone)

    ended = start(portal, place, run)

    assert (ended.state, ended.reason_code) == ("refused", "wrong_database")
    assert f"This looks like a copy of {staging.target}" in ended.sentence
    assert one(clone.url(), "SELECT to_regclass('users')") == (None,)


@pytest.mark.slow
def test_another_instance_behind_the_same_address_is_refused_with_both_identities(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, related_clusters: clusters.Clusters
) -> None:
    place = portal.place(address.url(primary), CHAIN)
    run = approved(portal, place)
    other = related_clusters.primary("other")
    address.lead_to(other)

    ended = start(portal, place, run)

    assert (ended.state, ended.reason_code) == ("refused", "wrong_database")
    for each in (primary, other):
        (system,) = one(each.url(), "SELECT system_identifier::text FROM pg_control_system()")
        assert str(system) in ended.sentence
    assert one(other.url(), "SELECT to_regclass('users')") == (None,)


@pytest.mark.slow
def test_a_standby_is_never_read_for_what_is_true(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, related_clusters: clusters.Clusters
) -> None:
    """Also when it lags behind: a verification that meets it goes on looking for the primary."""
    place = portal.place(address.url(primary), CHAIN)
    first = portal.ended(place, revision="r1")
    assert first.verdict == "verified", first.sentence
    standby = related_clusters.standby(primary)
    standby.pause_replay()
    assert portal.ended(place, revision="r2").verdict == "verified"
    address.lead_to(standby)

    look = observing.look(stored(place), actor=people.WORKER, purpose="verify")

    assert look.reading is None
    assert (look.observation.status, look.observation.error_code) == (TargetStatus.UNREADABLE, "standby")
    assert "it shows r1 proves nothing" in look.observation.sentence
    assert not gate_of(place, "r1").is_open
    assert not gate_of(place, "r2").is_open
    address.lead_to(primary)
    assert read(place).revisions == ["r2"]


@pytest.mark.slow
def test_a_standby_is_neither_enrolled_nor_planned_for(
    portal: Portal, primary: postgres.Postgres, related_clusters: clusters.Clusters
) -> None:
    place = portal.place(related_clusters.standby(primary).url(), CHAIN)

    found = read(place)
    plan = portal.planned(place)

    assert (found.was_read, stored(place).identity) == (False, None)
    assert (plan.state, plan.reason_code) == ("plan_failed", "standby")


@pytest.mark.slow
def test_a_failover_after_the_approval_makes_the_run_void(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, related_clusters: clusters.Clusters
) -> None:
    place = portal.place(address.url(primary), CHAIN)
    read(place)
    standby = related_clusters.standby(primary)
    run = approved(portal, place)
    standby.promote()
    address.lead_to(standby)

    ended = start(portal, place, run)

    assert (ended.state, ended.reason_code) == ("void", "failed_over")
    assert "failed over since the approval (timeline 1 → 2): plan again" in ended.sentence
    assert "The timeline was 1 and is 2: a failover happened since enrolment." in read(place).facts["remarks"]
    again = portal.ended(place)
    assert again.verdict == "verified", again.sentence
    assert not any("timeline" in remark for remark in read(place).facts["remarks"])
    address.lead_to(primary)
    old = read(place)
    assert old.status == TargetStatus.WRONG_DATABASE
    assert "The timeline went back from 2 to 1: a server from before a failover answers." in old.sentence


@pytest.mark.slow
def test_a_failover_that_lost_the_last_commit_is_a_regression_and_stays_one(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, related_clusters: clusters.Clusters
) -> None:
    place = portal.place(address.url(primary), CHAIN)
    first = portal.ended(place, revision="r2")
    assert first.verdict == "verified", first.sentence
    standby = related_clusters.standby(primary)
    execute(
        primary.url(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication",
        "ALTER SYSTEM SET max_wal_senders = 0",
    )
    primary.stop()
    standby.promote()
    primary.start()
    run = portal.ended(place)
    assert (run.verdict, read(place).status) == ("verified", TargetStatus.IN_SYNC)
    address.lead_to(standby)

    lost = read(place)
    again = read(place)

    assert (lost.status, lost.error_code) == (TargetStatus.REGRESSED, "regressed")
    assert "REGRESSED: was at r3 (read " in lost.sentence
    assert "UTC, timeline 1), now r2 (timeline 2)" in lost.sentence
    assert again.status == TargetStatus.REGRESSED
    assert gate_of(place, "r2").answer is gate.Answer.REGRESSED
    run.refresh_from_db()
    assert (run.state, run.verdict) == ("applied", "verified")
    repaired = portal.ended(place)
    assert repaired.verdict == "verified"
    assert repaired.plan is not None
    assert "regressed" in [finding["code"] for finding in repaired.plan.findings]
    assert read(place).status == TargetStatus.IN_SYNC


def test_a_version_that_was_taken_back_by_hand_is_a_regression_until_it_is_back(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("taken_back")
    place = portal.place(url, CHAIN)
    portal.ended(place)
    execute(url, "DROP TABLE analytics_modules", "UPDATE alembic_version SET version_num = 'r2'")

    lost = read(place)
    execute(url, "CREATE TABLE analytics_modules (id int PRIMARY KEY)", "UPDATE alembic_version SET version_num = 'r3'")
    back = read(place)

    assert lost.status == TargetStatus.REGRESSED
    assert "Against the scripts: behind: 1 revision pending, first r3" in lost.sentence
    assert [step["revision"] for step in lost.pending] == ["r3"]
    assert back.status == TargetStatus.IN_SYNC


def test_a_verified_run_from_there_ends_a_regression(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("goes_on")
    place = portal.place(url, CHAIN)
    portal.ended(place)
    execute(url, "DROP TABLE analytics_modules", "DROP TABLE orders", "UPDATE alembic_version SET version_num = 'r1'")
    assert read(place).status == TargetStatus.REGRESSED

    run = portal.ended(place, revision="r2")

    assert run.verdict == "verified"
    assert read(place).status == TargetStatus.BEHIND


def test_a_version_table_that_vanished_is_a_regression(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("vanished")
    place = portal.place(url, CHAIN)
    portal.ended(place)
    execute(url, "DROP TABLE alembic_version")

    found = read(place)

    assert found.status == TargetStatus.REGRESSED
    assert "now base (no version table)" in found.sentence


def test_a_rollback_of_the_portals_is_no_regression(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("rolled_back")
    place = portal.place(url, CHAIN)
    portal.ended(place)

    run = portal.ended(place, revision="r1", operation=Operation.ROLLBACK)

    assert run.verdict == "verified"
    assert read(place).status == TargetStatus.BEHIND
    said = Observation.objects.filter(target=place.target).values_list("status", flat=True)
    assert TargetStatus.REGRESSED not in said


def test_a_table_that_a_verified_run_made_and_that_is_gone_is_never_green(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("dropped")
    place = portal.place(url, CHAIN)
    run = portal.ended(place)
    assert read(place).status == TargetStatus.IN_SYNC
    execute(url, "DROP TABLE orders")

    gone = read(place)
    execute(url, "CREATE TABLE orders (id int PRIMARY KEY)")

    assert (gone.status, gone.error_code) == (TargetStatus.TABLES_MISSING, "tables_missing")
    assert f"The same revision, r3, but table orders is gone since {run} was verified at " in gone.sentence
    assert not gate_of(place, "r3").is_open
    assert read(place).status == TargetStatus.IN_SYNC


def test_a_revision_that_was_stamped_and_never_applied_is_found_by_what_it_made_elsewhere(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """The story: production says 003, and the table of 003 is not there."""
    staging = portal.place(make_target_database("staging"), CHAIN)
    url = make_target_database("production")
    production = beside(portal, staging, url)
    portal.ended(staging)
    portal.ended(production, revision="r2")
    execute(url, "UPDATE alembic_version SET version_num = 'r3'")

    found = read(production)

    assert found.status == TargetStatus.TABLES_MISSING
    assert "table analytics_modules is absent, and a run on a database of another environment was" in found.sentence
    assert staging.target.label not in found.sentence
    assert gate_of(production, "head").answer is gate.Answer.TABLES_MISSING


@pytest.mark.slow
def test_a_database_that_is_replaced_during_a_run_leaves_an_unknown_outcome(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("replaced")
    server, _, name = url.rpartition("/")
    place = portal.place(url, HELD)
    run = portal.started(place)
    wait_for(lambda: one(url, ASLEEP) > (1,), within=60, what="the run to be at work")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    ended = portal.until(run.number, *ENDED, "outcome_unknown")

    assert (ended.state, ended.verdict, ended.reason_code) == ("outcome_unknown", "unverified", "wrong_database")
    assert "Target replaced" in ended.sentence
    assert "oid" in ended.sentence
    assert read(place).status == TargetStatus.WRONG_DATABASE


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_remarked_when_read_and_refused_for_a_run(
    portal: Portal, primary: postgres.Postgres, tmp_path: Path, mode: str
) -> None:
    with clusters.pooled(tmp_path / "pooler", primary, mode=mode) as pooler:
        place = portal.place(pooler.url(), CHAIN)

        found = read(place)
        plan = portal.planned(place)

    assert found.status == TargetStatus.NOT_INITIALISED
    assert "A connection pooler answers at this address" in found.facts["remarks"][0]
    assert "Not marked: a connection pooler stands before it" in found.facts["remarks"][1]
    assert (plan.state, plan.reason_code) == ("plan_failed", "pooler")
    assert one(primary.url(), "SELECT to_regnamespace('opsportal')") == (None,)


@pytest.mark.slow
def test_a_pooler_that_came_after_the_approval_is_refused_at_preflight(
    portal: Portal, primary: postgres.Postgres, address: clusters.Address, tmp_path: Path
) -> None:
    place = portal.place(address.url(primary), CHAIN)
    run = approved(portal, place)
    with clusters.pooled(tmp_path / "pooler", primary, mode="transaction") as pooler:
        address.lead_to(pooler)

        ended = start(portal, place, run)

    assert (ended.state, ended.reason_code) == ("refused", "pooler")
    assert one(primary.url(), "SELECT to_regclass('users')") == (None,)
