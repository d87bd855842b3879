"""Whose approval counts on a run: what the policy asks for, who is left out and why, and what is still missing.

Actions decide by this and pages show it, so that a button and its refusal never differ.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db.models import Q

from migrations_audit import policy
from migrations_audit.models import Approval, AuditEvent, Membership, MigrationRun, Plan, Role, Tier
from migrations_audit.models.approvals import Decision

SELF = "self_approval"
AUTHOR = "commit_author"
SAME = "same_person"
EDITED = "edited_after_request"

EDITS = {
    "target": ("target.changed", "target.identity_forgotten"),
    "project": ("project.changed",),
    "environment": ("environment.changed", "policy.proposed", "policy.confirmed"),
}
"""What counts as an edit of what a run rests on, by the kind of object: the names of its events."""

VERBS = {
    "target.identity_forgotten": "gave up the identity of",
    "policy.proposed": "proposed a change of",
    "policy.confirmed": "confirmed a change of",
}

NOT_POLICY = frozenset({"name", "position", "observe_every_s"})
"""Fields of an environment on which no approval rests."""

PARTS = (
    "window.created", "window.changed", "window.removed", "membership.created", "membership.changed", "membership.removed",
)  # fmt: skip
"""Edits of a policy's parts: when runs may start, and of memberships those that say who approves."""


@dataclass(frozen=True)
class Exclusion:
    """Why a person's approval does not count on a run, as a code and a sentence with the person's name."""

    code: str
    sentence: str


Approvers = Mapping[int, tuple[str, frozenset[str]]]
"""By person: the name and the approver roles held in an environment now."""


@dataclass(frozen=True)
class Standing:
    """How the standing decisions on one run meet its policy. ``left_out`` are people whose approval does not count."""

    wanted: Sequence[policy.Requirement]
    match: policy.Match
    outlook: policy.Outlook
    approvers: Approvers
    left_out: Mapping[int, Exclusion]
    wishes: Sequence[Approval]
    """Wishes for changes of people who may still decide, oldest first. While there is one, nobody approves and nothing starts."""
    not_counting: Sequence[str]
    """A sentence for each approval or wish that was given and does not count."""


def approvers_in(environments: Iterable[int]) -> Mapping[int, Approvers]:
    """By environment the people who hold approver roles there. Active people only, one query."""
    rows = (
        Membership.objects.filter(environment__in=list(environments), role=Role.APPROVER, group__user__is_active=True)
        .order_by("group__user__username")
        .values_list("environment_id", "group__user__id", "group__user__username", "approver_role")
    )
    found: dict[int, dict[int, tuple[str, frozenset[str]]]] = defaultdict(dict)
    for environment, person, name, role in rows:
        _, held = found[environment].get(person, (name, frozenset()))
        found[environment][person] = (name, held | {role})
    return found


def needed(run: MigrationRun) -> tuple[policy.Requirement, ...]:
    """What the run asks for: the policy frozen in its plan and today's, whichever is stricter.

    Production is never approved by nobody: should its policy be empty, one approver is asked for, and the start is refused.
    """
    environment = run.target.environment
    wanted = policy.stricter(frozen(run), environment.parsed_requirements)
    if not wanted and is_production(run):
        return (policy.Requirement(policy.ANY_ROLE, 1),)
    return wanted


def frozen(run: MigrationRun) -> tuple[policy.Requirement, ...]:
    """What the policy asked for when the run was planned; nothing before that."""
    return policy.parse(run.plan.options.get("requirements", [])) if run.plan is not None else ()


def is_production(run: MigrationRun) -> bool:
    """Whether the run's environment is production, now or when it was planned."""
    planned = run.plan.options.get("tier") if run.plan is not None else None
    return Tier.PRODUCTION in (run.target.environment.tier, planned)


def standing_of(run: MigrationRun) -> Standing:
    """How the standing approvals of one run meet its policy, by the roles and edits of now."""
    approvers = approvers_in([run.target.environment_id]).get(run.target.environment_id, {})
    given = list(run.approvals.filter(withdrawn_at__isnull=True))
    people = {*approvers, *(item.person_id for item in given)}
    return standing_from(given, approvers, excluded([run], people=people)[run.number], wanted=needed(run))


