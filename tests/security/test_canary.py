"""A secret in every field that holds one, a run for every way in which programs print URLs, and then a look at everything.

A portal of its own with a web process, a worker, beat and a Redis with a password. The one test at the end searches rows, queue,
logs, command lines, pages, API and exports, and what it finds must be exactly what docs/security.md says is kept in clear.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from psycopg import sql
from pytest_django import DjangoDbBlocker

from migrations_audit.actions import people as accounts
from migrations_audit.actions import runs, tokens
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.models import MigrationRun, Project, Target
from opsportal.local import valkey
from tests import people, servers
from tests.acceptance import portal as portals
from tests.engine import database, runnable
from tests.security import places
from tests.security.browsing import Browser

pytestmark = pytest.mark.slow

CORE = {
    name: f"kanari{secrets.token_hex(12)}"
    for name in ("target", "wrong", "ini", "variable", "person", "script", "web_key")
}
PASSWORD = CORE["target"] + "%/@+x"
"""What makes programs stumble over it stands behind the part that is searched for."""

PRINTING = {
    "prints": """import logging, sys, warnings
print('now connecting to', url, flush=True)
print(repr(url), file=sys.stderr)
print('token', os.environ['API_TOKEN'], flush=True)
logging.getLogger('alembic').error('url %s', url)
warnings.warn(url)""",
    "raises": "raise RuntimeError('cannot work with ' + url)",
    "exits": "import sys; sys.exit(url)",
    "option": "context.config.set_main_option('other.url', url)",
    "psycopg": "import psycopg; psycopg.connect(url.replace('+psycopg', '').replace('127.0.0.1', '[::1'))",
    "rendered": "from sqlalchemy import make_url\nraise ValueError(make_url(url).render_as_string(hide_password=False))",
}
STATEMENT = """
import os
op.execute("SELECT '" + os.environ["SHOP_URL"] + "' FROM nowhere")
"""
ROLE = """op.execute("ALTER ROLE CURRENT_USER PASSWORD '{password}'")"""


@dataclass
class Scene:
    """A portal in which all of it has happened."""

    database_url: str
    redis_url: str
    web: portals.Web
    folder: Path
    watch: places.Watch
    token: str
    runs: dict[str, MigrationRun]
    statements: list[str]


@pytest.fixture(scope="module")
def scene(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    target_server: servers.TargetServer,
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("canary")
    name = f"canary_{secrets.token_hex(4)}"
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        queue = valkey.Valkey(folder / "valkey")
        stack.callback(queue.stop)
        queue.start()
        targets = _Targets(target_server, stack)
        portals.on_server(f'CREATE DATABASE "{name}"')
        stack.callback(portals.on_server, f'DROP DATABASE "{name}" WITH (FORCE)')
        stack.callback(portals.use_database, portals.use_database(name))
        (folder / "projects").mkdir()
        variables = {
            "REDIS_URL": queue.url(),
            "SECRET_KEY": CORE["web_key"] + "k" * 30,
            "PORTAL_PROJECT_ROOTS": str(folder / "projects"),
            "CANARY_TARGET": targets.url("by_variable"),
            "BROKEN_TARGET": f"postgresql://u:{CORE['wrong']}@[::1/d",
        }
        for variable, value in variables.items():
            patch.setenv(variable, value)
        for setting in ("REDIS_URL", "SECRET_KEY"):
            patch.setattr(settings, setting, variables[setting])
        call_command("migrate", verbosity=0)
        yield _played(portals.database_url(name), queue.url(), folder, targets, stack)


class _Targets:
    """Databases whose owner has the canary for a password."""

    def __init__(self, server: servers.TargetServer, stack: ExitStack, password: str = PASSWORD) -> None:
        self._server, self._stack, self._password = server, stack, password
        self._role = f"canary_{secrets.token_hex(4)}"
        with server.connect() as connection:
            database.create_role(connection, self._role, password)
        stack.callback(self._run, sql.SQL("DROP ROLE {}").format(sql.Identifier(self._role)))

    def _run(self, statement: sql.Composed) -> None:
        with self._server.connect() as connection:
            connection.execute(statement)

    def of_another(self, password: str) -> _Targets:
        """Databases of another owner."""
        return _Targets(self._server, self._stack, password)

    def url(self, hint: str, *, password: str = "", exists: bool = True) -> str:
        """A new database of this owner."""
        name = f"{hint}_{secrets.token_hex(4)}"
        if exists:
            self._run(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(self._role)))
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            self._stack.callback(self._run, drop)
        host = urlsplit(self._server.url(name))
        netloc = f"{self._role}:{quote(password or self._password, safe='')}@{host.hostname}:{host.port}"
        return urlunsplit(host._replace(netloc=netloc))


def _played(database_url: str, redis_url: str, folder: Path, targets: _Targets, stack: ExitStack) -> Scene:
    workers = portals.Workers(database_url, folder)
    web = portals.Web(database_url, folder)
    portal = portals.Portal(workers, web, folder / "projects")
    stack.callback(workers.stop)
    stack.callback(web.stop)
    watch = stack.enter_context(places.Watch(redis_url))
    web.start()
    workers.start()
    stack.callback(_stop, _beat(database_url, folder))
    root = User.objects.create(username="root", is_staff=True, is_superuser=True)
    person = Actor(kind=ActorKind.USER, name="root", user_id=root.pk)
    accounts.set_password(actor=person, user_id=root.pk, password=CORE["person"])
    token = tokens.create(actor=person, name="canary", scopes=tokens.SCOPES, days=1).secret
    asked = {name: _ask(place) for name, place in _places(portal, targets, folder).items()}
    for place, number in asked.values():
        _start(portal, place, number)
    ended = {name: portal.until(number, *portals.ENDED, within=240) for name, (_, number) in asked.items()}
    statements = list(ended["role"].log.filter(stream="statement").values_list("text", flat=True))
    return Scene(database_url, redis_url, web, folder, watch, token, ended, statements)


def _beat(database_url: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "opsportal", "beat", "-s", str(folder / "beat"), "--pidfile", ""]
    with (folder / "beat.log").open("wb") as log:
        environment = {**os.environ, "DATABASE_URL": database_url}
        return subprocess.Popen(command, cwd=portals.ROOT, env=environment, stdout=log, stderr=log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


def _places(portal: portals.Portal, targets: _Targets, folder: Path) -> dict[str, people.Place]:
    """One project and target for each way."""
    plain = runnable.chain("users")
    reference = folder / "target_url"
    reference.write_text(targets.url("by_file"))
    first = portal.place(targets.url("sealed"), plain)

    def place(
        url: str, scripts: list[runnable.Script] = plain, *, env: str = runnable.ONLINE_ENV, **more: Any
    ) -> people.Place:
        files = runnable.write(folder / "projects" / secrets.token_hex(4), scripts, env=env)
        return portal.register_beside(first, url, files, **more)

    found = {
        "sealed": first,
        "by variable": _refer(place(targets.url("unused")), "env:CANARY_TARGET"),
        "by file": _refer(place(targets.url("unused")), f"file:{reference}"),
        "broken address": _refer(place(targets.url("unused")), "env:BROKEN_TARGET"),
        "wrong password": place(targets.url("wrong", password=CORE["wrong"])),
        "unknown database": place(targets.url("unknown", exists=False)),
    }
    way: dict[str, Any] = {
        "url_delivery": "environment",
        "url_delivery_name": "SHOP_URL",
        "extra_environment": {"API_TOKEN": CORE["variable"]},
    }
    for name, code in PRINTING.items():
        env = runnable.env_with(
            "url", setup=f"url = os.environ['SHOP_URL']\nif not context.is_offline_mode():\n{_indented(code)}"
        )
        found[name] = place(targets.url(name), env=env, **way)
    env = runnable.env_with("os.environ['SHOP_URL']")
    found["statement"] = place(targets.url("statement"), [runnable.Script("r1", STATEMENT)], env=env, **way)
    script = runnable.Script("r1", ROLE.format(password=CORE["script"]))
    found["role"] = place(targets.of_another(CORE["script"]).url("role"), [script])
    found["ini"] = place(targets.url("ini"))
    ini = Path(found["ini"].project.folder) / "alembic.ini"
    ini.write_text(ini.read_text() + f"sqlalchemy.url = postgresql://u:{CORE['ini']}@db.example/shop\n")
    return found


def _indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


def _refer(place: people.Place, reference: str) -> people.Place:
    Target.objects.filter(pk=place.target.pk).update(url_reference=reference)
    return place


def _ask(place: people.Place) -> tuple[people.Place, int]:
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Needed.")
    return place, run.number


def _start(portal: portals.Portal, place: people.Place, number: int) -> None:
    """Approve and start what could be planned."""
    run = portal.until(number, "awaiting_approval", "plan_failed", within=240)
    if run.plan is not None:
        people.approve_by_all(place, number, run.plan.digest)
        runs.start(actor=place.actor("operator"), number=number, digest=run.plan.digest, confirm=run.target.label)


def test_every_way_was_gone_to_its_end(scene: Scene) -> None:
    ends = {name: (run.state, run.reason_code) for name, run in scene.runs.items()}

    for name in ("sealed", "by variable", "by file", "prints", "ini", "role"):
        assert ends[name][0] == "applied", (name, scene.runs[name].sentence)
    for name in ("broken address", "wrong password", "unknown database"):
        assert ends[name][0] == "plan_failed", (name, scene.runs[name].sentence)
    for name in ("raises", "exits", "option", "psycopg", "rendered", "statement"):
        assert ends[name][0] in ("failed", "error", "refused"), (name, scene.runs[name].sentence)


@pytest.mark.parametrize("name", ["prints", "raises", "option", "psycopg", "rendered", "statement"])
def test_what_was_printed_is_there_with_a_mask_in_the_place_of_the_secret(scene: Scene, name: str) -> None:
    said = "\n".join(scene.runs[name].log.values_list("text", flat=True))

    assert ":•••@" in said
    assert ("token •••" in said) is (name == "prints")


def test_a_password_in_the_configuration_is_a_finding_with_its_line(scene: Scene) -> None:
    plan = scene.runs["ini"].plan
    assert plan is not None
    (finding,) = [each for each in plan.findings if each["code"] == "plain_secret"]

    assert finding["place"] == "alembic.ini"
    assert "(line 3)" in finding["sentence"]


def test_a_password_in_a_script_is_a_finding_and_masked_in_statements(scene: Scene) -> None:
    plan = scene.runs["role"].plan
    assert plan is not None

    assert [each["place"] for each in plan.findings if each["code"] == "plain_secret"] == ["migrations/versions/r1.py"]
    assert "ALTER ROLE CURRENT_USER PASSWORD '•••'" in scene.statements


# What is kept in clear, and why; docs/security.md says it too. That the search finds these proves that it can find.
IN_CLEAR = {
    ("alembic.ini", "table migrations_audit_snapshot"): "a snapshot is the project's files, byte for byte",
    ("script", "table migrations_audit_snapshot"): "the same",
    ("extra environment", "table migrations_audit_project"): "declared as shown; the registry refuses names of secrets",
    ("extra environment", "page GET /migrations_audit/project/N/change/"): "the same",
    ("extra environment", "page GET /migrations_audit/project/N/delete/"): "the same",
}


def test_a_secret_is_in_no_place_where_it_does_not_belong(scene: Scene) -> None:
    secrets_ = {
        "target password": CORE["target"],
        "wrong password": CORE["wrong"],
        "alembic.ini": CORE["ini"],
        "script": CORE["script"],
        "extra environment": CORE["variable"],
        "password of a person": CORE["person"],
        "SECRET_KEY": CORE["web_key"],
        "sealing key": settings.PORTAL_SEALING_KEYS[0],
        "API token": scene.token.rpartition("_")[2] if scene.token.count("_") == 2 else scene.token[15:],
        "password of the broker": scene.redis_url.partition("@")[0].rpartition(":")[2],
        "password of the portal's database": _password(scene.database_url),
    }
    browser = _browse(scene)
    texts = browser.seen | _api(scene) | _broken(scene)
    secrets_["session"] = browser.session
    texts |= places.rows(scene.database_url) | places.queue(scene.redis_url) | places.logs(scene.folder)
    texts |= scene.watch.texts()

    assert all(secrets_.values())
    assert len(browser.seen) > 100
    assert "migrations_audit.execute_run" in texts["what was sent to Redis"]
    assert "celery" in texts["command lines"]
    assert "migrations_audit/runner" in texts["command lines"]
    assert "Traceback" in texts["log of web"]
    assert places.search(texts, secrets_) == set(IN_CLEAR)


def _password(url: str) -> str:
    return urlsplit(url).password or ""


def _browse(scene: Scene) -> Browser:
    """Every page that links lead to, everything of every run, and what wrong requests are told."""
    browser = Browser(scene.web.url)
    browser.ask("/login/", {"username": "root", "password": CORE["person"]})  # without the form's token
    browser.sign_in("root", CORE["person"])
    numbers = [run.number for run in scene.runs.values()]
    tails = ("", "live", "log", "log.txt", "events")
    pages = [f"/runs/{number}/{tail}" for number in numbers for tail in tails]
    pages += [f"/targets/{target.pk}/" for target in Target.objects.all()]
    for model, rows in (("project", Project.objects.all()), ("target", Target.objects.all())):
        for row in rows:
            pages += [f"/migrations_audit/{model}/{row.pk}/{tail}/" for tail in ("change", "delete", "history")]
    browser.walk(["/", "/audit/", "/registry/", "/api/v1/docs", "/no/such/page", "/runs/999999/", *pages])
    for form in ("jsonl", "csv"):
        token = browser.token_of(browser.ask("/audit/"))
        browser.ask("/audit/export", {"form": form, "csrfmiddlewaretoken": token}, kind=f"export {form}")
        assert browser.statuses["/audit/export"] == 200
    return browser


def _api(scene: Scene) -> places.Texts:
    """Every answer of the API that a superuser's token gets."""
    program = Browser(scene.web.url)
    bearer = f"Bearer {scene.token}"
    paths = ["targets", "runs", "audit/export", "audit/export?form=csv", "no/such", f"runs?token={scene.token}"]
    for run in scene.runs.values():
        paths += [f"runs/{run.number}{tail}" for tail in ("", "/log?limit=5000", "/evidence")]
        paths += [f"targets/{run.target_id}", f"targets/{run.target_id}/observations", f"gate?target={run.target_id}"]
        paths += [f"plans/{run.plan.digest}"] if run.plan else []
    for path in paths:
        shown = path.partition("?token")[0]
        program.seen[f"API {shown}"] = program.ask(f"/api/v1/{path}", Authorization=bearer)
    program.seen["API no json"] = program.ask("/api/v1/runs", b"{not json", Authorization=bearer)
    assert program.statuses["/api/v1/runs"] == 400
    return {name: text for name, text in program.seen.items() if name.startswith("API ")}


