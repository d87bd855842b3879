"""When runs may start: the windows of an environment, and the freezes of the whole portal."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from migrations_audit import windows
from migrations_audit.models.environments import Environment

LONGEST_MINUTES = int(windows.LONGEST / timedelta(minutes=1))


class WindowKind(models.TextChoices):
    ALLOW = windows.Kind.ALLOW.value, "runs may start"
    DENY = windows.Kind.DENY.value, "runs may not start"


class Window(models.Model):
    """A stretch of time that comes again, in which runs may or may not start in an environment."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="windows")
    kind = models.CharField(max_length=10, choices=WindowKind.choices)
    cron = models.CharField(
        "opens at", max_length=100, help_text="A cron line: minute, hour, day of the month, month, day of the week."
    )
    duration_minutes = models.PositiveIntegerField(
        "lasts for (minutes)", validators=[MinValueValidator(1), MaxValueValidator(LONGEST_MINUTES)]
    )
    time_zone = models.CharField(max_length=60, default="UTC", help_text="As the IANA names it, like Europe/Zurich.")
    description = models.CharField(max_length=100, blank=True)
    overrun = models.BooleanField(
        "overrun allowed",
        default=True,
        help_text="A run may start inside although its deadline lies outside. Without it a run starts only if even its deadline "
        "is inside the window, or before one in which runs may not start.",
    )

    class Meta:
        ordering = ["environment", "kind", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(duration_minutes__gte=1, duration_minutes__lte=LONGEST_MINUTES),
                name="a_window_has_a_length",
            ),
            models.CheckConstraint(condition=Q(kind__in=WindowKind.values), name="a_window_allows_or_denies"),
        ]

    def __str__(self) -> str:
        named = f" ({self.description})" if self.description else ""
        return (
            f"{self.get_kind_display().capitalize()} in {self.environment} for {self.duration_minutes} min from "
            f"{self.cron} {self.time_zone}{named}"
        )

    @property
    def rule(self) -> windows.Window:
        """The window as the rules know it."""
        return windows.Window(
            kind=windows.Kind(self.kind),
            cron=self.cron,
            duration=timedelta(minutes=self.duration_minutes),
            time_zone=self.time_zone,
            description=self.description,
            overrun=self.overrun,
        )


class FreezeQuerySet(models.QuerySet["Freeze"]):
    def open(self) -> FreezeQuerySet:
        """Those that nobody ended; at most one."""
        return self.filter(is_open=True)

    def in_force_now(self) -> FreezeQuerySet:
        """The same by the database's clock, in one query."""
        return self.open().filter(Q(until__isnull=True) | Q(until__gt=Now()))

    def in_force(self, at: datetime) -> FreezeQuerySet:
        """Those that, as far as is known now, keep runs from starting at ``at``; at most one."""
        return self.open().filter(Q(until__isnull=True) | Q(until__gt=at))


class Freeze(models.Model):
    """While it is in force no run starts anywhere."""

    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    by_name = models.CharField(max_length=150)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until somebody ends it.")
    is_open = models.BooleanField(default=True, help_text="Nobody has ended it. One at a time is.")
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by_name = models.CharField(max_length=150, blank=True)
    end_reason = models.TextField(blank=True)

    objects = FreezeQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["is_open"], condition=Q(is_open=True), name="one_freeze_at_a_time"),
            models.CheckConstraint(
                condition=Q(is_open=True, ended_at__isnull=True) | Q(is_open=False, ended_at__isnull=False),
                name="a_freeze_is_open_until_it_is_ended",
            ),
            models.CheckConstraint(
                condition=Q(until__isnull=True) | Q(until__gt=models.F("at")), name="a_freeze_ends_after_it_begins"
            ),
        ]

    def __str__(self) -> str:
        return f"Freeze of {self.at:%Y-%m-%d %H:%M} UTC"

    @property
    def sentence(self) -> str:
        """That it is in force, who says so, why, and what ends it."""
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until an administrator thaws it"
        return f"The portal is frozen by {self.by_name} since {self.at:%Y-%m-%d %H:%M} UTC, {until}: {self.reason}"
