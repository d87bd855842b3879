"""The people, places and rows that tests stand on. Plain functions; everything goes through the models as production does."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.db import connection

from migrations_audit import hashchain
from migrations_audit.actions import approvals, attempts, evidence, plans, runs
from migrations_audit.actors import Actor, ActorKind, worker
from migrations_audit.judgement import Facts, Judgement, Witness, judge
from migrations_audit.models import (
    Environment,
    Evidence,
    Membership,
    MigrationRun,
    Observation,
    Project,
    Role,
    Snapshot,
    Target,
    Tier,
)
from migrations_audit.queries import bound
from migrations_audit.states import Operation, RehearsalDemand, TargetStatus

PASSWORD = "correct-horse-battery-staple"
WORKER = worker("worker@test")

IDENTITY: dict[str, Any] = {
    "endpoint": {"host": "db.example", "port": 5432, "database": "market", "user": "migrator"},
    "system_identifier": "7300000000000000001",
    "database_oid": 16_384,
    "database": "market",
    "user": "migrator",
    "server_address": "10.0.0.7",
    "server_port": 5432,
    "server_version": "18.6",
    "timeline": 1,
    "in_recovery": False,
}


@dataclass
class Place:
    """One project with a production target, and one person per role. ``outsider`` holds no role anywhere."""

    environment: Environment
    project: Project
    target: Target
    people: dict[str, User] = field(default_factory=dict)

    def actor(self, name: str) -> Actor:
        user = self.people[name]
        return Actor(kind=ActorKind.USER, name=user.username, user_id=user.pk, address="127.0.0.1")

    def token(self, name: str, *scopes: str) -> Actor:
        """A token of this person, acting within ``scopes``."""
        user = self.people[name]
        return Actor(
            kind=ActorKind.TOKEN,
            name=f"token ci of {user.username}",
            user_id=user.pk,
            scopes=frozenset(scopes),
            address="127.0.0.1",
        )


ROLES: dict[str, tuple[str, str]] = {
    "dev": (Role.REQUESTER, ""),
    "dba": (Role.APPROVER, "database-administrator"),
    "owner": (Role.APPROVER, "owner"),
    "operator": (Role.OPERATOR, ""),
    "auditor": (Role.AUDITOR, ""),
    "admin": (Role.ADMINISTRATOR, ""),
    "viewer": (Role.VIEWER, ""),
}


def make_place(
    *,
    slug: str = "production",
    tier: str = Tier.PRODUCTION,
    requirements: list[dict[str, Any]] | None = None,
    url_reference: str = "env:TEST_TARGET_URL",
    project: Project | None = None,
    **environment: Any,
) -> Place:
    """An environment with its people, a project and a target."""
    wanted = (
        [{"role": "database-administrator", "count": 1}, {"role": "owner", "count": 1}]
        if requirements is None
        else requirements
    )
    # A rehearsal with each plan would keep the workers of tests busy that are about something else.
    environment.setdefault("rehearsal", RehearsalDemand.ON_REQUEST.value)
    place_environment = Environment.objects.create(
        slug=slug, name=slug.title(), tier=tier, position=3, queue=f"target-{slug}", requirements=wanted, **environment
    )
    place_project = project or Project.objects.create(slug="market", name="Market", folder="/srv/market")
    target = Target.objects.create(
        project=place_project, environment=place_environment, slug="main", url_reference=url_reference
    )
    place = Place(place_environment, place_project, target)
    for name, (role, approver_role) in ROLES.items():
        group, _ = Group.objects.get_or_create(name=f"{slug} {name}")
        Membership.objects.create(environment=place_environment, group=group, role=role, approver_role=approver_role)
        user = User.objects.filter(username=name).first() or make_user(name)
        user.groups.add(group)
        place.people[name] = user
    place.people["outsider"] = User.objects.filter(username="outsider").first() or make_user("outsider")
    return place


def make_user(name: str, *, superuser: bool = False) -> User:
    """An account whose password is PASSWORD."""
    hashed = _hashed(tuple(settings.PASSWORD_HASHERS))
    return User.objects.create(username=name, password=hashed, is_staff=True, is_superuser=superuser)


@functools.cache
def _hashed(hashers: tuple[str, ...]) -> str:
    # Hashing is slow on purpose. Once is enough for everybody, as long as the hashers are the same.
    return make_password(PASSWORD)


def add_person(place: Place, name: str, *roles: tuple[str, str], superuser: bool = False) -> Actor:
    """One more person in the place, holding these (role, approver role) pairs, and only these."""
    user = make_user(name, superuser=superuser)
    for role, approver_role in roles:
        group, _ = Group.objects.get_or_create(name=f"{place.environment.slug} {role} {approver_role}")
        Membership.objects.get_or_create(
            environment=place.environment, group=group, role=role, approver_role=approver_role
        )
        user.groups.add(group)
    place.people[name] = user
    return place.actor(name)


def observe(
    place: Place, *, revisions: list[str] | None = None, status: TargetStatus = TargetStatus.BEHIND, **read: Any
) -> Observation:
    """A stored reading of the place's target, as a worker would leave it."""
    rows = ["002"] if revisions is None else revisions
    values: dict[str, Any] = {
        "sentence": "behind: 1 revision pending, first 003",
        "identity": IDENTITY,
        "revisions": rows,
        "heads": ["003"],
        "pending": [{"revision": "003", "message": "add phase 3 enhancements"}],
        "catalog": (hashchain.digest(str(rows)), {"table public.users": "table"}),
    } | read
    return evidence.record_observation(
        actor=WORKER,
        target=place.target,
        purpose="check",
        read=evidence.Read(status=status, **values),
        snapshot=make_snapshot(place.project),
    )


