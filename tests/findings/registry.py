"""All cases."""

from __future__ import annotations

from typing import Any, Final

from tests.findings.cases import Part
from tests.findings.of_graphs import OF_GRAPHS
from tests.findings.of_plans import OF_PLANS
from tests.findings.of_rehearsals import OF_OUTCOMES, OF_REHEARSALS
from tests.findings.of_scripts import OF_SCRIPTS
from tests.findings.of_squawk import OF_SQUAWK
from tests.findings.of_statements import OF_STATEMENTS

PARTS: Final[tuple[Part[Any], ...]] = (
    OF_STATEMENTS,
    OF_SQUAWK,
    OF_SCRIPTS,
    OF_GRAPHS,
    OF_PLANS,
    OF_REHEARSALS,
    OF_OUTCOMES,
)
