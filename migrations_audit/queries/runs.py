"""The run page: what was asked, what would run or ran, who decided, what was read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from migrations_audit.models import (
    Approval,
    AuditEvent,
    Evidence,
    GlassReview,
    LogLine,
    MigrationRun,
    Observation,
    Plan,
    Role,
    RunStep,
)
from migrations_audit.models.approvals import Decision
from migrations_audit.queries import (
    attention,
    audit,
    bound,
    durations,
    eligibility,
    gist,
    leftovers,
    openings,
    progress,
    promotion,
    rehearsals,
    rights,
    rollbacks,
    workers,
)
from migrations_audit.queries import findings as plan_findings
from migrations_audit.states import RunState

HEAVY = ("plan__sql", "plan__sql_reason", "plan__body", "plan__steps", "plan__findings", "plan__options")
"""What a list of runs with their plans does without."""

LOG_TAIL = 500
MOST_OF_A_TAIL = 300_000
"""Characters. Five hundred of the longest lines would be a page of ten megabytes."""
MOST_EVENTS = 500

BEFORE_START = (RunState.AWAITING_APPROVAL, RunState.APPROVED, RunState.QUEUED)
FOR_A_WORKER = (RunState.REQUESTED, RunState.QUEUED, RunState.OUTCOME_UNKNOWN)

PARTS = {
    "scripts": "the script files (snapshot)",
    "sql": "the SQL",
    "steps": "the revisions and their order",
    "start": "the starting state: version rows and catalog",
    "identity": "the identity of the database",
    "connection": "the connection: the parameters of the target's URL",
    "worker": "the worker: its backup program, and the interpreter that it keeps under the project's name for one",
    "interpreter": "the interpreter: its requirements and its Python",
    "target": "the settings of the target and its project",
    "policy": "the environment's policy",
}


@dataclass(frozen=True)
class Slot:
    """One approval that the policy asks for: given by ``approval``, or missing and open to the people named.

    ``role`` is what people read; it may say that any approver role will do.
    """

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
    opening: str
    """What a freeze or the windows say of a start now; empty where there are none, and once it has started."""
    is_unheard: bool
    silence: str
    """Why nobody can say that it is running, although its row says so; empty otherwise."""
    ending: str
    """What becomes of it while its worker ends; empty otherwise."""
    rehearsed: rehearsals.Rehearsed
    expected: durations.Expected | None
    is_long: bool
    """It takes clearly longer than expected."""
    slots: Sequence[Slot]
    decisions: Sequence[Approval]
    my_role_counts: bool
    not_approve: str
    """Why this person's Approve cannot be pressed as things stand; empty where the page tells everybody."""
    asks_for_nobody: bool
    left_out: Sequence[str]
    """Who cannot approve, or whose approval does not count, and why: a sentence each."""
    changes_asked: Sequence[Approval]
    """Standing wishes for changes, which keep everybody from approving."""
    my_decision: str
    glass_review: GlassReview | None
    """What somebody else signed after a start without approval."""
    obstacle: str
    """What keeps everybody from approving, or makes that pointless, and what to do about it; empty otherwise."""
    parts: Sequence[Part]
    steps: Sequence[RunStep]
    evidence: Sequence[Evidence]
    observations: Sequence[Observation]
    stood: Observation | None
    """The last reading before anything was sent: where a recovery would have to lead."""
    entries: Sequence[Entry]
    rollbacks: Sequence[MigrationRun]
    leads_elsewhere: str
    """That a rollback does not lead to where the run began that it rolls back; empty otherwise."""
    findings: Sequence[plan_findings.Standing]
    gist: Sequence[gist.Point]
    """What a decision rests on, in one line."""
    may_accept: bool
    """Whether this person may accept findings here."""

    @property
    def blocking(self) -> Sequence[plan_findings.Standing]:
        """The findings because of which the plan is neither approved nor started."""
        return [each for each in self.findings if each.blocks]

    @property
    def groups(self) -> Sequence[plan_findings.Group]:
        return plan_findings.grouped(self.findings)


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


