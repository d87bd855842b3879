"""What the target page says of the database that answered: marker, remarks, a copy, a version that went back."""

from __future__ import annotations

import pytest

from migrations_audit.models import Target
from migrations_audit.states import TargetStatus
from tests import people
from tests.faces.web.visitor import VisitorOf

MARKER = {
    "id": "5f0d6a52-7a39-4f1e-9d0a-0a4a0a5f2f11",
    "portal": "portal",
    "target": "market/production/main",
    "endpoint": "db.example:5432/market",
    "written_at": "2026-01-30T12:03:00Z",
}
COPY = "This looks like a copy of market/production/main (marker written 2026-01-30 for db.example:5432/market)."


def path(place: people.Place, what: str = "") -> str:
    return f"/targets/{place.target.pk}/{what}"


def refuse_copy(place: people.Place) -> None:
    people.observe(
        place, status=TargetStatus.WRONG_DATABASE, sentence=COPY, error_code="copy", facts={"marker": MARKER}
    )


def test_remarks_of_the_newest_reading_are_shown(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, facts={"remarks": ["The marker is gone.", "The timeline was 1 and is 2."]})

    words = visitor("viewer").get(path(place)).words

    assert "Remark The marker is gone. Remark The timeline was 1 and is 2." in words
    assert "Marker none" in words


def test_the_marker_of_an_enrolled_target_is_shown(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    Target.objects.filter(pk=place.target.pk).update(marker=MARKER["id"])

    assert f"Marker {MARKER['id']} in opsportal.marker" in visitor("viewer").get(path(place)).words


def test_an_environment_without_markers_says_so(place: people.Place, visitor: VisitorOf) -> None:
    place.environment.marks_targets = False
    place.environment.save(update_fields=["marks_targets"])

    assert "this environment's policy asks for none" in visitor("viewer").get(path(place)).words


@pytest.mark.parametrize("status", [TargetStatus.REGRESSED, TargetStatus.TABLES_MISSING])
def test_a_doubted_version_shows_its_sentence_and_may_be_planned_from(
    place: people.Place, visitor: VisitorOf, status: TargetStatus
) -> None:
    people.observe(place, status=status, sentence="REGRESSED: was at 004 (read 2026-01-30 12:03 UTC), now 003.")

    page = visitor("dev").get(path(place))

    assert "REGRESSED: was at 004 (read 2026-01-30 12:03 UTC), now 003." in page.words
    assert "Plan upgrade" in page.words
    assert 'class="chip good"' not in page.source


def test_an_administrator_accepts_a_copy(place: people.Place, visitor: VisitorOf) -> None:
    refuse_copy(place)
    admin = visitor("admin")
    page = admin.get(path(place))

    answer = admin.post(path(place, "forget"), reason="Refreshed for tests.")

    assert "Accept copy" in page.words
    assert COPY in page.words
    assert answer.status == 303
    assert Target.objects.get(pk=place.target.pk).marker == MARKER["id"]


def test_nobody_else_is_offered_to_accept_a_copy(place: people.Place, visitor: VisitorOf) -> None:
    refuse_copy(place)

    assert "Accept copy" not in visitor("dev").get(path(place)).words


def test_a_regression_comes_before_what_cannot_be_reached(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, status=TargetStatus.REGRESSED, sentence="REGRESSED: was at 004, now 003.")
    other = Target.objects.create(project=place.project, environment=place.environment, slug="b", url_reference="env:X")
    lost = people.Place(place.environment, place.project, other, place.people)
    people.observe(lost, status=TargetStatus.UNREACHABLE, identity=None, catalog=None, sentence="No route.")

    words = visitor("viewer").get("/").words.partition("What needs attention")[2]

    assert words.index("REGRESSED: was at 004, now 003.") < words.index("No route.")
