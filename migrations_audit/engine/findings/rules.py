"""Every rule, in the order in which docs/findings.md shows them."""

from __future__ import annotations

from typing import Final

from migrations_audit.engine.findings import rules_of_rehearsal, rules_of_scripts, rules_of_sql

ALL: Final = (
    *rules_of_sql.OF_THE_CHECK,
    *rules_of_sql.OF_DESTRUCTION,
    *rules_of_sql.OF_LOCKS,
    *rules_of_sql.OF_COMPATIBILITY,
    *rules_of_scripts.OF_SCRIPTS,
    *rules_of_scripts.OF_THE_GRAPH,
    *rules_of_scripts.OF_THE_TARGET,
    *rules_of_rehearsal.OF_REHEARSALS,
)
BY_CODE: Final = {rule.code: rule for rule in ALL}
