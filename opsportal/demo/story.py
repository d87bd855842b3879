"""The rows of the story, made by the portal's own actions so that its audit begins with them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from django.contrib.auth.models import Group, User
from django.db import transaction

from migrations_audit.actions import people, registry, tokens
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.models import Environment, Project


@dataclass(frozen=True)
class Person:
    username: str
    role: str
    groups: tuple[str, ...]
    is_superuser: bool = False


PEOPLE = (
    Person("ada", "administrator", ("administrators",), is_superuser=True),
    Person("dana", "developer", ("developers",)),
    Person("priya", "approver (database administrator)", ("database administrators",)),
    Person("owen", "approver (service owner)", ("service owners",)),
    Person("olga", "operator", ("operators",)),
    Person("aude", "auditor", ("auditors",)),
)

ROLES = (
    ("developers", "requester", ""),
    ("database administrators", "approver", "database-administrator"),
    ("service owners", "approver", "owner"),
    ("operators", "operator", ""),
    ("auditors", "auditor", ""),
    ("administrators", "administrator", ""),
)

DBA = {"role": "database-administrator", "count": 1}
OWNER = {"role": "owner", "count": 1}

ENVIRONMENTS: tuple[dict[str, Any], ...] = (
    {"slug": "development", "tier": "development", "position": 1, "requirements": [], "observe_every_s": 120},
    {"slug": "staging", "tier": "staging", "position": 2, "requirements": [OWNER], "observe_every_s": 120},
    {
        "slug": "production",
        "tier": "production",
        "position": 3,
        "requirements": [DBA, OWNER],
        "rehearsal": "passed",
        "rewrite_limit_mb": 20,
        "observe_every_s": 60,
    },
)


def is_inhabited() -> bool:
    """Whether somebody has registered environments in this portal."""
    return Environment.objects.exists()


@transaction.atomic
def tell(
    *,
    urls: dict[str, str],
    experiments: str,
    ledger: str,
    folders: tuple[Path, Path],
    secrets_folder: Path,
    keep: Callable[[list[dict[str, str]]], None],
) -> None:
    """Make people, environments, projects and targets, all or nothing.

    ``folders`` are those of MarketEdge and of the ledger. ``keep`` gets the sign-ins, one a role, and the API token of the walk
    before the transaction ends.
    """
    signins = [_account(person) for person in PEOPLE]
    ada = _actor("ada")
    _roles(ada)
    environments = {item.slug: item for item in Environment.objects.all()}
    marketedge = registry.save_project(
        actor=ada,
        slug="marketedge",
        name="MarketEdge",
        folder=str(folders[0]),
        url_delivery="environment",
        url_delivery_name="DATABASE_URL",
        driver="postgresql+psycopg",
    )
    for slug, url in urls.items():
        given: dict[str, Any] = (
            {"new_url": url} if slug == "production" else {"url_reference": _file(secrets_folder, slug, url)}
        )
        registry.save_target(actor=ada, project=marketedge, environment=environments[slug], slug="main", **given)
    registry.save_target(
        actor=ada, project=_optuna(ada), environment=environments["development"], slug="studies", new_url=experiments
    )
    registry.save_target(
        actor=ada, project=_ledger(ada, folders[1]), environment=environments["production"], slug="main", new_url=ledger
    )
    for signin in signins:
        if signin["username"] == "dana":
            made = tokens.create(actor=_actor("dana"), name="demo walk", scopes=("read", "request"), days=30)
            signin["token"] = made.secret
    keep(signins)


def _account(person: Person) -> dict[str, str]:
    password = secrets.token_urlsafe(12)
    if person.is_superuser:  # somebody must be there before anybody can act
        User.objects.create_superuser(person.username, password=password)
    else:
        created = people.create_user(actor=_actor("ada"), username=person.username, password=password)
        people.change_user(actor=_actor("ada"), user_id=created.pk, is_staff=True)
    return {"role": person.role, "username": person.username, "password": password}


def _roles(ada: Actor) -> None:
    for values in ENVIRONMENTS:
        slug = str(values["slug"])
        registry.save_environment(actor=ada, name=slug.title(), queue=f"target-{slug}", fresh_for_s=900, **values)
    for group_name, role, approver_role in ROLES:
        group = people.save_group(actor=ada, name=group_name)
        for environment in Environment.objects.all():
            registry.save_membership(
                actor=ada, environment=environment, group=group, role=role, approver_role=approver_role
            )
    for person in PEOPLE:
        user = User.objects.get(username=person.username)
        people.change_user(actor=ada, user_id=user.pk, groups=list(Group.objects.filter(name__in=person.groups)))


def _optuna(ada: Actor) -> Project:
    """One Alembic project that ships inside a published package, unchanged."""
    storage = Path(optuna.__file__).parent / "storages" / "_rdb"
    return registry.save_project(
        actor=ada, slug="optuna", name="Optuna (as published)", folder=str(storage), driver="postgresql+psycopg"
    )


def _ledger(ada: Actor, folder: Path) -> Project:
    """A project whose next revision should not be approved as it stands."""
    return registry.save_project(
        actor=ada,
        slug="ledger",
        name="Ledger (a dangerous revision)",
        folder=str(folder),
        url_delivery="environment",
        url_delivery_name="DATABASE_URL",
        driver="postgresql+psycopg",
    )


def _file(folder: Path, slug: str, url: str) -> str:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / slug
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(url)
    return f"file:{path}"


def _actor(username: str) -> Actor:
    user = User.objects.filter(username=username).first()
    return Actor(kind=ActorKind.COMMAND, name=username, user_id=user.pk if user else None)
