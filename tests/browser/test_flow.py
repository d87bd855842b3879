"""Request, approve, approve, run, live log, export: in Chromium, as people do it, and again without JavaScript."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from migrations_audit import hashchain
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.acceptance import test_rehearsals
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.domain import rehearsed
from tests.engine import runnable

pytestmark = pytest.mark.browser

SLOWLY = 'op.execute("CREATE TABLE slow (id int PRIMARY KEY)")\nop.execute("SELECT pg_sleep(4)")'
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


class Person:
    """Somebody's browser window. Whatever its console complains about fails the test."""

    def __init__(self, browser: Browser, base_url: str, name: str, *, javascript: bool = True) -> None:
        self.context: BrowserContext = browser.new_context(base_url=base_url, java_script_enabled=javascript)
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto("/login/?next=/")
        self.page.fill("input[name=username]", name)
        self.page.fill("input[name=password]", people.PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page).to_have_title("Dashboard | Opsportal")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def is_accessible(self) -> None:
        """axe finds nothing on the page as it stands."""
        results = Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()


def request_upgrade(person: Person, place: people.Place) -> int:
    person.page.goto(f"/targets/{place.target.pk}/")
    form = person.page.locator("form", has=person.page.get_by_role("button", name="Plan upgrade", exact=True))
    form.get_by_label("Reason").fill("Production lacks r2.")
    form.get_by_role("button", name="Plan upgrade", exact=True).click()
    person.page.wait_for_url("**/runs/*/")
    return int(person.page.url.rstrip("/").rpartition("/")[2])


def approve(person: Person, number: int) -> None:
    person.page.goto(f"/runs/{number}/")
    person.page.get_by_label("Comment").first.fill("Read the SQL.")
    person.press("Approve")


