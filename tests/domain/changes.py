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

VOID: dict[Change, str] = {
    fewer_people: "the environment's policy",
    longer_lock_timeout: "the environment's policy",
    lower_tier: "the environment's policy",
    longer_deadline: "the environment's policy",
    other_url: "the target's or the project's settings",
    other_name: "the target's or the project's settings",
    other_folder: "the target's or the project's settings",
    other_version_table: "the target's or the project's settings",
    other_environment_variables: "the target's or the project's settings",
}
"""What voids the approval; value: what the sentence must name."""

HARMLESS: tuple[Change, ...] = (nothing, other_name_for_people)
