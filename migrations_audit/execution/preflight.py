"""The last look before a run: everything that was approved is compared with what is there now, and only then is it run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrations_audit.actors import Actor
from migrations_audit.engine import types
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import departures, observing, offline, places, repositories, runner_request
from migrations_audit.execution.executing import Ended
from migrations_audit.execution.narration import Narrator
from migrations_audit.models import MigrationRun, Plan, Snapshot
from migrations_audit.states import RunState, TargetStatus


def look(run: MigrationRun, plan: Plan, *, actor: Actor, narrator: Narrator) -> tuple[observing.Look, TargetUrl]:
    """Look at scripts and target once more, and return the URL that was read with it, which is the one to run on.

    Raises Ended when anything approved has changed, with every part that did and what of it differs.
    """
    target = run.target
    found = observing.look(target, actor=actor, purpose="preflight", run=run)
    observation = found.observation
    narrator.say(f"Preflight: {observation.sentence}")
    if found.reading is None or found.url is None:
        raise Ended(
            RunState.REFUSED, observation.error_code, f"Refused before anything was sent: {observation.sentence}"
        )
    if observation.status == TargetStatus.WRONG_DATABASE:
        raise Ended(RunState.REFUSED, "wrong_database", f"Refused: {observation.sentence}")
    if found.reading.pooled:
        raise Ended(
            RunState.REFUSED,
            "pooler",
            f"Refused: a connection pooler stands before {target}. Use a direct address for runs.",
        )
    if found.scripts is None and observation.error_code in repositories.NOT_FOUND_OUT:
        raise Ended(
            RunState.REFUSED,
            observation.error_code,
            f"Refused: whether the scripts are still the approved ones was not found out. {observation.sentence}",
        )
    if found.scripts is None:
        raise Ended(
            RunState.VOID, "scripts_changed", f"Void: the scripts cannot be read any more. {observation.sentence}"
        )
    compare(
        run,
        plan,
        found=found.scripts.snapshot,
        url=found.url,
        worker=places.worker_settings(target),
        reading=found.reading,
    )
    if observation.status == TargetStatus.UNREADABLE_SCRIPTS:
        raise Ended(RunState.REFUSED, "unreadable_scripts", f"Refused: {observation.sentence}")
    narrator.flush()
    return found, found.url


def compare(
    run: MigrationRun,
    plan: Plan,
    *,
    found: Snapshot,
    url: TargetUrl,
    worker: Mapping[str, str],
    reading: types.Reading,
) -> None:
    """Raise Ended, with every part that is another than approved, if there is one."""
    database = departures.of_database(run.target, plan, reading.identity)
    told = [
        departures.of_scripts(plan, found),
        database,
        departures.of_connection(plan, url),
        departures.of_worker(plan, worker),
        # The state of another database says nothing.
        departures.of_start(run.target, plan, reading) if database is None else None,
    ]
    _end_for([each for each in told if each is not None])


def compare_sql(
    run: MigrationRun,
    plan: Plan,
    *,
    url: TargetUrl,
    scripts: places.Scripts,
    interpreter: str,
    confinement: Confinement,
    narrator: Narrator,
) -> None:
    """Have the approved SQL made once more, and raise Ended when it is another: files can be the same and what they import not.

    What is another at each making (times, random values) cannot be compared, and the log says so. Without SQL nothing is asked.
    """
    if not plan.sql:
        return

    def made() -> str:
        try:
            result = offline.sql(
                run,
                runner_request.resolution(plan),
                url=url,
                identity=plan.identity,
                scripts=scripts,
                interpreter=interpreter,
                confinement=confinement,
            )
        except PortalError as error:
            raise _no_sql(error.message) from error
        if result.sql is None:
            raise _no_sql(result.reason)
        return result.sql

    first = made()
    if first == plan.sql:
        narrator.say("The SQL that Alembic makes of the scripts now is the approved one.")
    elif (second := made()) == first:
        _end_for([departures.of_sql(plan.sql, first)])
    elif second != plan.sql:
        narrator.say(
            "The SQL of these scripts is another each time it is made, so it is not compared; the files are the approved ones."
        )


def _end_for(found: Sequence[departures.Departure]) -> None:
    if found:
        first, others = found[0], [each.check.name for each in found[1:]]
        more = f" Also another than approved: {', '.join(others)}." if others else ""
        raise Ended(RunState.VOID, first.code, f"Void: {first.sentence}{more}", [each.check for each in found])


def _no_sql(why: str) -> Ended:
    return Ended(
        RunState.REFUSED,
        "sql_not_made",
        f"Refused before anything was sent: whether the SQL is still the approved one was not found out. {why} Request it again.",
    )
