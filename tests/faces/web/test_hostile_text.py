"""Text from people, scripts and databases is shown as text, and what would be invisible is made visible."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from migrations_audit.actions import attempts, plans
from migrations_audit.models import MigrationRun
from migrations_audit.web.text import visible
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf

SCRIPT = "<script>alert(1)</script>"
BIDI = "safe\u202egnp.exe"
ANSI = "\x1b[2J\x1b]8;;https://evil.example\x07click\x1b]8;;\x07"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain, größe, 日本語", "plain, größe, 日本語"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("dos\r\nline", "dos\nline"),
        ("over\rwrite", "over\\x0dwrite"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (BIDI, "safe\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("line\u2028sep", "line\\u2028sep"),
        ("\x85", "\\x85"),
    ],
)
def test_what_is_invisible_becomes_an_escape(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_a_reason_a_ticket_and_a_comment_are_only_text(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval", reason=SCRIPT + BIDI, ticket=SCRIPT + ANSI[:9])
    dba = visitor("dba")
    dba.press(run, "approve", comment=SCRIPT)

    page = dba.run(run)

    assert SCRIPT not in page.source
    assert page.words.count(SCRIPT) >= 3
    assert "\u202e" not in page.source
    assert "\\u202e" in page.source
    assert "\x1b" not in page.source


def test_what_scripts_say_is_only_text(place: people.Place, visitor: VisitorOf) -> None:
    asked = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    hostile = {"message": SCRIPT, "path": f'x"{SCRIPT}.py', "revision": "003"}
    steps = [{**people.make_draft(place).steps[0], **hostile}]
    draft = people.make_draft(
        place, steps=steps, sql=f"SELECT '{SCRIPT}{ANSI}';", findings=[{"code": SCRIPT, "severity": SCRIPT, "sentence": SCRIPT}]
    )  # fmt: skip
    plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)

    page = visitor("dba").get(f"/runs/{asked.number}/")

    assert "<script>alert" not in page.source
    assert "\x1b" not in page.source


def test_log_lines_are_only_text_everywhere(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    attempts.append_log(number=run.number, epoch=2, lines=[attempts.Line("stdout", SCRIPT + ANSI + BIDI)])
    viewer = visitor("viewer")

    page, raw, file = (viewer.get(f"/runs/{run.number}/{tail}") for tail in ("", "log", "log.txt"))

    assert SCRIPT not in page.source
    for answer in (page, raw, file):
        assert "\x1b" not in answer.source
        assert "\u202e" not in answer.source
    assert "\\x1b[2J" in file.source


def test_what_a_database_says_is_only_text(place: people.Place, visitor: VisitorOf) -> None:
    identity = {
        **people.IDENTITY,
        "server_version": SCRIPT,
        "endpoint": {**people.IDENTITY["endpoint"], "user": SCRIPT},
    }
    people.observe(place, identity=identity, revisions=[SCRIPT], pending=[{"revision": BIDI, "message": SCRIPT}])
    viewer = visitor("viewer")

    for path in (f"/targets/{place.target.pk}/", "/"):
        page = viewer.get(path)
        assert SCRIPT not in page.source
        assert "\u202e" not in page.source


def test_names_of_people_and_sentences_are_only_text(place: people.Place) -> None:
    user = User.objects.create(username="<b>eve</b>\u202e", is_staff=True)
    user.groups.add(*place.people["auditor"].groups.all())
    run = people.make_run(place)
    MigrationRun.objects.filter(number=run.number).update(sentence=SCRIPT)
    eve = Visitor(user)
    eve.post(f"/targets/{place.target.pk}/check")

    for path in (f"/runs/{run.number}/", "/audit/", "/"):
        page = eve.get(path)
        assert "<b>eve" not in page.source
        assert "\u202e" not in page.source
        assert SCRIPT not in page.source


def test_a_message_after_a_post_is_only_text(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    visitor("owner").press(run, "reject", comment=SCRIPT + BIDI)
    dba = visitor("dba")

    dba.press(run, "approve")

    page = dba.run(run)
    assert "Rejected by owner" in page.words
    assert SCRIPT not in page.source
    assert "\u202e" not in page.source