def make_snapshot(project: Project) -> Snapshot:
    """A stored snapshot with one revision file."""
    return evidence.keep_snapshot(
        actor=WORKER,
        project=project,
        digest=hashchain.digest("snapshot"),
        archive=b"archive",
        files=[{"path": "versions/003.py", "sha256": hashchain.digest("003"), "size": 3}],
        graph={"heads": ["003"], "revisions": [], "problems": []},
    )


def make_draft(place: Place, **changes: Any) -> plans.Draft:
    """A plan from 002 to 003, before it is stored."""
    values: dict[str, Any] = {
        "requested": "head",
        "from_revisions": ["002"],
        "to_revisions": ["003"],
        "destination": ["003"],
        "steps": [
            {
                "position": 1,
                "revision": "003",
                "down_revisions": ["002"],
                "direction": "upgrade",
                "message": "add phase 3 enhancements",
                "path": "versions/003.py",
                "sha256": hashchain.digest("003"),
                "transactional": True,
            }
        ],
        "sql": "CREATE TABLE analytics_modules (id varchar(255) PRIMARY KEY);",
        "sql_reason": "",
        "findings": [],
        "identity": IDENTITY,
        "snapshot": make_snapshot(place.project),
        "base_observation": observe(place),
        "settings": bound.parts(Target.objects.get(pk=place.target.pk))["target"],
        "connection": {},
        "worker": {},
    } | changes
    return plans.Draft(**values)


def make_run(
    place: Place, *, state: str = "requested", reason: str = "Production lacks 003.", **asked: Any
) -> MigrationRun:
    """A run brought to ``state`` by the same actions that people and workers use: requested … queued, running.

    Where the policy requires nobody, the plan itself is the approval.
    """
    values: dict[str, Any] = {"revision": "head", "operation": Operation.UPGRADE} | asked
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, reason=reason, **values)
    if state == "requested":
        return run
    begun = plans.begin(actor=WORKER, number=run.number)
    if state == "planning":
        return begun
    plan = plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=make_draft(place))
    if state in ("approved", "queued", "running") and place.environment.requirements:
        approve_by_all(place, run.number, plan.digest)
    if state in ("queued", "running"):
        runs.start(actor=place.actor("operator"), number=run.number, digest=plan.digest, confirm=place.target.label)
    if state == "running":
        attempts.claim(actor=WORKER, number=run.number)
    return MigrationRun.objects.select_related("plan", "target__environment", "target__project").get(number=run.number)


def approve_by_all(place: Place, number: int, digest: str) -> None:
    """Both approvers of the standard policy approve."""
    for name in ("dba", "owner"):
        approvals.approve(actor=place.actor(name), number=number, digest=digest, comment="Read it.")


def evidence_of(number: int) -> list[Evidence]:
    """The evidence rows of a run."""
    return list(Evidence.objects.filter(run_id=number))


def at_once(count: int, act: Callable[[int], object]) -> list[object]:
    """What ``act`` returned or raised in ``count`` threads that begin together. Each has a connection of its own."""
    barrier = threading.Barrier(count, timeout=30)
    answers: list[object] = [None] * count

    def one(index: int) -> None:
        try:
            barrier.wait()
            answers[index] = act(index)
        except Exception as error:  # noqa: BLE001  (whatever it raised is the answer)
            answers[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def read_back(place: Place, run: MigrationRun, *, revisions: list[str] | None = None) -> Observation:
    """A stored reading of the target after ``run``; without ``revisions`` at the plan's result."""
    return evidence.record_observation(
        actor=WORKER,
        target=place.target,
        purpose="verify",
        read=evidence.Read(
            status=TargetStatus.IN_SYNC,
            sentence="in sync at 003",
            identity=IDENTITY,
            revisions=["003"] if revisions is None else revisions,
            heads=["003"],
            catalog=(hashchain.digest("after"), {"table public.analytics_modules": "table"}),
        ),
        snapshot=make_snapshot(place.project),
        run=run,
    )


def make_facts(**changes: Any) -> Facts:
    """What was read after a run from 002 to 003 that did what it should."""
    values: dict[str, Any] = {
        "target": "market/production/main",
        "start": ("002",),
        "result": ("003",),
        "steps": ("003",),
        "all_transactional": True,
        "rows": ("003",),
        "changes": ("table public.analytics_modules added",),
    } | changes
    return Facts(**values)


def make_witness(**changes: Any) -> Witness:
    """What the runner said of a run that did what it should."""
    values: dict[str, Any] = {
        "exit_code": 0,
        "ended_by": "itself",
        "steps_ended": 1,
        "connected": True,
        "commit_after_version": True,
    } | changes
    return Witness(**values)


def finish(
    place: Place, run: MigrationRun, *, judgement: Judgement | None = None, observation: Observation | None = None
) -> MigrationRun:
    """End the running ``run``; as it is told here, it was applied and verified."""
    return attempts.finish(
        actor=WORKER,
        number=run.number,
        epoch=run.epoch,
        judgement=judgement or judge(make_facts(), make_witness()),
        observation=observation or read_back(place, run),
    )
