"""Environments with their policy, and who holds which role in them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from migrations_audit import policy
from migrations_audit.severities import Severity
from migrations_audit.states import Isolation, RehearsalDemand


class Tier(models.TextChoices):
    DEVELOPMENT = "development", "Development"
    STAGING = "staging", "Staging"
    PRODUCTION = "production", "Production"


class IsolationChoice(models.TextChoices):
    NONE = Isolation.NONE.value, "none"
    NON_DUMPABLE = Isolation.NON_DUMPABLE.value, "hidden processes of the same account"
    SEPARATE_USER = Isolation.SEPARATE_USER.value, "an account of its own"
    BUBBLEWRAP = Isolation.BUBBLEWRAP.value, "bubblewrap"


class RehearsalDemandChoice(models.TextChoices):
    ON_REQUEST = RehearsalDemand.ON_REQUEST.value, "only when somebody asks for one"
    INFORM = RehearsalDemand.INFORM.value, "with each plan; it informs"
    TRIED = RehearsalDemand.TRIED.value, "with each plan, and it must not have failed; a copy may be unable to run it"
    PASSED = RehearsalDemand.PASSED.value, "with each plan, and it must have passed"


class AcceptanceChoice(models.TextChoices):
    """Which findings somebody must accept before a plan is approved."""

    ERROR = Severity.ERROR.value, "errors"
    WARNING = Severity.WARNING.value, "warnings and errors"


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    REQUESTER = "requester", "Requester"
    APPROVER = "approver", "Approver"
    OPERATOR = "operator", "Operator"
    AUDITOR = "auditor", "Auditor"
    ADMINISTRATOR = "administrator", "Administrator"


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def visible_to(self, user_id: int | None) -> EnvironmentQuerySet:
        """The environments in which this active person holds any role; all of them for a superuser."""
        person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True)
        return self.filter(
            models.Exists(person.filter(is_superuser=True))
            | models.Exists(person.filter(groups__portal_memberships__environment=models.OuterRef("pk")))
        )


class Environment(models.Model):
    """Development, staging, production…: its tier, its place in the order of promotion, and its policy."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    tier = models.CharField(max_length=20, choices=Tier.choices)
    position = models.PositiveSmallIntegerField(default=0, help_text="Order of promotion: lower comes first.")
    queue = models.CharField(
        max_length=80,
        help_text="The Celery queue that the workers near this environment's databases consume, e.g. target-production.",
    )
    requirements = models.JSONField(
        default=list,
        blank=True,
        help_text='Who must approve: [{"role": "database-administrator", "count": 1}, {"role": "owner", "count": 1}, '
        '{"people": 3}]. '
        "All are distinct people, three in all, and none is the requester.",
    )
    observe_every_s = models.PositiveIntegerField(
        "observe every (seconds)", default=300, validators=[MinValueValidator(10), MaxValueValidator(86_400)]
    )
    fresh_for_s = models.PositiveIntegerField(
        "an observation is fresh for (seconds)",
        default=900,
        validators=[MinValueValidator(10), MaxValueValidator(604_800)],
        help_text="An older observation is shown as stale, never as in sync.",
    )
    approval_lifetime_s = models.PositiveIntegerField(
        "an approval lives for (seconds)",
        default=86_400,
        validators=[MinValueValidator(60), MaxValueValidator(2_592_000)],
    )
    lock_timeout_ms = models.PositiveIntegerField(
        "lock timeout (ms)", default=1_000, validators=[MinValueValidator(50), MaxValueValidator(60_000)]
    )
    statement_timeout_ms = models.PositiveIntegerField(
        "statement timeout (ms)", default=900_000, validators=[MinValueValidator(100), MaxValueValidator(86_400_000)]
    )
    lock_retry_budget_s = models.PositiveIntegerField(
        "try again after a lock timeout for (seconds)",
        default=600,
        validators=[MaxValueValidator(7_200)],
        help_text="A plan whose revisions are all transactional is begun anew as a whole after a lock timeout. 0: never.",
    )
    lock_budget_s = models.PositiveIntegerField(
        "wait for the run lock (seconds)", default=60, validators=[MinValueValidator(1), MaxValueValidator(3_600)]
    )
    deadline_s = models.PositiveIntegerField(
        "deadline of a run (seconds)", default=3_600, validators=[MinValueValidator(5), MaxValueValidator(86_400)]
    )
    isolation = models.CharField(
        "isolation demanded",
        max_length=20,
        choices=IsolationChoice.choices,
        blank=True,
        help_text="The least isolation of migration code from the worker's own account. Empty: the best that a worker has.",
    )
    rehearsal = models.CharField(
        "plans are rehearsed",
        max_length=10,
        choices=RehearsalDemandChoice.choices,
        default=RehearsalDemand.INFORM.value,
        help_text="On a throw-away copy without data. What must be so is asked when somebody approves and before the start.",
    )
    rehearsal_within_h = models.PositiveIntegerField(
        "not older than (hours)",
        default=0,
        validators=[MaxValueValidator(720)],
        help_text="At an approval. 0: any rehearsal of the same plan counts.",
    )
    scratch_reference = models.CharField(
        "server for copies",
        max_length=2_000,
        blank=True,
        help_text="Where the worker finds the URL of a server on which it may create and drop databases for rehearsals: env:NAME "
        "or file:/path. Empty: a private one on the worker, made for each rehearsal.",
    )
    rewrite_limit_mb = models.PositiveIntegerField(
        "rewriting a table is an error from (MB)",
        default=100,
        validators=[MaxValueValidator(10_000_000)],
        help_text="A rehearsal sees which tables are written anew, the target tells their size.",
    )
    lock_limit_ms = models.PositiveIntegerField(
        "a blocking lock is a finding from (ms)",
        default=1_000,
        validators=[MaxValueValidator(3_600_000)],
        help_text="Held that long already on a copy without data.",
    )
    findings_must_be_accepted = models.CharField(
        "findings that must be accepted",
        max_length=10,
        choices=AcceptanceChoice.choices,
        blank=True,
        help_text="While such a finding of a plan stands open, it is neither approved nor started. Empty: findings only inform.",
    )
    marks_targets = models.BooleanField(
        default=True,
        help_text="Write a row into a schema of the portal's own when a database is enrolled, so that a copy is recognised.",
    )
    requires_verified_in = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="required_by",
        verbose_name="verified first in",
        help_text="An upgrade here is approved only after the same scripts were verified in that environment, to the "
        "same revisions "
        "or past them. Empty: not asked for.",
    )
    settings_version = models.PositiveIntegerField(default=1, editable=False)

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ["position", "slug"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(tier=Tier.PRODUCTION) | ~models.Q(requirements=[]),
                name="production_needs_a_requirement",
                violation_error_message="A production environment needs at least one approval requirement.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def parsed_requirements(self) -> tuple[policy.Requirement, ...]:
        return policy.parse(self.requirements)

    def policy_facts(self) -> dict[str, Any]:
        """What an approval binds of this environment's policy."""
        return {
            "environment": self.slug,
            "tier": self.tier,
            "requirements": self.requirements,
            "lock_timeout_ms": self.lock_timeout_ms,
            "statement_timeout_ms": self.statement_timeout_ms,
            "lock_retry_budget_s": self.lock_retry_budget_s,
            "lock_budget_s": self.lock_budget_s,
            "deadline_s": self.deadline_s,
            "isolation": self.isolation,
            "rehearsal": self.rehearsal,
            "rehearsal_within_h": self.rehearsal_within_h,
            "rewrite_limit_mb": self.rewrite_limit_mb,
            "lock_limit_ms": self.lock_limit_ms,
            "findings_must_be_accepted": self.findings_must_be_accepted,
            # Only where it is asked for, so that the digests of older plans stay what they were.
            **({"requires_verified_in": self.requires_verified_in.slug} if self.requires_verified_in else {}),
        }


class Membership(models.Model):
    """A group holds a role in an environment."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="memberships")
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="portal_memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    approver_role = models.CharField(
        max_length=60,
        blank=True,
        help_text="For approvers: the role that the policy names, e.g. database-administrator.",
    )

    class Meta:
        ordering = ["environment", "role", "approver_role"]
        constraints = [
            models.UniqueConstraint(fields=["environment", "group", "role", "approver_role"], name="one_membership"),
            models.CheckConstraint(
                condition=(models.Q(role=Role.APPROVER) & ~models.Q(approver_role=""))
                | (~models.Q(role=Role.APPROVER) & models.Q(approver_role="")),
                name="approver_role_with_approver_only",
                violation_error_message="Name the approver role for an approver, and for nobody else.",
            ),
        ]

    def __str__(self) -> str:
        role = f"approver: {self.approver_role}" if self.approver_role else self.get_role_display().lower()
        return f"{self.group} is {role} in {self.environment}"
