"""The portal is the admin: its navigation, its registry, its login."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse

from migrations_audit.site import PortalSite
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf


def test_the_default_admin_site_is_the_portal() -> None:
    assert reverse("admin:index") == "/"
    assert isinstance(admin.site, PortalSite)


@pytest.mark.parametrize("path", ["/", "/audit/", "/registry/"])
def test_the_navigation_marks_where_one_is(place: people.Place, visitor: VisitorOf, path: str) -> None:
    source = visitor("auditor").get(path).source

    nav = source.partition('<nav id="places"')[2].partition("</nav>")[0]
    assert nav.count('aria-current="page"') == 1
    assert f'<a href="{path}" aria-current="page">' in nav


def test_a_run_page_stands_under_runs(place: people.Place, visitor: VisitorOf) -> None:
    nav = visitor("viewer").run(people.make_run(place)).source.partition('<nav id="places"')[2].partition("</nav>")[0]

    current = nav.partition('aria-current="page">')[2].partition("<")[0]
    assert current == "Runs"


def test_the_registry_lists_what_may_be_opened(place: people.Place) -> None:
    page = Visitor(User.objects.create_superuser("root")).get("/registry/")

    assert page.status == 200
    assert reverse("admin:migrations_audit_environment_changelist") in page.source


def test_the_login_page_needs_no_account_and_tells_nothing(place: people.Place) -> None:
    page = Visitor(None).get("/login/")

    assert page.status == 200
    assert 'id="places"' not in page.source
    assert "market" not in page.source


def test_every_page_has_a_way_past_the_header_and_a_title(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    run = people.make_run(place)
    admin_ = visitor("admin")

    for path in ("/", f"/runs/{run.number}/", f"/targets/{place.target.pk}/", "/audit/", "/registry/"):
        source = admin_.get(path).source
        assert '<a href="#content-start" class="skip-to-content-link">' in source
        assert source.count("<h1") == 1
        assert "<title>" in source
        assert '<html lang="en"' in source
