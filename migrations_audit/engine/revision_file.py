"""One revision file, read as text. It is parsed and never imported, because importing it would run it."""

from __future__ import annotations

import ast
import hashlib
import posixpath
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit.engine import transactional, types

_HEADER: Final = ("revision", "down_revision", "branch_labels", "depends_on")
_LEGACY_NAME: Final = re.compile(r"([a-f0-9]+)\.py$")
_MESSAGE_LENGTH: Final = 200
_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_ASK_THE_RUNNER: Final = (
    "Only running the file could tell, so no plan can be made from it. Write the value as plain text."
)
_UNKNOWN: Final = object()


@dataclass(frozen=True)
class RevisionFile:
    """What one file says. ``revision`` is None when a problem is fatal."""

    revision: types.Revision | None
    problems: tuple[types.Problem, ...]


def read(path: str, content: bytes) -> RevisionFile:
    """Read the header of one revision file and what can be known about its two functions.

    ``has_downgrade`` is false when ``downgrade`` is absent, always raises, or does nothing although ``upgrade`` does
    something. ``transactional`` is explained in ``transactional.is_transactional``.

    Nothing is raised; what is wrong comes back as problems: ``unreadable_file``, ``header_missing``,
    ``header_not_literal``, ``header_wrong_type`` and ``upgrade_missing`` are fatal, ``labels_not_literal`` is not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        return _unreadable(path, f"cannot be read as Python {_VERSION}{line}. Correct the file.")
    try:
        return _judged(tree, path, content)
    except RecursionError:
        return _unreadable(path, "is nested too deeply to be judged. Write it more simply.")


def _unreadable(path: str, sentence: str) -> RevisionFile:
    return RevisionFile(None, (types.Problem("unreadable_file", path, f"{path} {sentence}"),))


def _judged(tree: ast.Module, path: str, content: bytes) -> RevisionFile:
    header = _Header(tree, path)
    revision = header.identifier()
    down_revisions = header.texts("down_revision")
    depends_on = header.texts("depends_on")
    branch_labels = header.texts("branch_labels")
    if "upgrade" not in header.bound:
        header.complain("upgrade_missing", "has no function upgrade(), so Alembic cannot apply it.")
    if any(problem.fatal for problem in header.problems):
        return RevisionFile(None, tuple(header.problems))
    return RevisionFile(
        types.Revision(
            revision=revision,
            down_revisions=down_revisions,
            depends_on=depends_on,
            branch_labels=branch_labels,
            message=_message(tree),
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            transactional=transactional.is_transactional(tree),
            has_downgrade=_has_downgrade(tree, header.bound),
        ),
        tuple(header.problems),
    )


class _Header:
    """The module-level names of one file, and what was wrong with them."""

    def __init__(self, tree: ast.Module, path: str) -> None:
        self.problems: list[types.Problem] = []
        self.bound = set(_bound_names(tree.body))
        self._path = path
        self._values: dict[str, ast.expr] = {}
        self._constants: dict[str, ast.expr] = {}
        simple = dict(_simple_assignments(tree.body))
        for name, value in simple.items():
            (self._values if name in _HEADER else self._constants)[name] = value
        self._elsewhere = _assigned_elsewhere(tree)

    def complain(self, code: str, sentence: str, *, fatal: bool = True) -> None:
        self.problems.append(types.Problem(code, self._path, f"{self._path} {sentence}", fatal))

    def identifier(self) -> str:
        """The revision id; without one, the hexadecimal file name, as Alembic does for the files of its first version."""
        if "revision" not in self.bound:
            legacy = _LEGACY_NAME.match(posixpath.basename(self._path))
            if legacy:
                return legacy[1]
            self.complain(
                "header_missing", "says no revision. Move it out of the version folder if it is not a revision."
            )
            return ""
        value = self._literal("revision")
        if isinstance(value, str):
            return value
        if value is _UNKNOWN:
            self.complain("header_not_literal", f"computes its revision. {_ASK_THE_RUNNER}")
        else:
            self.complain("header_wrong_type", "has a revision that is not one text.")
        return ""

    def texts(self, name: str) -> tuple[str, ...]:
        """The value of one header name as a tuple; None and an absent optional name are empty."""
        if name not in self.bound:
            if name == "down_revision":
                self.complain("header_missing", "does not say down_revision. Add it; the first revision says None.")
            return ()
        value = self._literal(name)
        if value is _UNKNOWN:
            if name == "branch_labels":
                sentence = "has branch labels that are computed; they cannot be used in a request here."
                self.complain("labels_not_literal", sentence, fatal=False)
            else:
                self.complain("header_not_literal", f"computes its {name}. {_ASK_THE_RUNNER}")
            return ()
        items = () if value is None else value if isinstance(value, (tuple, list)) else (value,)
        if not all(isinstance(item, str) for item in items):
            self.complain("header_wrong_type", f"has a {name} that is neither a text, a list of texts nor None.")
            return ()
        return tuple(items)

    def _literal(self, name: str) -> object:
        node = self._values.get(name)
        if node is None or name in self._elsewhere:
            return _UNKNOWN
        if name in ("branch_labels", "depends_on"):
            node = _Constants(self._constants, self._elsewhere).visit(node)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return _UNKNOWN


class _Constants(ast.NodeTransformer):
    """Puts the value of a module constant in place of its name."""

    def __init__(self, constants: dict[str, ast.expr], elsewhere: set[str]) -> None:
        self._constants = constants
        self._elsewhere = elsewhere

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._constants.get(node.id)
        return value if isinstance(value, ast.Constant) and node.id not in self._elsewhere else node


def _simple_assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value


def _assigned_elsewhere(tree: ast.Module) -> set[str]:
    """The header names that get a value other than by a plain statement of the module, so that reading it proves nothing."""
    plain = {
        id(target)
        for statement in tree.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
    }
    found = {
        node.id
        for statement in tree.body
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)) and id(node) not in plain
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Global):
            found.update(node.names)
    return found | {item.name for item in tree.body if isinstance(item, (ast.FunctionDef, ast.ClassDef))}


def _bound_names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Every name that a module may have after import, branches included."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
                elif isinstance(node, (ast.FunctionDef, ast.alias)):
                    yield getattr(node, "asname", None) or node.name


def _message(tree: ast.Module) -> str:
    lines = (ast.get_docstring(tree) or "").strip().splitlines() or [""]
    return "".join(character for character in lines[0] if character.isprintable())[:_MESSAGE_LENGTH].strip()


def _has_downgrade(tree: ast.Module, bound: set[str]) -> bool:
    functions = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
    if "downgrade" not in functions:
        return "downgrade" in bound
    upgrade, downgrade = functions.get("upgrade"), functions["downgrade"]
    if any(isinstance(statement, ast.Raise) for statement in downgrade.body):
        return False
    return not _does_nothing(downgrade) or (upgrade is not None and _does_nothing(upgrade))


def _does_nothing(function: ast.FunctionDef) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (
            isinstance(statement, ast.Return) and (statement.value is None or isinstance(statement.value, ast.Constant))
        )
        for statement in function.body
    )
