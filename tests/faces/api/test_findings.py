"""The findings of a run for programs: three formats, one right, and never an empty answer where nothing was looked for."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from migrations_audit.actions import findings, plans
from migrations_audit.models import MigrationRun
from migrations_audit.queries import findings as standing
from tests import people
from tests.faces.api.caller import Caller

DROP = {
    "code": "drop_table",
    "severity": "error",
    "place": "versions/003.py, SQL line 2",
    "sentence": "DROP TABLE orders: A table is dropped.",
    "advice": "Rename it first.",
}
NOTE = {"code": "adopts_same", "severity": "notice", "place": "", "sentence": "The catalog is equal.", "advice": ""}


@pytest.fixture
def run(place: people.Place) -> MigrationRun:
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    draft = people.make_draft(place, findings=[NOTE, DROP])
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)
    return MigrationRun.objects.select_related("plan").get(number=asked.number)


def accept(place: people.Place, run: MigrationRun) -> None:
    digest = standing.digest_of(DROP)
    findings.accept(actor=place.actor("dba"), number=run.number, finding=digest, reason="It is empty.", days=9)


def test_findings_are_listed_worst_first_with_what_the_policy_wants(place: people.Place, run: MigrationRun) -> None:
    place.environment.findings_must_be_accepted = "error"
    place.environment.save(update_fields=["findings_must_be_accepted"])

    answer = Caller.of(place, "viewer", scopes=["read"]).get(f"runs/{run.number}/findings")

    assert answer.status == 200
    assert run.plan is not None
    assert (answer.body["run"], answer.body["plan_digest"]) == (run.number, run.plan.digest)
    first, second = answer.body["items"]
    assert first == DROP | {"digest": standing.digest_of(DROP), "must_be_accepted": True, "acceptance": None}
    assert (second["code"], second["must_be_accepted"]) == ("adopts_same", False)


def test_an_acceptance_is_told_in_each_format(place: people.Place, run: MigrationRun) -> None:
    accept(place, run)
    caller = Caller.of(place, "viewer", scopes=["read"])

    plain = caller.get(f"runs/{run.number}/findings").body["items"][0]["acceptance"]
    sarif = caller.get(f"runs/{run.number}/findings", format="sarif")
    junit = caller.get(f"runs/{run.number}/findings", format="junit")

    assert (plain["person"], plain["reason"]) == ("dba", "It is empty.")
    assert sarif.headers["Content-Type"] == "application/sarif+json; charset=utf-8"
    assert b'"status": "accepted"' in sarif.content
    assert b"It is empty." in sarif.content
    assert junit.headers["Content-Type"] == "application/xml; charset=utf-8"
    (suite,) = ElementTree.fromstring(junit.content)
    assert [child.tag for case in suite for child in case] == ["skipped", "system-out"]
    assert junit.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("form", ["json", "sarif", "junit"])
def test_a_run_without_a_plan_has_no_report(place: people.Place, form: str) -> None:
    run = people.make_run(place)

    answer = Caller.of(place, "viewer").get(f"runs/{run.number}/findings", format=form)

    assert (answer.status, answer.code) == (409, "not_planned")


@pytest.mark.parametrize("query", [{"format": "html"}, {"fromat": "sarif"}])
def test_an_unknown_format_or_parameter_is_refused(
    place: people.Place, run: MigrationRun, query: dict[str, str]
) -> None:
    assert Caller.of(place, "viewer").get(f"runs/{run.number}/findings", **query).status == 422


def test_it_takes_the_scope_read(place: people.Place, run: MigrationRun) -> None:
    answer = Caller.of(place, "viewer", scopes=["request"]).get(f"runs/{run.number}/findings")

    assert (answer.status, answer.code) == (403, "missing_scope")


def test_there_is_no_way_to_accept(place: people.Place, run: MigrationRun) -> None:
    caller = Caller.of(place, "dba")

    for path in ("findings", "findings/accept"):
        assert caller.post(f"runs/{run.number}/{path}", {"finding": standing.digest_of(DROP)}).status in (404, 405)
