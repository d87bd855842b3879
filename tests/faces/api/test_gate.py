"""The gate through the API: open only for a fresh reading that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import attempts, enrolment, evidence
from migrations_audit.models import Environment, Snapshot, Target
from migrations_audit.queries import gate
from migrations_audit.states import TargetStatus
from tests import people
from tests.faces.api.caller import Answer, Caller

LABEL = "market/production/main"


def revision(name: str, *down: str, depends_on: tuple[str, ...] = (), labels: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"revision": name, "down_revisions": down, "depends_on": depends_on, "branch_labels": labels}


GRAPH = [
    revision("001"),
    revision("002", "001"),
    revision("002b", "001", labels=("billing",)),
    revision("003", "002", depends_on=("billing",)),
    revision("004", "003"),
]


def read(place: people.Place, *rows: str, status: TargetStatus = TargetStatus.BEHIND, **changes: Any) -> None:
    """A reading compared with the five scripts of GRAPH."""
    snapshot = evidence.keep_snapshot(
        actor=people.WORKER,
        project=place.project,
        digest=hashchain.digest("five"),
        archive=b"archive",
        files=[],
        graph={"heads": ["004"], "revisions": GRAPH, "problems": []},
    )
    values: dict[str, Any] = {
        "sentence": "as it was read",
        "identity": people.IDENTITY,
        "revisions": list(rows),
        "heads": ["004"],
        "pending": [],
    } | changes
    evidence.record_observation(
        actor=people.WORKER,
        target=place.target,
        purpose="check",
        read=evidence.Read(status=status, **values),
        snapshot=snapshot,
    )


def ask(caller: Caller, **query: str) -> Answer:
    return caller.get("gate", **({"target": LABEL} | query))


def test_the_gate_is_open_for_a_target_in_sync(place: people.Place, dev: Caller) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)

    answer = ask(dev)

    assert (answer.status, answer.body["answer"], answer.body["expected"]) == (200, "in_sync", "head")
    observation = answer.body["observation"]
    assert observation["reader"] == "worker@test"
    assert observation["age_s"] >= 0
    assert observation["is_stale"] is False
    assert "error" not in answer.body
    assert "004 by worker@test" in answer.body["sentence"]


@pytest.mark.parametrize(
    ("status", "rows"),
    [
        (TargetStatus.AHEAD, ["005"]),
        (TargetStatus.UNKNOWN_REVISION, ["zzz"]),
        (TargetStatus.SEVERAL_HEADS, ["002"]),
        (TargetStatus.NOT_INITIALISED, []),
        (TargetStatus.BEHIND, ["003"]),
        (TargetStatus.REGRESSED, ["003"]),
        (TargetStatus.TABLES_MISSING, ["004"]),
    ],
)
def test_every_other_reading_closes_the_gate_with_409(
    place: people.Place, dev: Caller, status: TargetStatus, rows: list[str]
) -> None:
    read(place, *rows, status=status)

    answer = ask(dev)

    assert (answer.status, answer.body["answer"]) == (409, status.value)
    assert answer.code == status.value
    assert answer.error["message"] == answer.body["sentence"]


@pytest.mark.parametrize("status", [TargetStatus.REGRESSED, TargetStatus.TABLES_MISSING])
def test_a_version_that_is_doubted_closes_the_gate_for_its_own_revision_too(
    place: people.Place, dev: Caller, status: TargetStatus
) -> None:
    read(place, "003", status=status, sentence="REGRESSED: was at 004, now 003.")

    answer = ask(dev, expect="003")

    assert (answer.status, answer.code) == (409, status.value)
    assert "REGRESSED: was at 004, now 003." in answer.error["message"]


def test_a_target_behind_names_what_it_lacks(place: people.Place, dev: Caller) -> None:
    read(place, "003", pending=[{"revision": "004", "message": "add a column"}])

    answer = ask(dev)

    assert answer.body["revisions"] == ["004"]
    assert "it lacks 004" in answer.error["message"]


def stale(place: people.Place) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)
    Environment.objects.update(fresh_for_s=0)


def forgotten(place: people.Place) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)
    enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Replaced on purpose.")


def changing(place: people.Place) -> None:
    run = people.make_run(place, state="queued")
    read(place, "004", status=TargetStatus.IN_SYNC)
    attempts.claim(actor=people.WORKER, number=run.number)


def never_read(place: people.Place) -> None:
    """Nothing was read."""


NO_READING: dict[str, Callable[[people.Place], None]] = {
    "never_read": never_read,
    "stale": stale,
    "not_enrolled": forgotten,
    "run_in_progress": changing,
    "unreachable": lambda place: read(place, status=TargetStatus.UNREACHABLE, identity=None, revisions=None),
    "unreadable_scripts": lambda place: read(place, "003", status=TargetStatus.UNREADABLE_SCRIPTS),
}


@pytest.mark.parametrize("reason", NO_READING)
@pytest.mark.parametrize("expect", ["head", "004"])
def test_without_a_reading_that_counts_the_gate_answers_503(
    place: people.Place, dev: Caller, reason: str, expect: str
) -> None:
    NO_READING[reason](place)

    answer = ask(dev, expect=expect)

    assert (answer.status, answer.body["answer"], answer.body["reason"]) == (503, "could_not_read", reason)
    assert answer.code == reason


def test_a_good_reading_before_a_failed_one_does_not_count(place: people.Place, dev: Caller) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)
    read(place, status=TargetStatus.UNREACHABLE, identity=None, revisions=None)

    assert ask(dev).body["reason"] == "unreachable"


def test_another_database_behind_the_target_closes_the_gate(place: people.Place, dev: Caller) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)
    read(place, "004", status=TargetStatus.WRONG_DATABASE, sentence="Another database answers.")

    answer = ask(dev, expect="004")

    assert (answer.status, answer.code) == (409, "wrong_database")


@pytest.mark.parametrize(
    ("rows", "expect", "answer", "revisions"),
    [
        (["004"], "004", "in_sync", []),
        (["003"], "003", "in_sync", []),
        (["002"], "003", "behind", ["002b", "003"]),
        (["002"], "004", "behind", ["002b", "003", "004"]),
        (["002", "002b"], "003", "behind", ["003"]),
        (["004"], "002", "ahead", ["002b", "003", "004"]),
        (["002", "002b"], "002", "ahead", ["002b"]),
        (["004"], "zzz", "unknown_revision", []),
        (["zzz"], "004", "unknown_revision", []),
        (["zzz"], "zzz", "in_sync", []),
        ([], "001", "behind", ["001"]),
    ],
)
def test_a_deploy_may_name_the_revision_that_it_needs(
    place: people.Place, dev: Caller, rows: list[str], expect: str, answer: str, revisions: list[str]
) -> None:
    read(place, *rows)

    told = ask(dev, expect=expect)

    assert (told.body["answer"], told.body["revisions"]) == (answer, revisions)
    assert told.status == (200 if answer == "in_sync" else 409)


@pytest.mark.parametrize("expect", ["heads", "", "-1", "a b", "head;", "x" * 65, "--sql", "ü"])
def test_an_expectation_that_is_no_revision_is_refused(place: people.Place, dev: Caller, expect: str) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)

    answer = ask(dev, expect=expect)

    assert (answer.status, answer.error["field"]) == (422, "expect")


@pytest.mark.parametrize("name", ["market/production/main", "{id}"])
def test_a_target_is_named_by_its_label_or_its_id(place: people.Place, dev: Caller, name: str) -> None:
    read(place, "004", status=TargetStatus.IN_SYNC)

    assert ask(dev, target=name.format(id=place.target.pk)).body["target"] == LABEL


@pytest.mark.parametrize("name", ["market/production/other", "main", "", "a/b/c/d", "0", "-1", "²", "9" * 40])
def test_a_target_that_is_not_there_is_no_answer(place: people.Place, dev: Caller, name: str) -> None:
    assert ask(dev, target=name).status == 404


def test_only_one_answer_in_the_whole_vocabulary_opens_the_gate(place: people.Place, dev: Caller) -> None:
    statuses: dict[str, int] = {}
    for status in TargetStatus:
        read(place, "004", status=status)
        answer = ask(dev)
        statuses[answer.body["answer"]] = answer.status

    assert {name for name, status in statuses.items() if status == 200} == {"in_sync"}
    assert set(statuses) == {each.value for each in gate.Answer}


def test_a_dependency_in_a_circle_is_no_endless_question(place: people.Place, dev: Caller) -> None:
    read(place, "003")
    circle = {"heads": [], "revisions": [revision("a", "b"), revision("b", "a"), revision("003")], "problems": []}
    snapshot = Snapshot.objects.create(
        project=place.project,
        digest="c" * 64,
        archive=b"",
        files=[],
        graph=circle,
        at=place.target.observations.get().at,
    )
    evidence.record_observation(
        actor=people.WORKER,
        target=Target.objects.get(),
        purpose="check",
        read=evidence.Read(
            status=TargetStatus.BEHIND, sentence="odd", identity=people.IDENTITY, revisions=["003"], heads=[]
        ),
        snapshot=snapshot,
    )

    assert ask(dev, expect="a").body["answer"] == "behind"
