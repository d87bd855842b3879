"""What will be tried, decided by the seed alone: for each run its project and its faults, as times after something of the run.

The same seed gives the same plan on every machine. What then happens is not the same twice: that depends on how fast the
machine is at that moment, and that is the point.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tests.chaos.projects import KINDS, LONG, Kind

T = TypeVar("T")


class FaultKind(StrEnum):
    NOTHING = "nothing"
    KILL_CHILD = "kill pool child"
    KILL_MAIN = "kill worker main"
    KILL_GROUP = "kill process group"
    KILL_HOST = "kill all at once"
    KILL_RUNNER = "kill runner"
    FREEZE_CHILD = "freeze pool child"
    FREEZE_RUNNER = "freeze runner"
    FREEZE_HOST = "freeze all at once"
    REDELIVER = "send again"
    GARBAGE = "forged messages"
    FLUSH = "FLUSHALL"
    BROKER_KILL = "broker kill -9"
    BROKER_FREEZE = "broker frozen"
    PORTAL_RESTART = "portal db restart"
    TARGET_RESTART = "target db restart"
    TERMINATE = "terminate a session"
    CANCEL = "cancel"
    WARM_STOP = "warm shutdown"


class Anchor(StrEnum):
    """What of the run a fault's delay counts from."""

    REQUESTED = "requested"
    QUEUED = "queued"
    CLAIMED = "claimed"
    EXECUTE = "execute"
    VERIFY = "verify"


@dataclass(frozen=True)
class Fault:
    """``length_s`` is how long something is frozen or away; ``dice`` decides what the kind leaves open."""

    kind: FaultKind
    anchor: Anchor
    delay_s: float
    length_s: float
    dice: int

    def __str__(self) -> str:
        lasting = f" for {self.length_s:.1f} s" if self.kind in LASTING else ""
        return f"{self.kind}{lasting} at {self.anchor} + {self.delay_s:.2f} s"


@dataclass(frozen=True)
class RunPlan:
    """The run ``index`` (from 1) of the chaos. ``back_to`` is where a rollback leads, when its turn is a rollback."""

    index: int
    story: int
    kind: str
    back_to: str
    faults: tuple[Fault, ...]


_FREEZES = {FaultKind.FREEZE_CHILD, FaultKind.FREEZE_RUNNER, FaultKind.FREEZE_HOST}
_AWAY = {FaultKind.BROKER_KILL, FaultKind.BROKER_FREEZE, FaultKind.PORTAL_RESTART, FaultKind.TARGET_RESTART}
LASTING = _FREEZES | _AWAY
_COPIES = {
    FaultKind.KILL_CHILD: 3,
    FaultKind.FREEZE_CHILD: 5,
    FaultKind.KILL_GROUP: 2,
    FaultKind.KILL_RUNNER: 2,
    FaultKind.FREEZE_HOST: 3,
    FaultKind.REDELIVER: 2,
    FaultKind.TERMINATE: 2,
    FaultKind.CANCEL: 2,
    FaultKind.WARM_STOP: 2,
}
_DECK = tuple(kind for kind in FaultKind for _ in range(_COPIES.get(kind, 1)))
_ANCHORS = {Anchor.REQUESTED: 1, Anchor.QUEUED: 2, Anchor.CLAIMED: 6, Anchor.EXECUTE: 12, Anchor.VERIFY: 3}
_START_UP_S = 1.2
"""About what lies between the claim and the runner's first statement."""
LONGEST_STORY = 4
SECOND_FAULT = 0.2


def draw(*, runs: int, seed: int, lease_s: float) -> list[RunPlan]:
    """The plan of ``runs`` runs. Run n is the same whatever ``runs`` is. A story is several runs on one database.

    Projects and first faults are dealt from shuffled decks, so that a few dozen runs already meet all of them.
    """
    plans: list[RunPlan] = []
    story = 0
    while len(plans) < runs:
        kind = _dealt(sorted((*KINDS, *LONG)), story, f"{seed} kinds")
        story += 1
        length = random.Random(f"opsportal chaos {seed} story {story}").randint(1, LONGEST_STORY)
        for _ in range(min(length, runs - len(plans))):
            plans.append(_one(len(plans) + 1, story=story, kind=kind, seed=seed, lease_s=lease_s))
    return plans


def _dealt(deck: Sequence[T], position: int, name: str) -> T:
    """The card at ``position`` of as many decks as it takes, each shuffled by its name."""
    round_, place = divmod(position, len(deck))
    return random.Random(f"opsportal chaos {name} {round_}").sample(deck, k=len(deck))[place]


def _one(index: int, *, story: int, kind: str, seed: int, lease_s: float) -> RunPlan:
    dice = random.Random(f"opsportal chaos {seed} run {index}")
    kinds = [_dealt(_DECK, index - 1, f"{seed} faults")]
    if dice.random() < SECOND_FAULT:
        kinds.append(dice.choice(_DECK))
    faults = tuple(_fault(each, dice, project=KINDS[kind], lease_s=lease_s) for each in kinds)
    back_to = dice.choice(["base", KINDS[kind].order[0]])
    return RunPlan(index=index, story=story, kind=kind, back_to=back_to, faults=faults)


def _fault(kind: FaultKind, dice: random.Random, *, project: Kind, lease_s: float) -> Fault:
    anchor = dice.choices(list(_ANCHORS), weights=list(_ANCHORS.values()))[0]
    longest = {
        Anchor.REQUESTED: 1.0,
        Anchor.QUEUED: 0.5,
        Anchor.CLAIMED: _START_UP_S + project.idle_s + project.busy_s,
        # Early in what takes long: most of it then happens while nobody holds the run.
        Anchor.EXECUTE: project.busy_s / 2 if project.name in LONG else project.busy_s,
        Anchor.VERIFY: 0.2,
    }
    return Fault(
        kind=kind,
        anchor=anchor,
        delay_s=dice.uniform(0.0, longest[anchor]),
        length_s=lease_s + dice.uniform(1.0, 11.0) if kind in _FREEZES else dice.uniform(0.2, 4.0),
        dice=dice.randrange(2**31),
    )


def lines(plans: Sequence[RunPlan]) -> Iterator[str]:
    """The plan for people, one run a line."""
    for plan in plans:
        yield f"{plan.index:>4}  story {plan.story:<4} {plan.kind:<24} {'; '.join(map(str, plan.faults))}"
