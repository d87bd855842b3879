"""The audit chain: recording events, and denials."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

from migrations_audit import dispatch, hashchain
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Denied, NotFound, PortalError
from migrations_audit.models import AuditEvent, MigrationRun, Target
from migrations_audit.models.clock import database_now

logger = logging.getLogger(__name__)

# The two-integer key of the lock that keeps the chain from forking. Advisory locks are per database; 0x4F50 is "OP".
CHAIN_LOCK = (0x4F50, 1)
LOCK_PATIENCE_MS = 2_000

P = ParamSpec("P")
R = TypeVar("R")


class AuditUnavailable(PortalError):
    """The audit chain could not be written, so nothing was done. Try again; if it stays so, look at the portal's database."""

    code = "audit_unavailable"


def record(
    *,
    actor: Actor,
    action: str,
    object_kind: str,
    object_id: str | int,
    target: Target | None = None,
    environment: str = "",
    facts: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append one event to the chain, inside the caller's transaction.

    Take it last: the chain's lock is held until the transaction ends. Raises AuditUnavailable when the lock cannot be had.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An audit event is recorded in the transaction of the write that it tells of.")
    _lock_chain()
    head = AuditEvent.objects.order_by("-seq").values_list("seq", "hash").first()
    seq, previous = (head[0] + 1, head[1]) if head else (1, hashchain.GENESIS)
    at = database_now()
    place = target.environment.slug if target else environment
    subject: str = _without_nul(str(object_id))
    said = _without_nul(
        {
            "seq": seq,
            "at": at.isoformat(timespec="microseconds"),
            "actor": {"kind": actor.kind.value, "name": actor.name, "user_id": actor.user_id, "address": actor.address},
            "action": action,
            "object": {"kind": object_kind, "id": subject},
            "environment": place,
            "target": target.label if target else "",
            "facts": dict(facts or {}),
        }
    )
    body = hashchain.canonical(said)
    body_digest = hashchain.digest(body)
    return AuditEvent.objects.create(
        seq=seq,
        at=at,
        actor=said["actor"]["name"][:200],
        action=action,
        object_kind=object_kind,
        object_id=said["object"]["id"][:80],
        environment=place,
        target=target.label if target else "",
        body=body,
        body_digest=body_digest,
        previous_hash=previous,
        hash=hashchain.link(previous, body_digest),
    )


def record_run(*, actor: Actor, action: str, run: MigrationRun, **facts: Any) -> AuditEvent:
    """Append an event about a run, with what names it: target, operation, from → to, plan digest. Open pages are told."""
    plan = run.plan
    known = {"state": run.state, "operation": run.operation, "requested": run.requested}
    if plan is not None:
        known |= {"from": plan.from_revisions, "to": plan.to_revisions, "plan_digest": plan.digest}
    transaction.on_commit(functools.partial(dispatch.announce, run.number))
    return record(
        actor=actor, action=action, object_kind="run", object_id=run.number, target=run.target, facts=known | facts
    )


def record_denial(*, actor: Actor, verb: str, error: PortalError, object_id: str = "") -> None:
    """Append an ``access.denied`` event in a transaction of its own: the denied one was rolled back.

    A stranger's attempts are logged and not chained, so that nobody without an account can grow the chain.
    """
    if actor.kind is ActorKind.ANONYMOUS:
        logger.warning("Denied to a stranger from %s: %s", actor.address, verb)
        return
    with transaction.atomic():
        record(
            actor=actor,
            action="access.denied",
            object_kind="request",
            object_id=object_id or verb,
            facts={"verb": verb, "code": error.code, "sentence": error.message},
        )


def action(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function an action: one transaction, and a denied attempt leaves an event of its own."""
    verb = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with transaction.atomic():
                return function(*args, **kwargs)
        except (Denied, NotFound) as error:
            actor = kwargs["actor"]
            if isinstance(actor, Actor):
                subject = next((f"{name} {kwargs[name]}" for name in ("number", "target_id") if name in kwargs), verb)
                record_denial(actor=actor, verb=verb, error=error, object_id=subject)
            raise

    return wrapper


def _lock_chain() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_PATIENCE_MS}ms"])
        try:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", CHAIN_LOCK)
        except OperationalError as error:
            raise AuditUnavailable from error
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])


def _without_nul(value: Any) -> Any:
    """PostgreSQL text holds no NUL, and an event must never fail for what somebody typed."""
    if isinstance(value, str):
        return value.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_without_nul(str(key)): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(item) for item in value]
    return value
