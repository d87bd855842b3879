"""The line at every decision that sums up the plan, and the three decisions in their fixed places."""

from __future__ import annotations

import re

from migrations_audit.models import MigrationRun
from migrations_audit.states import Outcome
from tests import people
from tests.domain import rehearsed
from tests.faces.web.test_findings import DROP, NOTE, accept, planned
from tests.faces.web.visitor import Page, VisitorOf

DECISIONS = re.compile(r'<button[^>]*formaction="[^"]*/([a-z-]+)"([^>]*)>')


def line(page: Page) -> str:
    begun = page.source.partition('<p class="plan-gist">')[2].partition("</p>")[0]
    return " ".join(re.sub("<[^>]*>", " ", begun).split()).replace(chr(160), " ")


def test_it_counts_findings_and_says_what_a_rehearsal_saw(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, DROP, NOTE)
    rehearsed.ended(place, run, Outcome.PASSED, grade="lossy", steps=[rehearsed.STEP], impact=rehearsed.IMPACT)

    page = visitor("dba").run(run)

    assert line(page) == (
        "1 error (0 accepted) · cannot be taken back exactly · blocks reads and writes of users (8.0 KB) · rehearsal passed"
    )
    assert '<a href="#findings">1 error' in page.source
    assert '<a href="#rehearsal">rehearsal passed' in page.source


def test_an_accepted_error_and_a_missing_rehearsal_are_said(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, DROP)
    accept(visitor, "dba", run)

    assert line(visitor("dba").run(run)) == "1 error (1 accepted) · not rehearsed"


def test_it_stands_at_the_start_as_well(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    assert line(visitor("operator").run(run)) == "no error or warning found · not rehearsed"


def test_a_decision_keeps_its_place_when_another_cannot_be_pressed(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    owner = visitor("owner")
    open_page = owner.run(run)
    visitor("dba").press(run, "request-changes", comment="Add the index concurrently.")

    shut_page = owner.run(run)

    order = [[name for name, _ in DECISIONS.findall(page.source)] for page in (open_page, shut_page)]
    assert order == [["approve", "request-changes"]] * 2
    assert [bool(more) for _, more in DECISIONS.findall(shut_page.source)] == [True, False]
    assert "Nobody can approve it while dba asks for changes." in shut_page.part("decide")


def test_whoever_has_approved_reads_that_beside_the_button(place: people.Place, visitor: VisitorOf) -> None:
    run: MigrationRun = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")
    dba.press(run, "approve", comment="Read it.")

    page = dba.run(run)

    assert {"Request changes", "Reject"} <= page.buttons
    assert "Approve" not in page.buttons
    assert "You have approved it." in page.part("decide")
