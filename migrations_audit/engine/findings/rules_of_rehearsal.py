"""The rules about what a rehearsal saw on a copy: our own severity, what it means, the safer way."""

from __future__ import annotations

from typing import Final

from migrations_audit.engine.findings.rule import Rule
from migrations_audit.severities import Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

OF_REHEARSALS: Final = (
    Rule(
        "rehearsal_failed",
        _E,
        "The plan failed on a copy of the target.",
        "Correct the revision that the sentence names and plan again.",
    ),
    Rule(
        "rehearsal_could_not_run",
        _W,
        "The plan could not be played on a copy, so nothing is known of its locks, its delta and its way back.",
        "Give the environment a server for copies that has what is missing, or read the scripts line by line.",
    ),
    Rule(
        "large_rewrite",
        _E,
        "A table that is larger than the environment's limit is written anew, and nothing reads or writes it meanwhile.",
        "Add a new column, fill it in batches, switch over, and drop the old one later.",
    ),
    Rule(
        "long_lock",
        _W,
        "A lock that keeps others from reading or writing is held longer than the environment's limit, even on an empty copy.",
        "Put what follows the lock into another revision with a transaction of its own.",
    ),
    Rule(
        "lock_is_held",
        _W,
        "Somebody holds a table, in a transaction older than a minute, in a mode that the plan's lock waits for.",
        "Wait until that transaction has ended, or have it ended, and rehearse again. A prepared one ends by COMMIT PREPARED or "
        "ROLLBACK PREPARED.",
    ),
    Rule(
        "impact_could_not_run",
        _W,
        "The target did not tell the sizes and sessions of the tables that the plan locks, so two rules could not be applied.",
        "Correct what the run's page names as the reason, and rehearse again.",
    ),
    Rule(
        "downgrade_failed",
        _W,
        "A downgrade failed on the copy, or the upgrade failed after it.",
        "Correct the downgrade, or write into the runbook what to do instead.",
    ),
    Rule(
        "depends_on_data",
        _W,
        "Whether a statement passes, or what it does, rests on rows of the target. The copy has none, so that was not seen.",
        "Run the query of the sentence on the target, and correct what it finds first; or try the run on a copy with data.",
    ),
    Rule(
        "copy_differs",
        _W,
        "The copy was not like its target in everything, so that what needs the rest was not seen.",
        "Read on the run's page what differs.",
    ),
)