def _broken(scene: Scene) -> places.Texts:
    """Error pages: a table is away while somebody signs in, opens a page and calls the API."""
    browser = Browser(scene.web.url)
    browser.sign_in("root", CORE["person"])
    token = browser.token_of(browser.ask("/password_change/"))
    stranger = Browser(scene.web.url)
    form = stranger.token_of(stranger.ask("/login/"))
    with psycopg.connect(scene.database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE auth_user RENAME TO auth_user_away")
        try:
            stranger.ask(
                "/login/", {"username": "root", "password": CORE["person"], "csrfmiddlewaretoken": form}, kind="error"
            )
            browser.ask("/", kind="error")
            passwords = dict.fromkeys(("old_password", "new_password1", "new_password2"), CORE["person"])
            browser.ask("/password_change/", passwords | {"csrfmiddlewaretoken": token}, kind="error")
            browser.ask("/api/v1/runs", kind="error", Authorization=f"Bearer {scene.token}")
        finally:
            connection.execute("ALTER TABLE auth_user_away RENAME TO auth_user")
    assert stranger.statuses["/login/"] == browser.statuses["/"] == browser.statuses["/api/v1/runs"] == 500
    kept = {**browser.seen, **stranger.seen}
    return {name: text for name, text in kept.items() if name.startswith("error ")}


@pytest.mark.parametrize("secret", ["kanari0123456789", "x/y+z%@:1234567"])
def test_the_search_finds_a_secret_however_it_is_written_down(secret: str) -> None:
    raw = f"before{secret}after".encode()
    written = [raw.decode(), raw.hex(), json.dumps({"url": secret}) if "/" not in secret else secret]
    written += [base64.b64encode(b"x" * offset + raw).decode() for offset in range(3)]

    for text in written:
        assert places.search({"here 17": text}, {"it": secret}) == {("it", "here N")}
    assert places.search({"here": "nothing of the kind"}, {"it": secret}) == set()
