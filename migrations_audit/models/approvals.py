"""Approvals: one person's decision on one plan digest."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from migrations_audit.models.plans import Plan
from migrations_audit.models.runs import MigrationRun


class Decision(models.TextChoices):
    APPROVE = "approve", "Approved"
    REJECT = "reject", "Rejected"
    CHANGES = "changes", "Asked for changes"


class Approval(models.Model):
    """A decision, bound to the digest of the plan that the person saw.

    ``requester`` is copied from the run (a trigger compares it), so that one row can refuse self-approval by itself.
    ``roles`` are the approver roles that the person held when deciding; they are read again at the claim.
    """

    run = models.ForeignKey(MigrationRun, on_delete=models.PROTECT, related_name="approvals")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="approvals")
    plan_digest = models.CharField(max_length=64)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="portal_approvals")
    person_name = models.CharField(max_length=150)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    roles = models.JSONField(default=list)
    rehearsal = models.ForeignKey(
        "Rehearsal",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="approvals",
        help_text="The newest one that had ended when the person decided.",
    )
    decision = models.CharField(max_length=10, choices=Decision.choices)
    comment = models.TextField(blank=True)
    at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["at"]
        constraints = [
            models.CheckConstraint(condition=~Q(person=F("requester")), name="nobody_approves_their_own_request"),
            models.UniqueConstraint(
                fields=["run", "person"],
                condition=Q(withdrawn_at__isnull=True),
                name="one_standing_decision_per_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_name} {self.get_decision_display().lower()} run {self.run.number}"
