"""The page of a void run in Chromium: what was approved and what was found, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from migrations_audit.actions import runs
from migrations_audit.models import MigrationRun
from tests import people
from tests.acceptance.portal import Portal
from tests.browser.test_flow import Person
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

pytestmark = pytest.mark.browser


@pytest.fixture
def run(served: Portal, make_target_database: MakeTargetDatabase) -> MigrationRun:
    """A run that is void because of its scripts, one of them with a long difference, and of its target."""
    url = make_target_database("void_page")
    place = served.place(url, runnable.chain("users", "orders"))
    planned = served.planned(place)
    assert planned.plan is not None, planned.sentence
    people.approve_by_all(place, planned.number, planned.plan.digest)
    versions = Path(place.project.folder) / "migrations/versions"
    script = versions / "r2.py"
    script.write_text(script.read_text().replace("orders", f"orders_of_{'a_very_long_name_' * 8}"))
    (versions / "notes.py").write_text("".join(f"# line {number} of what somebody noted\n" for number in range(60)))
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE by_hand (id int PRIMARY KEY, name text)")
    runs.start(
        actor=place.actor("operator"), number=planned.number, digest=planned.plan.digest, confirm=planned.target.label
    )
    return served.until(planned.number, "void", "applied", "refused")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light"), (320, "dark")])
def test_what_makes_a_run_void_is_readable_everywhere(
    served: Portal, chromium: Browser, run: MigrationRun, width: int, scheme: str
) -> None:
    person = Person(chromium, served.web.url, "viewer")
    person.page.set_viewport_size({"width": width, "height": 800})
    person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]

    person.page.goto(f"/runs/{run.number}/")

    shown = person.page.get_by_role("region", name="What is another than approved")
    for title in ("The script files", "The starting state"):
        expect(shown.get_by_role("heading", name=title)).to_be_visible()
    changed = shown.get_by_role("region", name="Difference: changed: migrations/versions/r2.py")
    expect(changed.locator(".removed").first).to_contain_text("−")
    expect(changed.locator(".added").first).to_contain_text("+")
    expect(shown.get_by_text("# line 7 of what somebody noted")).to_be_hidden()
    shown.get_by_text("added: migrations/versions/notes.py").click()
    expect(shown.get_by_text("# line 7 of what somebody noted")).to_be_visible()
    person.is_accessible()
    overflow = person.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
