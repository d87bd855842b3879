"""The findings of a run's plan, and what people accepted of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, F, OuterRef, Q

from migrations_audit import hashchain, severities
from migrations_audit.models import FindingAcceptance, Membership, MigrationRun, Plan, Project, Rehearsal, Role, Target

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


@dataclass(frozen=True)
class Group:
    """Findings of one code and severity. ``sentence`` and ``advice`` are what all of them say; empty where they differ.

    ``members`` come each with its own words: the rest of its sentence.
    """

    code: str
    severity: str
    sentence: str
    advice: str
    members: Sequence[tuple[str, Standing]]

    @property
    def is_open(self) -> bool:
        return any(each.is_open for _, each in self.members)

    @property
    def blocking(self) -> int:
        """How many of them must still be accepted."""
        return sum(each.blocks for _, each in self.members)


def grouped(found: Sequence[Standing]) -> list[Group]:
    """The same findings, those of one code and severity together, in the order in which each was first met."""
    alike: dict[tuple[str, str], list[Standing]] = defaultdict(list)
    for each in found:
        alike[each.severity, each.code].append(each)
    return [_group(members) for members in alike.values()]


def _group(members: Sequence[Standing]) -> Group:
    """What is found in statements reads ``statement: meaning``. The meaning of several is said once, at their head."""
    first = members[0]
    meaning = _shared([each.sentence for each in members])
    advice = first.advice if len({each.advice for each in members}) == 1 else ""
    end = f": {meaning}" if meaning else ""
    own = ["" if each.sentence == meaning else each.sentence.removesuffix(end) for each in members]
    return Group(first.code, first.severity, meaning, advice, list(zip(own, members, strict=True)))


def _shared(sentences: Sequence[str]) -> str:
    """The longest end, behind a colon or the whole, in which all of them agree; empty where they do not."""
    first = sentences[0]
    ends = [first] + [first[place + 2 :] for place in range(len(first)) if first.startswith(": ", place)]
    for end in filter(None, ends):
        if all(each == end or each.endswith(f": {end}") for each in sentences):
            return end
    return ""


def of_run(run: MigrationRun, *, now: datetime) -> list[Standing]:
    """The findings of the run's plan and of its newest rehearsal, worst first. An acceptance counts when it stands, was given by
    somebody else than the requester, and that person is approver or administrator of the run's environment now."""
    return of_runs([run], now=now)[run.number]


def of_runs(runs: Sequence[MigrationRun], *, now: datetime) -> Mapping[int, list[Standing]]:
    """The same for many runs at once, by number, in as many queries as for one."""
    found = {number: severities.worst_first(each) for number, each in _of_plans_and_rehearsals(runs).items()}
    digests = {digest_of(finding) for each in found.values() for finding in each}
    given = _acceptances({run.target.project_id for run in runs}, digests, now=now)
    people = {each.accepted_by_id for items in given.values() for each in items}
    able = people_who_may({run.target.environment_id for run in runs}, people)
    return {
        run.number: [_standing(run, each, given=given, able=able) for each in found.get(run.number, ())] for run in runs
    }


def _standing(
    run: MigrationRun,
    finding: Mapping[str, Any],
    *,
    given: Mapping[tuple[int, str], Sequence[FindingAcceptance]],
    able: Mapping[int, frozenset[int]],
) -> Standing:
    environment, digest = run.target.environment, digest_of(finding)
    accepted = given.get((run.target.project_id, digest), ())
    people = able.get(environment.pk, frozenset()) - {run.requester_id}
    acceptance = max(
        (each for each in accepted if each.accepted_by_id in people), key=lambda each: each.expires_at, default=None
    )
    threshold = environment.findings_must_be_accepted
    return Standing(
        digest=digest,
        **{name: finding.get(name, "") for name in ("code", "severity", "place", "sentence", "advice")},
        acceptance=acceptance,
        others=[each for each in accepted if each is not acceptance],
        is_asked=bool(threshold) and severities.is_at_least(finding["severity"], threshold),
    )


def _of_plans_and_rehearsals(runs: Sequence[MigrationRun]) -> Mapping[int, list[dict[str, Any]]]:
    """By run the findings of its plan, and those of the rehearsal that tells most about it.

    What the plan says of a lint that could not run, for want of SQL, goes once a rehearsal passed: the rules were applied to what
    it executed.
    """
    plans = Plan.objects.filter(pk__in=[run.plan_id for run in runs if run.plan_id]).annotate(has_sql=~Q(sql=""))
    of_plan = {pk: (findings, has_sql) for pk, findings, has_sql in plans.values_list("pk", "findings", "has_sql")}
    rehearsals = Rehearsal.objects.filter(run__in=runs, plan=F("run__plan")).telling_first()
    telling = rehearsals.only("run_id", "outcome", "findings").distinct("run_id")
    of_rehearsal = {each.run_id: each for each in telling}
    found: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        findings, has_sql = of_plan.get(run.plan_id or 0, ([], False))
        rehearsal = of_rehearsal.get(run.number)
        looked_at = rehearsal is not None and rehearsal.has_passed and not has_sql
        kept = [each for each in findings if not (looked_at and each["code"] == "lint_could_not_run")]
        found[run.number] = [*kept, *(rehearsal.findings if rehearsal is not None else [])]
    return found


def digest_of(finding: Mapping[str, Any]) -> str:
    """What names a finding: its code, place and sentence."""
    return hashchain.digest(
        hashchain.canonical({name: finding.get(name, "") for name in ("code", "place", "sentence")})
    )


def people_who_may(environments: Collection[int], people: Collection[int]) -> Mapping[int, frozenset[int]]:
    """Those of these people whose acceptance counts, by environment, by the roles that they hold now."""
    if not people:
        return {}
    active = dict(
        get_user_model()._default_manager.filter(pk__in=people, is_active=True).values_list("pk", "is_superuser")
    )
    found = {each: {person for person, is_superuser in active.items() if is_superuser} for each in environments}
    held = Membership.objects.filter(environment__in=environments, role__in=ACCEPTING, group__user__in=list(active))
    for environment, person in held.order_by().values_list("environment_id", "group__user").distinct():
        if person in active:
            found[environment].add(person)
    return {environment: frozenset(each) for environment, each in found.items()}


def may_accept(user_id: int | None, project: Project) -> bool:
    """Whether the person is approver or administrator of an environment in which the project has a target."""
    environments = Target.objects.filter(project=project).values("environment")
    holds = Membership.objects.filter(environment__in=environments, role__in=ACCEPTING, group__user=OuterRef("pk"))
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True)
    return person.filter(Q(is_superuser=True) | Exists(holds)).exists()


def _acceptances(
    projects: Collection[int], digests: Collection[str], *, now: datetime
) -> Mapping[tuple[int, str], list[FindingAcceptance]]:
    rows = FindingAcceptance.objects.filter(
        project__in=projects, digest__in=digests, ended_at__isnull=True, expires_at__gt=now
    )
    found: dict[tuple[int, str], list[FindingAcceptance]] = defaultdict(list)
    for each in rows.order_by("at"):
        found[each.project_id, each.digest].append(each)
    return found
