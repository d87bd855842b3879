"""The script sources on the run page come from the frozen archive, and only when they are what the plan names."""

from __future__ import annotations

from migrations_audit.actions import plans
from migrations_audit.models import MigrationRun
from tests import people
from tests.faces.web import graphs
from tests.faces.web.visitor import VisitorOf

PATH = "migrations/versions/003.py"
SCRIPT = b'"""add phase 3"""\nrevision = "003"\n\n\ndef upgrade() -> None:\n    op.create_table("analytics_modules")\n'


def planned(place: people.Place, *, archive: bytes, content: bytes = SCRIPT) -> MigrationRun:
    """A planned run whose step names ``content``, over ``archive``."""
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    draft = people.make_draft(place, steps=[graphs.step_of(PATH, content)], snapshot=graphs.snapshot_of(place, archive))
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)
    return MigrationRun.objects.select_related("plan").get(number=asked.number)


def test_the_approver_reads_exactly_the_frozen_script(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, archive=graphs.archive_of({PATH: SCRIPT, "alembic.ini": b"[alembic]"}))

    page = visitor("dba").run(run)

    assert "op.create_table(&quot;analytics_modules&quot;)" in page.source
    assert "Do not approve" not in page.words


def test_a_file_that_is_not_the_one_of_the_plan_is_not_shown(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, archive=graphs.archive_of({PATH: b"import os; os.system('evil')"}))

    page = visitor("dba").run(run)

    assert "is not the one of the plan: its SHA-256 differs. Do not approve this plan." in page.words
    assert "os.system" not in page.source


def test_a_file_that_is_absent_is_told(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, archive=graphs.archive_of({"alembic.ini": b""}))

    assert f"The snapshot holds no file {PATH}." in visitor("dba").run(run).words


def test_an_archive_that_cannot_be_read_is_told(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert "The snapshot's archive cannot be read" in visitor("dba").run(run).words


def test_a_declared_encoding_is_honoured(place: people.Place, visitor: VisitorOf) -> None:
    script = '# -*- coding: latin-1 -*-\nNAME = "Größe"\n'.encode("latin-1")
    run = planned(place, archive=graphs.archive_of({PATH: script}), content=script)

    assert "Größe" in visitor("dba").run(run).words


def test_a_link_in_the_archive_is_not_followed(place: people.Place, visitor: VisitorOf) -> None:
    run = planned(place, archive=graphs.linked_archive(PATH, "/etc/passwd"))

    assert f"The snapshot holds no file {PATH}." in visitor("dba").run(run).words
