"""The run page: what was asked, what would run or ran, who decided, what was read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from migrations_audit.models import (
    Approval,
    AuditEvent,
    Evidence,
    LogLine,
    MigrationRun,
    Observation,
    Plan,
    RunStep,
)
from migrations_audit.models.approvals import Decision
from migrations_audit.queries import attention, audit, leftovers, progress, rights, workers
from migrations_audit.queries import findings as plan_findings
from migrations_audit.states import RunState

HEAVY = ("plan__sql", "plan__sql_reason", "plan__body", "plan__steps", "plan__findings", "plan__options")
"""What a list of runs with their plans does without."""

LOG_TAIL = 500
MOST_OF_A_TAIL = 300_000
"""Characters. Five hundred of the longest lines would be a page of ten megabytes."""
MOST_EVENTS = 500

FOR_A_WORKER = (RunState.REQUESTED, RunState.QUEUED, RunState.OUTCOME_UNKNOWN)

PARTS = {
    "scripts": "the script files (snapshot)",
    "sql": "the SQL",
    "steps": "the revisions and their order",
    "start": "the starting state: version rows and catalog",
    "identity": "the identity of the database",
    "interpreter": "the interpreter: its requirements and its Python",
    "target": "the settings of the target and its project",
    "policy": "the environment's policy",
}


@dataclass(frozen=True)
class Slot:
    """One approval that the policy asks for: given by ``approval``, or missing and open to the people named."""

    role: str
    approval: Approval | None
    could_be_given_by: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """One thing that the approval binds, with its digest."""

    name: str
    words: str
    digest: str


@dataclass(frozen=True)
class Entry:
    """One audit event of the run, its facts as text."""

    event: AuditEvent
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class RunPage:
    run: MigrationRun
    plan: Plan | None
    stages: Sequence[progress.Stage]
    buttons: rights.Buttons
    next_step: str
    blocked_by: MigrationRun | None
    is_unheard: bool
    silence: str
    """Why nobody can say that it is running, although its row says so; empty otherwise."""
    ending: str
    """What becomes of it while its worker ends; empty otherwise."""
    slots: Sequence[Slot]
    decisions: Sequence[Approval]
    my_role_counts: bool
    parts: Sequence[Part]
    steps: Sequence[RunStep]
    evidence: Sequence[Evidence]
    observations: Sequence[Observation]
    entries: Sequence[Entry]
    rollbacks: Sequence[MigrationRun]
    findings: Sequence[plan_findings.Standing]
    may_accept: bool
    """Whether this person may accept findings here."""

    @property
    def blocking(self) -> Sequence[plan_findings.Standing]:
        """The findings because of which the plan is neither approved nor started."""
        return [each for each in self.findings if each.blocks]


@dataclass(frozen=True)
class LogTail:
    """The newest lines, oldest first. ``first_seq`` tells whether earlier ones exist."""

    lines: Sequence[LogLine]

    @property
    def last_seq(self) -> int:
        return self.lines[-1].seq if self.lines else 0

    @property
    def earlier(self) -> int:
        return self.lines[0].seq - 1 if self.lines else 0


def run_page(run: MigrationRun, *, user_id: int | None, now: datetime) -> RunPage:
    """Everything that the page of ``run`` shows to one person who may see it, but the log and the sources."""
    environment = run.target.environment
    held = rights.rights_of(user_id).get(environment.pk, rights.Rights(user_id))
    decisions = list(Approval.objects.filter(run=run).order_by("at"))
    standing = [item for item in decisions if item.withdrawn_at is None]
    blocked_by = (
        MigrationRun.objects.live()
        .filter(target=run.target)
        .exclude(number=run.number)
        .select_related("target")
        .first()
    )
    left = leftovers.of_newest_reading(run.target) if run.reason_code in leftovers.CODES else None
    found = plan_findings.of_run(run, now=now)
    buttons = rights.buttons_of(
        run,
        rights=held,
        standing=standing,
        now=now,
        is_blocked=blocked_by is not None,
        is_left_half=left is not None and left.number == run.number,
        has_open_findings=any(each.blocks for each in found),
    )
    approvers = rights.approvers_in([environment.pk]).get(environment.pk, {})
    slots = _slots(run, standing, approvers)
    silent, ending = attention.is_silent(run, now=now), workers.ending_with(run)
    steps = list(RunStep.objects.filter(run=run))
    return RunPage(
        run=run,
        plan=run.plan,
        stages=progress.stages_of(run),
        buttons=buttons,
        next_step=progress.next_step(
            run,
            buttons=buttons,
            blocked_by=blocked_by,
            now=now,
            has_open_findings=any(each.blocks for each in found),
        ),
        blocked_by=blocked_by,
        is_unheard=run.run_state in FOR_A_WORKER and environment.queue not in workers.heard_queues(now=now),
        silence=attention.silent_sentence(run) if silent else "",
        ending=attention.ending_sentence(run, ending) if ending and not silent else "",
        slots=slots,
        decisions=decisions,
        my_role_counts=any(slot.approval is None and slot.role in held.approver_roles for slot in slots),
        parts=_parts(run.plan),
        steps=steps,
        evidence=list(Evidence.objects.filter(run=run).select_related("observation")),
        observations=list(Observation.objects.filter(run=run).order_by("at", "id").defer("facts", "pending", "heads")),
        entries=_entries(run),
        rollbacks=list(MigrationRun.objects.filter(rolls_back=run).order_by("number")),
        findings=found,
        may_accept=bool(found)
        and run.requester_id != user_id
        and plan_findings.may_accept(user_id, run.target.project),
    )


def log_tail(run: MigrationRun) -> LogTail:
    """The newest lines of the log."""
    lines: list[LogLine] = []
    length = 0
    for line in LogLine.objects.filter(run=run).order_by("-seq")[:LOG_TAIL].iterator(chunk_size=50):
        length += len(line.text)
        if lines and length > MOST_OF_A_TAIL:
            break
        lines.append(line)
    return LogTail(lines=lines[::-1])


def _slots(
    run: MigrationRun, standing: Sequence[Approval], approvers: Mapping[int, tuple[str, frozenset[str]]]
) -> list[Slot]:
    environment = run.target.environment
    match = rights.match_of(environment, standing, approvers)
    given = {item.person_id: item for item in standing if item.decision == Decision.APPROVE}
    slots = []
    for requirement in environment.parsed_requirements:
        filled = [given[person] for person, role in match.assigned.items() if role == requirement.role]
        slots += [Slot(requirement.role, approval) for approval in filled]
        able = [
            name
            for person, (name, roles) in approvers.items()
            if requirement.role in roles and person != run.requester_id and person not in match.assigned
        ]
        slots += [Slot(requirement.role, None, able) for _ in range(requirement.count - len(filled))]
    return slots


def _parts(plan: Plan | None) -> list[Part]:
    if plan is None:
        return []
    names = [name for name in PARTS if name in plan.parts] + sorted(set(plan.parts) - set(PARTS))
    return [Part(name, PARTS.get(name) or name, plan.parts[name]) for name in names]


def _entries(run: MigrationRun) -> list[Entry]:
    events = AuditEvent.objects.filter(object_kind="run", object_id=str(run.number)).order_by("-seq")[:MOST_EVENTS]
    return [Entry(event, audit.facts_of(event)) for event in events][::-1]


def title_of(run: MigrationRun) -> str:
    """The run named by its target: database, and revision from → to once there is a plan."""
    if run.plan is not None:
        return f"{run.target}: {run.plan.span}"
    return f"{run.target}: {run.get_operation_display().lower()} to {run.requested}"


def is_at_work(run: MigrationRun) -> bool:
    """Whether a worker has the run or will take it up, so that a page without script reloads itself."""
    return run.run_state in (*FOR_A_WORKER, RunState.PLANNING, RunState.RUNNING)
