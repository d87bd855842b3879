"""Many catalogs that are nearly the same: what they share is held once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Overlay(Mapping[str, str]):
    """A catalog that holds only what makes it another than ``shared``. Neither changes any more; ``None`` is what is gone."""

    def __init__(self, shared: Mapping[str, str], changed: Mapping[str, str | None] | None = None) -> None:
        self._shared = shared
        self._changed = changed or {}

    def later(self, changed: Mapping[str, str | None]) -> Overlay:
        """The catalog after these changes, beside this one."""
        return Overlay(self._shared, {**self._changed, **changed})

    def __getitem__(self, key: str) -> str:
        found = self._changed[key] if key in self._changed else self._shared[key]
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._shared if key not in self._changed)
        yield from (key for key, definition in self._changed.items() if definition is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
