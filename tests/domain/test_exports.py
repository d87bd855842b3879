"""The audit out of the portal: who may have it, what an export holds, and that a stranger can check it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from migrations_audit import access, exports, hashchain
from migrations_audit.actions import audit, runs, tokens
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from migrations_audit.exports import Filters
from migrations_audit.models import AuditEvent, Environment
from migrations_audit.models.clock import database_now
from tests import people
from tests.domain import trail

pytestmark = pytest.mark.django_db

AWKWARD = "=cmd|' /C calc'!A0 größer 🦆 \u202egnp.exe \u2028 \r\n \x1b[31m"


@pytest.fixture
def place(settings: Settings) -> people.Place:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return people.make_place()


@pytest.fixture
def other(place: people.Place) -> people.Place:
    """A second environment of the same project, with groups of its own."""
    return people.make_place(slug="staging", tier="staging", requirements=[], project=place.project)


def export(who: Actor, /, *, form: str = "jsonl", **filters: Any) -> exports.Export:
    return exports.export(actor=who, filters=Filters(**filters), form=form)


def lines_of(made: exports.Export) -> list[str]:
    return b"".join(made.lines).decode().splitlines()


def events_of(made: exports.Export) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(made)[1:]]


def rows_of(made: exports.Export) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(made.lines).decode(), newline="")))


def only(person: str, place: people.Place) -> Actor:
    """The person of one place, without what the same person holds in another."""
    user = place.people[person]
    for group in user.groups.exclude(portal_memberships__environment=place.environment):
        user.groups.remove(group)
    return place.actor(person)


def test_an_auditor_exports_the_whole_chain_and_it_verifies(place: people.Place) -> None:
    people.make_run(place, state="approved")
    head = trail.head()

    made = export(place.actor("auditor"))
    manifest, result = hashchain.verify_export(lines_of(made))

    assert result.holds
    assert (result.first_seq, result.last_seq, result.withheld) == (1, head, 0)
    assert manifest == made.manifest
    assert made.content_type == "application/jsonl; charset=utf-8"


def test_the_bodies_of_an_export_are_the_stored_bytes(place: people.Place) -> None:
    people.make_run(place, reason=AWKWARD)

    exported = {event["seq"]: event["body"] for event in events_of(export(place.actor("auditor")))}

    assert exported == dict(AuditEvent.objects.filter(seq__in=exported).values_list("seq", "body"))
    assert any("🦆 \u202egnp.exe" in body for body in exported.values())


def test_the_lines_of_an_export_are_ascii_so_that_nothing_reorders_them(place: people.Place) -> None:
    people.make_run(place, reason=AWKWARD)

    content = b"".join(export(place.actor("auditor")).lines)

    assert content.isascii()
    assert b"\x1b" not in content
    assert b"\r" not in content


def test_a_nul_that_somebody_sent_is_exported_as_a_visible_escape(place: people.Place) -> None:
    audit.action(_record_nul)(actor=place.actor("dev"), place=place)

    body = json.loads(events_of(export(place.actor("auditor"), action="test.nul"))[0]["body"])

    assert body["facts"] == {"text": "a\\x00b"}


def _record_nul(*, actor: Actor, place: people.Place) -> None:
    audit.record(
        actor=actor, action="test.nul", object_kind="test", object_id="1", target=place.target, facts={"text": "a\x00b"}
    )


def test_events_between_matches_are_withheld_and_the_chain_still_verifies(place: people.Place) -> None:
    first, second = people.make_run(place), people.make_run(place, revision="003")
    runs.withdraw(actor=place.actor("dev"), number=first.number)

    made = export(place.actor("auditor"), run=first.number)
    lines = lines_of(made)
    _, result = hashchain.verify_export(lines)

    bodies = [json.loads(event["body"]) for event in map(json.loads, lines[1:]) if "body" in event]
    assert result.holds
    assert [body["action"] for body in bodies] == ["run.requested", "run.withdrawn"]
    assert {body["object"]["id"] for body in bodies} == {str(first.number)}
    assert result.withheld == made.manifest["withheld"] == 1
    assert second.number != first.number


@pytest.mark.parametrize(
    "filters",
    [
        {"actor": "dev"},
        {"action": "run.requested"},
        {"action": "run."},
        {"environment": "production"},
        {"target": "market/production/main"},
        {"since": datetime(2020, 1, 1, tzinfo=UTC), "until": datetime(2120, 1, 1, tzinfo=UTC)},
    ],
)
def test_each_filter_finds_the_request(place: people.Place, filters: dict[str, Any]) -> None:
    people.make_run(place)

    made = export(place.actor("auditor"), **filters)

    assert "run.requested" in [json.loads(event["body"])["action"] for event in events_of(made) if "body" in event]
    assert hashchain.verify_export(lines_of(export(place.actor("auditor"), **filters)))[1].holds


@pytest.mark.parametrize(
    "filters",
    [
        {"actor": "nobody"},
        {"action": "run.approved"},
        {"environment": "elsewhere"},
        {"target": "market/production/other"},
        {"run": 987_654_321_987_654_321_987},
        {"until": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_an_export_without_a_match_holds_no_event_says_so_and_verifies(
    place: people.Place, filters: dict[str, Any]
) -> None:
    people.make_run(place)

    made = export(place.actor("auditor"), **filters)
    lines = lines_of(made)
    manifest, result = hashchain.verify_export(lines)

    assert result.holds
    assert len(lines) == 1
    assert (manifest["count"], manifest["first_seq"], manifest["head"]) == (0, None, None)
    assert "empty" in made.filename


def test_the_filter_on_a_person_also_finds_what_the_persons_tokens_did(place: people.Place) -> None:
    made = tokens.create(actor=place.actor("dev"), name="ci", scopes=["request"], days=1)
    token = tokens.authenticate(secret=made.secret, address="192.0.2.7")
    runs.request(actor=token, target_id=place.target.pk, revision="head", reason="From CI.")

    found = rows_of(export(place.actor("auditor"), form="csv", actor="dev"))

    assert ("run.requested", "token") in [(row["action"], row["actor_kind"]) for row in found]


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"since": datetime(2026, 1, 1)}, "since"),  # noqa: DTZ001  (that is the point)
        ({"since": datetime(2026, 2, 1, tzinfo=UTC), "until": datetime(2026, 1, 1, tzinfo=UTC)}, "until"),
        ({"actor": "a\x00b"}, "actor"),
        ({"target": "x" * 201}, "target"),
    ],
)
def test_an_impossible_filter_is_refused_by_name(place: people.Place, filters: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        export(place.actor("auditor"), **filters)

    assert refused.value.field == field


def test_an_unknown_form_is_refused(place: people.Place) -> None:
    with pytest.raises(Invalid, match="jsonl or csv"):
        export(place.actor("auditor"), form="xlsx")


@pytest.mark.parametrize("person", ["dev", "dba", "owner", "operator", "viewer", "outsider"])
def test_only_auditors_and_administrators_export_and_a_denial_is_recorded(place: people.Place, person: str) -> None:
    with pytest.raises(exports.NotAnAuditor):
        export(place.actor(person))

    trail.denied(verb="exports.export", code="missing_role")


def test_another_teams_events_are_withheld_not_left_out(place: people.Place, other: people.Place) -> None:
    people.make_run(place, reason="Ours.")
    people.make_run(other, reason="Secret of theirs.")

    content = b"".join(export(only("auditor", place)).lines)
    _, result = hashchain.verify_export(content.decode().splitlines())

    assert result.holds
    assert b"Ours." in content
    assert b"theirs" not in content
    assert result.withheld > 0


def test_a_filter_never_tells_where_another_teams_events_are(place: people.Place, other: people.Place) -> None:
    people.make_run(other)

    made = export(only("auditor", place), environment="staging")

    assert (made.manifest["count"], made.manifest["matched"]) == (0, 0)


def test_events_of_no_environment_are_for_those_who_audit_all_of_them(place: people.Place, other: people.Place) -> None:
    tokens.create(actor=place.actor("dev"), name="ci", scopes=["read"], days=1)

    of_all = rows_of(export(place.actor("auditor"), form="csv", action="token.created"))
    of_one = rows_of(export(only("auditor", other), form="csv", action="token.created"))

    assert [row["action"] for row in of_all] == ["token.created"]
    assert of_one == []


def test_a_superuser_exports_everything(place: people.Place) -> None:
    user = place.people["outsider"]
    user.is_superuser = True
    user.save(update_fields=["is_superuser"])
    people.make_run(place)

    assert export(place.actor("outsider")).manifest["withheld"] == 0


def test_a_token_exports_with_the_scope_export_only(place: people.Place) -> None:
    bare = replace(place.actor("auditor"), kind=ActorKind.TOKEN, scopes=frozenset({"read", "request", "run"}))

    with pytest.raises(access.MissingScope):
        export(bare)
    assert export(replace(bare, scopes=frozenset({"export"}))).manifest["exported_by"] == "auditor"


def test_the_export_is_in_the_chain_before_its_first_byte_and_behind_what_it_covers(place: people.Place) -> None:
    people.make_run(place)
    head = trail.head()

    made = export(place.actor("auditor"), environment="production")
    event = trail.last("audit.exported")

    assert event.seq == head + 1
    assert made.manifest["last_seq"] <= head
    facts = event.facts["facts"]
    assert facts["filters"] == {"environment": "production"}
    assert {name: facts[name] for name in ("first_seq", "last_seq", "count", "matched", "head")} == {
        name: made.manifest[name] for name in ("first_seq", "last_seq", "count", "matched", "head")
    }


def test_events_appended_while_an_export_is_read_do_not_disturb_it(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CHUNK", 2)
    people.make_run(place, state="approved")
    made = export(place.actor("auditor"))

    begun = list(islice(made.lines, 3))
    people.make_run(place, revision="003", reason="Appended later.")
    content = b"".join([*begun, *made.lines])

    assert hashchain.verify_export(content.decode().splitlines())[1].holds
    assert b"Appended later." not in content


def test_an_export_is_read_in_chunks_and_only_as_far_as_it_is_consumed(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CHUNK", 2)
    people.make_run(place, state="approved")
    lines: Iterator[bytes] = export(place.actor("auditor")).lines

    next(lines)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        first_two = list(islice(lines, 2))

    assert len(first_two) == 2
    assert len(queries) == 2
    assert all("LIMIT 2" in query["sql"] or '"seq" <= ' in query["sql"] for query in queries.captured_queries)


def test_csv_holds_one_row_per_matching_event_and_no_cell_is_a_formula(place: people.Place) -> None:
    people.make_run(place, reason=AWKWARD, ticket="=1+1")

    made = export(place.actor("auditor"), form="csv", action="run.")
    rows = rows_of(made)

    assert made.content_type == "text/csv; charset=utf-8"
    assert [row["action"] for row in rows] == ["run.requested"]
    assert json.loads(rows[0]["facts"])["reason"] == AWKWARD.strip().replace("\r\n", "\n")
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for value in row.values())
    assert AuditEvent.objects.get(seq=int(rows[0]["seq"])).hash == rows[0]["hash"]


def test_file_names_are_made_by_the_server(place: people.Place) -> None:
    name = export(place.actor("auditor"), actor='x"\r\nSet-Cookie: a=b').filename

    assert name.startswith("audit-empty-")
    assert name.endswith("Z.jsonl")
    assert all(sign.isalnum() or sign in "-." for sign in name)


# The check of the stored chain. A tamperer here is a person with the right to switch triggers off in the portal's database.


def tamper(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE migrations_audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        cursor.execute("ALTER TABLE migrations_audit_auditevent ENABLE TRIGGER USER")


def test_the_stored_chain_verifies(place: people.Place) -> None:
    people.make_run(place, state="approved")

    result = exports.verify_chain(now=database_now())

    assert result.holds
    assert result.count == trail.head()


def test_an_empty_chain_verifies() -> None:
    assert exports.verify_chain(now=database_now()).holds


@pytest.mark.parametrize(
    ("statement", "bad_seq"),
    [
        ("UPDATE migrations_audit_auditevent SET body = body || ' ' WHERE seq = 4", 4),
        ("DELETE FROM migrations_audit_auditevent WHERE seq = 4", 4),
        ("DELETE FROM migrations_audit_auditevent WHERE seq = 1", 1),
        ("UPDATE migrations_audit_auditevent SET actor = 'eve' WHERE seq = 4", 4),
        ("UPDATE migrations_audit_auditevent SET action = 'run.denied' WHERE seq = 4", 4),
        ("UPDATE migrations_audit_auditevent SET environment = 'staging' WHERE seq = 4", 4),
        ("UPDATE migrations_audit_auditevent SET target = 'other' WHERE seq = 4", 4),
        ("UPDATE migrations_audit_auditevent SET object_id = '0' WHERE seq = 4", 4),
        ("UPDATE migrations_audit_auditevent SET at = at + interval '1 microsecond' WHERE seq = 4", 4),
    ],
)
def test_a_stored_event_that_was_tampered_with_is_named(place: people.Place, statement: str, bad_seq: int) -> None:
    people.make_run(place, state="approved")
    people.make_run(place, revision="003")
    assert trail.head() > 4

    tamper(statement)

    assert exports.verify_chain(now=database_now()).bad_seq == bad_seq


def test_an_event_dated_after_the_check_is_named(place: people.Place) -> None:
    people.make_run(place)

    result = exports.verify_chain(now=database_now() - timedelta(hours=1))

    assert result.bad_seq == 1
    assert "still to come" in result.reason


def test_an_export_of_a_chain_that_was_tampered_with_says_where(place: people.Place) -> None:
    people.make_run(place, state="approved")
    tamper("UPDATE migrations_audit_auditevent SET body = body || ' ' WHERE seq = 4")

    _, result = hashchain.verify_export(lines_of(export(place.actor("auditor"))))

    assert result.bad_seq == 4


def test_nobody_audits_a_portal_without_environments() -> None:
    assert not Environment.objects.exists()

    with pytest.raises(exports.NotAnAuditor):
        export(Actor(kind=ActorKind.USER, name="nobody", user_id=None))
