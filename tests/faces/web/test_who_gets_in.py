"""Who gets a page at all: strangers, people without a role, hidden and missing objects, wrong methods, forged forms."""

from __future__ import annotations

import pytest
from django.urls import URLPattern, reverse

from migrations_audit.models import MigrationRun
from migrations_audit.web.urls import urlpatterns
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf, events, plan_of

PAGES = ("run", "live", "log", "log_file", "target", "audit", "freeze", "events")
POSTS = (
    *("approve", "reject", "take_back", "withdraw", "start", "cancel"),
    *(
        "plan_again",
        "verify_again",
        "close_unknown",
        "accept_leftovers",
        "request_changes",
        "break_glass",
        "review_glass",
    ),
    *("acknowledge", "confirm_proposal", "decline_proposal", "accept_finding", "take_back_finding"),
    *("rehearse", "runbook", "schedule", "unschedule"),
    *("check", "upgrade", "rollback", "adopt", "forget", "audit_export"),
    *("freeze_begin", "freeze_end"),
)
OF_THE_PORTAL = ("audit_export", "freeze_begin", "freeze_end")


def address(name: str, run: MigrationRun) -> str:
    """Where ``name`` of the portal's own pages is, for this run or its target."""
    route = next(str(each.pattern) for each in urlpatterns if each.name == name)
    for part in ("notice", "proposal"):
        if part in route:
            return reverse(f"web:{name}", kwargs={part: 987_654})
    if "number" in route:
        return reverse(f"web:{name}", kwargs={"number": run.number})
    return reverse(f"web:{name}", kwargs={"pk": run.target_id} if "pk" in route else None)


def test_every_page_of_ours_is_in_these_lists() -> None:
    assert all(isinstance(each, URLPattern) for each in urlpatterns)
    assert sorted(each.name or "" for each in urlpatterns) == sorted((*PAGES, *POSTS))


@pytest.mark.parametrize("name", PAGES)
def test_a_stranger_is_sent_to_the_login(place: people.Place, name: str) -> None:
    run = people.make_run(place)

    answer = Visitor(None).get(address(name, run))

    assert answer.status == 302
    assert answer.location.startswith("/login/?next=/")


@pytest.mark.parametrize("name", ["run", "live", "log", "log_file", "target", "events"])
def test_hidden_and_missing_cannot_be_told_apart(place: people.Place, visitor: VisitorOf, name: str) -> None:
    run = people.make_run(place)
    outsider = visitor("outsider")
    missing = address(name, run).replace(str(run.target_id if name == "target" else run.number), "987654")

    hidden_page, missing_page = outsider.get(address(name, run)), outsider.get(missing)

    assert (hidden_page.status, missing_page.status) == (404, 404)
    assert hidden_page.words == missing_page.words
    assert len(events("access.denied")) == 2


@pytest.mark.parametrize("name", [each for each in POSTS if each not in OF_THE_PORTAL])
def test_a_forged_post_to_what_is_hidden_gets_the_same_404(place: people.Place, visitor: VisitorOf, name: str) -> None:
    run = people.make_run(place, state="approved")
    before = MigrationRun.objects.values().get(number=run.number)

    answer = visitor("outsider").post(
        address(name, run),
        digest=plan_of(run).digest,
        comment="x",
        reason="x",
        revision="003",
        at="2099-01-01T00:00",
    )

    assert answer.status == 404
    assert "There is nothing here, or you may not see it." in answer.words
    assert "market" not in answer.words
    assert MigrationRun.objects.values().get(number=run.number) == before
    assert len(events("access.denied")) == 1


@pytest.mark.parametrize("name", POSTS)
def test_get_never_changes_anything(place: people.Place, visitor: VisitorOf, name: str) -> None:
    run = people.make_run(place, state="approved")
    before = MigrationRun.objects.values().get(number=run.number)

    operator = visitor("operator")

    answer = operator.get(address(name, run))

    assert answer.status == 303
    assert "Nothing was changed; press it again." in operator.said()
    assert operator.client.get(answer.location).status_code in (200, 403)
    assert MigrationRun.objects.values().get(number=run.number) == before


def test_whoever_was_signed_out_at_a_button_comes_back_to_the_page(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")
    late = Visitor(None)
    to_login = late.press(run, "approve").location
    late.client.force_login(place.people["dba"])

    back = late.get(f"/runs/{run.number}/approve")

    assert to_login == f"/login/?next=/runs/{run.number}/approve"
    assert back.location == f"/runs/{run.number}/"
    assert "You had been signed out, or came here by a link." in late.run(run).words


@pytest.mark.parametrize("name", PAGES)
def test_a_page_takes_no_post(place: people.Place, visitor: VisitorOf, name: str) -> None:
    answer = visitor("operator").post(address(name, people.make_run(place)))

    assert answer.status == 405
    assert "The browser sent what this address does not take. Nothing was changed." in answer.words


@pytest.mark.parametrize("name", POSTS)
def test_a_post_without_the_token_of_the_form_is_refused(place: people.Place, name: str) -> None:
    run = people.make_run(place, state="approved")
    before = MigrationRun.objects.values().get(number=run.number)

    answer = Visitor(place.people["admin"], checks_csrf=True).post(address(name, run), digest=plan_of(run).digest)

    assert answer.status == 403
    assert "Nothing was changed." in answer.words
    assert MigrationRun.objects.values().get(number=run.number) == before


def test_somebody_who_is_no_longer_active_is_sent_to_the_login(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)
    dev = visitor("dev")
    place.people["dev"].is_active = False
    place.people["dev"].save(update_fields=["is_active"])

    assert dev.run(run).status == 302


def test_somebody_who_is_not_staff_gets_no_page_and_no_stream(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)
    dev = visitor("dev")
    place.people["dev"].is_staff = False
    place.people["dev"].save(update_fields=["is_staff"])

    assert dev.run(run).status == 302
    assert dev.get(address("events", run)).status == 404


def test_a_role_that_was_taken_away_hides_the_page_at_once(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)
    viewer = visitor("viewer")
    assert viewer.run(run).status == 200

    place.people["viewer"].groups.clear()

    assert viewer.run(run).status == 404


def test_an_address_that_is_none_of_ours_looks_the_same(place: people.Place, visitor: VisitorOf) -> None:
    answer = visitor("viewer").get("/no/such/page/")

    assert answer.status == 404
    assert "There is nothing here, or you may not see it." in answer.words


def test_a_number_beyond_every_number_is_only_missing(place: people.Place, visitor: VisitorOf) -> None:
    assert visitor("viewer").get(f"/runs/{10**30}/").status == 404
    assert visitor("viewer").get(f"/targets/{10**30}/").status == 404


def test_no_page_allows_inline_script_or_style(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    run = people.make_run(place, state="awaiting_approval")
    admin = visitor("admin")

    for path in ("/", f"/runs/{run.number}/", f"/targets/{place.target.pk}/", "/audit/", "/registry/"):
        response = admin.client.get(path)
        policy = response.headers["Content-Security-Policy"]
        source = response.content.decode()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<style" not in source
        assert " style=" not in source
        assert " onclick=" not in source
        assert all("src=" in tag for tag in source.split("<script")[1:])


def test_logging_out_takes_a_post(place: people.Place, visitor: VisitorOf) -> None:
    dev = visitor("dev")

    assert dev.get("/logout/").status == 405
    assert "Nothing was changed." in dev.get("/logout/").words
    assert dev.post("/logout/").status in (200, 302)
    assert dev.get("/").status == 302
