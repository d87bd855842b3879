"""The open page of a run in Chromium: what a live update leaves alone, and how it says so."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from migrations_audit.actions import approvals, findings, runs
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings as plan_findings
from tests import people
from tests.acceptance.portal import Portal
from tests.browser.test_flow import Person
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

pytestmark = pytest.mark.browser

DANGEROUS = 'op.execute("DELETE FROM users")\nop.execute("CREATE INDEX i ON users (id)")'
CHANGED = "Something changed here."


@pytest.fixture
def place(served: Portal, make_target_database: MakeTargetDatabase) -> people.Place:
    scripts = [*runnable.chain("users"), runnable.Script("r2", DANGEROUS, "r1")]
    return served.place(make_target_database("live"), scripts)


@pytest.fixture
def run(served: Portal, place: people.Place) -> MigrationRun:
    return served.planned(place)


def long_enough(page: Page) -> None:
    """Until the stream has told the present state, and what follows from that is done: an absence has no moment of its own."""
    page.wait_for_timeout(2_000)


def test_the_sentence_at_a_refused_form_stays_until_it_is_sent_again(
    served: Portal, chromium: Browser, run: MigrationRun
) -> None:
    owner = Person(chromium, served.web.url, "owner")
    owner.page.goto(f"/runs/{run.number}/")

    owner.press("Reject")
    expect(owner.page.get_by_text("Say why you reject it")).to_be_visible()
    long_enough(owner.page)

    expect(owner.page.get_by_role("alert")).to_contain_text("Say why you reject it")
    expect(owner.page.get_by_label("Comment").first).to_have_attribute("aria-invalid", "true")
    expect(owner.page.get_by_text(CHANGED)).to_have_count(0)
    owner.is_accessible()


def test_news_are_offered_to_whoever_is_typing_and_lose_nothing(
    served: Portal, chromium: Browser, place: people.Place, run: MigrationRun
) -> None:
    assert run.plan is not None
    owner = Person(chromium, served.web.url, "owner")
    owner.page.goto(f"/runs/{run.number}/")
    mine, other = (owner.page.locator(".findings > li").nth(index) for index in (0, 1))
    mine.locator("summary").click()
    mine.get_by_label("Why it may stay so").fill("The table is empty.")
    mine.get_by_label("For how many days").fill("7")
    region = owner.page.locator("[data-region=findings]")

    actor, now = place.actor("dba"), database_now()
    digest = plan_findings.of_run(run, now=now)[1].digest
    findings.accept(actor=actor, number=run.number, finding=digest, reason="Asked the owner.", days=3)
    approvals.request_changes(actor=actor, number=run.number, digest=run.plan.digest, comment="Use a WHERE.")

    expect(region.get_by_text(CHANGED)).to_be_visible()
    expect(owner.page.locator("[data-region=approvals]").get_by_text("Use a WHERE.").first).to_be_visible()
    owner.is_accessible()
    expect(other.get_by_text("Asked the owner.")).to_have_count(0)
    owner.press("Update")
    expect(other.get_by_text("Asked the owner.")).to_be_visible()
    assert mine.get_by_label("Why it may stay so").input_value() == "The table is empty."
    assert mine.get_by_label("For how many days").input_value() == "7"
    assert owner.complaints == []


def test_an_open_page_speaks_of_the_past_once_the_request_is_withdrawn(
    served: Portal, chromium: Browser, place: people.Place, run: MigrationRun
) -> None:
    owner = Person(chromium, served.web.url, "owner")
    owner.page.goto(f"/runs/{run.number}/")
    expect(owner.page.get_by_role("heading", name="What will run")).to_be_visible()

    runs.withdraw(actor=place.actor("dev"), number=run.number, comment="")

    expect(owner.page.get_by_role("heading", name="What would have run")).to_be_visible()
    expect(owner.page.get_by_role("heading", name="What was known before")).to_be_visible()
    assert owner.complaints == []
