"""Which files of a project one of its scripts imports, as far as its text says so. Nothing is executed."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Collection, Iterator, Sequence

from migrations_audit.engine.findings import script


def files(source: bytes, *, path: str, among: Collection[str], roots: Sequence[str]) -> set[str]:
    """Those ``among`` the project's files that the script at ``path`` names in an import, found from there or in ``roots``.

    What these import in turn is not followed.
    """
    read = script.read(source)
    if read is None:
        return set()
    places = (
        posixpath.normpath(posixpath.join(root, *parts))
        for level, dotted in _imports(read.tree)
        for root in (roots if not level else [posixpath.join(posixpath.dirname(path), *[".."] * (level - 1))])
        for parts in _packages(dotted)
    )
    named = {file for place in places for file in (f"{place}.py", f"{place}/__init__.py")}
    return named & set(among) - {path}


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """How many dots stand before a module's name, and the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = f"{node.module}." if node.module else ""
            yield from ((node.level, before + alias.name) for alias in node.names)


def _packages(dotted: str) -> Iterator[Sequence[str]]:
    """The packages around a module, and the module: each is executed."""
    parts = dotted.split(".")
    return (parts[:count] for count in range(1, len(parts) + 1))
