"""The findings of a plan in Chromium: read and accepted, in light and dark, wide and narrow, without JavaScript too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from migrations_audit.models import MigrationRun
from tests.acceptance.portal import Portal
from tests.browser.test_flow import Person
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

pytestmark = pytest.mark.browser

DANGEROUS = 'op.execute("DELETE FROM users")\nop.execute("CREATE INDEX i ON accounts (id)")'


@pytest.fixture
def run(served: Portal, make_target_database: MakeTargetDatabase) -> MigrationRun:
    """A planned run with findings that the policy wants accepted."""
    scripts = [*runnable.chain("users"), runnable.Script("r2", DANGEROUS, "r1")]
    place = served.place(make_target_database("findings"), scripts)
    place.environment.findings_must_be_accepted = "error"
    place.environment.save(update_fields=["findings_must_be_accepted"])
    return served.planned(place)


@pytest.mark.parametrize("javascript", [True, False])
def test_an_approver_accepts_what_must_be_accepted_and_then_approves(
    served: Portal, chromium: Browser, run: MigrationRun, javascript: bool
) -> None:
    dba = Person(chromium, served.web.url, "dba", javascript=javascript)
    dba.page.goto(f"/runs/{run.number}/")
    expect(dba.page.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    finding = dba.page.locator(".findings > li", has_text="delete_without_where")

    finding.locator("summary").click()
    finding.get_by_label("Why it may stay so").fill("The table is empty.")
    finding.get_by_label("For how many days").fill("7")
    finding.get_by_role("button", name="Accept this finding").click()

    expect(finding.get_by_text("The table is empty.")).to_be_visible()
    expect(finding.get_by_text("Accepted by dba")).to_be_visible()
    expect(dba.page.get_by_role("button", name="Approve", exact=True)).to_be_enabled()
    assert dba.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light"), (320, "dark")])
def test_findings_are_readable_everywhere(
    served: Portal, chromium: Browser, run: MigrationRun, width: int, scheme: str
) -> None:
    person = Person(chromium, served.web.url, "dba")
    person.page.set_viewport_size({"width": width, "height": 800})
    person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    person.page.goto(f"/runs/{run.number}/")

    for summary in person.page.locator(".findings summary").all():
        summary.click()

    expect(person.page.get_by_role("button", name="Accept this finding").first).to_be_visible()
    person.is_accessible()
    overflow = person.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
