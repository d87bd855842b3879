"""Accept what a run left half applied: from then on it is what the next plan begins with."""

from __future__ import annotations

from migrations_audit import access
from migrations_audit.actions import audit, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import MigrationRun, Role, Target
from migrations_audit.queries import leftovers

LONGEST_REASON = 2_000


class NothingLeft(Conflict):
    """This run left nothing half applied that waits for somebody."""

    code = "nothing_left"


@audit.action
def accept(*, actor: Actor, number: int, reason: str) -> MigrationRun:
    """Say that what run ``number`` left half applied may stay so, with a reason; its target can be planned for again.

    For operators and administrators of the environment in person. Raises NothingLeft when the target was changed since,
    another run executed there, or somebody accepted it before; MissingRole; Invalid.
    """
    run = access.get_run_for(actor, number)
    environment = run.target.environment
    if Role.ADMINISTRATOR in access.roles_in(environment, user_id=actor.user_id):
        access.need(actor, environment, Role.ADMINISTRATOR)
    else:
        access.need(actor, environment, Role.OPERATOR)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say what you looked at, and why it may stay as it is.", field="reason")
    target = Target.objects.select_for_update(no_key=True).get(pk=run.target_id)
    found = leftovers.of_newest_reading(target)
    if found is None or found.number != run.number:
        raise NothingLeft(
            f"{run} left nothing on {run.target} that waits to be accepted: the target was changed since, or somebody accepted "
            "it. Plan again from what is read."
        )
    Target.objects.filter(pk=target.pk).update(leftovers_accepted_of=run.number)
    audit.record_run(actor=actor, action="run.leftovers_accepted", run=run, reason=words)
    return run
