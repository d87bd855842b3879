"""Reports that wait on the worker's disk until the portal's database takes them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pytest_django import Settings

from migrations_audit.actions import attempts
from migrations_audit.execution import spool
from migrations_audit.judgement import Judgement
from migrations_audit.models import AuditEvent
from migrations_audit.states import RunState, Verdict
from tests.domain import trail
from tests.people import WORKER, make_place, make_run

pytestmark = pytest.mark.django_db

FACTS = {"runner": {"exit_code": 0, "ended_by": "itself"}}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, settings: Settings) -> Path:
    settings.PORTAL_SPOOL = str(tmp_path / "spool")
    return tmp_path / "spool"


def test_a_report_of_a_lost_attempt_enters_the_trail_once(place: Path) -> None:
    run = make_run(make_place(), state="running")
    attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="Given up.")
    spool.keep(number=run.number, epoch=run.epoch, facts=FACTS)

    assert [spool.deliver(actor=WORKER), spool.deliver(actor=WORKER)] == [1, 0]

    told = trail.last("run.report_delivered").facts["facts"]
    assert (told["of_epoch"], told["report"]) == (run.epoch, FACTS)
    assert list(place.glob("*.json")) == []


def test_a_report_of_an_ended_run_changes_nothing_but_the_trail() -> None:
    run = make_run(make_place(), state="running")
    failed = Judgement(RunState.FAILED, Verdict.UNVERIFIED, "no_change", "Nothing was applied.")
    attempts.finish(actor=WORKER, number=run.number, epoch=run.epoch, judgement=failed, observation=None)
    spool.keep(number=run.number, epoch=run.epoch, facts=FACTS)

    assert spool.deliver(actor=WORKER) == 1

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("failed", "Nothing was applied.")


def test_a_report_waits_while_its_attempt_goes_on(place: Path) -> None:
    run = make_run(make_place(), state="running")
    spool.keep(number=run.number, epoch=run.epoch, facts=FACTS)

    assert spool.deliver(actor=WORKER) == 0
    assert len(list(place.glob("*.json"))) == 1


def test_a_damaged_report_is_put_aside_and_the_others_are_delivered(place: Path) -> None:
    run = make_run(make_place(), state="running")
    attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="Given up.")
    spool.keep(number=run.number, epoch=run.epoch, facts=FACTS)
    (place / "aaa.report.json").write_text('{"portal": "por')

    assert spool.deliver(actor=WORKER) == 1

    assert [path.name for path in place.iterdir()] == ["aaa.report.damaged"]


def test_a_report_of_a_run_that_this_portal_does_not_know_is_put_aside_and_asked_about_once(place: Path) -> None:
    kept = spool.keep(number=987_654, epoch=1, facts=FACTS)

    assert [spool.deliver(actor=WORKER), spool.deliver(actor=WORKER)] == [0, 0]

    assert [path.name for path in place.iterdir()] == [kept.with_suffix(".unknown").name]
    assert not AuditEvent.objects.filter(action="run.report_delivered").exists()
    assert AuditEvent.objects.filter(action="access.denied").count() == 1


def test_nobody_else_reads_the_folder(place: Path) -> None:
    path = spool.keep(number=1, epoch=1, facts=FACTS)

    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