def as_it_was(run: MigrationRun) -> Standing:
    """The same of a run that has started or ended: by the policy of its plan and the roles that people held when they decided."""
    given = list(run.approvals.filter(withdrawn_at__isnull=True))
    approvers = {item.person_id: (item.person_name, frozenset(item.roles)) for item in given}
    return standing_from(given, approvers, {}, wanted=frozen(run))


def standing_from(
    given: Iterable[Approval],
    approvers: Approvers,
    left_out: Mapping[int, Exclusion],
    *,
    wanted: Sequence[policy.Requirement],
) -> Standing:
    """The same from what was read already. ``given`` are the decisions that were not taken back."""
    standing = sorted(given, key=lambda item: (item.at, item.pk))
    approved = [item for item in standing if item.decision == Decision.APPROVE]
    wishes = [item for item in standing if item.decision == Decision.CHANGES]
    nobody: tuple[str, frozenset[str]] = ("", frozenset())
    counting = [
        policy.Holder(item.person_id, approvers.get(item.person_id, nobody)[1])
        for item in approved
        if item.person_id not in left_out
    ]
    decided = {item.person_id for item in approved}
    others = [
        policy.Holder(person, roles)
        for person, (_, roles) in approvers.items()
        if person not in decided and person not in left_out
    ]
    return Standing(
        wanted=wanted,
        match=policy.match(wanted, counting),
        outlook=policy.who_could(wanted, counting, others),
        approvers=approvers,
        left_out=left_out,
        wishes=[item for item in wishes if item.person_id in approvers],
        not_counting=[
            f"The approval of {item.person_name} does not count: {left_out[item.person_id].sentence}"
            for item in approved
            if item.person_id in left_out
        ]
        + [
            f"The wish of {item.person_name} for changes does not count: {item.person_name} is no approver there any more."
            for item in wishes
            if item.person_id not in approvers
        ],
    )


def excluded(runs: Collection[MigrationRun], *, people: Collection[int]) -> Mapping[int, Mapping[int, Exclusion]]:
    """By run and person who of ``people`` cannot approve it, and why. Four queries for any number of runs."""
    if not runs:
        return {}
    approved = _approved(runs)
    others = {run.requester_id for run in runs} | {each for given in approved.values() for each in given}
    known = {user.pk: user for user in get_user_model()._default_manager.filter(pk__in={*people, *others})}
    commits = _commits(runs)
    edits = _edits(runs)
    found: dict[int, dict[int, Exclusion]] = {}
    for run in runs:
        of_run = {
            person: Exclusion(EDITED, sentence)
            for kind, name in _edited(run)
            for at, person, sentence in edits.get((kind, name), ())
            if at >= run.requested_at and person in known
        }
        for commit in commits.get(run.plan_id or 0, ()):
            of_run |= {
                person: Exclusion(AUTHOR, _authorship(user, commit))
                for person, user in known.items()
                if is_author(commit, user)
            }
        of_run |= _twins(run, known, approved.get(run.number, ()))
        if run.requester_id in known:
            of_run[run.requester_id] = Exclusion(SELF, f"{run.requester_name} asked for the run.")
        found[run.number] = of_run
    return found


def _approved(runs: Collection[MigrationRun]) -> Mapping[int, Sequence[int]]:
    """By run who has approved it, the first one first."""
    found: dict[int, list[int]] = defaultdict(list)
    given = Approval.objects.filter(run__in=runs, decision=Decision.APPROVE, withdrawn_at__isnull=True)
    for number, person in given.order_by("at", "pk").values_list("run_id", "person_id"):
        found[number].append(person)
    return found


def _twins(run: MigrationRun, known: Mapping[int, AbstractUser], approved: Sequence[int]) -> dict[int, Exclusion]:
    """The accounts of those who have asked for or approved the run with another one: one person, by the e-mail address."""
    first: dict[str, tuple[int, str]] = {}
    for person, did in ((run.requester_id, "asked for the run"), *((each, "approved it") for each in approved)):
        if person in known and (address := _plain(known[person].email)):
            first.setdefault(address, (person or 0, did))
    found = {}
    for person, user in known.items():
        other, did = first.get(_plain(user.email), (person, ""))
        if other != person:
            sentence = f"{user.get_username()} has the same e-mail address as {known[other].get_username()}, who {did}."
            found[person] = Exclusion(SAME if did == "approved it" else SELF, sentence)
    return found


