"""One run from the request to the exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import NoReturn

from . import calling, confining, failures, guarding, planned, telling, watching


def tell_failure(events: telling.Events, watch: watching.Watch, error: BaseException) -> None:
    events.emit("error", **{"revision": "", **watch.step}, **failures.described(error), where=failures.place(error))
    for each in failures.chain(error):
        if hasattr(each, "hide_parameters"):
            each.hide_parameters = True
    traceback.print_exception(type(error), error, error.__traceback__)


def complete(events: telling.Events, guard: guarding.Guard, plan: planned.Plan) -> bool:
    if guard.connections == 0:
        events.emit("no_connection", message="Alembic returned, but no database connection was opened.")
    elif plan.remaining:
        events.emit("steps_missing", message="Alembic returned before the plan was at its end.", steps=plan.remaining)
    return guard.connections > 0 and not plan.remaining


def main() -> NoReturn:
    request_pipe, event_pipe, lifeline, supervisor = map(int, sys.argv[1:5])
    confining.die_with(supervisor, confining.moved_up(lifeline))
    request = json.loads(confining.first_line(request_pipe))
    events = telling.Events(confining.moved_up(event_pipe))
    confining.confine(request["memory_bytes"], request["processes"])
    sys.argv = ["alembic", request["mode"]]
    guard = guarding.Guard(request, events, confining.moved_up(request_pipe))
    plan = planned.Plan(request, events)
    watch = watching.Watch(request, events, guard, plan)
    ok = False
    try:
        import alembic
        import sqlalchemy

        python = ".".join(map(str, sys.version_info[:3]))
        events.emit(
            "hello", pid=os.getpid(), python=python, alembic=alembic.__version__, sqlalchemy=sqlalchemy.__version__
        )
        guard.arm()
        watch.arm()
        calling.perform(request, events, plan)
        ok = bool(request["offline_range"]) or complete(events, guard, plan)
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt of the project too
        tell_failure(events, watch, error)
    if left := confining.left_behind(supervisor):
        events.emit("left_behind", count=left)
    events.emit("finished", ok=ok, connections=guard.connections, **watch.told)
    telling.leave(telling.COMPLETE if ok else telling.INCOMPLETE)
