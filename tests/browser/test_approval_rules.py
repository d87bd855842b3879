"""The forms of the approval rules in Chromium: typing production's name, breaking the glass, reviewing, and a second person."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from migrations_audit.actions import proposals
from tests import people
from tests.acceptance.portal import Portal
from tests.browser.test_flow import Person
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

pytestmark = pytest.mark.browser

LOOKS = ((1280, "light"), (1280, "dark"), (320, "light"), (320, "dark"))
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

SETTLED = """Promise.race([
    Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null))).then(() => null),
    new Promise((go) => setTimeout(go, 2000)),
])"""
"""Colours go over to those of another scheme within moments; what is in between is nobody's. A transition of something that is
not painted never ends, so that nothing waits for long."""


def looks_right(person: Person) -> None:
    """axe finds nothing on the page as it stands, wide and narrow, light and dark, and it does not scroll sideways."""
    for width, scheme in LOOKS:
        person.page.set_viewport_size({"width": width, "height": 800})
        person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        person.page.evaluate(SETTLED)
        person.is_accessible()
        assert person.page.evaluate(OVERFLOW) <= 0, f"{person.page.url} is wider than {width}"
    person.page.set_viewport_size({"width": 1280, "height": 800})


def test_an_emergency_start_is_marked_told_and_reviewed(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("glass"), runnable.chain("users"))
    people.add_person(place, "chief", ("administrator", ""), ("operator", ""))
    number = served.planned(place).number
    chief, dba = (Person(chromium, served.web.url, name) for name in ("chief", "dba"))

    chief.page.goto(f"/runs/{number}/")
    chief.page.get_by_text("Emergency: start without approval").click()
    looks_right(chief)
    chief.page.get_by_label("Why it cannot wait").fill("Sign-in answers 500 since 02:10.")
    chief.page.get_by_label("Why nobody approves it").fill("Nobody answers the phone.")
    chief.page.get_by_label("Type the target’s name").fill(place.target.label)
    chief.page.get_by_label("Your password").fill(people.PASSWORD)
    chief.press("Start without approval")
    expect(chief.page.get_by_text("Started without approval").first).to_be_visible()
    served.until(number, "applied")

    dba.page.goto("/")
    expect(dba.page.get_by_text("You are told")).to_be_visible()
    looks_right(dba)
    dba.press(f"I have read the notice about run {number}")
    expect(dba.page.get_by_text("You are told")).to_have_count(0)
    dba.page.goto(f"/runs/{number}/")
    looks_right(dba)
    dba.page.get_by_label("Review: what you looked at").fill("Read the log and the evidence; nothing odd.")
    dba.press("Sign the review")
    expect(dba.page.get_by_text("Read the log and the evidence; nothing odd.").first).to_be_visible()
    assert chief.complaints == dba.complaints == []


def test_a_second_administrator_confirms_what_the_first_proposed(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("second"), runnable.chain("users"))
    served.planned(place)
    root = people.add_person(place, "root", superuser=True)
    proposals.save_environment(
        actor=root, environment_id=place.environment.pk, requirements=[{"role": "owner", "count": 1}, {"people": 2}]
    )
    admin = Person(chromium, served.web.url, "admin")

    expect(admin.page.get_by_text("1 owner, 2 people in all")).to_be_visible()
    looks_right(admin)
    admin.page.get_by_role("button", name="Confirm proposal").click()

    expect(admin.page.get_by_text("is confirmed and in force")).to_be_visible()
    place.environment.refresh_from_db()
    assert place.environment.requirements == [{"role": "owner", "count": 1}, {"people": 2}]
    assert admin.complaints == []


def test_production_is_started_by_its_name_and_a_wish_for_changes_is_readable(
    served: Portal, chromium: Browser, make_target_database: MakeTargetDatabase
) -> None:
    place = served.place(make_target_database("named"), runnable.chain("users"))
    run = served.planned(place)
    assert run.plan is not None
    owner, operator = (Person(chromium, served.web.url, name) for name in ("owner", "operator"))

    owner.page.goto(f"/runs/{run.number}/")
    owner.page.get_by_label("Comment").first.fill("Add the index concurrently.")
    owner.press("Request changes")
    expect(owner.page.get_by_text("asked for changes").first).to_be_visible()
    looks_right(owner)
    owner.press("Take back my wish for changes")
    people.approve_by_all(place, run.number, run.plan.digest)
    operator.page.goto(f"/runs/{run.number}/")
    looks_right(operator)
    operator.page.get_by_label("Type the target’s name").fill("another/name/altogether")
    operator.press("Run now")
    expect(operator.page.get_by_text("What was typed is another name.")).to_be_visible()
    operator.is_accessible()
    operator.page.get_by_label("Type the target’s name").fill(place.target.label)
    operator.press("Run now")

    served.until(run.number, "applied")
