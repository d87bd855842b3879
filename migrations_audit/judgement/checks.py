"""The lines of evidence: what was expected, what was observed, and what comes of it."""

from __future__ import annotations

from migrations_audit import listing
from migrations_audit.judgement.facts import Check, Facts, Witness, rows_text, same_rows
from migrations_audit.states import Outcome


def of(facts: Facts, witness: Witness) -> tuple[Check, ...]:
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
            Outcome.PASSED if same_rows(facts.rows, facts.result) else Outcome.FAILED,
        ),
        _catalog_check(facts),
        *_rehearsal_check(facts),
        *_way_back_check(facts),
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


def _way_back_check(facts: Facts) -> list[Check]:
    """A rollback of a run brings back what was there before it. What a rehearsal showed it to leave was approved as such."""
    if not facts.rolls_back:
        return []
    name, expected = (
        "as before the run that is rolled back",
        f"what runs changed since {facts.rolls_back} began is as before it",
    )
    if facts.before_not_known:
        return [Check(name, expected, f"could not be compared: {facts.before_not_known}", Outcome.WARNING)]
    differing = facts.not_as_before
    if not differing:
        return [Check(name, expected, "all of it is as it was", Outcome.PASSED)]
    outcome = Outcome.WARNING if facts.rehearsal else Outcome.FAILED
    return [Check(name, expected, listing.listed(differing, 3, between="; "), outcome, differing)]


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
