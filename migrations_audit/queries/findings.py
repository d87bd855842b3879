"""The findings of a run's plan, and what people accepted of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, Q

from migrations_audit import hashchain, severities
from migrations_audit.models import Environment, FindingAcceptance, Membership, MigrationRun, Project, Role, Target

ACCEPTING = (Role.APPROVER, Role.ADMINISTRATOR)


@dataclass(frozen=True)
class Standing:
    """One finding. ``acceptance`` is the one that counts for this run; ``others`` stand, and do not count here.

    ``is_asked``: the environment's policy wants it accepted before the plan is approved.
    """

    digest: str
    code: str
    severity: str
    place: str
    sentence: str
    advice: str
    acceptance: FindingAcceptance | None
    others: Sequence[FindingAcceptance]
    is_asked: bool

    @property
    def is_open(self) -> bool:
        return self.acceptance is None

    @property
    def blocks(self) -> bool:
        """Whether the plan may neither be approved nor started because of it."""
        return self.is_asked and self.is_open

    def __str__(self) -> str:
        return f"{self.code} in {self.place}" if self.place else self.code


def of_run(run: MigrationRun, *, now: datetime) -> list[Standing]:
    """The findings of the run's plan and of its newest rehearsal, worst first. An acceptance counts when it stands, was given by
    somebody else than the requester, and that person is approver or administrator of the run's environment now."""
    found = severities.worst_first(_of_plan_and_rehearsal(run))
    if not found:
        return []
    environment = run.target.environment
    digests = [digest_of(each) for each in found]
    given = _acceptances(run.target.project, digests, now=now)
    able = people_who_may(environment, [each.accepted_by_id for items in given.values() for each in items])
    threshold = environment.findings_must_be_accepted
    standings = []
    for finding, digest in zip(found, digests, strict=True):
        counting = [each for each in given[digest] if each.accepted_by_id in able - {run.requester_id}]
        acceptance = max(counting, key=lambda each: each.expires_at, default=None)
        standings.append(
            Standing(
                digest=digest,
                **{name: finding.get(name, "") for name in ("code", "severity", "place", "sentence", "advice")},
                acceptance=acceptance,
                others=[each for each in given[digest] if each is not acceptance],
                is_asked=bool(threshold) and severities.is_at_least(finding["severity"], threshold),
            )
        )
    return standings


def _of_plan_and_rehearsal(run: MigrationRun) -> list[dict[str, Any]]:
    """Where offline mode gave no SQL, the rules about SQL were applied to what the rehearsal executed."""
    if run.plan is None:
        return []
    rehearsal = run.rehearsals.filter(plan=run.plan, ended_at__isnull=False).order_by("-pk").first()
    if rehearsal is None:
        return list(run.plan.findings)
    looked_at = rehearsal.has_passed and not run.plan.sql
    kept = [each for each in run.plan.findings if not (looked_at and each["code"] == "lint_could_not_run")]
    return [*kept, *rehearsal.findings]


def digest_of(finding: Mapping[str, Any]) -> str:
    """What names a finding: its code, place and sentence."""
    return hashchain.digest(
        hashchain.canonical({name: finding.get(name, "") for name in ("code", "place", "sentence")})
    )


def people_who_may(environment: Environment, people: Iterable[int]) -> frozenset[int]:
    """Those of these people whose acceptance counts in the environment, by the roles that they hold now."""
    asked = set(people)
    if not asked:
        return frozenset()
    holds = Membership.objects.filter(environment=environment, role__in=ACCEPTING, group__user=OuterRef("pk"))
    active = get_user_model()._default_manager.filter(pk__in=asked, is_active=True)
    return frozenset(active.filter(Q(is_superuser=True) | Exists(holds)).values_list("pk", flat=True))


def may_accept(user_id: int | None, project: Project) -> bool:
    """Whether the person is approver or administrator of an environment in which the project has a target."""
    environments = Target.objects.filter(project=project).values("environment")
    holds = Membership.objects.filter(environment__in=environments, role__in=ACCEPTING, group__user=OuterRef("pk"))
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True)
    return person.filter(Q(is_superuser=True) | Exists(holds)).exists()


def _acceptances(project: Project, digests: Sequence[str], *, now: datetime) -> dict[str, list[FindingAcceptance]]:
    rows = FindingAcceptance.objects.filter(
        project=project, digest__in=set(digests), ended_at__isnull=True, expires_at__gt=now
    )
    found: dict[str, list[FindingAcceptance]] = defaultdict(list)
    for each in rows.order_by("at"):
        found[each.digest].append(each)
    return found
