"""The first page: every target with what was last read of it, what needs attention, what waits for me."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from migrations_audit.actions import sweeps
from migrations_audit.models import Environment, Membership, MigrationRun, Observation, Project, Role, Target
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState, TargetStatus
from migrations_audit.templatetags import portal
from tests import people, windowing
from tests.faces.web.visitor import Page, Visitor, VisitorOf

WORDS = {
    TargetStatus.IN_SYNC: "in sync",
    TargetStatus.BEHIND: "behind: 1 pending",
    TargetStatus.AHEAD: "ahead",
    TargetStatus.UNKNOWN_REVISION: "unknown revision",
    TargetStatus.SEVERAL_HEADS: "several heads",
    TargetStatus.NOT_INITIALISED: "not initialised",
    TargetStatus.UNREACHABLE: "unreachable",
    TargetStatus.UNREADABLE: "not readable",
    TargetStatus.WRONG_DATABASE: "wrong database",
    TargetStatus.UNREADABLE_SCRIPTS: "scripts unreadable",
    TargetStatus.REGRESSED: "REGRESSED",
    TargetStatus.TABLES_MISSING: "tables missing",
}


def cell(page: Page) -> str:
    """The source of the only target's cell."""
    return page.source.partition('<div class="cell')[2].partition("</td>")[0]


def attention(page: Page) -> str:
    return page.words.partition("What needs attention")[2].partition("Waiting for me")[0]


@pytest.mark.parametrize("status", list(TargetStatus))
def test_every_status_has_a_word_and_a_shape_of_its_own(
    place: people.Place, visitor: VisitorOf, status: TargetStatus
) -> None:
    people.observe(place, status=status)

    shown = cell(visitor("viewer").get("/"))

    assert f"<span>{WORDS[status]}</span>" in shown
    assert '<svg class="icon"' in shown
    assert ('class="chip good"' in shown) == (status is TargetStatus.IN_SYNC)


def test_words_and_shapes_tell_all_statuses_apart() -> None:
    shapes = {shape for _, shape in portal.STANDINGS.values()}

    assert set(portal.STANDINGS) == {*TargetStatus, "never_read", "stale"}
    assert len(shapes) == len(portal.STANDINGS)
    assert len(set(WORDS.values())) == len(TargetStatus)


def test_every_state_of_a_run_has_a_shape() -> None:
    assert set(portal.RUNS) == set(RunState)
    assert {tone for tone, _ in portal.RUNS.values()}.isdisjoint({"good"})


def test_a_target_that_was_never_read_is_not_green(place: people.Place, visitor: VisitorOf) -> None:
    page = visitor("viewer").get("/")

    assert "<span>never read</span>" in cell(page)
    assert "market/production/main Never read, so nothing is known about it. Press Check now." in attention(page)


def test_a_reading_that_is_too_old_is_stale_and_says_what_it_said(place: people.Place, visitor: VisitorOf) -> None:
    Observation.objects.create(
        target=place.target, at=database_now() - timedelta(hours=1), reader="w", purpose="check", status="in_sync",
        sentence="in sync", identity=people.IDENTITY, revisions=["003"],
    )  # fmt: skip

    page = visitor("viewer").get("/")

    assert "<span>stale: was in sync</span>" in cell(page)
    assert "The last reading is too old to count. It said: in sync." in attention(page)
    assert 'class="chip good"' not in page.source


def test_a_cell_names_revision_and_age_with_the_absolute_time(place: people.Place, visitor: VisitorOf) -> None:
    read = people.observe(place)

    shown = cell(visitor("viewer").get("/"))

    assert "<code>002</code>" in shown
    assert f'datetime="{read.at:%Y-%m-%dT%H:%M:%SZ}" title="{read.at:%Y-%m-%d %H:%M:%S} UTC"' in shown


def test_another_database_lends_no_revision_to_a_cell(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, status=TargetStatus.WRONG_DATABASE)

    shown = cell(visitor("viewer").get("/"))

    assert "another database answers, so no revision is shown" in shown
    assert "<code>002</code>" not in shown


def test_a_cell_shows_the_verdict_of_the_last_attempt_and_what_is_open(place: people.Place, visitor: VisitorOf) -> None:
    people.finish(place, people.make_run(place, state="running"))
    waiting = people.make_run(place, state="awaiting_approval")

    words = visitor("viewer").get("/").words

    assert "applied, verified" in words
    assert f"Run {waiting.number} awaiting approval" in words


def test_production_that_is_behind_needs_attention_and_staging_does_not(
    place: people.Place, visitor: VisitorOf
) -> None:
    people.observe(place)
    staging = people.make_place(slug="staging", tier="staging", requirements=[], project=place.project)
    people.observe(staging, identity=people.IDENTITY | {"database_oid": 16_385})

    listed = attention(visitor("viewer").get("/"))

    assert "market/production/main Behind: 1 pending, first 003." in listed
    assert "market/staging/main" not in listed


