"""Whether a revision stays inside the transaction that Alembic opens for it, judged from its text."""

from __future__ import annotations

import ast
import re
import sys
from typing import Final

_LEAVES: Final = re.compile(
    r"""
    (?: ^ | ; | \*/ ) \s*
    (?: COMMIT | ROLLBACK | ABORT | VACUUM | (?:START|PREPARE) \s+ TRANSACTION
      | (?:CREATE|DROP) \s+ (?:UNIQUE\s+)? INDEX \s+ CONCURRENTLY
      | REINDEX \s+ (?:DATABASE|SYSTEM|SCHEMA) | REINDEX \b [^;]* \b CONCURRENTLY
      | REFRESH \s+ MATERIALIZED \s+ VIEW \s+ CONCURRENTLY
      | ALTER \s+ TABLE \b [^;]* \b DETACH \s+ PARTITION \b [^;]* \b CONCURRENTLY
      | ALTER \s+ TYPE \b [^;]* \b ADD \s+ VALUE
      | (?:CREATE|DROP) \s+ (?:DATABASE|TABLESPACE|SUBSCRIPTION) | ALTER \s+ SYSTEM
    ) \b
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_MARKS: Final = frozenset({"autocommit_block", "isolation_level"})
_CONCURRENTLY: Final = "postgresql_concurrently"
_LEAVING_CALLS: Final = frozenset(
    {
        "create_engine",
        "create_async_engine",
        "engine_from_config",
        "async_engine_from_config",
        "raw_connection",
        "connect",
    }
    | {"commit", "rollback", "begin", "open", "read", "read_text", "exec", "eval"}
)
"""Another connection, an end of the transaction, or SQL that stands in another file."""

_EXECUTING: Final = frozenset({"execute", "exec_driver_sql", "text", "DDL"})
_TEXTS: Final = (ast.Constant, ast.JoinedStr, ast.BinOp)
_KNOWN: Final = (sys.stdlib_module_names - {"os", "subprocess"}) | {"alembic", "sqlalchemy", "sqlmodel", "geoalchemy2"}


def is_transactional(tree: ast.Module) -> bool:
    """True when nothing in the file can end, leave or bypass the transaction of its revision on PostgreSQL.

    False for ``autocommit_block``, ``postgresql_concurrently=…``, ``isolation_level``, a statement that ends the transaction
    or cannot run inside one (COMMIT, VACUUM, CREATE INDEX CONCURRENTLY, ALTER TYPE … ADD VALUE, …), a connection or commit of
    its own, and whenever the file executes SQL or calls project code that its text does not show. A false "no" costs an
    automatic retry; a false "yes" would hide a half-applied revision.
    """
    nodes = list(ast.walk(tree))
    foreign = {name for node in nodes for name in _imported_from_elsewhere(node)}
    shown = {name for node in nodes for name in _bound(node)} - foreign
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    arguments = [
        node.args[0] for node in nodes if isinstance(node, ast.Call) and _name(node.func) in _EXECUTING and node.args
    ]
    executed = {id(inner) for argument in arguments for inner in ast.walk(argument)}
    texts = [node for node in nodes if isinstance(node, _TEXTS) and id(node) not in documentation]
    return not (
        any(_leaves_by_name(node) or _calls_for_effect(node, foreign) for node in nodes)
        or any(_leaves_by_text(_text(node), executed=id(node) in executed) for node in texts)
        or any(_is_hidden(argument, shown) for argument in arguments)
    )


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return _name(node)


def _leaves_by_name(node: ast.AST) -> bool:
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _name(node) in _MARKS
    if isinstance(node, ast.keyword):
        off = isinstance(node.value, ast.Constant) and not node.value.value
        return node.arg in _MARKS or (node.arg == _CONCURRENTLY and not off)
    return isinstance(node, ast.Call) and _name(node.func) in _LEAVING_CALLS


def _text(node: ast.expr) -> str:
    """The text of a literal, an f-string or a sum of them, with ``?`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "?"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp):
        return _text(node.left) + (_text(node.right) if isinstance(node.op, ast.Add) else "")
    return "?"


def _leaves_by_text(text: str, *, executed: bool) -> bool:
    """Whether a text is such a statement. A column may be called ``commit``: a bare lower-case word must be executed to count."""
    if text in _MARKS or text == _CONCURRENTLY:
        return True
    is_name = text.isidentifier() and text.islower()
    return (executed or not is_name) and bool(_LEAVES.search(text))


def _is_hidden(node: ast.expr, shown: set[str]) -> bool:
    """Whether what is executed begins with something that the file does not show: a parameter, an import, an unknown shape.

    What SQLAlchemy builds is no text and cannot end a transaction.
    """
    if isinstance(node, ast.Constant):
        return False
    if isinstance(node, ast.JoinedStr):
        return bool(node.values) and _is_hidden(node.values[0], shown)
    if isinstance(node, ast.FormattedValue):
        return _is_hidden(node.value, shown)
    if isinstance(node, ast.BinOp):
        return _is_hidden(node.left, shown)
    if isinstance(node, ast.IfExp):
        return _is_hidden(node.body, shown) or _is_hidden(node.orelse, shown)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Constant)
    ):
        return False
    return _root(node) not in shown


def _calls_for_effect(node: ast.AST, foreign: set[str]) -> bool:
    """Whether a statement calls project code for its effect. A type or a default taken from there has none of its own."""
    called = node.value if isinstance(node, ast.Expr) else node.context_expr if isinstance(node, ast.withitem) else None
    return isinstance(called, ast.Call) and _root(called.func) in foreign


def _imported_from_elsewhere(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [
            (alias.asname or alias.name).partition(".")[0]
            for alias in node.names
            if alias.name.partition(".")[0] not in _KNOWN
        ]
    if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] not in _KNOWN):
        return [alias.asname or alias.name for alias in node.names]
    return []


def _bound(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    return [(node.asname or node.name).partition(".")[0]] if isinstance(node, ast.alias) else []
