"""Rehearsals: a plan played on a throw-away copy, what was seen there, and what each revision changed."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, Q, When

from migrations_audit.models.environments import IsolationChoice
from migrations_audit.models.evidence import Observation, OutcomeChoice
from migrations_audit.models.plans import Plan
from migrations_audit.models.projects import Project
from migrations_audit.models.runs import MigrationRun
from migrations_audit.states import Grade, Outcome, RehearsalState


class RehearsalStateChoice(models.TextChoices):
    WAITING = RehearsalState.WAITING.value, "waiting for a worker"
    RUNNING = RehearsalState.RUNNING.value, "running"
    ENDED = RehearsalState.ENDED.value, "ended"


class GradeChoice(models.TextChoices):
    EXACT = Grade.EXACT.value, "exact"
    LOSSY = Grade.LOSSY.value, "lossy"
    IMPOSSIBLE = Grade.IMPOSSIBLE.value, "impossible"
    UNTESTED = Grade.UNTESTED.value, "not tested"


class RehearsalQuerySet(models.QuerySet["Rehearsal"]):
    def open(self) -> RehearsalQuerySet:
        return self.exclude(state=RehearsalState.ENDED.value)

    def passed(self) -> RehearsalQuerySet:
        return self.filter(state=RehearsalState.ENDED.value, outcome=Outcome.PASSED.value)

    def telling_first(self) -> RehearsalQuerySet:
        """Those that have ended, run by run, the telling one first: the newest that saw something, else that could not run."""
        saw_nothing = Case(When(outcome=Outcome.COULD_NOT_RUN.value, then=1), default=0)
        return self.filter(state=RehearsalState.ENDED.value).order_by("run_id", saw_nothing, "-pk")


class Rehearsal(models.Model):
    """One playing of a plan on a copy of its target: up, down and up again. Once it has ended the database refuses every change.

    ``steps`` is what was seen of each revision, there, ``back`` and there ``again``; ``delta`` what the whole plan made of the
    catalog; ``differences`` say where the copy was not like its target, ``problems`` what the server said while it was made.
    """

    run = models.ForeignKey(MigrationRun, on_delete=models.PROTECT, related_name="rehearsals")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="rehearsals")
    asked_by_name = models.CharField(max_length=200)
    asked_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=RehearsalStateChoice.choices, default=RehearsalState.WAITING.value)
    epoch = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=OutcomeChoice.choices, blank=True)
    code = models.CharField(max_length=40, blank=True)
    sentence = models.TextField(blank=True)
    grade = models.CharField(max_length=10, choices=GradeChoice.choices, blank=True)
    isolation = models.CharField(max_length=20, choices=IsolationChoice.choices, blank=True)
    server_version = models.CharField(max_length=100, blank=True)
    is_private = models.BooleanField(default=True, help_text="The copy's server was made for this rehearsal alone.")
    observation = models.ForeignKey(Observation, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    steps = models.JSONField(default=list)
    delta = models.JSONField(default=list)
    differences = models.JSONField(default=list)
    problems = models.JSONField(default=list)
    findings = models.JSONField(default=list)
    impact = models.JSONField(default=dict)

    objects = RehearsalQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run"], condition=~Q(state=RehearsalState.ENDED.value), name="one_open_rehearsal_per_run"
            ),
            models.CheckConstraint(
                condition=Q(state=RehearsalState.ENDED.value, ended_at__isnull=False) & ~Q(outcome="")
                | ~Q(state=RehearsalState.ENDED.value) & Q(outcome=""),
                name="an_ended_rehearsal_has_its_outcome",
            ),
        ]

    def __str__(self) -> str:
        return f"rehearsal {self.pk} of run {self.run_id}"

    @property
    def has_ended(self) -> bool:
        return self.state == RehearsalState.ENDED

    @property
    def has_passed(self) -> bool:
        return self.outcome == Outcome.PASSED


class RevisionDelta(models.Model):
    """What one revision, in exactly this file, made of the catalog when it was rehearsed."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="deltas")
    revision = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64)
    rehearsal = models.ForeignKey(Rehearsal, on_delete=models.PROTECT, related_name="deltas")
    changes = models.JSONField(default=list)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project", "revision", "sha256"], name="delta_of_revision")]

    def __str__(self) -> str:
        return f"{self.revision} in {self.rehearsal}"
