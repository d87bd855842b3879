"""Records in the admin: to look at, to filter and to search; never to change, whoever asks."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

import migrations_audit
from migrations_audit.actions import sweeps
from migrations_audit.admin import filters
from migrations_audit.models import (
    Approval,
    AuditEvent,
    Environment,
    Evidence,
    FindingAcceptance,
    Membership,
    MigrationRun,
    Observation,
    Plan,
    Project,
    Snapshot,
    Target,
    Worker,
)
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, list_url, text

RECORDS: list[type[Model]] = [
    MigrationRun,
    Approval,
    Observation,
    Evidence,
    Plan,
    Snapshot,
    AuditEvent,
    Worker,
    FindingAcceptance,
]
LISTS: list[type[Model]] = [*RECORDS, Environment, Membership, Project, Target]


@pytest.fixture
def run(place: people.Place) -> MigrationRun:
    """A queued run, with everything that led to it."""
    sweeps.see_worker(name="worker-1@host", queues=["target-production"])
    return people.make_run(place, state="queued", reason="Production lacks 003.", ticket="OPS-7")


def a_row_of(model: type[Model], place: people.Place, run: MigrationRun) -> Model:
    """One stored row."""
    if model is Evidence:
        Evidence.objects.create(
            target=place.target,
            run=run,
            at=run.requested_at,
            check_name="revision",
            expected="003",
            observed="003",
            outcome="passed",
        )
    if model is FindingAcceptance:
        FindingAcceptance.objects.create(
            project=place.project,
            code="drop_table",
            sentence="DROP TABLE a: A table is dropped.",
            digest="0" * 64,
            reason="It is empty.",
            accepted_by=place.people["dba"],
            accepted_by_name="dba",
            at=run.requested_at,
            expires_at=run.requested_at + timedelta(days=1),
        )
    row = model._default_manager.first()
    assert row is not None
    return row


@pytest.mark.parametrize("model", RECORDS)
def test_no_record_has_a_form_for_anybody(
    sign_in: SignIn, place: people.Place, run: MigrationRun, model: type[Model]
) -> None:
    client, row = sign_in("root"), a_row_of(model, place, run)
    before = model._default_manager.values().get(pk=row.pk)
    wishes = {
        "state": "applied",
        "verdict": "verified",
        "requester": "1",
        "epoch": "9",
        "outcome": "passed",
        "body": "{}",
    }

    answers = [
        client.post(change_url(row), wishes),
        client.post(delete_url(row), {"post": "yes"}),
        client.post(add_url(model), wishes),
        client.get(add_url(model)),
        client.get(delete_url(row)),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5
    assert model._default_manager.values().get(pk=row.pk) == before


def test_a_refused_attempt_on_a_record_is_in_the_chain(sign_in: SignIn, run: MigrationRun) -> None:
    sign_in("dev").post(change_url(run), {"state": "applied", "verdict": "verified"})

    assert trail.denied(verb="admin.migrationrun.change", code="denied").actor == "dev"


@pytest.mark.parametrize("model", LISTS)
def test_no_list_offers_or_accepts_a_bulk_action(
    sign_in: SignIn, place: people.Place, run: MigrationRun, model: type[Model]
) -> None:
    client, row = sign_in("root"), a_row_of(model, place, run)
    url = list_url(model)

    page = client.get(url)
    client.post(url, {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes", "index": "0"})

    assert 'name="action"' not in page.content.decode()
    assert "_selected_action" not in page.content.decode()
    assert model._default_manager.filter(pk=row.pk).exists()


def test_no_registered_list_has_an_action_at_all(sign_in: SignIn) -> None:
    request: Any = sign_in("root").get("/").wsgi_request

    offered = {model.__name__: list(each.get_actions(request)) for model, each in admin.site._registry.items()}

    assert {name: actions for name, actions in offered.items() if actions} == {}


@pytest.mark.parametrize("model", RECORDS)
def test_every_record_can_be_looked_at(
    sign_in: SignIn, place: people.Place, run: MigrationRun, model: type[Model]
) -> None:
    client, row = sign_in("auditor"), a_row_of(model, place, run)

    page = client.get(change_url(row))

    if model is MigrationRun:
        assert page["Location"] == reverse("web:run", kwargs={"number": run.number})
    else:
        assert page.status_code == 200
        assert 'type="submit" value="Save"' not in page.content.decode()


@pytest.mark.parametrize(
    "model", [MigrationRun, Approval, Observation, Evidence, Plan, Snapshot, AuditEvent, FindingAcceptance]
)
def test_nobody_sees_records_of_an_environment_without_a_role_there(
    sign_in: SignIn, place: people.Place, run: MigrationRun, model: type[Model]
) -> None:
    row = a_row_of(model, place, run)
    elsewhere = Environment.objects.create(slug="other", name="Other", tier="staging", queue="other")
    Membership.objects.update(environment=elsewhere)
    client = sign_in("auditor")

    page = client.get(list_url(model))

    assert page.status_code == 200
    assert page.context["cl"].result_count == 0
    assert client.get(change_url(row)).status_code == 302 if model is not MigrationRun else True


@pytest.mark.parametrize(
    ("name", "status"), [("viewer", 403), ("dba", 403), ("auditor", 200), ("admin", 200), ("root", 200)]
)
def test_the_audit_is_for_auditors_administrators_and_superusers(
    sign_in: SignIn, run: MigrationRun, name: str, status: int
) -> None:
    assert sign_in(name).get(list_url(AuditEvent)).status_code == status


def test_the_list_of_runs_names_what_each_run_does_and_leads_to_its_page(sign_in: SignIn, run: MigrationRun) -> None:
    page = sign_in("viewer").get(list_url(MigrationRun))

    shown = text(page)
    for word in (f"Run {run.number}", "market/production/main", "002 → 003", "Upgrade", "queued", "unverified", "dev"):
        assert word in shown
    assert reverse("web:run", kwargs={"number": run.number}) in page.content.decode()


@pytest.mark.parametrize("model", [MigrationRun, Approval, Observation, Plan, AuditEvent])
def test_the_newest_record_comes_first(
    sign_in: SignIn, place: people.Place, run: MigrationRun, model: type[Model]
) -> None:
    people.make_run(place, state="planning", revision="003")
    people.observe(place)

    page = sign_in("auditor").get(list_url(model))

    numbers = [row.pk for row in page.context["cl"].result_list]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers


def found(client: Client, model: type[Model], query: str) -> int:
    """How many rows a list shows for this query."""
    page = client.get(f"{list_url(model)}?{query}")
    assert page.status_code == 200
    count: int = page.context["cl"].result_count
    return count


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state__exact=queued", 1),
        ("state__exact=applied", 0),
        ("verdict__exact=unverified", 1),
        ("operation__exact=rollback", 0),
        ("environment={environment}", 1),
        ("environment=0", 0),
        ("environment=nonsense", 0),
        ("project={project}", 1),
        ("project=99999999999999999999999", 0),
        ("q={number}", 1),
        ("q=OPS-7", 1),
        ("q=dev+lacks", 1),
        ("q=production", 1),
        ("q=nothing-like-this", 0),
        ("requested_at__year=1999", 0),
    ],
)
def test_runs_are_filtered_and_searched(
    sign_in: SignIn, place: people.Place, run: MigrationRun, query: str, count: int
) -> None:
    asked = query.format(environment=place.environment.pk, project=place.project.pk, number=run.number)

    assert found(sign_in("viewer"), MigrationRun, asked) == count


@pytest.mark.parametrize(
    ("model", "query", "count"),
    [
        (Approval, "decision__exact=approve", 2),
        (Approval, "q=owner", 1),
        (Observation, "purpose=check", 1),
        (Observation, "purpose=verify", 0),
        (Observation, "status__exact=behind", 1),
        (Plan, "operation__exact=upgrade", 1),
        (AuditEvent, "subject=run&q=run.approved", 1),
        (AuditEvent, "subject=token", 0),
        (AuditEvent, "environment=production&q=dba", 1),
        (AuditEvent, "at__year=1999", 0),
        (Worker, "q=worker-1", 1),
    ],
)
def test_records_are_filtered_and_searched(
    sign_in: SignIn, run: MigrationRun, model: type[Model], query: str, count: int
) -> None:
    assert found(sign_in("auditor"), model, query) == count


@pytest.mark.parametrize(
    "query",
    ["requester__password__startswith=pbkdf2", "target__url_reference__startswith=env", "plan__sql__contains=a"],
)
def test_a_list_cannot_be_asked_about_columns_of_other_tables(sign_in: SignIn, run: MigrationRun, query: str) -> None:
    assert sign_in("viewer").get(f"{list_url(MigrationRun)}?{query}").status_code == 400


def test_the_filter_by_subject_offers_every_subject_that_is_recorded() -> None:
    sources = [path.read_text() for path in Path(migrations_audit.__file__).parent.rglob("*.py")]
    recorded = {name for source in sources for name in re.findall(r'action(?: =|=)f?"([a-z]+)\.[{a-z]', source)}

    assert recorded | {"environment", "membership", "project"} <= set(filters.SUBJECTS)
    assert recorded >= {"run", "target", "token", "user", "audit"}
