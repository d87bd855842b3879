"""The registry's actions: what they accept, who may, what they leave in the audit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from pytest_django import Settings

from migrations_audit import sealing
from migrations_audit.access import MissingScope
from migrations_audit.actions import registry
from migrations_audit.actions.registry_entries import ChangedMeanwhile, NoSuchEntry
from migrations_audit.actions.registry_rights import MayNotRegister
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid, PortalError
from migrations_audit.models import AuditEvent, Environment, Membership, Project, Role, Target, Tier
from tests import people
from tests.domain import trail

pytestmark = pytest.mark.django_db

CANARY = "kanarien-vogel-1942"
URL = f"postgresql://migrator:{CANARY}@db.example:5432/market"
ENVIRONMENT: dict[str, Any] = {
    "slug": "staging",
    "name": "Staging",
    "tier": Tier.STAGING,
    "queue": "target-staging",
    "requirements": [{"role": "owner", "count": 1}],
}
PROJECT: dict[str, Any] = {"slug": "shop", "name": "Shop", "folder": "/srv/projects/shop"}


@pytest.fixture(autouse=True)
def roots(settings: Settings) -> None:
    settings.PORTAL_PROJECT_ROOTS = ["/srv/projects", "/opt/more/"]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # nobody signs in here
    settings.PORTAL_INTERPRETERS = {"py312": "/opt/py312/bin/python"}


@pytest.fixture
def root() -> Actor:
    user = User.objects.create_superuser("root", password=people.PASSWORD)
    return Actor(kind=ActorKind.USER, name="root", user_id=user.pk, address="127.0.0.1")


def refused(error: type[PortalError] = Invalid, *, field: str = "", **call: Any) -> str:
    """The sentence with which ``call["act"]`` is refused; nothing may have been recorded or stored by it."""
    act = call.pop("act")
    before = (trail.head(), Environment.objects.count(), Project.objects.count(), Target.objects.count())
    with pytest.raises(error) as caught:
        act(**call)
    if field:
        assert getattr(caught.value, "field", None) == field
    if issubclass(error, Invalid):
        assert before == (trail.head(), Environment.objects.count(), Project.objects.count(), Target.objects.count())
    return caught.value.message


def test_a_superuser_creates_an_environment_and_the_audit_tells_its_settings(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)

    event = trail.last("environment.created")
    assert (event.environment, event.object_id) == ("staging", "staging")
    assert event.facts["facts"]["settings"]["requirements"] == environment.requirements
    assert environment.settings_version == 1


def test_a_change_tells_old_and_new_and_counts_the_version(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)

    changed = registry.save_environment(actor=root, environment_id=environment.pk, lock_timeout_ms=500, name="Staging")

    assert changed.settings_version == 2
    assert trail.last("environment.changed").facts["facts"] == {
        "changed": {"lock_timeout_ms": {"old": 3000, "new": 500}}
    }


def test_a_change_of_nothing_leaves_neither_event_nor_version(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)
    before = trail.head()

    same = registry.save_environment(actor=root, environment_id=environment.pk, **ENVIRONMENT)

    assert (same.settings_version, trail.head()) == (1, before)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tier", Tier.PRODUCTION, "at least one approval requirement"),
        ("slug", "Staging", "lower-case"),
        ("slug", "-staging", "lower-case"),
        ("queue", "target production", "lower-case letters"),
        ("queue", "a,b", "lower-case letters"),
        ("requirements", [{"role": "owner", "count": 0}], "from 1 to 10"),
        ("requirements", [{"role": "owner\u0301x", "count": 1}], "lower case"),
        ("requirements", [{"role": "a" * 61, "count": 1}], "at most 60"),
        ("requirements", "owner", "list"),
        ("fresh_for_s", 300, "stale between two observations"),
        ("lock_timeout_ms", 900_000, ""),
        ("lock_budget_s", 3_600, "shorter than the run's deadline"),
        ("name", "Pro\u202eduction", "printable"),
        ("name", "Staging\nINFO forged", "printable"),
        ("observe_every_s", 1, "greater than or equal to 10"),
    ],
)
def test_an_environment_that_cannot_work_is_refused_with_a_sentence(
    root: Actor, field: str, value: object, words: str
) -> None:
    values = ENVIRONMENT | {"requirements": []} | {field: value}

    named = "requirements" if field == "tier" else field
    assert words in refused(act=registry.save_environment, actor=root, field=named, **values)


def test_an_unknown_name_is_refused_and_not_ignored(root: Actor) -> None:
    sentence = refused(act=registry.save_environment, actor=root, settings_version=99, **ENVIRONMENT)

    assert "settings_version is not a field" in sentence


def test_a_page_that_is_no_longer_true_stores_nothing(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)
    registry.save_environment(actor=root, environment_id=environment.pk, seen_version=1, deadline_s=600)

    sentence = refused(
        ChangedMeanwhile,
        act=registry.save_environment,
        actor=root,
        environment_id=environment.pk,
        seen_version=1,
        deadline_s=900,
    )

    assert "Reload" in sentence
    environment.refresh_from_db()
    assert environment.deadline_s == 600


@pytest.mark.parametrize("name", ["viewer", "dev", "admin", "outsider"])
def test_nobody_without_the_permission_changes_a_policy(name: str) -> None:
    place = people.make_place()

    with pytest.raises(MayNotRegister, match="may not change environments"):
        registry.save_environment(
            actor=place.actor(name), environment_id=place.environment.pk, requirements=[{"role": "owner", "count": 1}]
        )

    trail.denied(verb="registry.save_environment", code="may_not_register")


def test_the_permission_of_djangos_is_enough_to_change_and_not_to_remove() -> None:
    place = people.make_place()
    place.people["viewer"].user_permissions.add(Permission.objects.get(codename="change_environment"))

    registry.save_environment(actor=place.actor("viewer"), environment_id=place.environment.pk, name="Prod")

    with pytest.raises(MayNotRegister):
        registry.remove_environment(actor=place.actor("viewer"), environment_id=place.environment.pk)


def test_a_token_never_changes_the_registry(root: Actor) -> None:
    token = Actor(kind=ActorKind.TOKEN, name="root's token", user_id=root.user_id, scopes=frozenset({"request", "run"}))

    with pytest.raises(MissingScope):
        registry.save_environment(actor=token, **ENVIRONMENT)


def test_the_short_name_is_fixed_once_a_target_was_read(root: Actor) -> None:
    place = people.make_place()
    registry.save_environment(actor=root, environment_id=place.environment.pk, slug="prod")
    people.observe(place)

    for act, key, pk in (
        (registry.save_environment, "environment_id", place.environment.pk),
        (registry.save_project, "project_id", place.project.pk),
        (registry.save_target, "target_id", place.target.pk),
    ):
        changed: dict[str, Any] = {key: pk, "slug": "renamed"}
        sentence = refused(registry.HasHistory, act=act, actor=root, **changed)
        assert "not change any more" in sentence


def test_an_environment_with_targets_stays_and_one_without_goes_with_its_memberships(root: Actor) -> None:
    place = people.make_place()
    assert "1 target." in refused(
        registry.InUse, act=registry.remove_environment, actor=root, environment_id=place.environment.pk
    )
    registry.remove_target(actor=root, target_id=place.target.pk)

    registry.remove_environment(actor=root, environment_id=place.environment.pk)

    assert "production dba is approver" in json.dumps(trail.last("environment.removed").facts)
    assert not Membership.objects.exists()


def test_an_administrator_gives_and_takes_roles_in_the_own_environment_only(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)
    group = Group.objects.create(name="night shift")
    values: dict[str, Any] = {"group": group, "role": Role.OPERATOR, "approver_role": ""}

    membership = registry.save_membership(actor=place.actor("admin"), environment=place.environment, **values)
    with pytest.raises(MayNotRegister, match="of Staging"):
        registry.save_membership(actor=place.actor("admin"), environment=other, **values)
    registry.remove_membership(actor=place.actor("admin"), membership_id=membership.pk)

    assert trail.last("membership.created").facts["facts"]["sentence"] == "night shift is operator in Production"
    assert trail.last("membership.removed").environment == "production"


@pytest.mark.parametrize(
    ("role", "approver_role", "words"),
    [
        (Role.APPROVER, "", "lower case"),
        (Role.APPROVER, "Owner!", "lower case"),
        (Role.VIEWER, "owner", "Only an approver"),
        ("king", "", "not a valid choice"),
    ],
)
def test_a_membership_that_means_nothing_is_refused(root: Actor, role: str, approver_role: str, words: str) -> None:
    place = people.make_place()
    group = Group.objects.create(name="night shift")

    sentence = refused(
        act=registry.save_membership,
        actor=root,
        environment=place.environment,
        group=group,
        role=role,
        approver_role=approver_role,
    )

    assert words in sentence


def test_a_membership_never_moves_to_another_environment_and_is_never_doubled(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)
    membership = Membership.objects.filter(role=Role.VIEWER).get()

    refused(
        act=registry.save_membership, actor=root, membership_id=membership.pk, environment=other, field="environment"
    )
    double: dict[str, Any] = {"environment": place.environment, "group": membership.group, "role": Role.VIEWER}

    assert "already exists" in refused(act=registry.save_membership, actor=root, **double)


def test_a_project_is_stored_with_its_way_of_delivery(root: Actor) -> None:
    project = registry.save_project(
        actor=root,
        **PROJECT,
        url_delivery="environment",
        url_delivery_name="DATABASE_URL",
        extra_environment={"APP": "x"},
    )

    assert project.approved_facts()["url_delivery_name"] == "DATABASE_URL"
    assert trail.last("project.created").facts["facts"]["settings"]["extra_environment"] == {"APP": "x"}


@pytest.mark.parametrize("folder", ["/srv/projects", "/srv/projects/a b/c", "/opt/more/x"])
def test_a_folder_under_a_root_is_accepted_without_being_opened(root: Actor, folder: str) -> None:
    assert registry.save_project(actor=root, **PROJECT | {"folder": folder}).folder == folder


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("folder", "/etc", "PORTAL_PROJECT_ROOTS"),
        ("folder", "/srv/projects/../../etc", "absolute path"),
        ("folder", "/srv/projectsx/shop", "PORTAL_PROJECT_ROOTS"),
        ("folder", "//srv/projects/shop", "absolute path"),
        ("folder", "srv/projects/shop", "absolute path"),
        ("folder", "/srv/projects/shop/", "absolute path"),
        ("folder", "/srv/projects/sh\x00op", "printable"),
        ("config_path", "../alembic.ini", "relative"),
        ("config_path", "/srv/projects/alembic.ini", "relative"),
        ("config_path", "-c/alembic.ini", "relative"),
        ("config_path", "package:alembic.ini", "ends in .ini"),
        ("config_path", "env.py", "ends in .ini"),
        ("ini_section", "alembic]\n[x", "printable"),
        ("ini_section", "DEFAULT", "DEFAULT is not one"),
        ("interpreter", "/usr/bin/python", "PORTAL_INTERPRETERS"),
        ("url_delivery_name", "DATABASE_URL", "needs no name"),
        ("extra_environment", {"A B": "x"}, "letters, digits"),
        ("extra_environment", {"A": "x\ny"}, "printable"),
        ("extra_environment", {"A": "x" * 2_001}, "2,000"),
        ("extra_environment", {f"V{n}": "" for n in range(51)}, "at most 50"),
        ("extra_environment", {"A": 1}, "maps names to texts"),
        ("extra_environment", ["A=1"], "maps names to texts"),
        ("version_table", "", ""),
        ("version_table", "é" * 32, "63 bytes"),
        ("version_table", "app.alembic_version", "without dots"),
        ("version_table_schema", 'a"b', "without dots"),
        ("driver", "mysql", "not a valid choice"),
    ],
)
def test_a_project_that_a_worker_could_not_use_is_refused(root: Actor, field: str, value: object, words: str) -> None:
    assert words in refused(act=registry.save_project, actor=root, field=field, **PROJECT | {field: value})


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "LD_PRELOAD",
        "PGSERVICEFILE",
        "PGPASSFILE",
        "ALEMBIC_CONFIG",
        "SECRET_KEY",
        "REDIS_URL",
        "PORTAL_SEALING_KEYS",
        "pythonpath",
    ],
)
def test_a_variable_that_decides_what_is_loaded_or_reached_is_refused(root: Actor, name: str) -> None:
    delivered = PROJECT | {"url_delivery": "environment", "url_delivery_name": name}

    refused(act=registry.save_project, actor=root, field="url_delivery_name", **delivered)
    refused(act=registry.save_project, actor=root, field="extra_environment", **PROJECT, extra_environment={name: "x"})


@pytest.mark.parametrize("value", [URL, f"redis://:{CANARY}@h/0", f"host=db password={CANARY}"])
def test_a_password_in_the_extra_environment_is_refused_without_repeating_it(root: Actor, value: str) -> None:
    sentence = refused(act=registry.save_project, actor=root, **PROJECT, extra_environment={"OTHER": value})

    assert CANARY not in sentence
    assert "URL reference" in sentence


def test_a_password_in_any_text_is_refused_without_repeating_it(root: Actor) -> None:
    assert CANARY not in refused(act=registry.save_project, actor=root, field="name", **PROJECT | {"name": URL})


def test_a_project_with_snapshots_stays_and_a_fresh_one_goes(root: Actor) -> None:
    place = people.make_place()
    people.make_snapshot(place.project)
    registry.remove_target(actor=root, target_id=place.target.pk)
    fresh = registry.save_project(actor=root, **PROJECT)

    registry.remove_project(actor=root, project_id=fresh.pk)

    assert "a record" in refused(
        registry.HasHistory, act=registry.remove_project, actor=root, project_id=place.project.pk
    )
    assert trail.last("project.removed").object_id == "shop"


def test_without_roots_no_folder_is_accepted(root: Actor, settings: Settings) -> None:
    settings.PORTAL_PROJECT_ROOTS = []

    assert "PORTAL_PROJECT_ROOTS is empty" in refused(act=registry.save_project, actor=root, field="folder", **PROJECT)


def make_target(actor: Actor, place: people.Place, **reference: Any) -> Target:
    """A second target of the place."""
    return registry.save_target(
        actor=actor, project=place.project, environment=place.environment, slug="second", **reference
    )


def test_an_administrator_registers_a_target_by_reference() -> None:
    place = people.make_place()

    target = make_target(place.actor("admin"), place, url_reference=" env:SECOND_URL ")

    assert target.url_reference == "env:SECOND_URL"
    event = trail.last("target.created")
    assert (event.target, event.facts["facts"]["settings"]["url_reference"]) == (target.label, "env:SECOND_URL")


def test_a_new_url_is_sealed_and_in_no_row_in_clear(settings: Settings) -> None:
    place = people.make_place()

    target = make_target(place.actor("admin"), place, new_url=URL)
    registry.save_target(actor=place.actor("admin"), target_id=target.pk, new_url=URL + "2")

    target.refresh_from_db()
    token = target.url_reference.removeprefix("sealed:")
    assert sealing.unseal(token, keys=settings.PORTAL_SEALING_KEYS) == URL + "2"
    bodies = " ".join(AuditEvent.objects.values_list("body", flat=True))
    assert CANARY not in bodies + target.url_reference
    assert token not in bodies
    change = trail.last("target.changed").facts["facts"]["changed"]["url_reference"]
    assert change == {"old": "sealed value", "new": "sealed value changed"}


def test_an_empty_reference_keeps_what_is_stored() -> None:
    place = people.make_place()

    registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, url_reference="")

    place.target.refresh_from_db()
    assert place.target.url_reference == "env:TEST_TARGET_URL"


def test_a_changed_reference_voids_by_its_version_and_tells_both() -> None:
    place = people.make_place()

    target = registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, url_reference="file:/run/url")

    assert target.settings_version == 2
    change = trail.last("target.changed").facts["facts"]["changed"]["url_reference"]
    assert change == {"old": "env:TEST_TARGET_URL", "new": "file:/run/url"}


@pytest.mark.parametrize(
    "pasted", [URL, f"env:{URL}", f"host=db user=u password={CANARY} dbname=x", "postgresql://h/db"]
)
def test_a_url_pasted_as_reference_is_refused_without_repeating_it(pasted: str) -> None:
    place = people.make_place()

    sentence = refused(
        act=registry.save_target,
        actor=place.actor("admin"),
        target_id=place.target.pk,
        url_reference=pasted,
        field="url_reference",
    )

    assert "New URL" in sentence
    assert CANARY not in sentence


@pytest.mark.parametrize(
    "reference", ["env:1X", "env:DATABASE_URL", "file:relative", "file:/a/../b", "sealed:x", "db1"]
)
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    place = people.make_place()

    refused(act=make_target, actor=place.actor("admin"), place=place, url_reference=reference, field="url_reference")


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{CANARY}@h/db",
        f"postgresql+odd://u:{CANARY}@h/db",
        f"postgresql://u:{CANARY}@/db",
        f"postgresql://u:{CANARY}@h",
        f"postgresql://u:{CANARY}@h/a/b",
        f"postgresql://u:{CANARY}@h:x/db",
        f"postgresql://u:{CANARY}@[::1/db",
        f"postgresql://u:{CANARY}@h1,h2/db",
        f"postgresql://u:{CANARY} x@h/db",
        f"postgresql://u:{CANARY}#x@h/db",
        "postgresql://h/db",
        CANARY,
        f"postgresql://u:{CANARY}@h/{'d' * 1_400}",
    ],
)
def test_a_new_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    place = people.make_place()

    sentence = refused(act=make_target, actor=place.actor("admin"), place=place, new_url=url, field="new_url")

    assert CANARY not in sentence


def test_a_target_needs_one_reference_and_not_two() -> None:
    place = people.make_place()

    refused(act=make_target, actor=place.actor("admin"), place=place, field="url_reference")
    refused(
        act=make_target,
        actor=place.actor("admin"),
        place=place,
        url_reference="env:A",
        new_url=URL,
        field="url_reference",
    )


def test_without_a_sealing_key_a_url_is_not_stored_at_all(settings: Settings) -> None:
    settings.PORTAL_SEALING_KEYS = []
    place = people.make_place()

    with pytest.raises(sealing.NoSealingKey):
        make_target(place.actor("admin"), place, new_url=URL)

    assert Target.objects.count() == 1


@pytest.mark.parametrize("name", ["viewer", "dev", "operator", "outsider"])
def test_nobody_but_an_administrator_changes_where_a_target_leads(name: str) -> None:
    place = people.make_place()

    with pytest.raises(MayNotRegister):
        registry.save_target(actor=place.actor(name), target_id=place.target.pk, url_reference="env:OTHER")


def test_a_target_moves_only_between_environments_that_the_person_administers(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)

    with pytest.raises(MayNotRegister, match="of Staging"):
        registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, environment=other)


def test_a_target_that_was_read_stays(root: Actor) -> None:
    place = people.make_place()
    people.observe(place)

    assert "It stays" in refused(registry.HasHistory, act=registry.remove_target, actor=root, target_id=place.target.pk)


def test_an_entry_that_is_gone_is_named_as_such(root: Actor) -> None:
    with pytest.raises(NoSuchEntry):
        registry.save_project(actor=root, project_id=999_999, name="x")


def test_the_chain_holds_after_all_of_it(root: Actor) -> None:
    place = people.make_place()
    registry.save_environment(actor=root, environment_id=place.environment.pk, deadline_s=1_200)
    make_target(root, place, new_url=URL)

    assert trail.verify().holds
