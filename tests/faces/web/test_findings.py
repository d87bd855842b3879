"""The findings on a run's page: worst first, with the safer way, and a form for those who may accept them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from migrations_audit.actions import plans
from migrations_audit.models import FindingAcceptance, MigrationRun
from migrations_audit.queries import findings
from tests import people
from tests.faces.web.visitor import Page, VisitorOf, events

DROP = {
    "code": "drop_table",
    "severity": "error",
    "place": "versions/003.py, SQL line 2",
    "sentence": "DROP TABLE orders: A table is dropped.",
    "advice": "Rename it first.",
}
NOTE = {"code": "adopts_same", "severity": "notice", "place": "", "sentence": "The catalog is equal.", "advice": ""}


def planned(place: people.Place, *found: dict[str, Any]) -> MigrationRun:
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    draft = people.make_draft(place, findings=list(found))
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)
    return MigrationRun.objects.select_related("plan").get(number=asked.number)


def accept(visitor: VisitorOf, who: str, run: MigrationRun, **values: str) -> Page:
    sent = {"finding": findings.digest_of(DROP), "comment": "The table is empty.", "days": "30"} | values
    return visitor(who).post(f"/runs/{run.number}/findings/accept", **sent)


def shown(page: Page) -> str:
    begun = page.words.partition("Know before you approve")[2]
    return begun.partition("Revisions, in the order")[0]


def test_a_finding_stands_with_severity_code_place_sentence_and_the_safer_way(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = planned(place, NOTE, DROP)

    words = shown(visitor("viewer").run(run))

    drop = (
        "error drop_table DROP TABLE orders: A table is dropped. Safer: Rename it first. in versions/003.py, SQL line 2"
    )
    assert drop in words
    assert words.index(drop) < words.index("notice adopts_same The catalog is equal.")


def test_findings_of_one_code_say_what_they_share_once_and_are_accepted_one_by_one(
    place: people.Place, visitor: VisitorOf
) -> None:
    people_too = DROP | {"place": "versions/004.py, SQL line 1", "sentence": "DROP TABLE people: A table is dropped."}
    run = planned(place, DROP, NOTE, people_too)

    accept(visitor, "dba", run)
    page = visitor("owner").run(run)

    words = shown(page)
    assert words.count("A table is dropped. Safer: Rename it first.") == 1
    assert "error drop_table at 2 places A table is dropped." in words
    assert "DROP TABLE orders in versions/003.py, SQL line 2 Accepted by dba" in words
    assert "DROP TABLE people in versions/004.py, SQL line 1 Accept drop_table in versions/004.py" in words
    assert page.source.count("Accept this finding") == 2


def test_findings_of_one_code_that_say_different_things_keep_their_sentences(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = planned(place, DROP, DROP | {"sentence": "DROP TABLE people: It has rows.", "advice": "Keep a copy."})

    words = shown(visitor("viewer").run(run))

    for said in ("DROP TABLE orders: A table is dropped.", "DROP TABLE people: It has rows."):
        assert f"{said} in versions/003.py, SQL line 2 Safer:" in words


@pytest.mark.parametrize(
    ("sentences", "shared", "own"),
    [
        (["A: x", "B: x"], "x", ["A", "B"]),
        (["A: x: y", "B: x: y"], "x: y", ["A", "B"]),
        (["A: x", "B: y"], "", ["A: x", "B: y"]),
        (["x", "x"], "x", ["", ""]),
        (["A: x", "x"], "x", ["A", ""]),
        (["A: x", "Ax"], "", ["A: x", "Ax"]),
        (["A: ", "B: "], "", ["A: ", "B: "]),
        (["", ""], "", ["", ""]),
        (["A: x"], "A: x", [""]),
    ],
)
def test_what_sentences_share_stands_behind_a_colon_or_is_the_whole(
    sentences: list[str], shared: str, own: list[str]
) -> None:
    found = [findings.Standing(str(n), "c", "error", "", each, "", None, (), False) for n, each in enumerate(sentences)]

    (group,) = findings.grouped(found)

    assert (group.sentence, [words for words, _ in group.members]) == (shared, own)


def test_a_plan_without_findings_says_so(place: people.Place, visitor: VisitorOf) -> None:
    assert "Nothing was found." in shown(visitor("viewer").run(planned(place)))


def test_an_accepted_finding_names_who_why_and_until_when(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, DROP)

    answer = accept(visitor, "dba", run)

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    acceptance = FindingAcceptance.objects.get()
    words = shown(visitor("viewer").run(run))
    assert "error accepted drop_table" in words
    assert "Accepted by dba" in words
    assert f"until {acceptance.expires_at:%Y-%m-%d %H:%M:%S} UTC" in words
    assert "The table is empty." in words
    assert len(events("finding.accepted")) == 1


@pytest.mark.parametrize(
    ("who", "may"), [("dba", True), ("admin", True), ("viewer", False), ("operator", False), ("dev", False)]
)
def test_the_form_is_there_for_those_who_may(place: people.Place, visitor: VisitorOf, who: str, may: bool) -> None:
    run = planned(place, DROP)

    assert ("Accept this finding" in visitor(who).run(run).buttons) is may


@pytest.mark.parametrize("who", ["viewer", "operator", "dev"])
def test_others_are_refused_and_nothing_is_stored(place: people.Place, visitor: VisitorOf, who: str) -> None:
    run = planned(place, DROP)

    accept(visitor, who, run)

    assert not FindingAcceptance.objects.exists()
    assert events("access.denied")


def test_a_form_without_reason_comes_back_open_with_the_sentence(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, DROP)

    page = accept(visitor, "dba", run, comment=" ")

    assert page.status == 400
    assert "Say why this may stay so" in page.words
    assert re.search('<details class="fold" id="fold-finding-[0-9a-f]+" open>', page.source)


@pytest.mark.parametrize("days", ["", "0", "366", "-1", "x", "9" * 40, "１"])
def test_days_that_are_none_are_refused_and_the_reason_is_not_lost(
    place: people.Place, visitor: VisitorOf, days: str
) -> None:
    run = planned(place, DROP)

    page = accept(visitor, "dba", run, days=days)

    assert (page.status, "The table is empty." in page.source) == (400, True)
    assert not FindingAcceptance.objects.exists()


def test_an_acceptance_is_taken_back_on_the_page(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, DROP)
    accept(visitor, "dba", run)
    acceptance = FindingAcceptance.objects.get()

    answer = visitor("owner").post(f"/runs/{run.number}/findings/take-back", acceptance=str(acceptance.pk))

    assert answer.status == 303
    assert "Accepted by" not in shown(visitor("viewer").run(run))
    assert len(events("finding.acceptance_withdrawn")) == 1


def test_while_one_must_be_accepted_there_is_no_button_to_approve(place: people.Place, visitor: VisitorOf) -> None:
    place.environment.findings_must_be_accepted = "error"
    place.environment.save(update_fields=["findings_must_be_accepted"])
    run = planned(place, DROP)

    shut = visitor("dba").run(run)
    refused = visitor("dba").press(run, "approve")
    accept(visitor, "owner", run)

    assert "Approve" not in shut.buttons
    assert "Reject" in shut.buttons
    assert "1 finding must be accepted first" in shut.part("decide")
    assert "It goes on when the findings that the policy names are accepted" in shut.part("status")
    assert not run.approvals.exists()
    assert refused.status in (303, 409)
    assert "Approve" in visitor("dba").run(run).buttons


def test_what_scripts_and_people_say_is_only_text(place: people.Place, visitor: VisitorOf) -> None:
    evil = "<script>alert(1)</script>\u202e"
    bad = {"code": evil, "severity": evil, "place": evil, "sentence": evil, "advice": evil}
    run = planned(place, bad)
    sent = {"finding": findings.digest_of(bad), "comment": evil, "days": "3"}
    visitor("dba").post(f"/runs/{run.number}/findings/accept", **sent)

    page = visitor("owner").run(run)

    assert FindingAcceptance.objects.count() <= 1
    assert "<script>alert" not in page.source
    assert "\u202e" not in page.source
    assert "style=" not in page.source.partition("<main")[2]
