"""What a script destroys, as far as its text says so: for plans of which there is no SQL."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from migrations_audit.engine.findings import finding, rules, script, statements
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.states import Engine

_CALLS: Final = {
    "drop_table": "drop_table",
    "drop_column": "drop_column",
    "drop_constraint": "drop_object",
    "rename_table": "renames",
}
_EXECUTING: Final = frozenset({"execute", "exec_driver_sql", "text", "DDL"})


def of_revision(source: bytes, *, path: str, revision: str, is_rollback: bool, engine: Engine) -> tuple[Finding, ...]:
    """The drops that stand in the function which is to run, and what its written SQL destroys. Nothing when it cannot be read:
    ``files`` tells that."""
    read = script.read(source)
    function = read.function("downgrade" if is_rollback else "upgrade") if read else None
    if read is None or function is None:
        return ()
    return tuple(_of_function(read, function, path=path, revision=revision, engine=engine))


def _of_function(
    read: script.Script, function: ast.FunctionDef, *, path: str, revision: str, engine: Engine
) -> Iterator[Finding]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        name = read.full_name(node.func).rpartition(".")[2]
        code = _CALLS.get(name)
        if code:
            yield finding.of(
                code,
                path,
                f"{revision} (file {read.digest}), line {node.lineno}, {name}(): {rules.BY_CODE[code].meaning}",
            )
        for text in node.args[:1] if name in _EXECUTING else []:
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield from _of_text(text.value, path=path, line=node.lineno, engine=engine)


def _of_text(sql: str, *, path: str, line: int, engine: Engine) -> Iterator[Finding]:
    """The findings of SQL that is written out, all with the line of the call."""
    for each in statements.of_sql(sql, place=path, in_transaction=False, engine=engine):
        yield finding.of(each.code, f"{path}, line {line}", each.sentence)
