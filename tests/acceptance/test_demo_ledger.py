"""The demo's dangerous revision, on the demo's own rows: all that an approver must know of it is said beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from migrations_audit.actions import approvals, runbooks
from migrations_audit.models import Environment, Rehearsal
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings
from opsportal.demo import seed, story
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.faces.web.visitor import Visitor
from tests.waiting import wait_for

PRODUCTION: Mapping[str, Any] = next(each for each in story.ENVIRONMENTS if each["slug"] == "production")


def ledger(portal: Portal, url: str) -> people.Place:
    """The ledger at its first revision with all its entries, under the demo's policy of production."""
    seed.by_hand(url, "001", project=seed.LEDGER)
    seed.fill_ledger(url)
    place = portal.register(
        url,
        seed.LEDGER,
        url_delivery="environment",
        url_delivery_name="DATABASE_URL",
        driver="postgresql+psycopg",
    )
    policy = {name: PRODUCTION[name] for name in ("rehearsal", "rewrite_limit_mb")}
    Environment.objects.filter(pk=place.environment.pk).update(**policy)
    return place


def test_the_dangerous_revision_of_the_demo_is_caught_with_the_right_words(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place = ledger(portal, make_target_database("ledger"))
    run = portal.planned(place)
    wait_for(lambda: run.rehearsals.get().has_ended, within=60, what="the rehearsal that comes with the plan")
    rehearsal: Rehearsal = run.rehearsals.get()

    assert rehearsal.outcome == "passed", rehearsal.sentence
    found = {each.code: each for each in findings.of_run(run, now=database_now())}
    for code, severity, words in (
        ("large_rewrite", "error", "002 writes public.entries anew, which is larger than the 20 MB"),
        ("drop_column", "error", "ALTER TABLE accounts DROP COLUMN legacy_number"),
        ("index_blocks", "warning", "CREATE INDEX entries_booked_at ON entries (booked_at)"),
        ("update_without_where", "error", "UPDATE entries SET note = trim (note)"),
    ):
        assert found[code].severity == severity
        assert words in found[code].sentence
    worst = rehearsal.impact["forecast"][0]
    assert worst["sentence"].startswith("AccessExclusive on public.entries (")
    assert "about 250,000 rows), the table is written anew meanwhile" in worst["sentence"]
    assert rehearsal.grade == "lossy"
    assert any("column public.accounts.legacy_number" in reason for reason in rehearsal.steps[0]["reasons"])


def test_an_approver_of_the_dangerous_revision_reads_it_and_is_asked_for_a_runbook(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place = ledger(portal, make_target_database("ledger"))
    run = portal.planned(place)
    wait_for(lambda: run.rehearsals.get().has_ended, within=60, what="the rehearsal that comes with the plan")
    assert run.plan is not None

    page = Visitor(place.people["dba"]).run(run)

    for words in (
        "This plan cannot be taken back exactly, so",
        "asks for a runbook before anybody approves.",
        "blocks all, rewrites",
        "Tables that it locks",
        "column public.accounts.legacy_number",
    ):
        assert words in page.words, words
    assert "Approve" not in page.buttons
    with pytest.raises(runbooks.RunbookMissing, match="asks for a runbook: what to do if it goes wrong"):
        approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)
