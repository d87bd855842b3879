"""What was last read of the targets of one page, with its age, in one query for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import (
    Case,
    CharField,
    DurationField,
    ExpressionWrapper,
    F,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.timesince import timesince

from migrations_audit.models import Observation, Target
from migrations_audit.models.clock import database_now
from migrations_audit.models.evidence import StatusChoice
from migrations_audit.queries.standing import NEVER_READ, STALE, standing_of


def newest_observation(outer: str, column: str = "pk") -> Subquery:
    """One column of a target's newest observation; ``outer`` names the target's id in the outer query."""
    return Subquery(Observation.objects.filter(target=OuterRef(outer)).order_by("-at", "-id").values(column)[:1])


def with_standings(targets: Iterable[Any]) -> list[Any]:
    """The targets (annotated with ``newest``), each with its ``standing`` and ``age`` at this moment."""
    page = list(targets)
    observations = Observation.objects.defer("facts", "identity").in_bulk([each.newest for each in page if each.newest])
    now = database_now()
    for target in page:
        newest = observations.get(target.newest)
        target.standing = standing_of(newest, now=now, environment=target.environment)
        target.age = timesince(newest.at, now, depth=1) if newest else ""
    return page


class StandingFilter(admin.SimpleListFilter):
    """By what may be said of a target now: a stale reading counts as stale and as nothing else."""

    title = "last reading"
    parameter_name = "reading"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*StatusChoice.choices, (STALE, "stale"), (NEVER_READ, "never read")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Target]) -> QuerySet[Target]:
        kind = self.value()
        if not kind:
            return queryset
        fresh_for = ExpressionWrapper(
            F("environment__fresh_for_s") * Value(timedelta(seconds=1)), output_field=DurationField()
        )
        judged = queryset.annotate(newest_at=newest_observation("pk", "at")).annotate(
            newest_kind=Case(
                When(newest_at__isnull=True, then=Value(NEVER_READ)),
                When(newest_at__lt=Now() - fresh_for, then=Value(STALE)),
                default=newest_observation("pk", "status"),
                output_field=CharField(),
            ),
        )
        return judged.filter(newest_kind=kind)
