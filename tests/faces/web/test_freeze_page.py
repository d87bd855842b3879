"""Freezing the portal in the browser, and what everybody then sees."""

from __future__ import annotations

from datetime import timedelta

from migrations_audit.models import Freeze
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.faces.web.visitor import Visitor, VisitorOf, events


def test_an_administrator_freezes_and_every_page_says_so_until_the_portal_is_thawed(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="approved")
    admin, operator = visitor("admin"), visitor("operator")
    assert "Freeze the portal" in admin.get("/freeze/").buttons

    answer = admin.post("/freeze/begin", reason="Incident 7.", until="")

    assert (answer.status, answer.location) == (303, "/freeze/")
    assert len(events("portal.frozen")) == 1
    for path in ("/", f"/runs/{run.number}/", f"/targets/{place.target.pk}/", "/audit/", "/migrations_audit/target/"):
        assert "The portal is frozen by admin since" in operator.get(path).words, path
    page = operator.run(run)
    assert "Run now" not in page.buttons
    assert "Waiting until the portal is thawed." in page.section("status")
    operator.press(run, "start")
    assert "does not start. The portal is frozen by admin" in operator.said()

    admin.post("/freeze/end", reason="Over.")

    assert "The portal is thawed." in admin.said()
    assert "The portal is frozen" not in operator.get("/").words
    assert "Run now" in operator.run(run).buttons
    assert "admin : Over." in " ".join(admin.get("/freeze/").words.replace(":", " :").split())


def test_an_end_is_taken_in_utc(place: people.Place, visitor: VisitorOf) -> None:
    until = (database_now() + timedelta(hours=3)).replace(second=0, microsecond=0)

    visitor("admin").post("/freeze/begin", reason="Incident 7.", until=f"{until:%Y-%m-%dT%H:%M}")

    assert Freeze.objects.get().until == until


def test_what_cannot_be_is_told_at_the_form(place: people.Place, visitor: VisitorOf) -> None:
    admin = visitor("admin")

    without, nonsense = (
        admin.post("/freeze/begin", reason=" ", until=""),
        admin.post("/freeze/begin", reason="Incident 7.", until="tomorrow"),
    )

    assert (without.status, nonsense.status) == (400, 400)
    assert "Give a reason" in without.words
    assert "Give a date and a time in UTC" in nonsense.words
    assert "Incident 7." in nonsense.words
    windowing.frozen(place)
    assert admin.post("/freeze/end", reason="").status == 400
    assert Freeze.objects.open().exists()


def test_a_second_freeze_is_told(place: people.Place, visitor: VisitorOf) -> None:
    admin = visitor("admin")
    windowing.frozen(place)

    admin.post("/freeze/begin", reason="Another.", until="")

    assert "Thaw it first" in admin.said()


def test_nobody_else_gets_the_form_or_may_send_it(place: people.Place, visitor: VisitorOf) -> None:
    operator = visitor("operator")

    assert "Freeze the portal" not in operator.get("/freeze/").buttons
    assert operator.post("/freeze/begin", reason="Incident 7.").status == 403
    assert Visitor(None).get("/freeze/").status == 302
    assert Visitor(None).post("/freeze/begin", reason="Incident 7.").status == 302
    windowing.frozen(place)
    assert operator.post("/freeze/end", reason="Over.").status == 403
    assert "Thaw" not in operator.get("/freeze/").buttons
    assert Freeze.objects.open().exists()
