"""What a rehearsed plan would meet on its target now, and the locks that it will take there."""

from __future__ import annotations

from typing import Any

from migrations_audit.engine import impact, lock_modes
from migrations_audit.engine.rehearsing import forecast, naming
from migrations_audit.engine.rehearsing.types import Pass
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution.blocking import shape

APPLICATION = "opsportal/impact"
MOST_ENTRIES = 200
MOST_RELATIONS = 500
LONGEST_QUERY = 500


def read(url: TargetUrl, there: Pass, *, sql: str, version_table: str = "") -> dict[str, Any]:
    """The target as it is now for the relations that the plan locks, and the forecast, worst first. A failure is told there.

    ``sql`` is the plan's. Where the copy did not show all locks, the tables are asked for that it and what was executed name.
    ``asked`` counts what was asked for. Those that the plan would wait for come first among the holders.
    """
    statements = [each for step in there.steps for each in step.statements]
    wanted = {lock for each in statements for lock in each.locks}
    names = sorted({lock.relation for lock in wanted})
    is_known = there.steps and there.came_to_its_end and not there.uninspected
    named = [] if is_known else naming.tables((sql, *(each.text for each in statements)))
    try:
        found = impact.read(url, names=names, named=named, application_name=APPLICATION).as_dict()
    except PortalError as error:
        found = impact.Impact(problem=error.message).as_dict()
    for row in (*found["holders"], *found["long"]):
        row["query"] = shape(row["query"])[:LONGEST_QUERY]
    for row in found["holders"]:
        row["in_the_way"] = any(
            lock.relation == row["relation"] and lock_modes.conflict(lock.mode, row["mode"]) for lock in wanted
        )
    found["holders"] = sorted(found["holders"], key=lambda row: not row["in_the_way"])
    entries = forecast.forecast(there.steps, found, version_table=version_table)
    found["relations"] = found["relations"][:MOST_RELATIONS]
    return {
        **found,
        "asked": len(names) + len(named),
        "forecast": [entry.as_dict() for entry in entries[:MOST_ENTRIES]],
    }
