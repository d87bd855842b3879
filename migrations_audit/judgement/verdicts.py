"""The table of outcomes: state, verdict and sentence of a run (docs/reliability.md)."""

from __future__ import annotations

from migrations_audit import listing
from migrations_audit.judgement import checks as lines
from migrations_audit.judgement.facts import Check, Facts, Judgement, Witness, rows_text, same_rows
from migrations_audit.states import Outcome, RunState, Verdict

MOST_NAMED = 5


def judge(facts: Facts, witness: Witness) -> Judgement:
    """What the reading shows about the run. Never verified unless every check passed or only warned."""
    checks = lines.of(facts, witness)
    at_result = same_rows(facts.rows, facts.result)
    at_start = same_rows(facts.rows, facts.start)
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
    note += _way_back_words(facts)
    return Judgement(RunState.APPLIED, Verdict.VERIFIED, "verified", f"{where} on a fresh connection.{note}", checks)


def _way_back_words(facts: Facts) -> str:
    """What a verified rollback must not keep silent about."""
    if facts.before_not_known:
        return f" Whether all is as before {facts.rolls_back} could not be compared: {facts.before_not_known}."
    if facts.not_as_before:
        return f" As rehearsed, not all is as before {facts.rolls_back}: {_named(facts.not_as_before)}."
    return ""


def _refused(facts: Facts, witness: Witness, checks: tuple[Check, ...]) -> Judgement:
    still = "still " if same_rows(facts.rows, facts.start) else ""
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
