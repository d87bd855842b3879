"""What waits for one person to decide, start, sign, confirm or see to; and which of their requests wait for others, or ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from migrations_audit.models import Approval, MigrationRun
from migrations_audit.queries import eligibility, obstacles, rights, runs, second_person
from migrations_audit.states import LIVE, RunState, Verdict

LATELY = timedelta(hours=24)
MOST_ENDED = 20
BADLY = (
    *(RunState.REJECTED, RunState.VOID, RunState.EXPIRED, RunState.REFUSED, RunState.PLAN_FAILED),
    *(RunState.FAILED, RunState.ERROR, RunState.CANCELLED, RunState.CLOSED),
)


@dataclass(frozen=True)
class Waiting:
    """A run, and in few words what keeps it from going on now, or how it ended; empty where nothing does."""

    run: MigrationRun
    obstacle: str


@dataclass(frozen=True)
class WaitingForMe:
    """``to_see_to`` are the person's own requests that go on when that person does something; ``asked`` wait for others.

    ``to_confirm`` is a number of proposals. ``ended`` are own requests that came to nothing lately.
    """

    to_decide: Sequence[Waiting]
    to_start: Sequence[Waiting]
    to_sign: Sequence[Waiting]
    to_confirm: int
    to_see_to: Sequence[Waiting]
    asked: Sequence[Waiting]
    ended: Sequence[Waiting]

    @property
    def nothing(self) -> bool:
        return not (
            self.to_decide
            or self.to_start
            or self.to_sign
            or self.to_confirm
            or self.to_see_to
            or self.asked
            or self.ended
        )


def of_person(
    user_id: int | None,
    *,
    open_runs: Sequence[MigrationRun],
    unreviewed: Sequence[MigrationRun],
    proposals: Sequence[second_person.Open],
    now: datetime,
) -> WaitingForMe:
    """What waits for one person, oldest first. ``unreviewed`` were started without approval and signed by nobody else."""
    mine = rights.rights_of(user_id)
    oldest_first = sorted(open_runs, key=lambda run: run.number)
    waiting = [run for run in oldest_first if run.run_state in rights.DECIDABLE]
    decided = _decided(waiting, user_id)
    live = {run.target_id for run in open_runs if run.run_state in LIVE}
    to_decide, to_start, wishes = [], [], {}
    for run in waiting:
        given, stands = decided[run.number]
        buttons = rights.buttons_of(
            run,
            rights=mine.get(run.target.environment_id, rights.Rights(user_id)),
            given=given,
            stands=stands,
            now=now,
            is_blocked=run.target_id in live,
        )
        if stands.wishes:
            wishes[run.number] = f"{stands.wishes[0].person_name} asked for changes"
        if buttons.approve and any(user_id in people for people in stands.outlook.by_role.values()):
            to_decide.append(run)
        if buttons.start:
            to_start.append(run)
    asked = [run for run in oldest_first if run.requester_id == user_id and run not in to_start]
    listed = {run.number: run for run in (*to_decide, *to_start, *asked) if run.run_state in rights.DECIDABLE}
    met = obstacles.of_runs(list(listed.values()), blocked=live, now=now)

    def told(found: Iterable[MigrationRun]) -> list[Waiting]:
        return [Waiting(run, wishes.get(run.number) or met.get(run.number, "")) for run in found]

    def is_mine(run: MigrationRun) -> bool:
        return run.number in wishes or met.get(run.number) in obstacles.FOR_THE_REQUESTER

    return WaitingForMe(
        to_decide=told(to_decide),
        to_start=told(to_start),
        to_sign=[Waiting(run, "") for run in unreviewed if _may_sign(run, mine, user_id)],
        to_confirm=sum(each.may_decide and not each.is_mine for each in proposals),
        to_see_to=told(run for run in asked if is_mine(run)),
        asked=told(run for run in asked if not is_mine(run)),
        ended=_ended(user_id, now),
    )


def _decided(
    waiting: Sequence[MigrationRun], user_id: int | None
) -> Mapping[int, tuple[Sequence[Approval], eligibility.Standing]]:
    """By run its decisions that were not taken back, and what they amount to. Six queries for any number of runs."""
    given: dict[int, list[Approval]] = defaultdict(list)
    for item in Approval.objects.filter(run__in=waiting, withdrawn_at__isnull=True):
        given[item.run_id].append(item)
    approvers = eligibility.approvers_in({run.target.environment_id for run in waiting})
    people = {person for each in approvers.values() for person in each} | {user_id or 0}
    people |= {item.person_id for each in given.values() for item in each}
    left_out = eligibility.excluded(waiting, people=people)
    return {
        run.number: (
            given[run.number],
            eligibility.standing_from(
                given[run.number],
                approvers.get(run.target.environment_id, {}),
                left_out[run.number],
                wanted=eligibility.needed(run),
            ),
        )
        for run in waiting
    }


def _may_sign(run: MigrationRun, mine: Mapping[int, rights.Rights], user_id: int | None) -> bool:
    held = mine.get(run.target.environment_id, rights.Rights(user_id))
    return rights.may_review(run, held)


def _ended(user_id: int | None, now: datetime) -> list[Waiting]:
    """The person's own requests that came to nothing, or that the target contradicts, since yesterday at this time."""
    mine = MigrationRun.objects.visible_to(user_id).filter(requester_id=user_id or 0, finished_at__gt=now - LATELY)
    bad = mine.filter(Q(state__in=BADLY) | Q(verdict=Verdict.CONTRADICTED.value))
    related = bad.select_related("target__project", "target__environment", "plan").defer(*runs.HEAVY)
    return [Waiting(run, run.sentence) for run in related.order_by("-finished_at")[:MOST_ENDED]]
