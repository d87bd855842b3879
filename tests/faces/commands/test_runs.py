"""Asking for, starting, stopping and showing runs from a shell."""

from __future__ import annotations

import pytest
from django.core.management import get_commands

from migrations_audit.actions import attempts, glass
from migrations_audit.actions.attempts import Line
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.states import RunState, Verdict
from tests import people
from tests.domain import trail
from tests.faces.commands.conftest import Run

TARGET = ("--target", "market/production/main")


def test_a_request_prints_the_number_alone_and_the_audit_says_that_it_was_a_command(
    place: people.Place, run: Run
) -> None:
    ended = run("request_run", "--as", "dev", *TARGET, "--reason", "Release 7.", "--ticket", "OPS-7")

    made = MigrationRun.objects.get()
    assert (ended.code, ended.out) == (0, f"{made.number}\n")
    assert "market/production/main" in ended.err
    assert (made.requester, made.requested, made.ticket) == (place.people["dev"], "head", "OPS-7")
    assert trail.last("run.requested").facts["actor"] == {
        "kind": "command",
        "name": "dev",
        "user_id": place.people["dev"].pk,
        "address": "",
    }


def test_a_rollback_is_asked_for_in_so_many_words(place: people.Place, run: Run) -> None:
    first = people.make_run(place)

    ended = run(
        "request_run",
        "--as",
        "dev",
        *TARGET,
        "--reason",
        "Back.",
        "--rollback",
        "--revision=-1",
        "--rolls-back",
        first.number,
    )

    made = MigrationRun.objects.get(number=int(ended.out))
    assert (made.operation, made.requested, made.rolls_back) == ("rollback", "-1", first)


def test_an_upgrade_that_names_a_run_to_take_back_is_not_asked_for(place: people.Place, run: Run) -> None:
    first = people.make_run(place, revision="003")

    ended = run("request_run", "--as", "dev", *TARGET, "--reason", "Up.", "--rolls-back", first.number)

    assert ended.code != 0
    assert "Only a rollback takes a run back" in ended.err
    assert MigrationRun.objects.count() == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--as", "viewer", *TARGET, "--reason", "x"), "missing_role"),
        (("--as", "dev", *TARGET, "--reason", " "), "invalid"),
        (("--as", "dev", *TARGET, "--reason", "x", "--revision=--sql"), "bad_request"),
        (("--as", "dev", "--target", "market/production/other", "--reason", "x"), "not_found"),
        (("--as", "outsider", *TARGET, "--reason", "x"), "not_found"),
    ],
)
def test_a_refused_request_ends_with_1_and_its_code(
    place: people.Place, run: Run, arguments: tuple[str, ...], code: str
) -> None:
    ended = run("request_run", *arguments)

    assert (ended.code, ended.out) == (1, "")
    assert f"({code})" in ended.err
    assert not MigrationRun.objects.exists()


@pytest.mark.parametrize("person", ["nobody", "gone", "", "a\x00b"])
def test_somebody_who_may_not_act_ends_with_2(place: people.Place, run: Run, person: str) -> None:
    place.people["viewer"].username = "gone"
    place.people["viewer"].is_active = False
    place.people["viewer"].save(update_fields=["username", "is_active"])

    ended = run("request_run", "--as", person, *TARGET, "--reason", "x")

    assert ended.code == 2
    assert "no active person" in ended.err


def test_an_approved_run_is_started_with_its_digest(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="approved")
    assert made.plan is not None

    wrong = run("start_run", "--as", "operator", made.number, "--digest", "0" * 64)
    unnamed = run("start_run", "--as", "operator", made.number, "--digest", made.plan.digest)
    named = ("--confirm-target", "market/production/main")
    right = run("start_run", "--as", "operator", made.number, "--digest", made.plan.digest, *named)

    assert (wrong.code, unnamed.code, right.code) == (1, 1, 0)
    assert "type the target's name, market/production/main, to start. Nothing was typed." in unnamed.err
    assert "(plan_changed)" in wrong.err
    assert "is queued" in right.out


def test_a_run_is_cancelled_once(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="queued")

    assert "is cancelled" in run("cancel_run", "--as", "operator", made.number).out
    assert run("cancel_run", "--as", "operator", made.number).code == 1


def test_the_cancel_of_a_running_run_says_that_it_is_asked_for(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="queued")
    attempts.claim(actor=people.WORKER, number=made.number)

    ended = run("cancel_run", "--as", "operator", made.number)

    assert "The cancel is asked for." in ended.out
    assert "(already_cancelling)" in run("cancel_run", "--as", "operator", made.number).err


def test_an_unknown_outcome_is_read_at_once(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="running")
    unread = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers.")
    attempts.finish(actor=people.WORKER, number=made.number, epoch=made.epoch, judgement=unread, observation=None)

    assert "A worker was asked to read market/production/main now." in run("verify_run", "--as", "dev", made.number).out
    assert "(already_reading)" in run("verify_run", "--as", "operator", made.number).err


def test_a_request_is_withdrawn_by_its_requester_only(place: people.Place, run: Run) -> None:
    made = people.make_run(place)

    assert "(missing_role)" in run("withdraw_run", "--as", "dba", made.number).err
    assert "Not needed." in run("withdraw_run", "--as", "dev", made.number, "--comment", "Not needed.").out


def test_a_run_is_shown_with_its_plan_its_decisions_and_its_log(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="queued")
    assert made.plan is not None
    claimed = attempts.claim(actor=people.WORKER, number=made.number)
    lines = [Line("stdout", f"line {number}") for number in range(1, 6)]
    attempts.append_log(number=made.number, epoch=claimed.epoch, lines=lines)

    told = run("show_run", "--as", "viewer", made.number, "--lines", "2").out

    assert "State: running. Verdict: unverified." in told
    assert f"Digest: {made.plan.digest}" in told
    assert "Approved by dba: Read it." in told
    assert "output: line 5" in told
    assert "line 4" in told
    assert "line 3" not in told


def test_nothing_that_is_shown_can_steer_the_terminal(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="queued")
    claimed = attempts.claim(actor=people.WORKER, number=made.number)
    attempts.append_log(
        number=made.number, epoch=claimed.epoch, lines=[Line("stdout", "\x1b[2K\rall fine \u202egnp \x07")]
    )

    told = run("show_run", "--as", "viewer", made.number).out

    assert "\\x1b[2K\\rall fine \\u202egnp \\x07" in told
    assert all(sign.isprintable() or sign == "\n" for sign in told)


def test_a_run_that_is_hidden_is_not_shown(place: people.Place, run: Run) -> None:
    made = people.make_run(place)

    assert "(not_found)" in run("show_run", "--as", "outsider", made.number).err


def test_there_is_no_command_that_decides() -> None:
    own = [name for name, app in get_commands().items() if app == "migrations_audit"]

    assert "request_run" in own
    assert not [name for name in own if any(verb in name for verb in ("approve", "reject", "decide"))]


def test_a_run_that_was_started_without_approval_says_so(place: people.Place, run: Run) -> None:
    chief = people.add_person(place, "chief", ("administrator", ""), ("operator", ""))
    made = people.make_run(place, state="awaiting_approval")
    assert made.plan is not None
    glass.break_glass(
        actor=chief,
        number=made.number,
        digest=made.plan.digest,
        why_now="Sign-in answers 500 since 02:10.",
        why_not_approved="Nobody answers the phone.",
        password=people.PASSWORD,
        confirm=place.target.label,
    )

    assert "WITHOUT APPROVAL: started by chief at" in run("show_run", "--as", "viewer", made.number).out
