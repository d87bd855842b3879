"""Who acts. Every action takes an actor; nothing finds one in the air."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    USER = "user"
    TOKEN = "token"  # noqa: S105  (a kind of actor, not a secret)
    WORKER = "worker"
    COMMAND = "command"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Actor:
    """A person, a token acting for its owner, a worker, or a command run in a shell.

    ``user_id`` is the person whose rights count: the token's owner for a token, None for a worker and for a stranger.
    """

    kind: ActorKind
    name: str
    user_id: int | None = None
    scopes: frozenset[str] = frozenset()
    address: str = ""

    @property
    def is_machine(self) -> bool:
        return self.kind in (ActorKind.TOKEN, ActorKind.WORKER)


def worker(name: str) -> Actor:
    """The actor of what a worker does by itself."""
    return Actor(kind=ActorKind.WORKER, name=name)
