"""The audit page: search, paging, export."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User

from migrations_audit import hashchain
from migrations_audit.actions import audit
from migrations_audit.models import AuditEvent
from tests import people
from tests.faces.web.visitor import Page, Visitor, VisitorOf, events


def listed(page: Page) -> list[int]:
    """The sequence numbers on the page, in its order."""
    return [int(part.partition("<")[0]) for part in page.source.split('<th scope="row" data-label="Event">')[1:]]


def test_an_auditor_reads_events_newest_first_with_the_head_of_the_chain(
    place: people.Place, visitor: VisitorOf
) -> None:
    people.make_run(place, state="approved")

    page = visitor("auditor").get("/audit/")

    head = AuditEvent.objects.order_by("-seq")[0]
    assert f"The chain ends at event {head.seq}" in page.words
    assert head.hash in page.words
    assert listed(page) == sorted(listed(page), reverse=True)
    assert "run.approval_given" in page.words
    assert "Read it." in page.words


@pytest.mark.parametrize(
    ("who", "reads"), [("auditor", True), ("admin", True), ("viewer", False), ("dba", False), ("outsider", False)]
)
def test_the_way_there_is_shown_to_those_who_may_read_it(
    place: people.Place, visitor: VisitorOf, who: str, reads: bool
) -> None:
    assert ('href="/audit/"' in visitor(who).get("/").source) is reads


@pytest.mark.parametrize("who", ["viewer", "dev", "dba", "operator", "outsider"])
def test_others_get_403_and_leave_a_denial(place: people.Place, visitor: VisitorOf, who: str) -> None:
    page = visitor(who).get("/audit/")

    assert page.status == 403
    assert "The audit can be read by auditors and administrators" in page.words
    assert len(events("access.denied")) == 1


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ("action=run.requested", {"run.requested"}),
        ("action=run.approv", {"run.approval_given", "run.approved"}),
        ("actor=dba", {"run.approval_given"}),
        ("actor=nobody", set()),
        ("since=2020-01-01&until=2020-02-01", set()),
        ("target=market/production/&action=target.enrolled", {"target.enrolled"}),
        ("target=other/", set()),
        ("environment=staging", set()),
    ],
)
def test_a_search_finds_what_matches(place: people.Place, visitor: VisitorOf, query: str, actions: set[str]) -> None:
    people.make_run(place, state="approved")

    page = visitor("auditor").get(f"/audit/?{query}")

    assert {AuditEvent.objects.get(seq=seq).action for seq in listed(page)} == actions


def test_a_search_by_run_finds_its_events_only(place: people.Place, visitor: VisitorOf) -> None:
    first = people.make_run(place)
    people.make_run(place, revision="003")

    page = visitor("auditor").get(f"/audit/?run={first.number}")

    assert {AuditEvent.objects.get(seq=seq).object_id for seq in listed(page)} == {str(first.number)}


@pytest.mark.parametrize(
    "query", ["since=yesterday", "until=9999-12-31", "run=seven", "since=2026-02-02&until=2026-01-01"]
)
def test_an_impossible_search_says_what_is_wrong_and_keeps_what_was_typed(
    place: people.Place, visitor: VisitorOf, query: str
) -> None:
    people.make_run(place)

    page = visitor("auditor").get(f"/audit/?{query}&actor=dba")

    assert page.status == 400
    assert 'class="errornote"' in page.source
    assert "The chain ends at event" in page.words
    assert "Nothing was searched. Correct the field above." in page.words
    assert not [each for each in page.buttons if each.startswith("Export")]
    assert 'value="dba"' in page.source


def test_an_impossible_search_shows_nothing_to_who_may_not_read(place: people.Place, visitor: VisitorOf) -> None:
    page = visitor("viewer").get("/audit/?run=seven")

    assert page.status == 403
    assert "The chain ends" not in page.words


def test_events_of_another_environment_are_not_found(place: people.Place, visitor: VisitorOf) -> None:
    other = people.make_place(slug="staging", tier="staging", requirements=[], project=place.project)
    place.people["auditor"].groups.remove(*place.people["auditor"].groups.filter(name="staging auditor"))
    people.make_run(other)

    page = visitor("auditor").get("/audit/?environment=staging")

    assert listed(page) == []
    assert AuditEvent.objects.filter(environment="staging").exists()


def test_a_superuser_also_reads_what_belongs_to_no_environment(place: people.Place) -> None:
    people.observe(place)
    root = Visitor(User.objects.create_superuser("root"))

    assert "snapshot.frozen" in root.get("/audit/").words


def test_pages_follow_each_other_without_gap_or_repetition(place: people.Place, visitor: VisitorOf) -> None:
    for _ in range(60):
        people.observe(place)
    auditor = visitor("auditor")

    newest = auditor.get("/audit/")
    older = auditor.get(f"/audit/?before={listed(newest)[-1]}")
    newer = auditor.get(f"/audit/?after={listed(older)[0]}")

    assert len(listed(newest)) == 50
    assert listed(newest)[-1] > listed(older)[0]
    assert listed(newer)[-1] == listed(newest)[-1]
    assert f'href="?after={listed(older)[0]}#events"' in older.source


def test_an_export_is_a_download_that_verifies_and_is_an_event_itself(place: people.Place, visitor: VisitorOf) -> None:
    people.make_run(place, state="approved")
    auditor = visitor("auditor")

    answer = auditor.post("/audit/export", form="jsonl")

    lines = answer.source.splitlines()
    manifest, verification = hashchain.verify_export(lines)
    assert verification.holds
    assert manifest["count"] == json.loads(lines[0])["count"] > 0
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="audit-')
    assert len(events("audit.exported")) == 1


def test_the_export_button_carries_the_search(place: people.Place, visitor: VisitorOf) -> None:
    people.make_run(place, state="approved")
    auditor = visitor("auditor")

    page = auditor.get("/audit/?action=run.")
    sheet = auditor.post("/audit/export", form="csv", action="run.approved")

    assert '<input type="hidden" name="action" value="run.">' in page.source
    assert len(sheet.source.splitlines()) == 2


def test_a_viewer_cannot_export(place: people.Place, visitor: VisitorOf) -> None:
    assert visitor("viewer").post("/audit/export", form="jsonl").status == 403
    assert events("audit.exported") == []


def test_an_odd_form_of_export_is_refused(place: people.Place, visitor: VisitorOf) -> None:
    answer = visitor("auditor").post("/audit/export", form="exe")

    assert answer.status == 400
    assert "An export is jsonl or csv." in answer.words


def test_a_chain_that_cannot_be_written_is_told_and_nothing_is_shown(
    place: people.Place, visitor: VisitorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise audit.AuditUnavailable

    viewer = visitor("viewer")
    monkeypatch.setattr(audit, "record_denial", unavailable)

    page = viewer.get("/audit/")

    assert page.status == 503
    assert "The audit chain could not be written" in page.words
