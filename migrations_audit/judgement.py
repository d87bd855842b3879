"""From what was read to what may be said. Pure: the same facts always give the same judgement.

The process that ran Alembic is a witness, not a judge. Rows and catalog come from a fresh connection, after the run's own
connections were gone (reference: the table of outcomes in docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from migrations_audit import listing
from migrations_audit.states import Outcome, RunState, Verdict

MOST_NAMED = 5


@dataclass(frozen=True)
class Check:
    """One line of evidence before it is stored."""

    name: str
    expected: str
    observed: str
    outcome: Outcome
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Witness:
    """What the runner said about itself. ``None`` where nobody heard it (a lost worker)."""

    exit_code: int | None = None
    ended_by: str = ""
    refusal: str = ""
    error: str = ""
    steps_ended: int = 0
    connected: bool = False
    commit_after_version: bool | None = None
    version_written: bool | None = None
    cancel_requested: bool = False
    by_reconciliation: bool = False
    touched: bool = True
    """False when it is certain that the project got no connection, or that all it sent by one was rolled back."""
    begun: bool = False
    """True when a revision was begun, whatever became of it: such a run was not refused."""


@dataclass(frozen=True)
class Facts:
    """What was planned, and what was read on a fresh connection."""

    target: str
    start: tuple[str, ...]
    result: tuple[str, ...]
    steps: tuple[str, ...]
    all_transactional: bool
    rows: tuple[str, ...] | None
    identity_differences: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    new_invalid_indexes: tuple[str, ...] = ()
    prepared_transactions: tuple[str, ...] = ()
    catalog_known_before: bool = True
    fingerprint: str = ""
    fingerprint_seen_at_result: str = ""
    promised_tables: int = 0
    broken_promises: tuple[str, ...] = ()
    rehearsal: str = ""
    """The rehearsal whose changes must have come true, and nothing else; empty where the plan has none that passed."""
    rehearsed_objects: int = 0
    rehearsal_differences: tuple[str, ...] = ()
    adopts: bool = False
    """Nothing but the version table may have changed; it is left out of ``changes`` then."""
    reference: str = ""
    reference_differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    state: RunState
    verdict: Verdict
    code: str
    sentence: str
    checks: tuple[Check, ...] = field(default=())


def rows_text(rows: Sequence[str] | None) -> str:
    """Version rows for people."""
    if rows is None:
        return "base (no version table)"
    return ", ".join(rows) if rows else "base (empty version table)"


def judge(facts: Facts, witness: Witness) -> Judgement:
    """What the reading shows about the run. Never verified unless every check passed or only warned."""
    checks = _checks(facts, witness)
    at_result = _same_rows(facts.rows, facts.result)
    at_start = _same_rows(facts.rows, facts.start)
    if facts.identity_differences:
        return Judgement(
            RunState.OUTCOME_UNKNOWN,
            Verdict.UNVERIFIED,
            "wrong_database",
            f"Target replaced: another database answers for {facts.target} than the one that this run was for. "
            f"{facts.identity_differences[0]} What the run did cannot be read there.",
            checks,
        )
    if witness.refusal and not (witness.touched or witness.begun):
        return _refused(facts, witness, checks)
    if not witness.touched and not at_start:
        return Judgement(
            RunState.ERROR,
            Verdict.UNVERIFIED,
            "nothing_sent",
            f"{facts.target} was read at {rows_text(facts.rows)}, and no connection that this run got brought it there. "
            "Look at who did, then plan again from there.",
            checks,
        )
    if at_result and not at_start:
        return _at_result(facts, witness, checks)
    if at_start:
        return _at_start(facts, witness, checks)
    return _elsewhere(facts, witness, checks)


def _elsewhere(facts: Facts, witness: Witness, checks: tuple[Check, ...]) -> Judgement:
    """Neither at the start nor at the result: on the way, or where this plan does not lead."""
    if facts.rows and {*facts.rows} <= {*facts.start, *facts.steps, *facts.result}:
        return Judgement(
            RunState.FAILED,
            Verdict.CONTRADICTED,
            "partly_applied",
            f"Partly applied: {facts.target} is at {rows_text(facts.rows)}, between {rows_text(facts.start)} and "
            f"{rows_text(facts.result)}.{_tail(witness)} Plan again from there; a new approval is needed.",
            checks,
        )
    return Judgement(
        RunState.FAILED,
        Verdict.CONTRADICTED,
        "unexpected_rows",
        f"{facts.target} was read with {rows_text(facts.rows)}, which is neither {rows_text(facts.start)} nor "
        f"{rows_text(facts.result)} nor a step from one to the other.{_tail(witness)} Something else changed the "
        "version table: look at it before anything runs again.",
        checks,
    )


def _at_result(facts: Facts, witness: Witness, checks: tuple[Check, ...]) -> Judgement:
    where = f"{facts.target} was read at {rows_text(facts.rows)}"
    bad = [check for check in checks if check.outcome in (Outcome.FAILED, Outcome.COULD_NOT_RUN)]
    if bad:
        return Judgement(
            RunState.FAILED,
            Verdict.CONTRADICTED,
            "contradicted",
            f"{where}, but: {bad[0].name}: expected {bad[0].expected}, observed {bad[0].observed}.",
            checks,
        )
    note = ""
    if witness.by_reconciliation:
        note = " Confirmed by reconciliation; the worker was lost."
    elif witness.cancel_requested:
        note = " The cancel came too late: it had committed."
    elif witness.exit_code != 0:
        note = f" Alembic ended with an error afterwards.{_tail(witness)}"
    return Judgement(RunState.APPLIED, Verdict.VERIFIED, "verified", f"{where} on a fresh connection.{note}", checks)


def _refused(facts: Facts, witness: Witness, checks: tuple[Check, ...]) -> Judgement:
    still = "still " if _same_rows(facts.rows, facts.start) else ""
    sentence = f"{witness.error} Nothing was applied: {facts.target} is {still}at {rows_text(facts.rows)}.".strip()
    return Judgement(RunState.REFUSED, Verdict.UNVERIFIED, witness.refusal, sentence, checks)


def _at_start(facts: Facts, witness: Witness, checks: tuple[Check, ...]) -> Judgement:
    still = f"{facts.target} is still at {rows_text(facts.rows)}"
    if facts.changes and facts.catalog_known_before and witness.touched:
        return Judgement(
            RunState.FAILED,
            Verdict.CONTRADICTED,
            "partly_applied",
            f"Partly applied: {still}, but {len(facts.changes)} catalog objects differ from before: {_named(facts.changes)}."
            f"{_tail(witness)}",
            checks,
        )
    if not facts.all_transactional and witness.touched:
        return Judgement(
            RunState.FAILED,
            Verdict.UNVERIFIED,
            "possibly_partly_applied",
            f"Possibly partly applied: {still} and {_catalog_words(facts)}, but a revision of this plan works outside a "
            f"transaction and its data cannot be compared.{_tail(witness)} A person must look before anything runs again.",
            checks,
        )
    if witness.refusal and not witness.begun:
        return _refused(facts, witness, checks)
    if witness.cancel_requested:
        return Judgement(
            RunState.CANCELLED, Verdict.UNVERIFIED, "cancelled", f"Cancelled before any commit: {still}.", checks
        )
    if witness.exit_code == 0:
        return Judgement(
            RunState.FAILED,
            Verdict.CONTRADICTED,
            "no_effect",
            f"Alembic reported no error, but {still}. Look at env.py: SQL before context.configure() without a commit, "
            "another connection, or no migration at all are the usual causes.",
            checks,
        )
    if witness.by_reconciliation:
        return Judgement(
            RunState.FAILED,
            Verdict.UNVERIFIED,
            "no_change",
            f"The worker was lost. Read afterwards: {still} and {_catalog_words(facts)}.",
            checks,
        )
    return Judgement(
        RunState.FAILED, Verdict.UNVERIFIED, "no_change", f"Nothing was applied: {still}.{_tail(witness)}", checks
    )


def _named(changes: tuple[str, ...]) -> str:
    """The first of what differs, by their keys; the evidence has all of it."""
    return listing.listed([change.partition(": ")[0] for change in changes], MOST_NAMED, between="; ")


def _catalog_words(facts: Facts) -> str:
    if not facts.catalog_known_before:
        return "its catalog cannot be compared with before"
    if facts.changes:
        return f"{len(facts.changes)} catalog objects were changed by something else"
    return "its catalog is unchanged"


def _tail(witness: Witness) -> str:
    if witness.ended_by.startswith("deadline"):
        return " The run was stopped at its deadline."
    return f" {witness.error.strip()}" if witness.error.strip() else ""


def _same_rows(found: tuple[str, ...] | None, expected: tuple[str, ...]) -> bool:
    """An absent version table and an empty one are both base."""
    return sorted(found or ()) == sorted(expected)


def _checks(facts: Facts, witness: Witness) -> tuple[Check, ...]:
    checks = [
        Check(
            "identity",
            "the enrolled database",
            "; ".join(facts.identity_differences) or "the enrolled database",
            Outcome.FAILED if facts.identity_differences else Outcome.PASSED,
        ),
        Check(
            "revision rows",
            rows_text(facts.result),
            rows_text(facts.rows),
            Outcome.PASSED if _same_rows(facts.rows, facts.result) else Outcome.FAILED,
        ),
        _catalog_check(facts),
        *_rehearsal_check(facts),
        *_promise_checks(facts),
        Check(
            "invalid indexes",
            "no new one",
            ", ".join(facts.new_invalid_indexes) or "no new one",
            Outcome.FAILED if facts.new_invalid_indexes else Outcome.PASSED,
        ),
        Check(
            "prepared transactions",
            "none left",
            ", ".join(facts.prepared_transactions) or "none left",
            # An application may have its own at any moment, so one is worth a look and contradicts nothing.
            Outcome.WARNING if facts.prepared_transactions else Outcome.PASSED,
        ),
    ]
    if facts.fingerprint_seen_at_result:
        same = facts.fingerprint == facts.fingerprint_seen_at_result
        checks.append(
            Check(
                "catalog as last seen at this revision",
                facts.fingerprint_seen_at_result[:12],
                facts.fingerprint[:12],
                Outcome.PASSED if same else Outcome.WARNING,
            )
        )
    return (*checks, *_reference_check(facts), *_witness_checks(facts, witness))


def _reference_check(facts: Facts) -> list[Check]:
    """What was adopted is what its revision should be, as far as another database of the project can tell."""
    if not facts.adopts:
        return []
    if not facts.reference:
        observed = "no other target of the project was read at this revision"
        return [Check("catalog of another target at this revision", "the same", observed, Outcome.WARNING)]
    differing = facts.reference_differences
    return [
        Check(
            "catalog of another target at this revision",
            f"as {facts.reference}",
            f"{len(differing)} objects differ" if differing else f"as {facts.reference}",
            Outcome.WARNING if differing else Outcome.PASSED,
            differing,
        )
    ]


def _rehearsal_check(facts: Facts) -> list[Check]:
    """What the revisions made of a copy they must have made of the target, and nothing else that is compared may have changed."""
    if not facts.rehearsal:
        return []
    differing = facts.rehearsal_differences
    return [
        Check(
            "as rehearsed",
            f"the {facts.rehearsed_objects} changes of {facts.rehearsal}, and nothing else of what is compared",
            listing.listed(differing, 3, between="; ") or "all of them, and nothing else of what is compared",
            Outcome.FAILED if differing else Outcome.PASSED,
            differing,
        )
    ]


def _catalog_check(facts: Facts) -> Check:
    if not facts.catalog_known_before:
        return Check("catalog difference", "compared with before", "there is no reading from before", Outcome.WARNING)
    if facts.adopts:
        found = f"{len(facts.changes)} other objects" if facts.changes else "nothing but the version table"
        outcome = Outcome.FAILED if facts.changes else Outcome.PASSED
        return Check("catalog difference", "nothing but the version table", found, outcome, facts.changes)
    if not facts.changes:
        return Check("catalog difference", "what the revisions change", "nothing changed", Outcome.WARNING)
    return Check(
        "catalog difference",
        "what the revisions change",
        f"{len(facts.changes)} objects",
        Outcome.PASSED,
        facts.changes,
    )


def _promise_checks(facts: Facts) -> list[Check]:
    """Whether the tables that the SQL makes are there: a stamped revision is not an applied one.

    SQL is read narrowly, so a single table that is not found is worth a look, and all of them missing is a contradiction.
    """
    if not facts.promised_tables:
        return []
    broken = facts.broken_promises
    return [
        Check(
            "tables of the plan's SQL",
            f"{facts.promised_tables} made by the SQL",
            listing.listed(broken, 3, between="; ") or "all are there",
            Outcome.PASSED
            if not broken
            else Outcome.FAILED
            if len(broken) == facts.promised_tables
            else Outcome.WARNING,
            broken,
        )
    ]


def _witness_checks(facts: Facts, witness: Witness) -> list[Check]:
    if witness.by_reconciliation:
        return []
    commit = {True: "seen", False: "not seen", None: "not reported"}[witness.commit_after_version]
    heard_out = witness.ended_by in ("", "itself")
    ended = f"exit code {witness.exit_code}" if heard_out else f"ended by {witness.ended_by}"
    # A witness that was stopped in mid-sentence contradicts nothing; the reading alone decides then.
    short = Outcome.FAILED if heard_out else Outcome.WARNING
    commit_short = Outcome.FAILED if witness.commit_after_version is False else short
    written = {True: "seen", False: "not seen", None: "not reported"}[witness.version_written]
    return [
        # Told before its COMMIT: rows at the result without it were brought there by something else.
        Check(
            "version written by this run",
            "seen",
            written,
            Outcome.FAILED if witness.version_written is False else Outcome.PASSED,
        ),
        Check(
            "steps ended",
            str(len(facts.steps)),
            str(witness.steps_ended),
            Outcome.PASSED if witness.steps_ended == len(facts.steps) else short,
        ),
        Check(
            "commit after the last version write",
            "seen",
            commit,
            Outcome.PASSED if witness.commit_after_version else commit_short,
        ),
        Check("Alembic's exit", "exit code 0", ended, Outcome.PASSED if ended == "exit code 0" else Outcome.WARNING),
    ]
