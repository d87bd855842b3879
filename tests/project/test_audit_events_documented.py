"""docs/audit-events.md knows every event that the code records, and no other."""

from __future__ import annotations

import ast
import re

from migrations_audit import states
from migrations_audit.models import Environment, Membership, Project, Target, Window
from migrations_audit.states import RunState
from tests.project.sources import APP, calls, first_cells, python_files

EVENT = re.compile(r"[a-z]+\.[a-z_]+")
RECORDERS = {"record", "record_run", "tell"}
ENDS = {RunState.VOID, RunState.REFUSED, RunState.OUTCOME_UNKNOWN}
ENDS |= states.MOVES[RunState.RUNNING] | states.MOVES[RunState.OUTCOME_UNKNOWN]

# The names that are put together while the portal runs: the expression, and all that it can become.
PUT_TOGETHER = {
    "f'run.{to.value}'": {f"run.{state.value}" for state in (RunState.VOID, RunState.REFUSED)},
    "f'run.{judgement.state.value}'": {f"run.{state.value}" for state in ENDS},
    "f'{kind}.{what}'": {
        f"{model._meta.verbose_name}.{what}"
        for model in (Environment, Membership, Project, Target, Window)
        for what in ("created", "changed", "removed")
    },
    "action": {"group.created", "group.changed", "policy.proposed", "policy.confirmed", "policy.declined"},
}


def recorded() -> tuple[set[str], set[str]]:
    """The event names in the code: those written out, and the expressions of the others."""
    written, expressions = set(), set()
    for path in python_files("migrations_audit"):
        for name, call in calls(path):
            action = next((keyword.value for keyword in call.keywords if keyword.arg == "action"), None)
            if name not in RECORDERS or action is None or path == APP / "actions" / "audit.py":
                continue
            if isinstance(action, ast.Constant):
                written.add(str(action.value))
            else:
                expressions.add(ast.unparse(action))
    return written | {"access.denied"}, expressions


def test_the_names_that_are_put_together_are_the_known_ones() -> None:
    _, expressions = recorded()

    assert expressions == set(PUT_TOGETHER)


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    written, _ = recorded()

    assert set(first_cells("audit-events.md")) == written.union(*PUT_TOGETHER.values())


def test_every_event_is_a_subject_and_what_happened_to_it() -> None:
    rows = first_cells("audit-events.md")

    assert [row for row in rows if not EVENT.fullmatch(row)] == []
    assert len(rows) == len(set(rows))