@dataclass(frozen=True)
class _Ground:
    """What several parts of the page rest on, read once."""

    held: rights.Rights
    decisions: Sequence[Approval]
    standing: Sequence[Approval]
    stands: eligibility.Standing
    lacking: str
    """What must have been verified earlier and was not, or what of the settings is another than was planned for."""
    blocked_by: MigrationRun | None
    opening: str
    closed_by: str
    found: Sequence[plan_findings.Standing]
    rehearsed: rehearsals.Rehearsed
    glass_review: GlassReview | None

    @property
    def has_open_findings(self) -> bool:
        return any(each.blocks for each in self.found)


def _ground(run: MigrationRun, *, user_id: int | None, now: datetime) -> _Ground:
    held = rights.rights_of(user_id).get(run.target.environment_id, rights.Rights(user_id))
    decisions = list(Approval.objects.filter(run=run).order_by("at"))
    standing = [item for item in decisions if item.withdrawn_at is None]
    others = MigrationRun.objects.live().filter(target=run.target).exclude(number=run.number)
    opening, closed_by = _opening(run, standing, now=now)
    is_before_claim = run.run_state in (*rights.BEFORE_START, RunState.QUEUED)
    return _Ground(
        held=held,
        decisions=decisions,
        standing=standing,
        stands=eligibility.standing_of(run) if is_before_claim else eligibility.as_it_was(run),
        lacking=_lacking(run) if run.run_state in rights.DECIDABLE else "",
        blocked_by=None if run.is_terminal else others.select_related("target").first(),
        opening=opening,
        closed_by=closed_by,
        found=plan_findings.of_run(run, now=now),
        rehearsed=rehearsals.of_run(
            run,
            decides=held.holds(Role.APPROVER),
            starts=held.holds(Role.OPERATOR),
            is_requester=user_id is not None and run.requester_id == user_id,
            has_approvals=any(item.decision == Decision.APPROVE for item in standing),
            now=now,
        ),
        glass_review=GlassReview.objects.filter(run=run).first() if run.broke_glass_at is not None else None,
    )


def _buttons(run: MigrationRun, ground: _Ground, *, user_id: int | None, now: datetime) -> rights.Buttons:
    left = leftovers.of_newest_reading(run.target) if run.reason_code in leftovers.CODES else None
    rehearsed = ground.rehearsed
    return rights.buttons_of(
        run,
        rights=ground.held,
        given=ground.standing,
        stands=ground.stands,
        now=now,
        is_blocked=ground.blocked_by is not None,
        is_closed=bool(ground.closed_by),
        is_left_half=left is not None and left.number == run.number,
        lacks_groundwork=ground.has_open_findings
        or bool(rehearsed.missing)
        or rehearsed.needs_runbook
        or bool(ground.lacking),
        is_unreviewed=run.broke_glass_at is not None and ground.glass_review is None,
    )


def run_page(run: MigrationRun, *, user_id: int | None, now: datetime) -> RunPage:
    """Everything that the page of ``run`` shows to one person who may see it, but the log and the sources."""
    queue, ground = run.target.environment.queue, _ground(run, user_id=user_id, now=now)
    stands, standing, found = ground.stands, ground.standing, ground.found
    buttons = _buttons(run, ground, user_id=user_id, now=now)
    silent, ending = attention.is_silent(run, now=now), workers.ending_with(run)
    shown = ground.rehearsed.shown
    expected = durations.expected(run, shown, user_id=user_id) if not run.is_terminal else None
    return RunPage(
        run=run,
        plan=run.plan,
        stages=progress.stages_of(run),
        buttons=buttons,
        next_step=progress.next_step(
            run,
            buttons=buttons,
            blocked_by=ground.blocked_by,
            now=now,
            missing=[str(item) for item in stands.match.missing],
            closed_by=ground.closed_by,
            has_open_findings=ground.has_open_findings,
            lacks_groundwork=bool(ground.lacking or ground.rehearsed.missing or ground.rehearsed.needs_runbook),
        ),
        blocked_by=ground.blocked_by,
        opening=ground.opening,
        is_unheard=run.run_state in FOR_A_WORKER and queue not in workers.heard_queues(now=now),
        silence=attention.silent_sentence(run) if silent else "",
        ending=attention.ending_sentence(run, ending) if ending and not silent else "",
        rehearsed=ground.rehearsed,
        expected=expected,
        is_long=expected is not None and expected.is_exceeded(run, now=now),
        slots=_slots(standing, stands),
        decisions=ground.decisions,
        my_role_counts=any(user_id in people for people in stands.outlook.by_role.values()),
        not_approve=_not_approve(run, ground, user_id=user_id),
        asks_for_nobody=not stands.wanted,
        changes_asked=stands.wishes,
        my_decision=next((item.decision for item in standing if item.person_id == user_id), ""),
        glass_review=ground.glass_review,
        left_out=_left_out(run, stands),
        obstacle=(ground.lacking or stands.outlook.sentence) if run.run_state in rights.DECIDABLE else "",
        parts=_parts(run.plan),
        steps=list(RunStep.objects.filter(run=run)),
        evidence=list(Evidence.objects.filter(run=run).select_related("observation")),
        observations=list(Observation.objects.filter(run=run).order_by("at", "id").defer("facts", "pending", "heads")),
        stood=Observation.objects.filter(run=run, purpose="preflight", catalog__isnull=False).order_by("-id").first(),
        entries=_entries(run),
        leads_elsewhere=rollbacks.elsewhere(run),
        rollbacks=list(MigrationRun.objects.filter(rolls_back=run).order_by("number")),
        findings=found,
        gist=gist.of(found, ground.rehearsed),
        may_accept=bool(found)
        and run.requester_id != user_id
        and plan_findings.may_accept(user_id, run.target.project),
    )