def is_author(commit: Mapping[str, Any], user: AbstractUser) -> bool:
    """Whether a commit names this account as its author: by e-mail address, by name, or by the address's part before the @."""
    email, author = _plain(commit.get("email", "")), _plain(commit.get("author", ""))
    local = email.partition("@")[0]
    username = _plain(user.get_username())
    mine = {username, _plain(user.email), _plain(user.get_full_name())} - {""}
    # Hosts of repositories write addresses like 1234+alice@users.noreply.example.
    return bool({email, author} & mine) or username in {local, local.partition("+")[0], local.rpartition("+")[2]}


def _plain(text: object) -> str:
    return " ".join(unicodedata.normalize("NFKC", str(text)).casefold().split())


def _authorship(user: AbstractUser, commit: Mapping[str, Any]) -> str:
    name, short = user.get_username(), str(commit.get("id", ""))[:7]
    if "path" in commit:
        return f"{name} wrote {commit['path']} in commit {short}."
    return f"{name} is the author of commit {short}, from which the scripts come."


def _commits(runs: Iterable[MigrationRun]) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    """By plan the commits from which its scripts came: of each step's file and what the steps share, where the files were first
    seen, and where they were read for the plan."""
    plans = Plan.objects.filter(pk__in=[run.plan_id for run in runs if run.plan_id]).order_by()
    rows = plans.values_list("pk", "authors", "snapshot__commit", "base_observation__facts__commit")
    return {pk: [*authors, *(commit for commit in commits if commit)] for pk, authors, *commits in rows}


def _edited(run: MigrationRun) -> Sequence[tuple[str, str]]:
    target = run.target
    return (
        ("target", str(target.pk)),
        ("project", target.project.slug),
        ("environment", target.environment.slug),
    )


def _edits(runs: Collection[MigrationRun]) -> Mapping[tuple[str, str], Sequence[tuple[Any, int, str]]]:
    """By object of the registry who edited it since the oldest of the runs was requested: time, person and what."""
    wanted = Q()
    for kind, name in {each for run in runs for each in _edited(run)}:
        wanted |= Q(object_kind=kind, object_id=name, action__in=EDITS[kind])
        if kind == "environment":
            wanted |= Q(environment=name, action__in=PARTS)
    since = min(run.requested_at for run in runs)
    found: dict[tuple[str, str], list[tuple[Any, int, str]]] = defaultdict(list)
    for event in AuditEvent.objects.filter(wanted, at__gte=since).order_by("seq"):
        body = event.facts
        fields = set(body["facts"].get("changed", {}))
        if event.action == "environment.changed" and fields <= NOT_POLICY:
            continue
        is_part = event.action in PARTS
        if is_part and event.object_kind == "membership" and not _is_about_approvers(body["facts"]):
            continue
        person = body["actor"]["user_id"]
        if person is not None:
            what = f" ({', '.join(sorted(fields))})" if fields else ""
            name = event.environment if is_part else event.target or event.object_id
            kind = f"{event.object_kind}s of the environment" if is_part else event.object_kind
            verb = VERBS.get(event.action, "edited")
            when = f"{event.at:%Y-%m-%d %H:%M:%S} UTC"
            sentence = f"{event.actor} {verb} the {kind} {name}{what} at {when}, after the request."
            key = ("environment", event.environment) if is_part else (event.object_kind, event.object_id)
            found[key].append((event.at, person, sentence))
    return found


def edits_of(run: MigrationRun) -> list[str]:
    """Who edited since the request what the run rests on, a sentence each, in the order of time."""
    found = [each for edits in _edits([run]).values() for each in edits]
    return [sentence for _, _, sentence in sorted(found)]


def _is_about_approvers(facts: Mapping[str, Any]) -> bool:
    settings, changed = facts.get("settings", {}), facts.get("changed", {})
    return settings.get("role") == Role.APPROVER or bool({"role", "approver_role", "group"} & set(changed))
