"""What may be said of a target now: its newest observation, and how old that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migrations_audit.models import Environment, Observation
from migrations_audit.states import TargetStatus

NEVER_READ = "never_read"
STALE = "stale"


@dataclass(frozen=True)
class Standing:
    """``kind`` is a TargetStatus value, ``never_read`` or ``stale``; ``said`` is what the newest observation itself says.

    Only ``in_sync`` is good news, and a stale observation never has that kind.
    """

    kind: str
    said: str
    words: str
    observation: Observation | None

    @property
    def pending(self) -> Sequence[dict[str, Any]]:
        """The revisions that the newest observation found pending."""
        return self.observation.pending if self.observation else []

    @property
    def revisions(self) -> Sequence[str] | None:
        """The rows of the version table when last read; None when there was none to read."""
        return self.observation.revisions if self.observation else None


def standing_of(observation: Observation | None, *, now: datetime, environment: Environment) -> Standing:
    """Judge the newest observation of a target in ``environment`` at ``now``."""
    if observation is None:
        return Standing(kind=NEVER_READ, said=NEVER_READ, words="never read", observation=None)
    words = _words(observation)
    if observation.is_stale(now=now, environment=environment):
        return Standing(kind=STALE, said=observation.status, words=f"stale: was {words}", observation=observation)
    return Standing(kind=observation.status, said=observation.status, words=words, observation=observation)


def _words(observation: Observation) -> str:
    if observation.status == TargetStatus.BEHIND:
        return f"behind: {len(observation.pending)} pending"
    return observation.get_status_display()