def test_the_whole_way_in_the_browser(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    place = served.place(
        make_target_database("browser"), [*runnable.chain("users"), runnable.Script("r2", SLOWLY, "r1")]
    )
    dev, dba, owner, operator, auditor = (
        Person(chromium, served.web.url, name) for name in ("dev", "dba", "owner", "operator", "auditor")
    )

    number = request_upgrade(dev, place)
    served.until(number, "awaiting_approval")
    expect(dev.page.get_by_text("awaiting approval").first).to_be_visible()
    expect(dev.page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    dba.page.goto(f"/runs/{number}/")
    expect(dba.page.get_by_text("CREATE TABLE slow").first).to_be_attached()
    dba.is_accessible()
    approve(dba, number)
    approve(owner, number)
    operator.page.goto(f"/runs/{number}/")
    operator.page.get_by_label("Type the target’s name").fill(place.target.label)
    operator.press("Run now")
    expect(operator.page.get_by_text("CREATE TABLE slow").last).to_be_visible()
    expect(operator.page.get_by_text("applied, verified").first).to_be_visible()
    operator.is_accessible()
    for path in ("/", f"/targets/{place.target.pk}/"):
        operator.page.goto(path)
        operator.is_accessible()

    auditor.page.goto("/audit/")
    auditor.is_accessible()
    with auditor.page.expect_download() as download:
        auditor.press("Export audit (JSON Lines)")
    export = tmp_path / "audit.jsonl"
    download.value.save_as(export)
    _, verification = hashchain.verify_export(export.read_text().splitlines())
    assert verification.holds, verification.reason
    assert [complaint for person in (dev, dba, owner, operator, auditor) for complaint in person.complaints] == []


def test_an_operator_schedules_in_the_browser_and_the_page_follows(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("later"), runnable.chain("users"))
    number = served.planned(place).number
    for name in ("dba", "owner"):
        approve(Person(chromium, served.web.url, name), number)
    operator = Person(chromium, served.web.url, "operator")
    operator.page.goto(f"/runs/{number}/")
    operator.page.get_by_text("Schedule", exact=True).first.click()
    operator.is_accessible()
    operator.page.get_by_label("Start at").fill(f"{database_now() + timedelta(hours=2):%Y-%m-%dT%H:%M}")
    operator.page.get_by_label("Repeat the target’s name").fill(place.target.label)
    operator.press("Schedule")

    expect(operator.page.get_by_text("as operator scheduled it.")).to_be_visible()
    operator.is_accessible()

    operator.press("Take off the schedule")
    expect(operator.page.get_by_text("Taken off its schedule by operator").first).to_be_visible()
    assert operator.complaints == []


def test_the_log_grows_while_the_run_goes_on(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("live"), [runnable.Script("r1", SLOWLY)])
    run = served.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    watcher = Person(chromium, served.web.url, "viewer")
    watcher.page.goto(f"/runs/{run.number}/")
    operator = Person(chromium, served.web.url, "operator")
    operator.page.goto(f"/runs/{run.number}/")

    operator.page.get_by_label("Type the target’s name").fill(place.target.label)
    operator.press("Run now")

    expect(watcher.page.get_by_text("r1: upgrade started")).to_be_visible()
    loaded_at = watcher.page.evaluate("performance.timeOrigin")
    expect(watcher.page.get_by_text("Executing since")).to_be_visible()
    assert MigrationRun.objects.get(number=run.number).state == "running"
    expect(watcher.page.get_by_text("applied, verified").first).to_be_visible()
    assert watcher.page.evaluate("performance.timeOrigin") == loaded_at
    assert watcher.complaints == []


def test_an_open_page_says_that_a_run_hangs_although_nothing_else_happens(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("hanging")
    test_rehearsals.change(url, "CREATE TABLE stock AS SELECT 1 AS n")
    place = served.place(url, [runnable.Script("r1", 'op.execute("SELECT pg_sleep(20) FROM stock")')])
    run = served.planned(place)
    test_rehearsals.rehearsed(served, place, run)
    test_rehearsals.approved_and_started(place, run)
    watcher = Person(chromium, served.web.url, "viewer")

    watcher.page.goto(f"/runs/{run.number}/")
    loaded_at = watcher.page.evaluate("performance.timeOrigin")
    expect(watcher.page.get_by_text("Its revisions should take about")).to_be_visible()
    expect(watcher.page.get_by_text("Longer than expected:")).to_be_visible(timeout=20_000)

    assert MigrationRun.objects.get(number=run.number).state == "running"
    assert watcher.page.evaluate("performance.timeOrigin") == loaded_at
    watcher.is_accessible()
    served.until(run.number, "applied")
    expect(watcher.page.get_by_text("Longer than expected:")).to_have_count(0)
    assert watcher.complaints == []


def test_the_whole_way_without_javascript(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("plain"), runnable.chain("users"))
    dev, dba, owner, operator = (
        Person(chromium, served.web.url, name, javascript=False) for name in ("dev", "dba", "owner", "operator")
    )

    number = request_upgrade(dev, place)
    served.until(number, "awaiting_approval")
    approve(dba, number)
    approve(owner, number)
    operator.page.goto(f"/runs/{number}/")
    operator.page.get_by_label("Type the target’s name").fill(place.target.label)
    operator.press("Run now")
    served.until(number, "applied")
    operator.page.reload()

    expect(operator.page.get_by_text("applied, verified").first).to_be_visible()
    expect(operator.page.get_by_text("CREATE TABLE users").last).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light"), (320, "dark")])
def test_no_page_scrolls_sideways_and_axe_finds_nothing(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase, width: int, scheme: str
) -> None:
    place = served.place(make_target_database("looks"), runnable.chain("users"))
    run = served.planned(place)
    windowing.opened(place.environment)
    rehearsed.shown(run)
    person = Person(chromium, served.web.url, "dba")
    person.page.set_viewport_size({"width": width, "height": 800})
    person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]

    own = ["/", f"/targets/{place.target.pk}/", f"/runs/{run.number}/", "/freeze/", "/registry/"]
    names = ("migrationrun", "target", "environment", "project", "approval", "window")
    lists = [f"/migrations_audit/{name}/" for name in names]
    with windowing.frozen_meanwhile(place):
        for path in [*own, *lists, f"/migrations_audit/environment/{place.environment.pk}/change/"]:
            person.page.goto(path)
            person.is_accessible()
            overflow = person.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, f"{path} is {overflow} px wider than {width}"
