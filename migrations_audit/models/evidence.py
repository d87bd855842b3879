"""What was read: observations, catalogs, and evidence. All append-only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import models

from migrations_audit.models.projects import Target
from migrations_audit.states import Outcome, TargetStatus

if TYPE_CHECKING:
    from migrations_audit.models.environments import Environment

TITLE = "=== "
"""How a line of an evidence's detail begins that names what the lines after it belong to."""
MAY_BE_MEANT = ("copy", "enrolled_elsewhere")
"""The reasons for which a database was not enrolled that an administrator may overrule, where it carries a marker."""


class Catalog(models.Model):
    """The schema of a database at some moment, stored once per fingerprint."""

    fingerprint = models.CharField(max_length=64, primary_key=True)
    body = models.JSONField()

    def __str__(self) -> str:
        return self.fingerprint[:12]


class StatusChoice(models.TextChoices):
    IN_SYNC = TargetStatus.IN_SYNC.value, "in sync"
    BEHIND = TargetStatus.BEHIND.value, "behind"
    AHEAD = TargetStatus.AHEAD.value, "ahead"
    UNKNOWN_REVISION = TargetStatus.UNKNOWN_REVISION.value, "unknown revision"
    SEVERAL_HEADS = TargetStatus.SEVERAL_HEADS.value, "several heads"
    NOT_INITIALISED = TargetStatus.NOT_INITIALISED.value, "not initialised"
    UNREACHABLE = TargetStatus.UNREACHABLE.value, "unreachable"
    UNREADABLE = TargetStatus.UNREADABLE.value, "not readable"
    WRONG_DATABASE = TargetStatus.WRONG_DATABASE.value, "wrong database"
    UNREADABLE_SCRIPTS = TargetStatus.UNREADABLE_SCRIPTS.value, "scripts unreadable"
    REGRESSED = TargetStatus.REGRESSED.value, "REGRESSED"
    TABLES_MISSING = TargetStatus.TABLES_MISSING.value, "tables missing"


class OutcomeChoice(models.TextChoices):
    PASSED = Outcome.PASSED.value, "passed"
    WARNING = Outcome.WARNING.value, "warning"
    FAILED = Outcome.FAILED.value, "failed"
    COULD_NOT_RUN = Outcome.COULD_NOT_RUN.value, "could not run"


class ObservationQuerySet(models.QuerySet["Observation"]):
    def counted(self) -> ObservationQuerySet:
        """Those that reached the enrolled database, as ``was_read`` says."""
        return self.filter(identity__isnull=False).exclude(status=TargetStatus.WRONG_DATABASE.value)

    def latest_per_target(self) -> ObservationQuerySet:
        return self.order_by("target_id", "-at", "-id").distinct("target_id")


class Observation(models.Model):
    """One reading of a target: who read it, when, over which connection, and what it said.

    ``revisions`` is null when the version table is absent or when nothing could be read (``status`` tells which).
    """

    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="observations")
    at = models.DateTimeField()
    reader = models.CharField(max_length=200)
    purpose = models.CharField(max_length=20, help_text="check, plan, preflight, verify or reconcile")
    status = models.CharField(max_length=24, choices=StatusChoice.choices)
    sentence = models.TextField()
    error_code = models.CharField(max_length=40, blank=True)
    identity = models.JSONField(null=True)
    revisions = models.JSONField(null=True)
    heads = models.JSONField(default=list)
    pending = models.JSONField(default=list)
    snapshot = models.ForeignKey("Snapshot", null=True, on_delete=models.PROTECT, related_name="+")
    catalog = models.ForeignKey(Catalog, null=True, on_delete=models.PROTECT, related_name="+")
    facts = models.JSONField(default=dict)
    run = models.ForeignKey("MigrationRun", null=True, on_delete=models.PROTECT, related_name="observations")

    objects = ObservationQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["target", "-at", "-id"], name="observation_latest")]

    def __str__(self) -> str:
        return f"{self.target} at {self.at:%Y-%m-%d %H:%M:%S} UTC: {self.get_status_display()}"

    @property
    def was_read(self) -> bool:
        """Whether the target answered and was the enrolled database."""
        return self.identity is not None and self.status != TargetStatus.WRONG_DATABASE

    @property
    def may_be_meant(self) -> bool:
        """Whether it refused to enrol a database that an administrator may say is meant."""
        return self.error_code in MAY_BE_MEANT and bool(self.facts.get("marker"))

    def is_stale(self, *, now: datetime, environment: Environment) -> bool:
        return now - self.at > timedelta(seconds=environment.fresh_for_s)


class Evidence(models.Model):
    """One check with what was expected, what was observed, and the observation that it rests on."""

    run = models.ForeignKey("MigrationRun", null=True, on_delete=models.PROTECT, related_name="evidence")
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="evidence")
    at = models.DateTimeField()
    check_name = models.CharField(max_length=60)
    expected = models.TextField()
    observed = models.TextField()
    outcome = models.CharField(max_length=16, choices=OutcomeChoice.choices)
    detail = models.JSONField(default=list)
    observation = models.ForeignKey(Observation, null=True, on_delete=models.PROTECT, related_name="evidence")

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "evidence"

    def __str__(self) -> str:
        return f"{self.check_name}: {self.get_outcome_display()}"
