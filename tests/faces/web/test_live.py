"""The live view: the fragment, the log as JSON and as a file, and the stream of events."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test import Client, override_settings

from migrations_audit.actions import attempts, runs
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import Phase
from migrations_audit.web import stream
from migrations_audit.web.views import live
from tests import people
from tests.domain import rehearsed
from tests.domain.conftest import _emptiable_tables, real_transactions
from tests.faces.web.visitor import VisitorOf

__all__ = ["_emptiable_tables", "real_transactions"]


def write(run: MigrationRun, *texts: str) -> None:
    epoch = MigrationRun.objects.values_list("epoch", flat=True).get(number=run.number)
    attempts.append_log(number=run.number, epoch=epoch, lines=[attempts.Line("stdout", text) for text in texts])


def parsed(chunk: str) -> tuple[str, str, dict[str, Any]]:
    """Name, id and data of one event; the name of a comment or of ``retry`` is empty."""
    fields = dict(line.split(": ", 1) for line in chunk.strip().splitlines() if not line.startswith(":"))
    return fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "{}"))


def started(place: people.Place, run: MigrationRun) -> MigrationRun:
    """A run that waited for approval, once a worker has it."""
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)
    return attempts.claim(actor=people.WORKER, number=run.number)


Script = Callable[[str, dict[str, Any]], None]


def listen(
    run: MigrationRun, *, user_id: int | None, after: int = 0, then: Script | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    """Every event until the stream ends. ``then`` is called after each of them, to make the next one happen."""

    async def all_of_them() -> list[tuple[str, str, dict[str, Any]]]:
        heard = []
        async for chunk in stream.events_of(run.number, user_id=user_id, after=after):
            name, identifier, data = parsed(chunk)
            if name:
                heard.append((name, identifier, data))
            if then is not None:
                await sync_to_async(then)(name, data)
        return heard

    return async_to_sync(all_of_them)()


@pytest.fixture(autouse=True)
def _one_transaction(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the whole test is one transaction, closing its connection would take its rows away.
    if "real_transactions" not in request.fixturenames:
        monkeypatch.setattr(stream, "close_old_connections", lambda: None)


@pytest.fixture
def viewer_id(place: people.Place) -> int:
    return place.people["viewer"].pk


def test_a_finished_run_is_told_whole_and_then_ends(place: people.Place, viewer_id: int) -> None:
    run = people.make_run(place, state="running")
    write(run, "one", "two")
    people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, user_id=viewer_id)

    assert [(name, identifier) for name, identifier, _ in heard] == [
        ("log", "1"),
        ("log", "2"),
        ("state", ""),
        ("end", ""),
    ]
    assert heard[1][2]["text"] == "two"
    assert heard[2][2]["state"] == "applied"
    assert heard[2][2]["verdict"] == "verified"


def test_a_browser_that_comes_back_gets_only_what_it_has_not_seen(place: people.Place, viewer_id: int) -> None:
    run = people.make_run(place, state="running")
    write(run, *(str(number) for number in range(1, 6)))
    people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, user_id=viewer_id, after=3)

    assert [identifier for name, identifier, _ in heard if name == "log"] == ["4", "5"]


def test_a_long_log_comes_in_order_without_gap_or_repetition(place: people.Place, viewer_id: int) -> None:
    run = people.make_run(place, state="running")
    write(run, *(str(number) for number in range(1_234)))
    people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, user_id=viewer_id)

    assert [int(identifier) for name, identifier, _ in heard if name == "log"] == list(range(1, 1_235))
    assert [name for name, _, _ in heard][-2:] == ["state", "end"]


@pytest.mark.usefixtures("real_transactions")
def test_what_is_written_while_the_stream_is_open_arrives_by_the_nudge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOK_EVERY_S", 60.0)
    place = people.make_place()
    run = people.make_run(place, state="running")

    def go_on(name: str, data: dict[str, Any]) -> None:
        if name != "state" or data["state"] != "running":
            return
        if data["phase"] != "verify":
            write(run, "written meanwhile")
            attempts.enter_phase(
                actor=people.WORKER, number=run.number, epoch=2, phase=Phase.VERIFY, sentence="Reading."
            )
        else:
            people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, user_id=place.people["viewer"].pk, then=go_on)

    assert "written meanwhile" in [data.get("text") for _, _, data in heard]
    assert [data["state"] for name, _, data in heard if name == "state"] == ["running", "running", "applied"]
    assert heard[-1][0] == "end"


def test_a_page_that_is_open_hears_when_its_run_takes_longer_than_expected(
    place: people.Place, viewer_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    run = people.make_run(place, state="awaiting_approval")
    rehearsed.ended(place, run, steps=[rehearsed.STEP])
    run = started(place, run)

    def hang_and_end(name: str, data: dict[str, Any]) -> None:
        if name == "state" and data["state"] == "running" and not data["is_long"]:
            MigrationRun.objects.filter(pk=run.pk).update(started_at=database_now() - timedelta(hours=1))
        elif name == "state" and data["is_long"]:
            people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, user_id=viewer_id, then=hang_and_end)

    states = [(data["state"], data["is_long"]) for name, _, data in heard if name == "state"]
    assert states == [("running", False), ("running", True), ("applied", False)]


def test_the_page_says_how_long_it_should_take_and_when_it_takes_longer(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="awaiting_approval")
    rehearsed.ended(place, run, steps=[rehearsed.STEP])
    viewer = visitor("viewer")
    source = "as long as on a copy without data; tables with rows take longer"

    before = viewer.run(run).words
    run = started(place, run)
    soon = viewer.get(f"/runs/{run.number}/live").section("status")
    MigrationRun.objects.filter(pk=run.pk).update(started_at=database_now() - timedelta(hours=1))
    late = viewer.get(f"/runs/{run.number}/live").section("status")

    assert f"Expected duration about 12 ms, {source}" in before
    assert f"Its revisions should take about 12 ms, {source}." in soon
    assert (
        f"Longer than expected: it runs since 1 h ago , and its revisions should take about 12 ms ({source})." in late
    )


def test_an_empty_copy_is_no_measure_of_a_large_table(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    large = rehearsed.IMPACT | {"relations": [{"name": "public.orders", "bytes": 41_000_000}]}
    rehearsed.ended(place, run, steps=[rehearsed.STEP], impact=large)
    viewer = visitor("viewer")
    said = "12 ms on an empty copy; nothing is known about this much data (orders: 39.1 MB)"

    before = viewer.run(run).words
    run = started(place, run)
    MigrationRun.objects.filter(pk=run.pk).update(started_at=database_now() - timedelta(hours=1))
    late = viewer.get(f"/runs/{run.number}/live").section("status")

    assert f"Expected duration {said}" in before.replace("\xa0", " ")
    assert f"Its revisions took {said}." in late.replace("\xa0", " ")
    assert "Longer than expected" not in late


def test_a_run_of_which_nothing_is_expected_is_never_long(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    MigrationRun.objects.filter(pk=run.pk).update(started_at=database_now() - timedelta(hours=1))

    answer = json.loads(visitor("viewer").get(f"/runs/{run.number}/log").source)

    assert answer["state"]["is_long"] is False


@pytest.mark.usefixtures("real_transactions")
def test_without_redis_it_is_read_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOK_WITHOUT_REDIS_S", 0.05)
    place = people.make_place()
    run = people.make_run(place, state="running")

    def go_on(name: str, data: dict[str, Any]) -> None:
        if name == "state" and data["state"] == "running":
            write(run, "one")
            people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        heard = listen(run, user_id=place.people["viewer"].pk, then=go_on)

    assert [name for name, _, _ in heard] == ["state", "log", "state", "end"]


@pytest.mark.usefixtures("real_transactions")
def test_between_two_looks_the_stream_holds_no_database_connection() -> None:
    place = people.make_place()
    run = people.make_run(place, state="running")
    held: list[bool] = []

    async def first_state() -> None:
        events = stream.events_of(run.number, user_id=place.people["viewer"].pk, after=0)
        async for chunk in events:
            if parsed(chunk)[0] == "state":
                held.append(await sync_to_async(lambda: connection.connection is not None)())
                break
        await events.aclose()  # type: ignore[attr-defined]  # an async generator, typed as what callers may rely on

    async_to_sync(first_state)()

    assert held == [False]


def test_whoever_loses_sight_of_the_run_loses_the_stream(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    run = people.make_run(place, state="running")

    def leave(name: str, data: dict[str, Any]) -> None:
        place.people["viewer"].groups.clear()

    heard = listen(run, user_id=place.people["viewer"].pk, then=leave)

    assert heard[-1] == ("end", "", {"reason": "You may no longer see this run."})


def test_a_quiet_stream_says_that_it_is_still_there(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.0)
    run = people.make_run(place, state="running")

    async def first_comment() -> str:
        async for chunk in stream.events_of(run.number, user_id=place.people["viewer"].pk, after=0):
            if chunk.startswith(":"):
                return chunk
        raise AssertionError("The stream ended.")

    assert async_to_sync(first_comment)() == ": still here\n\n"


def test_a_stream_is_not_kept_for_ever(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    monkeypatch.setattr(stream, "LONGEST_S", 0.0)
    run = people.make_run(place, state="running")

    assert listen(run, user_id=place.people["viewer"].pk) == []


class _Silent(stream.Wakeups):
    async def wait(self) -> None:
        """Nobody nudges; look again at once."""


@asynccontextmanager
async def silently(number: int) -> AsyncIterator[stream.Wakeups]:
    yield _Silent(None)


def test_the_answer_is_an_event_stream_that_no_proxy_keeps_back(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")

    response = visitor("viewer").client.get(f"/runs/{run.number}/events")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-cache"


def test_the_log_as_json_goes_on_from_a_line(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    write(run, "one", "two", "three")
    viewer = visitor("viewer")

    answer = json.loads(viewer.get(f"/runs/{run.number}/log?after=1").source)
    nonsense = json.loads(viewer.get(f"/runs/{run.number}/log?after=-1;drop").source)

    assert [line["text"] for line in answer["lines"]] == ["two", "three"]
    assert (answer["next_after"], answer["more"], answer["ended"]) == (3, False, False)
    assert answer["state"]["state"] == "running"
    assert len(nonsense["lines"]) == 3


def test_the_log_as_a_file_is_whole(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    write(run, *(f"line {number}" for number in range(700)))

    answer = visitor("viewer").get(f"/runs/{run.number}/log.txt")

    lines = answer.source.splitlines()
    assert len(lines) == 700
    assert lines[-1].endswith("stdout: line 699")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="run-{run.number}.log"'


def test_the_fragment_is_made_of_the_parts_of_the_page(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")

    page, fragment = operator.run(run), operator.get(f"/runs/{run.number}/live")

    assert "<html" not in fragment.source
    for region in ("status", "decide", "approvals", "trail"):
        assert len(fragment.section(region)) > 20
        assert _at_any_moment(fragment.section(region)) == _at_any_moment(page.section(region))


def _at_any_moment(words: str) -> str:
    """The same a second later: the two were not asked for at once."""
    return re.sub(r"\d+ s ago", "… s ago", words)


def test_the_fragment_does_not_read_the_scripts_again(
    place: people.Place, visitor: VisitorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> Iterator[None]:
        raise AssertionError("The fragment read the archive.")

    monkeypatch.setattr("migrations_audit.queries.sources.plan_sources", read)
    run = people.make_run(place, state="approved")

    assert visitor("viewer").get(f"/runs/{run.number}/live").status == 200


def test_one_person_cannot_take_every_connection_with_live_logs(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = people.make_run(place, state="approved")
    client = Client()
    client.force_login(place.people["viewer"])
    monkeypatch.setitem(live._open_streams, place.people["viewer"].pk, live.MOST_STREAMS_OF_A_PERSON)

    answer = client.get(f"/runs/{run.number}/events")

    assert answer.status_code == 429
    assert answer["Retry-After"] == "30"


def test_the_page_comes_with_the_state_that_its_stream_begins_with(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    viewer = visitor("viewer")

    page = html.unescape(viewer.run(run).source)

    told = page.partition('data-state="')[2].partition('}"')[0] + "}"
    assert json.loads(told) == json.loads(viewer.get(f"/runs/{run.number}/log").source)["state"]
