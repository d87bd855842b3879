"""From what was read to what may be said. Pure: the same facts always give the same judgement.

The process that ran Alembic is a witness, not a judge. Rows and catalog come from a fresh connection, after the run's own
connections were gone (reference: the table of outcomes in docs/reliability.md).
"""

from __future__ import annotations

from migrations_audit.judgement.facts import Check, Facts, Judgement, Witness, rows_text
from migrations_audit.judgement.verdicts import judge

__all__ = ["Check", "Facts", "Judgement", "Witness", "judge", "rows_text"]
