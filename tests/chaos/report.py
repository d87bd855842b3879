"""The tables of a chaos: which fault led to which outcome, and which verdict met which truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from tests.chaos.driving import Attempt
from tests.chaos.totals import Totals
from tests.chaos.truth import Effect


def tables(attempts: Sequence[Attempt]) -> str:
    """Both tables. A fault that came after its run had ended is counted apart."""
    outcomes = Counter((fault, attempt.verdict) for attempt in attempts for fault in attempt.came)
    confusion = Counter((attempt.verdict, attempt.effect) for attempt in attempts)
    verdicts = sorted({verdict for verdict, _ in confusion})
    faults = sorted({fault for fault, _ in outcomes})
    return "\n".join(
        [
            "",
            "Fault × outcome (a run may have had two faults)",
            *_table("fault", faults, verdicts, outcomes),
            "",
            "Verdict × truth (how much of the run's steps is in the target)",
            *_table("verdict", verdicts, [str(each) for each in Effect], confusion),
        ]
    )


def _table(title: str, lines: Sequence[str], columns: Sequence[str], counts: Counter[tuple[str, str]]) -> Iterator[str]:
    first = max([len(title), *map(len, lines)])
    widths = [max(5, len(column)) for column in columns]
    yield "  ".join([f"{title:<{first}}", *(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))])
    for line in lines:
        cells = [counts[line, column] for column in columns]
        yield "  ".join(
            [f"{line:<{first}}", *(f"{cell or '·':>{width}}" for cell, width in zip(cells, widths, strict=True))]
        )


def findings(totals: Totals) -> str:
    """Everything that is not as it must be, one a line."""
    titles = {
        "wrong": "WRONG VERDICT",
        "twice": "APPLIED TWICE",
        "lost": "LOST",
        "claims": "CLAIMED TWICE",
        "without_lease": "NO LEASE",
        "secrets": "SECRET",
        "broken": "BROKEN",
    }
    return "\n".join(
        f"{titles[name]}: {text}" for name, texts in asdict(totals).items() if name in titles for text in texts
    )


def last_line(totals: Totals, *, runs: int, seed: int, seconds: float) -> str:
    """The one line that says it all."""
    chain = f"CHAIN BROKEN ({totals.chain})" if totals.chain else "chain verified"
    others = {
        "claimed twice": totals.claims,
        "without a lease": totals.without_lease,
        "secrets in logs": totals.secrets,
        "broken": totals.broken,
    }
    more = "".join(f", {len(found)} {name}" for name, found in others.items() if found)
    return (
        f"{runs} runs: {len(totals.wrong)} wrong verdicts, {len(totals.twice)} applied twice, {len(totals.lost)} lost, "
        f"{chain}{more} ({seconds:.0f} s, seed {seed})"
    )
