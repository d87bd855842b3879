"""Hostile text in every column that takes text, and then every page: it is text there, and nothing of it works."""

from __future__ import annotations

import json
import logging

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from migrations_audit.actions import attempts, plans
from migrations_audit.models import Environment, MigrationRun, Project
from opsportal.logs import LineFormatter
from tests import people
from tests.faces.api.caller import Caller
from tests.faces.test_every_url import walk
from tests.faces.web.visitor import Visitor

MARK = "zq7"
SCRIPT = f"<script>{MARK}</script>\"'><img src=x onerror={MARK}>"
HIDDEN = "\u202e\u200b"


@pytest.fixture
def scene(place: people.Place) -> tuple[people.Place, MigrationRun]:
    """A place whose every name, and a run whose every text, is hostile."""
    hostile = SCRIPT + HIDDEN
    Environment.objects.update(name=f"E{SCRIPT}"[:80])
    Project.objects.update(name=f"P{SCRIPT}"[:80], folder=f"/srv/{SCRIPT}", extra_environment={"X": SCRIPT})
    Group.objects.filter(name__endswith="viewer").update(name=f"G{SCRIPT}")
    User.objects.filter(username="dev").update(username=f"dev{SCRIPT}", first_name=SCRIPT[:150])
    place.people["dev"].refresh_from_db()
    people.observe(
        place,
        identity={**people.IDENTITY, "server_version": hostile, "user": hostile},
        revisions=[hostile],
        pending=[{"revision": hostile, "message": hostile}],
        heads=[hostile],
        catalog=("f" * 64, {f"table public.{SCRIPT}": hostile}),
    )
    asked = people.make_run(place, reason=hostile, ticket=hostile)
    begun = plans.begin(actor=people.WORKER, number=asked.number)
    step = {**people.make_draft(place).steps[0], "message": hostile, "path": f"v/{SCRIPT}.py"}
    findings = [{"code": SCRIPT, "severity": "warning", "place": hostile, "sentence": hostile}]
    draft = people.make_draft(place, steps=[step], sql=f"SELECT '{hostile}'", sql_reason=hostile, findings=findings)
    plan = plans.record(actor=people.WORKER, number=asked.number, epoch=begun.epoch, draft=draft)
    people.approve_by_all(place, asked.number, plan.digest)
    run = MigrationRun.objects.get(number=asked.number)
    return place, run


def test_no_page_of_the_portal_makes_anything_of_hostile_text(scene: tuple[people.Place, MigrationRun]) -> None:
    place, run = scene
    root = people.make_user("root", superuser=True)
    client = Client()
    client.force_login(root)
    names = {"number": str(run.number), "pk": str(place.target.pk), "target_id": str(place.target.pk), "object_id": "1"}
    paths = set(walk(names)) | {
        reverse(f"admin:{label}_{name}_change", args=[row.pk])
        for label, name, row in (
            ("migrations_audit", "environment", place.environment),
            ("migrations_audit", "project", place.project),
            ("migrations_audit", "target", place.target),
            ("auth", "user", place.people["dev"]),
            ("auth", "group", Group.objects.get(name__startswith="G<")),
        )
    }

    seen, alive = 0, []
    for path in sorted(paths):
        if path.endswith("/events") or path == "/logout/":
            continue
        answer = client.get(path, follow=True)
        if answer.streaming or not answer["Content-Type"].startswith("text/html"):
            continue
        body = answer.content.decode()
        seen += MARK in body
        alive += [
            f"{path}: {sign!a}" for sign in (f"<script>{MARK}", f"<img src=x onerror={MARK}", *HIDDEN) if sign in body
        ]

    assert seen >= 10
    assert alive == []


def test_json_answers_are_never_taken_for_pages(scene: tuple[people.Place, MigrationRun]) -> None:
    place, run = scene
    viewer = Client()
    viewer.force_login(place.people["viewer"])
    program = Caller.of(place, "viewer")

    answers = [viewer.get(f"/runs/{run.number}/log"), Client().get("/api/v1/openapi.json")]
    for answer in answers:
        assert answer["Content-Type"].startswith("application/json")
        assert answer["X-Content-Type-Options"] == "nosniff"
    shown = program.get(f"runs/{run.number}")
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert MARK in json.dumps(shown.body)


def test_a_sentence_that_hides_its_direction_is_shown_with_escapes(scene: tuple[people.Place, MigrationRun]) -> None:
    place, run = scene

    page = Visitor(place.people["viewer"]).get(f"/runs/{run.number}/")

    assert "\\u202e" in page.source
    assert "\u200b" not in page.source


def test_a_log_line_that_overwrites_itself_is_shown_as_it_was_sent(place: people.Place) -> None:
    run = people.make_run(place, state="running")
    text = "FAILED\rINFO Running upgrade 002 -> 003\x1b[2K\x1b]8;;https://evil.example\x07ok\x1b]8;;\x07"
    attempts.append_log(number=run.number, epoch=2, lines=[attempts.Line("stdout", text)])

    for tail in ("", "log", "log.txt"):
        source = Visitor(place.people["viewer"]).get(f"/runs/{run.number}/{tail}").source
        assert "FAILED\\x0dINFO" in source.replace("\\\\", "\\")
        assert "\x1b" not in source


@pytest.mark.parametrize("sign", ["\n", "\r", "\x85", "\u2028", "\x1b", "\u202e", "\x00"])
def test_nobody_forges_a_line_of_the_log(sign: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "asked for %s", (f"/a{sign}2026 INFO all is well",), None)

    line = LineFormatter("%(levelname)s %(message)s").format(record)

    assert sign not in line
    assert len(line.splitlines()) == 1


def test_the_processes_write_their_log_with_it() -> None:
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, LineFormatter)]

    assert handlers


def test_a_download_is_named_by_the_portal_alone(place: people.Place) -> None:
    run = people.make_run(place, state="running")
    Project.objects.update(slug="x")

    answer = Visitor(place.people["viewer"]).get(f"/runs/{run.number}/log.txt?filename=evil%0d%0aX-Evil:1")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="run-{run.number}.log"'
    assert "X-Evil" not in answer.headers


def test_nobody_takes_hostile_text_for_sql(place: people.Place) -> None:
    auditor = Visitor(place.people["auditor"])
    for attack in (
        "'; DROP TABLE migrations_audit_auditevent; --",
        "1) OR 1=1 --",
        "\\'; SELECT pg_sleep(9) --",
        "%27",
        "\x00",
    ):
        for name in ("actor", "action", "environment", "target", "run", "since"):
            assert auditor.get("/audit/?" + name + "=" + attack.replace(" ", "+").replace(";", "%3B")).status in (
                200,
                400,
            )

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM migrations_audit_auditevent")
