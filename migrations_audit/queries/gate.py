"""The gate: whether a target really has the revision that a deploy needs, from the last reading of it and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from migrations_audit import access, lineage
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.judgement import rows_text
from migrations_audit.models import MigrationRun, Observation, Target
from migrations_audit.states import RunState, TargetStatus

HEAD = "head"
_REVISION = re.compile(r"[A-Za-z0-9_.]{1,64}")
_LONGEST_LABEL = 200


class Answer(StrEnum):
    """What the gate says. Only IN_SYNC opens it."""

    IN_SYNC = "in_sync"
    BEHIND = "behind"
    AHEAD = "ahead"
    UNKNOWN_REVISION = "unknown_revision"
    SEVERAL_HEADS = "several_heads"
    NOT_INITIALISED = "not_initialised"
    WRONG_DATABASE = "wrong_database"
    REGRESSED = "regressed"
    TABLES_MISSING = "tables_missing"
    COULD_NOT_READ = "could_not_read"


class ExpectationRefused(Invalid):
    """Expect head, or a full revision id."""

    code = "expectation_refused"


@dataclass(frozen=True)
class Gate:
    """One answer with the reading that it rests on.

    ``revisions`` are those that the target lacks, or has too many when it is ahead. ``reason`` says why nothing can be said:
    never_read, unreachable, unreadable, stale, unreadable_scripts, not_enrolled, run_in_progress or outcome_unknown.
    """

    answer: Answer
    sentence: str
    target: Target
    expected: str
    observation: Observation | None
    age_s: float | None
    is_stale: bool
    reason: str = ""
    revisions: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.answer is Answer.IN_SYNC


def target_id(text: str) -> int:
    """The number of the target that is named as ``project/environment/slug`` or by that number; 0 when there is none.

    Whether somebody may see it is for ``access`` to say, which answers alike for a hidden target and for none.
    """
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    parts = text.split("/")
    if len(parts) != 3 or len(text) > _LONGEST_LABEL or "\x00" in text:
        return 0
    project, environment, slug = parts
    found = Target.objects.filter(project__slug=project, environment__slug=environment, slug=slug)
    return found.values_list("pk", flat=True).first() or 0


def check(*, actor: Actor, target: str, expect: str = HEAD, now: datetime) -> Gate:
    """Compare the last reading of ``target`` with ``expect``: ``head`` of its scripts, or a full revision id.

    Never in sync without a fresh reading of the enrolled database, and not while a run may be changing it.
    Raises Hidden, MissingScope, ExpectationRefused.
    """
    access.need_scope(actor, "read")
    place = access.get_target_for(actor, target_id(target))
    if not _REVISION.fullmatch(expect) or expect == "heads":
        raise ExpectationRefused(field="expect")
    readings = place.observations.select_related("snapshot").defer("snapshot__archive", "snapshot__files")
    observation = readings.order_by("-at", "-id").first()
    if observation is None:
        return Gate(
            Answer.COULD_NOT_READ,
            f"{place} has never been read. Check it now.",
            place,
            expect,
            None,
            None,
            True,
            reason="never_read",
        )
    age_s = max((now - observation.at).total_seconds(), 0.0)
    is_stale = observation.is_stale(now=now, environment=place.environment)
    unsaid = Gate(Answer.COULD_NOT_READ, "", place, expect, observation, age_s, is_stale)
    return _unreadable(unsaid, observation) or _compare(unsaid, observation)


def _unreadable(gate: Gate, observation: Observation) -> Gate | None:
    """The answer when the last reading carries no comparison, else None."""
    place = gate.target
    read_at = f"{observation.at:%Y-%m-%d %H:%M:%S} UTC"
    if observation.status == TargetStatus.WRONG_DATABASE:
        return replace(gate, answer=Answer.WRONG_DATABASE, sentence=f"{place}: {_clause(observation.sentence)}.")
    if not observation.was_read:
        return replace(
            gate,
            reason=observation.status,
            sentence=f"{place} could not be read at {read_at}: {_clause(observation.sentence)}.",
        )
    if place.identity is None:
        return replace(
            gate,
            reason="not_enrolled",
            sentence=f"{place} has no enrolled identity, so no reading of it counts. Check it now.",
        )
    live = MigrationRun.objects.filter(
        target=place, state__in=[RunState.RUNNING.value, RunState.OUTCOME_UNKNOWN.value]
    ).first()
    if live is not None:
        unknown = live.run_state is RunState.OUTCOME_UNKNOWN
        return replace(
            gate,
            reason="outcome_unknown" if unknown else "run_in_progress",
            sentence=f"{live} is {live.get_state_display()}, so a reading from before says nothing. Ask again when it has ended.",
        )
    if gate.is_stale:
        return replace(
            gate,
            reason="stale",
            sentence=f"{place} was last read at {read_at}, {gate.age_s:.0f} s ago; "
            f"a reading counts for {place.environment.fresh_for_s} s. Check it now.",
        )
    return None


def _compare(gate: Gate, observation: Observation) -> Gate:
    status = TargetStatus(observation.status)
    rows = tuple(observation.revisions or ())
    if status in (TargetStatus.REGRESSED, TargetStatus.TABLES_MISSING):
        return _said(gate, observation, Answer(status.value))
    if gate.expected == HEAD:
        answer = {
            TargetStatus.IN_SYNC: Answer.IN_SYNC,
            TargetStatus.BEHIND: Answer.BEHIND,
            TargetStatus.AHEAD: Answer.AHEAD,
            TargetStatus.UNKNOWN_REVISION: Answer.UNKNOWN_REVISION,
            TargetStatus.SEVERAL_HEADS: Answer.SEVERAL_HEADS,
            TargetStatus.NOT_INITIALISED: Answer.NOT_INITIALISED,
        }.get(status, Answer.COULD_NOT_READ)
        reason = status.value if answer is Answer.COULD_NOT_READ else ""
        pending = tuple(step["revision"] for step in observation.pending)
        return _said(gate, observation, answer, reason=reason, revisions=pending)
    if rows == (gate.expected,):
        return _said(gate, observation, Answer.IN_SYNC)
    if status is TargetStatus.UNREADABLE_SCRIPTS:
        return _said(gate, observation, Answer.COULD_NOT_READ, reason=status.value)
    graph = observation.snapshot.graph if observation.snapshot is not None else {}
    known = {item["revision"] for item in graph.get("revisions", ())}
    if gate.expected not in known:
        return _said(gate, observation, Answer.UNKNOWN_REVISION)
    if status in (TargetStatus.AHEAD, TargetStatus.NOT_INITIALISED):
        return _said(gate, observation, Answer(status.value))
    if not known.issuperset(rows):
        return _said(gate, observation, Answer.UNKNOWN_REVISION)
    return _against_revision(gate, observation, graph)


def _against_revision(gate: Gate, observation: Observation, graph: Mapping[str, Any]) -> Gate:
    """Whether the rows hold all that the expected revision rests on, and nothing else."""
    wanted, there = lineage.closure([gate.expected], graph), lineage.closure(observation.revisions or [], graph)
    if missing := [revision for revision in wanted if revision not in there]:
        return _said(gate, observation, Answer.BEHIND, revisions=tuple(missing))
    if more := [revision for revision in there if revision not in wanted]:
        return _said(gate, observation, Answer.AHEAD, revisions=tuple(more))
    return _said(gate, observation, Answer.IN_SYNC)


def _said(
    gate: Gate,
    observation: Observation,
    answer: Answer,
    *,
    reason: str = "",
    revisions: tuple[str, ...] = (),
) -> Gate:
    names = ", ".join(revisions)
    comparison = {
        Answer.IN_SYNC: f"that is {gate.expected}",
        Answer.BEHIND: f"it lacks {names}",
        Answer.AHEAD: f"it has {names} beyond {gate.expected}" if names else "it is ahead of the scripts",
        Answer.UNKNOWN_REVISION: f"the scripts cannot compare that with {gate.expected}",
        Answer.SEVERAL_HEADS: "the scripts have several heads",
        Answer.NOT_INITIALISED: "no revision was ever applied by Alembic",
        Answer.REGRESSED: _clause(observation.sentence),
        Answer.TABLES_MISSING: _clause(observation.sentence),
        Answer.COULD_NOT_READ: _clause(observation.sentence),
    }[answer]
    found = rows_text(observation.revisions)
    sentence = f"{gate.target} was read at {found} by {observation.reader}, {gate.age_s:.0f} s ago: {comparison}."
    return replace(gate, answer=answer, reason=reason, revisions=revisions, sentence=sentence)


def _clause(sentence: str) -> str:
    return sentence.strip().rstrip(".")
