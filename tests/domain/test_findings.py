"""Accepting a finding: who may, for how long, what it covers, and what stays shut while one is open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from migrations_audit import access
from migrations_audit.actions import approvals, attempts, findings, plans, runs
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from migrations_audit.models import FindingAcceptance, MigrationRun, Role
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings as standing
from tests.domain import trail
from tests.people import WORKER, Place, add_person, approve_by_all, at_once, make_draft, make_place

pytestmark = pytest.mark.django_db

DROP = {
    "code": "drop_table",
    "severity": "error",
    "place": "versions/003.py, SQL line 2",
    "sentence": "DROP TABLE orders: A table is dropped.",
    "advice": "Rename it first.",
}
INDEX = {
    "code": "index_blocks",
    "severity": "warning",
    "place": "versions/003.py, SQL line 4",
    "sentence": "CREATE INDEX i ON orders (a): An index is built.",
    "advice": "Use CONCURRENTLY.",
}
NOTE = {"code": "adopts_same", "severity": "notice", "place": "", "sentence": "The catalog is equal.", "advice": ""}


def planned(place: Place, *found: dict[str, Any], revision: str = "head") -> MigrationRun:
    """A run whose plan has these findings."""
    asked = runs.request(actor=place.actor("dev"), target_id=place.target.pk, reason="Needed.", revision=revision)
    begun = plans.begin(actor=WORKER, number=asked.number)
    draft = make_draft(place, requested=revision, findings=list(found))
    plans.record(actor=WORKER, number=asked.number, epoch=begun.epoch, draft=draft)
    return MigrationRun.objects.select_related("plan", "target__environment", "target__project").get(
        number=asked.number
    )


def accept(
    place: Place,
    who: str | Actor,
    run: MigrationRun,
    found: dict[str, Any] = DROP,
    *,
    reason: str = "Empty.",
    days: int = 30,
) -> FindingAcceptance:
    actor = place.actor(who) if isinstance(who, str) else who
    return findings.accept(actor=actor, number=run.number, finding=standing.digest_of(found), reason=reason, days=days)


def is_open(run: MigrationRun, code: str = "drop_table") -> bool:
    fresh = MigrationRun.objects.select_related("plan", "target__environment", "target__project").get(number=run.number)
    (found,) = [each for each in standing.of_run(fresh, now=database_now()) if each.code == code]
    return found.is_open


@pytest.mark.parametrize("who", ["dba", "owner", "admin"])
def test_an_approver_or_administrator_accepts_with_a_reason_and_an_end(who: str) -> None:
    place = make_place()
    run = planned(place, DROP, INDEX)

    acceptance = accept(place, who, run, reason=" The table is empty. ", days=30)

    assert not is_open(run)
    assert is_open(run, "index_blocks")
    assert (acceptance.code, acceptance.place, acceptance.sentence) == (DROP["code"], DROP["place"], DROP["sentence"])
    assert (acceptance.reason, acceptance.accepted_by_name) == ("The table is empty.", who)
    assert acceptance.expires_at - acceptance.at == timedelta(days=30)
    facts = trail.last("finding.accepted").facts["facts"]
    assert facts["reason"] == "The table is empty."
    assert (facts["code"], facts["place"], facts["project"]) == ("drop_table", DROP["place"], "market")


@pytest.mark.parametrize("who", ["viewer", "auditor", "operator"])
def test_other_roles_do_not_accept(who: str) -> None:
    place = make_place()
    run = planned(place, DROP)

    with pytest.raises(access.MissingRole, match="neither approver nor administrator of an environment of market"):
        accept(place, who, run)

    assert is_open(run)
    trail.denied(verb="findings.accept", code="missing_role")


def test_who_asked_for_the_run_does_not_accept_even_as_an_approver() -> None:
    place = make_place()
    place.people["dev"].groups.add(*place.people["dba"].groups.all())
    run = planned(place, DROP)

    with pytest.raises(findings.SelfAcceptance, match="somebody else accepts"):
        accept(place, "dev", run)

    assert is_open(run)


def test_an_acceptance_that_the_requester_gave_on_another_run_does_not_count_for_theirs() -> None:
    place = make_place()
    place.people["dev"].groups.add(*place.people["dba"].groups.all())
    place.people["dba"].groups.add(*place.people["dev"].groups.all())
    mine = planned(place, DROP)
    asked = runs.request(actor=place.actor("dba"), target_id=place.target.pk, reason="Too.", revision="003")
    begun = plans.begin(actor=WORKER, number=asked.number)
    plans.record(actor=WORKER, number=asked.number, epoch=begun.epoch, draft=make_draft(place, findings=[DROP]))

    accept(place, "dev", asked)

    assert not is_open(asked)
    assert is_open(mine)


@pytest.mark.parametrize("scopes", [(), ("read",), ("request", "run", "read", "export")])
def test_a_token_does_not_accept_whatever_its_scopes(scopes: tuple[str, ...]) -> None:
    place = make_place()
    run = planned(place, DROP)

    with pytest.raises(findings.NotInPerson):
        accept(place, place.token("dba", *scopes), run)

    trail.denied(verb="findings.accept", code="not_in_person")


def test_a_command_in_the_name_of_an_approver_does_not_accept() -> None:
    place = make_place()
    run = planned(place, DROP)

    with pytest.raises(findings.NotInPerson):
        accept(place, Actor(kind=ActorKind.COMMAND, name="dba", user_id=place.people["dba"].pk), run)


def test_a_stranger_and_an_outsider_see_nothing_to_accept() -> None:
    place = make_place()
    run = planned(place, DROP)

    for actor in (Actor(kind=ActorKind.ANONYMOUS, name="a stranger"), place.actor("outsider"), WORKER):
        with pytest.raises(access.Hidden):
            accept(place, actor, run)


@pytest.mark.parametrize(
    ("field", "asked"), [("reason", {"reason": "  "}), ("days", {"days": 0}), ("days", {"days": 366})]
)
def test_reason_and_end_are_required(field: str, asked: dict[str, Any]) -> None:
    place = make_place()
    run = planned(place, DROP)

    with pytest.raises(Invalid) as refused:
        accept(place, "dba", run, **asked)

    assert refused.value.field == field
    assert not FindingAcceptance.objects.exists()


def test_accepting_twice_is_told_and_another_person_may_accept_too() -> None:
    place = make_place()
    run = planned(place, DROP)
    accept(place, "dba", run)

    with pytest.raises(findings.AlreadyAccepted):
        accept(place, "dba", run)

    accept(place, "owner", run)
    assert FindingAcceptance.objects.count() == 2


def test_what_the_plan_does_not_hold_is_not_accepted() -> None:
    place = make_place()
    run = planned(place, DROP)

    with pytest.raises(findings.NoSuchFinding):
        accept(place, "dba", run, INDEX)


def test_an_acceptance_runs_out() -> None:
    place = make_place()
    run = planned(place, DROP)
    acceptance = accept(place, "dba", run, days=1)

    before, after = (
        standing.of_run(run, now=acceptance.expires_at + timedelta(seconds=seconds)) for seconds in (-1, 0)
    )

    assert [before[0].is_open, after[0].is_open] == [False, True]


def test_one_that_has_run_out_is_given_again() -> None:
    place = make_place()
    run = planned(place, DROP)
    now = database_now()
    old = FindingAcceptance.objects.create(
        project=place.project,
        digest=standing.digest_of(DROP),
        code=DROP["code"],
        place=DROP["place"],
        sentence=DROP["sentence"],
        reason="Then.",
        accepted_by=place.people["dba"],
        accepted_by_name="dba",
        at=now - timedelta(days=9),
        expires_at=now - timedelta(days=2),
    )
    assert is_open(run)

    accept(place, "dba", run)

    assert not is_open(run)
    old.refresh_from_db()
    assert old.ended_at is not None


def test_it_covers_the_same_finding_of_every_plan_of_the_project_and_no_other() -> None:
    place = make_place()
    accept(place, "dba", planned(place, DROP))

    again = planned(place, DROP, revision="003")
    other_table = planned(place, DROP | {"sentence": "DROP TABLE people: A table is dropped."}, revision="+1")
    other_line = planned(place, DROP | {"place": "versions/003.py, SQL line 9"}, revision="+2")

    assert [is_open(each) for each in (again, other_table, other_line)] == [False, True, True]


def test_an_acceptance_counts_only_where_its_giver_holds_such_a_role_now() -> None:
    production = make_place()
    staging = make_place(slug="staging", tier="staging", project=production.project)
    only_staging = add_person(staging, "stage", ("approver", "owner"))
    run = planned(staging, DROP)
    accept(staging, only_staging, run)

    there = planned(production, DROP)

    assert not is_open(run)
    assert is_open(there)
    (found,) = standing.of_run(there, now=database_now())
    assert [each.accepted_by_name for each in found.others] == ["stage"]
    accept(production, "dba", there)
    assert not is_open(there)
    production.people["dba"].groups.clear()
    assert is_open(there)


def test_an_acceptance_is_taken_back_once_with_an_event() -> None:
    place = make_place()
    run = planned(place, DROP)
    acceptance = accept(place, "dba", run)

    findings.take_back(actor=place.actor("owner"), number=run.number, acceptance_id=acceptance.pk)

    assert is_open(run)
    acceptance.refresh_from_db()
    assert acceptance.ended_by_name == "owner"
    assert trail.last("finding.acceptance_withdrawn").facts["facts"]["acceptance"] == acceptance.pk
    with pytest.raises(findings.AcceptanceEnded):
        findings.take_back(actor=place.actor("owner"), number=run.number, acceptance_id=acceptance.pk)


@pytest.mark.parametrize("who", ["viewer", "operator", "dev"])
def test_taking_back_needs_the_same_role(who: str) -> None:
    place = make_place()
    run = planned(place, DROP)
    acceptance = accept(place, "dba", run)

    with pytest.raises(access.MissingRole):
        findings.take_back(actor=place.actor(who), number=run.number, acceptance_id=acceptance.pk)
    with pytest.raises(findings.NotInPerson):
        findings.take_back(actor=place.token("dba", "read"), number=run.number, acceptance_id=acceptance.pk)

    assert not is_open(run)


def approve(place: Place, run: MigrationRun) -> None:
    assert run.plan is not None
    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)


@pytest.mark.parametrize(
    ("policy", "found", "is_shut"),
    [
        ("", DROP, False),
        ("error", DROP, True),
        ("error", INDEX, False),
        ("warning", INDEX, True),
        ("warning", DROP, True),
        ("warning", NOTE, False),
        ("warning", INDEX | {"severity": "unheard-of"}, True),
    ],
)
def test_the_policy_says_which_findings_must_be_accepted(policy: str, found: dict[str, Any], is_shut: bool) -> None:
    place = make_place(findings_must_be_accepted=policy)
    run = planned(place, found)

    if is_shut:
        with pytest.raises(findings.FindingsOpen, match=found["code"]):
            approve(place, run)
        assert not run.approvals.exists()
        accept(place, "owner", run, found)

    approve(place, run)

    assert run.approvals.count() == 1


def test_the_refusal_names_what_is_open() -> None:
    place = make_place(findings_must_be_accepted="warning")
    run = planned(place, DROP, *[INDEX | {"place": f"versions/003.py, SQL line {line}"} for line in range(9)])

    with pytest.raises(findings.FindingsOpen) as refused:
        approve(place, run)

    assert (
        "while 10 findings of its plan stand open: drop_table in versions/003.py, SQL line 2; " in refused.value.message
    )
    assert "; and 5 more." in refused.value.message


def test_an_acceptance_that_is_taken_back_shuts_the_start() -> None:
    place = make_place(findings_must_be_accepted="error")
    run = planned(place, DROP)
    acceptance = accept(place, "dba", run)
    assert run.plan is not None
    approve_by_all(place, run.number, run.plan.digest)
    findings.take_back(actor=place.actor("owner"), number=run.number, acceptance_id=acceptance.pk)

    with pytest.raises(findings.FindingsOpen):
        runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)


def test_an_acceptance_that_ends_while_the_run_is_queued_has_it_refused_at_the_claim() -> None:
    place = make_place(findings_must_be_accepted="error")
    run = planned(place, DROP)
    acceptance = accept(place, "dba", run)
    assert run.plan is not None
    approve_by_all(place, run.number, run.plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)
    findings.take_back(actor=place.actor("owner"), number=run.number, acceptance_id=acceptance.pk)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("refused", "findings_open")


def test_the_policy_is_bound_by_an_approval() -> None:
    place = make_place(findings_must_be_accepted="error")

    assert place.environment.policy_facts()["findings_must_be_accepted"] == "error"


def test_findings_are_told_worst_first() -> None:
    place = make_place()
    run = planned(place, NOTE, INDEX, DROP)

    assert [each.severity for each in standing.of_run(run, now=database_now())] == ["error", "warning", "notice"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE migrations_audit_findingacceptance SET reason = 'other'",
        "UPDATE migrations_audit_findingacceptance SET expires_at = expires_at + interval '1 day'",
    ],
)
def test_the_database_itself_keeps_an_acceptance_as_it_was_given(statement: str) -> None:
    place = make_place()
    accept(place, "dba", planned(place, DROP))

    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(statement)


@pytest.mark.parametrize("values", [{"reason": ""}, {"expires_at": timedelta(days=366)}, {"expires_at": timedelta(0)}])
def test_the_database_itself_wants_a_reason_and_an_end_within_a_year(values: dict[str, Any]) -> None:
    place = make_place()
    given = accept(place, "dba", planned(place, DROP))
    given.pk, given.digest = None, "0" * 64
    given.reason = values.get("reason", given.reason)
    given.expires_at = given.at + values.get("expires_at", timedelta(days=1))

    with pytest.raises(IntegrityError), transaction.atomic():
        given.save(force_insert=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_transactions")
def test_of_two_at_once_by_one_person_one_stands() -> None:
    place = make_place()
    run = planned(place, DROP)

    answers = at_once(2, lambda _: accept(place, "dba", run))

    assert sorted(type(each).__name__ for each in answers) == ["AlreadyAccepted", "FindingAcceptance"]


def test_an_acceptance_is_taken_back_from_a_page_that_shows_it_and_not_by_somebody_of_another_environment() -> None:
    place = make_place()
    dev = make_place(slug="development", tier="development", project=place.project)
    add_person(dev, "junior", (Role.APPROVER, "owner"))
    given = accept(place, "owner", planned(place, DROP))
    beside, same = planned(dev, NOTE), planned(dev, DROP, revision="003")

    with pytest.raises(findings.AcceptanceEnded, match="on the page of"):
        findings.take_back(actor=dev.actor("junior"), number=beside.number, acceptance_id=given.pk)
    with pytest.raises(access.MissingRole, match="junior is neither approver nor administrator of Production"):
        findings.take_back(actor=dev.actor("junior"), number=same.number, acceptance_id=given.pk)

    given.refresh_from_db()
    assert given.ended_at is None