def _not_approve(run: MigrationRun, ground: _Ground, *, user_id: int | None) -> str:
    mine = {item.decision for item in ground.standing if item.person_id == user_id}
    others = [item.person_name for item in ground.stands.wishes if item.person_id != user_id]
    if Decision.APPROVE in mine:
        return "You have approved it."
    if (exclusion := ground.stands.left_out.get(user_id or 0)) is not None:
        return f"You cannot approve it: {exclusion.sentence}"
    if others:
        return f"Nobody can approve it while {others[0]} asks for changes."
    if ground.lacking:
        return "Nobody can approve it as it stands; the approvals say why."
    if ground.rehearsed.missing or ground.rehearsed.needs_runbook or ground.has_open_findings:
        return ""
    return "It is approved already."


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


def _lacking(run: MigrationRun) -> str:
    changed = bound.changed(run.plan, run.target) if run.plan is not None else ""
    if changed:
        return f"Changed since the plan was made: {changed}. Nobody can approve or start it any more. Request it again."
    return promotion.lacking(run)


def _slots(standing: Sequence[Approval], stands: eligibility.Standing) -> list[Slot]:
    given = {item.person_id: item for item in standing if item.decision == Decision.APPROVE}
    slots = []
    for requirement in stands.wanted:
        role = requirement.role or "any approver role"
        filled = [given[person] for person, slot in stands.match.assigned.items() if slot == requirement.role]
        slots += [Slot(role, approval) for approval in filled]
        able = [stands.approvers[person][0] for person in stands.outlook.by_role.get(requirement.role, ())]
        slots += [Slot(role, None, able) for _ in range(requirement.count - len(filled))]
    return slots


def _opening(run: MigrationRun, standing: Sequence[Approval], *, now: datetime) -> tuple[str, str]:
    """What is said of a start now, and what closes it: "window", "freeze", or nothing."""
    if run.run_state not in BEFORE_START:
        return "", ""
    if (freeze := openings.freeze_at(now)) is not None:
        return openings.under(freeze).sentence, "freeze"
    if not run.target.environment.windows.exists():
        return "", ""
    found = openings.windows_of_run(run, at=now)
    late = openings.too_late(run, found, standing=standing, now=now) if run.run_state in rights.DECIDABLE else ""
    return f"{found.sentence} {late}".strip(), "" if found.is_open else "window"


def _left_out(run: MigrationRun, stands: eligibility.Standing) -> list[str]:
    """Whose approval does not count, and which other approvers cannot give one."""
    if run.run_state not in rights.DECIDABLE:
        return []
    said = list(stands.not_counting)
    for person, exclusion in stands.left_out.items():
        name = stands.approvers.get(person, ("", frozenset()))[0]
        if name and not any(exclusion.sentence in each for each in said):
            said.append(f"{name} cannot approve: {exclusion.sentence}")
    return said


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
