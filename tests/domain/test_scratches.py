"""Where copies are made: a private server, or the environment's own, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from migrations_audit.engine import urls
from migrations_audit.engine.rehearsing.types import Scratch
from migrations_audit.errors import PortalError
from migrations_audit.execution import scratches
from migrations_audit.models import Environment
from opsportal.local import process
from tests.domain import rehearsed
from tests.people import make_place, make_run

pytestmark = pytest.mark.django_db


class Broken(process.LaunchFailed):
    """No server was started."""

    code = "no_postgres"


@contextmanager
def broken() -> Iterator[tuple[str, Path]]:
    """A site whose servers do not start."""
    raise Broken("No PostgreSQL programs were found.")
    yield "", Path()


@contextmanager
def working() -> Iterator[tuple[str, Path]]:
    """A site that hands out the address of a server."""
    yield "postgresql://own:er@127.0.0.1:1/postgres", Path("/nowhere")


def _fail_on_its_server(environment: Environment) -> None:
    with scratches.server_for(environment) as scratch:
        assert scratch.private
        raise process.LaunchFailed("Something else was not started.")


def test_a_worker_that_makes_no_servers_says_so(settings: Settings) -> None:
    settings.PORTAL_SCRATCH = ""

    with (
        pytest.raises(scratches.NoScratch, match="makes no private servers"),
        scratches.server_for(make_place().environment),
    ):
        pytest.fail("There is no server.")


def test_a_server_that_does_not_start_is_a_reason(settings: Settings) -> None:
    settings.PORTAL_SCRATCH = f"{__name__}.broken"

    with (
        pytest.raises(scratches.NoScratch, match="could be started on this worker"),
        scratches.server_for(make_place().environment),
    ):
        pytest.fail("There is no server.")


def test_what_happens_with_the_server_is_not_taken_for_its_start(settings: Settings) -> None:
    settings.PORTAL_SCRATCH = f"{__name__}.working"

    environment = make_place().environment

    with pytest.raises(process.LaunchFailed):
        _fail_on_its_server(environment)


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nowhere/at/all"])
def test_a_reference_that_leads_nowhere_is_a_reason(reference: str) -> None:
    environment = make_place(scratch_reference=reference).environment

    with pytest.raises(PortalError) as caught, scratches.server_for(environment):
        pytest.fail("There is no server.")

    assert caught.value.code == "cannot_resolve"


def test_another_engine_takes_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SCRATCH", "mysql+pymysql://own:er@127.0.0.1:1/copies")
    environment = make_place(scratch_reference="env:TEST_SCRATCH").environment

    with pytest.raises(scratches.NotForCopies, match="is no PostgreSQL"), scratches.server_for(environment):
        pytest.fail("There is no server.")


def test_two_attempts_never_share_a_copy_on_a_shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TARGET_URL", "postgresql://migrator:secret@127.0.0.1:1/market")
    place = make_place()
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    url = "postgresql://own:er@127.0.0.1:1/postgres"
    shared = Scratch(owner=urls.parse(url), private=False)
    private = Scratch(owner=urls.parse(url), private=True)

    first = scratches.names(taken, shared)
    taken.epoch += 1
    second = scratches.names(taken, shared)

    assert not set(first) & set(second)
    assert all(str(taken.pk) in name for name in (*first, *second))
    assert scratches.names(taken, private)[0] == "market"