def test_the_worst_comes_first(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    for slug, status in (("b", TargetStatus.UNREACHABLE), ("c", TargetStatus.WRONG_DATABASE)):
        other = Target.objects.create(
            project=place.project, environment=place.environment, slug=slug, url_reference="env:X"
        )
        people.observe(people.Place(place.environment, place.project, other, place.people), status=status)
    Target.objects.create(project=place.project, environment=place.environment, slug="d", url_reference="env:X")
    lost = people.make_run(place, state="running")
    MigrationRun.objects.filter(number=lost.number).update(lease_expires_at=database_now())
    sweeps.sweep(actor=people.WORKER)

    listed = attention(visitor("viewer").get("/"))

    order = [listed.index(name) for name in (f"Run {lost.number} on", "/c ", "/b ", "main Behind", "/d ")]
    assert order == sorted(order)


def test_a_queue_without_a_live_worker_needs_attention(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="queued")
    deaf = attention(visitor("viewer").get("/"))
    sweeps.see_worker(name="worker@a", queues=["target-production"])

    heard = attention(visitor("viewer").get("/"))

    sentence = (
        f"Run {run.number} on market/production/main It waits for a worker, and no live worker consumes the queue"
    )
    assert sentence in deaf
    assert sentence not in heard


def test_a_run_that_waits_for_long_needs_attention(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    MigrationRun.objects.filter(number=run.number).update(planned_at=database_now() - timedelta(hours=5))

    assert "It has been awaiting approval for 5 hours. Waiting for approval" in attention(visitor("viewer").get("/"))


def test_when_nothing_needs_attention_it_says_so(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, status=TargetStatus.IN_SYNC, revisions=["003"], pending=[])

    assert "Nothing. Every target was read within its limit" in attention(visitor("viewer").get("/"))


@pytest.mark.parametrize(
    ("who", "state", "heading"),
    [
        ("dba", "awaiting_approval", "To approve or reject"),
        ("operator", "approved", "To run now"),
        ("dev", "awaiting_approval", "My requests, waiting for others"),
    ],
)
def test_what_waits_for_me_is_listed(
    place: people.Place, visitor: VisitorOf, who: str, state: str, heading: str
) -> None:
    run = people.make_run(place, state=state)

    assert f"{heading} Run {run.number}: market/production/main 002 → 003, asked by dev" in visitor(who).get("/").words


def test_what_keeps_a_run_from_going_on_stands_beside_it(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    windowing.opens_in(place.environment, 3)

    words = visitor("operator").get("/").words

    assert f"To run now Run {run.number}: market/production/main 002 → 003, asked by dev" in words
    assert "; window closed until " in words


def test_what_i_have_approved_no_longer_waits_for_me(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")
    dba.press(run, "approve")

    assert "Nothing waits for you." in dba.get("/").words


def test_a_hidden_environment_leaves_no_trace(place: people.Place, visitor: VisitorOf) -> None:
    secret = Environment.objects.create(slug="secret", name="Secret", tier="staging", queue="q")
    project = Project.objects.create(slug="covert", name="Covert", folder="/srv/h")
    Target.objects.create(project=project, environment=secret, slug="main", url_reference="env:X")

    source = visitor("viewer").get("/").source

    assert "secret" not in source.lower()
    assert "covert" not in source.lower()


def test_somebody_without_a_role_is_told_what_to_do(place: people.Place, visitor: VisitorOf) -> None:
    assert "You hold no role in any environment" in visitor("outsider").get("/").words


@pytest.mark.django_db
def test_an_empty_portal_tells_its_first_administrator_where_to_begin() -> None:
    root = Visitor(User.objects.create_superuser("root"))

    assert "Nothing is registered yet. Begin under Registry" in root.get("/").words


def test_an_environment_without_targets_says_who_adds_one(place: people.Place, visitor: VisitorOf) -> None:
    place.target.delete()

    assert "No database is registered yet. An administrator adds a project" in visitor("viewer").get("/").words


def test_a_stranger_is_sent_to_the_login(place: people.Place) -> None:
    assert Visitor(None).get("/").location.startswith("/login/")


def test_a_hundred_targets_cost_as_many_queries_as_one(
    place: people.Place, visitor: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer = visitor("viewer")
    people.make_run(place, state="awaiting_approval")
    with CaptureQueriesContext(connection) as one:
        viewer.get("/")
    for number in range(99):
        target = Target.objects.create(
            project=place.project, environment=place.environment, slug=f"t{number}", url_reference="env:X"
        )
        more = people.Place(place.environment, place.project, target, place.people)
        people.observe(more)
        if number % 10 == 0:
            people.make_run(more, state="awaiting_approval")

    with django_assert_max_num_queries(28), CaptureQueriesContext(connection) as many:
        page = viewer.get("/")

    assert page.source.count('<div class="cell') == 100
    assert len(many) == len(one)


def test_a_superuser_sees_everything_and_approves_nothing(place: people.Place) -> None:
    people.make_run(place, state="awaiting_approval")
    root = Visitor(User.objects.create_superuser("root"))

    page = root.get("/")

    assert "market/production" in page.words.replace(" ", "")
    assert "Nothing waits for you." in page.words
    assert not Membership.objects.filter(role=Role.APPROVER, group__user__username="root").exists()
