"""Findings that somebody accepted: one person's reason, for one rule at one place of a project, until a day."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from migrations_audit.models.projects import Project

LONGEST = timedelta(days=365)


class FindingAcceptance(models.Model):
    """Covers the findings of the project with this code, place and sentence. ``digest`` is taken over the three.

    The sentence belongs to it: another table dropped in the same file is another finding. It is ended once, and otherwise does
    not change; a trigger sees to that.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="finding_acceptances")
    code = models.CharField(max_length=60)
    place = models.TextField(blank=True)
    sentence = models.TextField()
    digest = models.CharField(max_length=64)
    reason = models.TextField()
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    accepted_by_name = models.CharField(max_length=150)
    at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by_name = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["project", "digest"], name="acceptance_of_finding")]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "digest", "accepted_by"],
                condition=Q(ended_at__isnull=True),
                name="one_standing_acceptance_per_person",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="an_acceptance_has_a_reason"),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("at")) & Q(expires_at__lte=F("at") + LONGEST), name="an_acceptance_ends"
            ),
        ]

    def __str__(self) -> str:
        where = f" in {self.place}" if self.place else ""
        return f"{self.code}{where} of {self.project.slug}, accepted by {self.accepted_by_name}"

    def stands(self, *, now: datetime) -> bool:
        """Whether it was neither ended nor has run out."""
        return self.ended_at is None and self.expires_at > now
