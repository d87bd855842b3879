"""Who may see and do what. The only way a face obtains an object, and where every action asks for a right."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Denied, NotFound
from migrations_audit.models import Environment, Membership, MigrationRun, Role, Target


class Hidden(NotFound):
    """There is no such object, or you may not see it."""


class MissingRole(Denied):
    """You do not hold the role that this needs."""

    code = "missing_role"


class MissingScope(Denied):
    """The token's scopes do not allow this."""

    code = "missing_scope"


def roles_in(environment: Environment, *, user_id: int | None) -> frozenset[str]:
    """The roles that an active person holds in an environment.

    A superuser sees and administers every environment; approving and operating take a membership like anyone's.
    """
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True).first()
    if person is None:
        return frozenset()
    held = set(
        Membership.objects.filter(environment=environment, group__user=person).values_list("role", flat=True).distinct()
    )
    if person.is_superuser:
        held |= {Role.VIEWER.value, Role.AUDITOR.value, Role.ADMINISTRATOR.value}
    return frozenset(held)


def approver_roles_in(environment: Environment, *, user_id: int | None) -> frozenset[str]:
    """The approver roles that an active person holds in an environment, as the policy names them."""
    rows = Membership.objects.filter(
        environment=environment, role=Role.APPROVER, group__user__id=user_id or 0, group__user__is_active=True
    )
    return frozenset(rows.values_list("approver_role", flat=True))


def need(actor: Actor, environment: Environment, role: Role, *, scope: str = "") -> None:
    """Raise MissingRole or MissingScope unless the actor may act as ``role`` in ``environment``. Workers act by themselves."""
    if actor.kind is ActorKind.WORKER:
        return
    if role not in roles_in(environment, user_id=actor.user_id):
        raise MissingRole(
            f"{actor.name} is not {role.label.lower()} in {environment.name}. An administrator can add the membership."
        )
    need_scope(actor, scope)


def need_any(actor: Actor, environment: Environment, *roles: Role) -> None:
    """Raise MissingRole unless the actor holds at least one of the roles in ``environment``."""
    if actor.kind is ActorKind.WORKER or roles_in(environment, user_id=actor.user_id) & {role.value for role in roles}:
        return
    names = " or ".join(role.label.lower() for role in roles)
    raise MissingRole(f"{actor.name} is not {names} in {environment.name}. An administrator can add the membership.")


def need_scope(actor: Actor, scope: str) -> None:
    """Raise MissingScope when a token acts without this scope. An empty ``scope`` is one that no token can have."""
    if actor.kind is not ActorKind.TOKEN or (scope and scope in actor.scopes):
        return
    if not scope:
        raise MissingScope("A token may not do this. A person does it in the browser.")
    raise MissingScope(f"This token has no scope “{scope}”. Make one that has it.")


def is_superuser(actor: Actor) -> bool:
    """Whether the actor is an active superuser, acting in person."""
    if actor.is_machine:
        return False
    return get_user_model()._default_manager.filter(pk=actor.user_id or 0, is_superuser=True, is_active=True).exists()


def actor_of(request: HttpRequest) -> Actor:
    """The person who is signed in to this browser session, or a stranger."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    if not request.user.is_authenticated:
        return Actor(kind=ActorKind.ANONYMOUS, name="a stranger", address=address)
    return Actor(kind=ActorKind.USER, name=request.user.get_username(), user_id=request.user.pk, address=address)


def get_target_for(actor: Actor, pk: int) -> Target:
    """The target, if the actor may see it. Raises Hidden."""
    target = Target.objects.visible_to(actor.user_id).select_related("project", "environment").filter(pk=pk).first()
    if target is None:
        raise Hidden("There is no such target, or you may not see it.")
    return target


def get_run_for(actor: Actor, number: int) -> MigrationRun:
    """The run, if the actor may see it. Raises Hidden."""
    runs = MigrationRun.objects.visible_to(actor.user_id)
    related = runs.select_related("target__project", "target__environment", "plan__snapshot")
    run = related.defer("plan__snapshot__archive").filter(number=number).first()
    if run is None:
        raise Hidden(f"There is no run {number}, or you may not see it.")
    return run
