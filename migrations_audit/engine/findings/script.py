"""A revision's file as the rules about scripts look at it: parsed, never imported."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Script:
    """``names`` maps what the file calls something to its full name: ``sa`` to ``sqlalchemy``."""

    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    """The first signs of the file's SHA-256: what a finding says of a file is said of this one, and of no edited one."""

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call, with the full name of what is called as far as it shows."""
        for node in self.nodes():
            if isinstance(node, ast.Call):
                yield node, self.full_name(node.func)

    def full_name(self, node: ast.expr) -> str:
        """``op.execute`` as ``alembic.op.execute``. What is not a plain chain of names begins with a dot."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        root = self.names.get(node.id, node.id) if isinstance(node, ast.Name) else ""
        return ".".join([root, *reversed(parts)])

    def function(self, name: str) -> ast.FunctionDef | None:
        """The function of the module with this name."""
        found = (item for item in self.tree.body if isinstance(item, ast.FunctionDef) and item.name == name)
        return next(found, None)


def read(source: bytes) -> Script | None:
    """The script, or None when it is no Python that this interpreter can read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return Script(tree, dict(_imported(tree)), hashlib.sha256(source).hexdigest()[:12])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, f"{module}.{alias.name}"
