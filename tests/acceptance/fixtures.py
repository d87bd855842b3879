"""The portal of a test module, for acceptance and browser tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.acceptance import portal as portals


@pytest.fixture(scope="module")
def portal(django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[portals.Portal]:
    """A migrated, empty portal database with one running worker."""
    folder: Path = tmp_path_factory.mktemp("portal")
    roots = folder / "projects"
    roots.mkdir()
    name = f"acceptance_{secrets.token_hex(4)}"
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        portals.on_server(f'CREATE DATABASE "{name}"')
        before = portals.use_database(name)
        allowed = [str(roots), str(portals.ROOT / "opsportal" / "demo"), str(portals.OPTUNA)]
        patch.setenv("PORTAL_PROJECT_ROOTS", ",".join(allowed))
        patch.setattr(settings, "PORTAL_PROJECT_ROOTS", allowed)
        patch.setattr(settings, "PORTAL_RESEND_S", 2)
        files = folder / "files"
        files.mkdir()
        files.chmod(0o777)  # of a runner with another account too
        patch.setenv("PORTAL_SQLITE_ROOTS", str(files))
        patch.setattr(settings, "PORTAL_SQLITE_ROOTS", [str(files)])
        # Portals of other test processes number their runs alike and share the targets' server: a fence goes by this name.
        patch.setenv("PORTAL_NAME", name.replace("_", "-"))
        patch.setattr(settings, "PORTAL_NAME", name.replace("_", "-"))
        workers = portals.Workers(portals.database_url(name), folder)
        web = portals.Web(portals.database_url(name), folder)
        try:
            call_command("migrate", verbosity=0)
            workers.start()
            yield portals.Portal(workers, web, roots)
        finally:
            web.stop()
            workers.stop()
            portals.use_database(before)
            portals.on_server(f'DROP DATABASE "{name}" WITH (FORCE)')
