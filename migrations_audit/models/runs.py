"""Runs: one attempt to execute one plan on one target, with its steps and its log."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from migrations_audit.models.environments import Environment, IsolationChoice
from migrations_audit.models.plans import OperationChoice, Plan
from migrations_audit.models.projects import Target
from migrations_audit.states import LIVE, OPEN, Phase, RunState, StepState, Verdict


class StateChoice(models.TextChoices):
    REQUESTED = RunState.REQUESTED.value, "requested"
    PLANNING = RunState.PLANNING.value, "planning"
    PLAN_FAILED = RunState.PLAN_FAILED.value, "plan failed"
    AWAITING_APPROVAL = RunState.AWAITING_APPROVAL.value, "awaiting approval"
    REJECTED = RunState.REJECTED.value, "rejected"
    WITHDRAWN = RunState.WITHDRAWN.value, "withdrawn"
    EXPIRED = RunState.EXPIRED.value, "expired"
    VOID = RunState.VOID.value, "void"
    APPROVED = RunState.APPROVED.value, "approved"
    QUEUED = RunState.QUEUED.value, "queued"
    REFUSED = RunState.REFUSED.value, "refused"
    RUNNING = RunState.RUNNING.value, "running"
    APPLIED = RunState.APPLIED.value, "applied"
    FAILED = RunState.FAILED.value, "failed"
    ERROR = RunState.ERROR.value, "error"
    CANCELLED = RunState.CANCELLED.value, "cancelled"
    OUTCOME_UNKNOWN = RunState.OUTCOME_UNKNOWN.value, "outcome unknown"
    CLOSED = RunState.CLOSED.value, "closed, outcome unknown"


class VerdictChoice(models.TextChoices):
    UNVERIFIED = Verdict.UNVERIFIED.value, "unverified"
    VERIFIED = Verdict.VERIFIED.value, "verified"
    CONTRADICTED = Verdict.CONTRADICTED.value, "contradicted"


class PhaseChoice(models.TextChoices):
    NONE = Phase.NONE.value, "—"
    PREFLIGHT = Phase.PREFLIGHT.value, "preflight"
    LOCK = Phase.LOCK.value, "lock"
    EXECUTE = Phase.EXECUTE.value, "execute"
    VERIFY = Phase.VERIFY.value, "verify"


class StepStateChoice(models.TextChoices):
    WAITING = StepState.WAITING.value, "waiting"
    RUNNING = StepState.RUNNING.value, "running"
    ENDED = StepState.ENDED.value, "ended, not committed"
    COMMITTED = StepState.COMMITTED.value, "committed"
    FAILED = StepState.FAILED.value, "failed"


class RunQuerySet(models.QuerySet["MigrationRun"]):
    def visible_to(self, user_id: int | None) -> RunQuerySet:
        return self.filter(target__environment__in=Environment.objects.visible_to(user_id))

    def open(self) -> RunQuerySet:
        return self.filter(state__in=[state.value for state in OPEN])

    def live(self) -> RunQuerySet:
        return self.filter(state__in=[state.value for state in LIVE])


class MigrationRun(models.Model):
    """One attempt to execute one plan on one target.

    ``state`` is its life; ``verdict`` is what the target said when it was read back. The database refuses illegal moves,
    a second live run on a target, and a verdict without evidence (triggers and constraints in the first migration).
    """

    number = models.BigAutoField(primary_key=True)
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="runs")
    operation = models.CharField(max_length=10, choices=OperationChoice.choices)
    requested = models.CharField(max_length=100, help_text="The revision as it was asked for.")
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="portal_runs")
    requester_name = models.CharField(max_length=150)
    reason = models.TextField()
    ticket = models.CharField(max_length=200, blank=True)
    rolls_back = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="rollbacks")
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    state = models.CharField(max_length=20, choices=StateChoice.choices, default=StateChoice.REQUESTED)
    verdict = models.CharField(max_length=14, choices=VerdictChoice.choices, default=VerdictChoice.UNVERIFIED)
    phase = models.CharField(max_length=10, choices=PhaseChoice.choices, default=PhaseChoice.NONE, blank=True)
    epoch = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    isolation = models.CharField(
        max_length=20, choices=IsolationChoice.choices, blank=True, help_text="What kept the migration code apart."
    )
    sessions = models.JSONField(
        default=list, blank=True, help_text="The run's sessions on the target, noted before the project got them."
    )
    sentence = models.TextField(blank=True, help_text="What happened, for people. Written with each move.")
    reason_code = models.CharField(max_length=40, blank=True)
    requested_at = models.DateTimeField()
    planned_at = models.DateTimeField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When the request or its approval expires.")
    queued_at = models.DateTimeField(null=True, blank=True)
    queued_by_name = models.CharField(max_length=150, blank=True)
    queued_as = models.JSONField(null=True, blank=True, help_text="Who started it: asked again at the claim.")
    scheduled_at = models.DateTimeField(null=True, blank=True, help_text="When the sweep is to start it.")
    scheduled_as = models.JSONField(null=True, blank=True, help_text="Who scheduled it, and starts it then.")
    dispatched_at = models.DateTimeField(null=True, blank=True)
    dispatch_count = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    reconcile_after_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=150, blank=True)
    verified_by = models.ForeignKey(
        "Observation",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="What the verdict rests on.",
    )
    request_key = models.CharField(max_length=64, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)
    runbook = models.TextField(blank=True, help_text="What to do if it goes wrong.")
    runbook_by_name = models.CharField(max_length=150, blank=True)
    runbook_at = models.DateTimeField(null=True, blank=True)
    backup_reference = models.CharField(max_length=200, blank=True)
    broke_glass_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it was started without approval; for ever empty for a run that was approved.",
    )
    broke_glass_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    broke_glass_by_name = models.CharField(max_length=150, blank=True)
    broke_glass_why_now = models.TextField(blank=True)
    broke_glass_why_not = models.TextField(blank=True, help_text="Why it could not be approved in time.")

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = "run"
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["target"],
                condition=Q(state__in=sorted(state.value for state in LIVE)),
                name="one_live_run_per_target",
            ),
            models.UniqueConstraint(
                fields=["requester", "request_key"], condition=~Q(request_key=""), name="one_run_per_request_key"
            ),
            models.CheckConstraint(
                condition=Q(verdict=Verdict.UNVERIFIED.value) | Q(verified_by__isnull=False),
                name="a_verdict_rests_on_an_observation",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["awaiting_approval", "approved", "queued", "running", "applied"])
                | Q(plan__isnull=False),
                name="no_approval_without_a_plan",
            ),
            models.CheckConstraint(
                condition=Q(scheduled_at__isnull=True, scheduled_as__isnull=True)
                | Q(scheduled_at__isnull=False, scheduled_as__isnull=False, state=RunState.APPROVED.value),
                name="only_an_approved_run_is_scheduled",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "number"], name="run_state"),
            models.Index(fields=["scheduled_at"], name="run_scheduled", condition=Q(scheduled_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"Run {self.number} on {self.target}"

    @property
    def run_state(self) -> RunState:
        return RunState(self.state)

    @property
    def is_terminal(self) -> bool:
        return self.run_state not in OPEN


class RunStep(models.Model):
    """One revision of a run, as the runner's hooks reported it."""

    run = models.ForeignKey(MigrationRun, on_delete=models.PROTECT, related_name="steps")
    position = models.PositiveIntegerField()
    revision = models.CharField(max_length=64)
    direction = models.CharField(max_length=10)
    message = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=StepStateChoice.choices, default=StepStateChoice.WAITING)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    statements = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_step_per_position")]

    def __str__(self) -> str:
        return f"{self.position}: {self.revision}"


class Stream(models.TextChoices):
    PORTAL = "portal", "portal"
    STEP = "step", "step"
    STATEMENT = "statement", "statement"
    STDOUT = "stdout", "output"
    STDERR = "stderr", "error output"


class LogLine(models.Model):
    """One line of a run's live log."""

    run = models.ForeignKey(MigrationRun, on_delete=models.PROTECT, related_name="log")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField()
    stream = models.CharField(max_length=10, choices=Stream.choices)
    text = models.TextField()
    duration_ms = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="one_line_per_seq")]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.seq}"
