"""What may change between an approval and the start or the claim, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from migrations_audit.models import Environment, MigrationRun, Project, Target
from migrations_audit.models.clock import database_now
from tests.people import Place

Change = Callable[[Place, MigrationRun], object]


def lose_role(place: Place, run: MigrationRun) -> None:
    place.people["dba"].groups.clear()


def deactivate(place: Place, run: MigrationRun) -> None:
    place.people["owner"].is_active = False
    place.people["owner"].save(update_fields=["is_active"])


def change_whose_role_it_is(place: Place, run: MigrationRun) -> None:
    place.environment.memberships.filter(approver_role="owner").update(approver_role="security")


def expire(place: Place, run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))


def more_people(place: Place, run: MigrationRun) -> None:
    requirements = [{"role": "database-administrator", "count": 2}, {"role": "owner", "count": 1}]
    Environment.objects.filter(pk=place.environment.pk).update(requirements=requirements)


def fewer_people(place: Place, run: MigrationRun) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(requirements=[{"role": "owner", "count": 1}])


def longer_lock_timeout(place: Place, run: MigrationRun) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(lock_timeout_ms=60_000)


def lower_tier(place: Place, run: MigrationRun) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(tier="development")


def longer_deadline(place: Place, run: MigrationRun) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(deadline_s=7_200)


def other_url(place: Place, run: MigrationRun) -> None:
    Target.objects.filter(pk=place.target.pk).update(url_reference="env:ANOTHER_URL")


def other_name(place: Place, run: MigrationRun) -> None:
    Target.objects.filter(pk=place.target.pk).update(slug="renamed")


def other_folder(place: Place, run: MigrationRun) -> None:
    Project.objects.filter(pk=place.project.pk).update(folder="/srv/elsewhere")


def other_version_table(place: Place, run: MigrationRun) -> None:
    Project.objects.filter(pk=place.project.pk).update(version_table="another_version")


def other_environment_variables(place: Place, run: MigrationRun) -> None:
    Project.objects.filter(pk=place.project.pk).update(extra_environment={"APP_ENV": "other"})


def nothing(place: Place, run: MigrationRun) -> None:
    pass


def other_name_for_people(place: Place, run: MigrationRun) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(name="Live", fresh_for_s=60, observe_every_s=60)


REFUSED: dict[Change, str] = {
    lose_role: "approval_incomplete",
    deactivate: "approval_incomplete",
    change_whose_role_it_is: "approval_incomplete",
    more_people: "approval_incomplete",
    expire: "approval_expired",
}
"""What the claim answers with a refusal; value: its code."""

POLICY, SETTINGS = "the environment's policy", "the target's or the project's settings"

VOID: dict[Change, str] = {
    fewer_people: f"{POLICY} (requirements: 1 database-administrator, 1 owner → 1 owner)",
    longer_lock_timeout: f"{POLICY} (lock_timeout_ms: 1000 → 60000)",
    lower_tier: f"{POLICY} (tier: production → development)",
    longer_deadline: f"{POLICY} (deadline_s: 3600 → 7200)",
    other_url: f"{SETTINGS} (the reference to the target's URL)",
    other_name: f"{SETTINGS} (target: market/production/main → market/production/renamed)",
    other_folder: f"{SETTINGS} (folder: /srv/market → /srv/elsewhere)",
    other_version_table: f"{SETTINGS} (version_table: alembic_version → another_version)",
    other_environment_variables: f"{SETTINGS} (another value for the variable APP_ENV)",
}
"""What voids the approval; value: what the sentence must name, and what of it differs."""

HARMLESS: tuple[Change, ...] = (nothing, other_name_for_people)
