"""Proposed changes of production's policy, which a second person confirms."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from migrations_audit.models.environments import Environment, Membership
from migrations_audit.models.windows import Window


class ProposalKind(models.TextChoices):
    POLICY = "policy", "the policy of"
    MEMBERSHIP = "membership", "a membership in"
    ACCOUNT = "account", "another approver in"
    WINDOW = "window", "a window of"
    REMOVAL = "removal", "the removal of a window of"


class ProposalDecision(models.TextChoices):
    OPEN = "", "open"
    CONFIRMED = "confirmed", "confirmed"
    DECLINED = "declined", "declined"


class PolicyProposal(models.Model):
    """A change of an environment's policy or windows, or one that would add approvers, until somebody else has decided on it.

    ``before`` is what whoever proposed it saw, ``after`` the fields that change, as people read them; ``values`` is what is
    stored when it is confirmed. Of kind membership it is about the one that it names or a new one, and so of kind window; of kind
    account about a person who would enter a group.
    """

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="proposals")
    kind = models.CharField(max_length=10, choices=ProposalKind.choices, default=ProposalKind.POLICY)
    membership = models.ForeignKey(
        Membership, null=True, blank=True, on_delete=models.SET_NULL, related_name="proposals"
    )
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    window = models.ForeignKey(Window, null=True, blank=True, on_delete=models.SET_NULL, related_name="proposals")
    before = models.JSONField()
    after = models.JSONField()
    values = models.JSONField()
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    proposed_by_name = models.CharField(max_length=150)
    proposed_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_by_name = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=10, choices=ProposalDecision.choices, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["proposed_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(decision=ProposalDecision.CONFIRMED)
                | (Q(decided_by__isnull=False) & ~Q(decided_by=F("proposed_by"))),
                name="a_second_person_confirms",
            ),
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(decision="", kind=ProposalKind.POLICY),
                name="one_open_policy_proposal",
            ),
        ]

    def __str__(self) -> str:
        return f"Proposal {self.pk} for {self.get_kind_display()} {self.environment}"
