"""What follows when a run was started without approval: who was told, and who looked at it afterwards."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from migrations_audit.models.runs import MigrationRun


class GlassReview(models.Model):
    """One person's signature under a run that was started without approval, given after it ended. Immutable.

    ``starter`` is copied from the run (a trigger compares it), so that one row can refuse to be signed by the starter.
    """

    run = models.OneToOneField(MigrationRun, on_delete=models.PROTECT, related_name="glass_review")
    starter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    person_name = models.CharField(max_length=150)
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["at"]
        constraints = [
            models.CheckConstraint(condition=~Q(person=F("starter")), name="nobody_reviews_their_own_broken_glass")
        ]

    def __str__(self) -> str:
        return f"{self.person_name} reviewed run {self.run_id}"


class Notice(models.Model):
    """Something that one person is told on the dashboard until they say that they have read it."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="portal_notices")
    run = models.ForeignKey(MigrationRun, on_delete=models.PROTECT, related_name="notices")
    text = models.TextField()
    at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [models.UniqueConstraint(fields=["person", "run"], name="one_notice_per_person_and_run")]

    def __str__(self) -> str:
        return self.text
