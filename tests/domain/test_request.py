"""Asking for an upgrade or a rollback."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import access
from migrations_audit.actions import runs
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import MigrationRun
from migrations_audit.requests import RevisionRefused
from migrations_audit.states import Operation
from tests.domain import raw, trail
from tests.people import WORKER, Place, add_person, make_place, make_run

pytestmark = pytest.mark.django_db


def ask(place: Place, actor: Actor | None = None, **changes: Any) -> MigrationRun:
    values: dict[str, Any] = {
        "actor": actor or place.actor("dev"),
        "target_id": place.target.pk,
        "revision": "head",
        "reason": "Production lacks 003.",
    } | changes
    return runs.request(**values)


def test_a_requester_asks_and_a_worker_is_woken() -> None:
    place = make_place()

    run = ask(place, ticket=" OPS-1 ")

    assert (run.state, run.requester, run.ticket, run.dispatch_count) == ("requested", place.people["dev"], "OPS-1", 1)
    assert run.expires_at is not None
    assert (run.expires_at - run.requested_at).total_seconds() == place.environment.approval_lifetime_s


def test_a_request_leaves_an_event_with_its_reason() -> None:
    run = ask(make_place(), ticket="OPS-1")

    facts = trail.last("run.requested").facts["facts"]
    assert trail.of_run(run) == ["run.requested"]
    assert (facts["reason"], facts["ticket"], facts["requested"]) == ("Production lacks 003.", "OPS-1", "head")


@pytest.mark.parametrize("name", ["viewer", "dba", "operator", "auditor", "admin"])
def test_nobody_asks_without_the_role(name: str) -> None:
    place = make_place()

    with pytest.raises(access.MissingRole, match=f"{name} is not requester in Production"):
        ask(place, place.actor(name))

    trail.denied(verb="runs.request", code="missing_role")
    assert not MigrationRun.objects.exists()


def test_a_superuser_without_the_role_does_not_ask() -> None:
    place = make_place()

    with pytest.raises(access.MissingRole):
        ask(place, add_person(place, "root", superuser=True))


def test_an_outsider_is_told_that_there_is_no_such_target() -> None:
    place = make_place()

    with pytest.raises(access.Hidden, match="There is no such target"):
        ask(place, place.actor("outsider"))

    trail.denied(verb="runs.request", code="not_found")


def test_a_requester_of_another_environment_does_not_see_this_one() -> None:
    production = make_place()
    staging = make_place(slug="staging", tier="staging", project=production.project)
    tester = add_person(staging, "tester", ("requester", ""))

    with pytest.raises(access.Hidden):
        ask(production, tester)


def test_a_deactivated_requester_does_not_ask() -> None:
    place = make_place()
    place.people["dev"].is_active = False
    place.people["dev"].save(update_fields=["is_active"])

    with pytest.raises(access.Hidden):
        ask(place)


def test_a_worker_does_not_ask() -> None:
    with pytest.raises(access.Hidden):
        ask(make_place(), WORKER)


def test_a_token_asks_within_its_scope_and_its_owner_is_the_requester() -> None:
    place = make_place()

    run = ask(place, place.token("dev", "request"))

    assert run.requester == place.people["dev"]
    assert trail.last("run.requested").facts["actor"]["kind"] == "token"


@pytest.mark.parametrize("scopes", [(), ("read",), ("run",), ("read", "run", "export")])
def test_a_token_without_the_scope_does_not_ask(scopes: tuple[str, ...]) -> None:
    place = make_place()

    with pytest.raises(access.MissingScope, match="no scope “request”"):
        ask(place, place.token("dev", *scopes))

    trail.denied(verb="runs.request", code="missing_scope")


def test_the_same_open_request_is_not_made_twice() -> None:
    place = make_place()
    first = ask(place)

    with pytest.raises(runs.AlreadyRequested, match=f"Run {first.number} .* already asks for upgrade to head"):
        ask(place)

    assert MigrationRun.objects.count() == 1


def test_the_same_request_is_made_again_after_the_first_has_ended() -> None:
    place = make_place()
    runs.withdraw(actor=place.actor("dev"), number=ask(place).number)

    assert ask(place).state == "requested"


def test_another_person_or_another_revision_is_another_request() -> None:
    place = make_place()
    ask(place)

    ask(place, revision="003")
    ask(place, add_person(place, "dev2", ("requester", "")))

    assert MigrationRun.objects.count() == 3


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_a_reason_is_needed(reason: str) -> None:
    with pytest.raises(Invalid, match="Give a reason") as refused:
        ask(make_place(), reason=reason)

    assert refused.value.field == "reason"


@pytest.mark.parametrize("field", ["reason", "ticket"])
@pytest.mark.parametrize("text", ["x" * 2_001, "a\x00b", "a\ud800b"])
def test_a_text_that_cannot_be_stored_is_refused(field: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        ask(make_place(), None, **{field: text})

    assert refused.value.field == field


def test_a_text_of_the_longest_length_is_stored() -> None:
    assert ask(make_place(), reason="é" * 2_000, ticket="x" * 200).pk


def test_an_option_is_no_revision() -> None:
    with pytest.raises(RevisionRefused):
        ask(make_place(), revision="--sql")

    assert not MigrationRun.objects.exists()


def test_a_rollback_names_the_run_that_it_rolls_back() -> None:
    place = make_place()
    first = make_run(place, state="queued")

    run = ask(place, operation=Operation.ROLLBACK, revision="002", rolls_back=first.number)

    assert run.rolls_back == first
    assert trail.last("run.requested").facts["facts"]["rolls_back"] == first.number


@pytest.mark.parametrize(("operation", "revision"), [(Operation.UPGRADE, "head"), (Operation.ADOPT, "003")])
def test_only_a_rollback_rolls_a_run_back(operation: Operation, revision: str) -> None:
    place = make_place()
    first = make_run(place, state="queued")

    with pytest.raises(Invalid, match="Only a rollback takes a run back") as refused:
        ask(place, operation=operation, revision=revision, rolls_back=first.number)

    assert refused.value.field == "rolls_back"
    assert not MigrationRun.objects.filter(rolls_back=first).exists()


def test_a_rollback_of_a_run_elsewhere_is_refused() -> None:
    place = make_place()
    elsewhere = make_place(slug="staging", tier="staging", project=place.project)
    other = make_run(elsewhere)

    with pytest.raises(Invalid, match="belongs to another target"):
        ask(place, operation=Operation.ROLLBACK, revision="002", rolls_back=other.number)


def test_a_run_that_the_requester_does_not_see_cannot_be_named() -> None:
    place = make_place()
    elsewhere = make_place(slug="staging", tier="staging", project=place.project)
    other = make_run(elsewhere)
    place.people["dev"].groups.remove(*place.people["dev"].groups.filter(name="staging dev"))

    with pytest.raises(access.Hidden, match=f"There is no run {other.number}, or you may not see it"):
        ask(place, operation=Operation.ROLLBACK, revision="002", rolls_back=other.number)


def test_a_request_is_a_row_that_the_database_accepts_only_as_requested() -> None:
    run = ask(make_place())

    with raw.refused(match="cannot go from requested to approved"):
        raw.execute("UPDATE migrations_audit_migrationrun SET state = 'approved' WHERE number = %s", run.number)


@pytest.mark.parametrize("field", ["reason", "ticket"])
def test_a_pasted_url_with_a_password_is_refused_and_not_kept(field: str) -> None:
    changes: dict[str, Any] = {field: "see postgresql://app:canary-9@db/market"}

    with pytest.raises(Invalid, match="URL with a password") as refused:
        ask(make_place(), **changes)

    assert "canary-9" not in refused.value.message
    assert not MigrationRun.objects.exists()
