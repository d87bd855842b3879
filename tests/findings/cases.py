"""What a case is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Given = TypeVar("Given")


@dataclass(frozen=True)
class Part(Generic[Given]):
    """The rules that read the same kind of thing: cases by the code of the rule that they are about.

    ``found`` gives the codes that are found in one of them; it may work in the folder.
    """

    name: str
    found: Callable[[Given, Path], Collection[str]]
    triggers: Sequence[tuple[str, Given]]
    quiet: Sequence[tuple[str, Given]]
    needs_database: bool = False

    @property
    def codes(self) -> set[str]:
        """Those with a case of both kinds."""
        return {code for code, _ in self.triggers} & {code for code, _ in self.quiet}
