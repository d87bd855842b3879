"""Rules about the text of a revision's file. It is parsed; nothing of it is executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from typing import Final

from migrations_audit import listing
from migrations_audit.engine import revision_file
from migrations_audit.engine.findings import finding, rules, script
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.findings.script import Script
from migrations_audit.severities import Severity

MOST_LINES: Final = 5
_LIBRARIES: Final = frozenset({"alembic", "sqlalchemy", "sqlmodel", "geoalchemy2", "pgvector", "sqlalchemy_utils"})
_DRIVERS: Final = frozenset({"psycopg", "psycopg2", "asyncpg", "pg8000", "pymysql"})
_OUTWARD: Final = (
    *(
        "subprocess",
        "socket",
        "ssl",
        "requests",
        "httpx",
        "aiohttp",
        "urllib3",
        "smtplib",
        "ftplib",
        "telnetlib",
        "paramiko",
    ),
    *(
        "boto3",
        "http.client",
        "urllib.request",
        "xmlrpc.client",
        "multiprocessing",
        "pty",
        "os.system",
        "os.popen",
        "os.fork",
    ),
    *("os.exec", "os.spawn", "os.posix_spawn", "os.kill", "asyncio.create_subprocess", "asyncio.open_connection"),
)
_DYNAMIC: Final = ("eval", "exec", "compile", "__import__", "importlib.", "runpy.", "ctypes.", "pickle.")
_CHANGING: Final = (
    *(
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "time.time",
    ),
    *(
        "time.monotonic",
        "time.localtime",
        "time.gmtime",
        "uuid.uuid1",
        "uuid.uuid4",
        "random.",
        "secrets.",
        "os.getenv",
    ),
    *("os.urandom", "os.getcwd", "os.getlogin", "getpass.getuser", "socket.gethostname", "platform."),
)
_OPENING: Final = ("open", "io.open", "codecs.open")
_READING: Final = (".read_text", ".read_bytes", ".read_sql")
_REFLECTING: Final = (
    "sqlalchemy.inspect",
    "sqlalchemy.engine.reflection.Inspector",
    "sqlalchemy.ext.automap.automap_base",
)
_EXECUTING: Final = frozenset({"execute", "exec_driver_sql", "text", "DDL", "scalar", "scalars"})

Hit = tuple[str, int]
"""The code of a rule and a line."""


def of_revision(source: bytes, *, path: str, revision: str = "", is_rollback: bool = False) -> tuple[Finding, ...]:
    """One finding for each rule that the file breaks, with the lines. ``is_rollback``: whether its downgrade is to run."""
    name = revision or path
    read = script.read(source)
    if read is None:
        return (finding.of("unreadable_script", path, f"{path}: {rules.BY_CODE['unreadable_script'].meaning}"),)
    try:
        found = [*_no_downgrade(source, path=path, name=name, is_rollback=is_rollback)]
        lines: dict[str, list[int]] = {}
        for rule in _RULES:
            for code, line in rule(read):
                lines.setdefault(code, []).append(line)
    except RecursionError:
        return (
            finding.of("unreadable_script", path, f"{path} is nested too deeply to be read. Write it more simply."),
        )
    return (*found, *(_told(code, path, f"{name} (file {read.digest})", lines[code]) for code in lines))


def _told(code: str, path: str, name: str, lines: list[int]) -> Finding:
    once = sorted(set(lines))
    where = f"{name}, line{'s' if len(once) > 1 else ''} {listing.listed(once, MOST_LINES)}"
    return finding.of(code, path, f"{where}: {rules.BY_CODE[code].meaning}")


def _no_downgrade(source: bytes, *, path: str, name: str, is_rollback: bool) -> Iterator[Finding]:
    read = revision_file.read(path, source).revision
    if read is None or read.has_downgrade:
        return
    end = "this rollback will fail there." if is_rollback else "it cannot be rolled back by Alembic."
    yield finding.of(
        "no_downgrade",
        path,
        f"{name} has no downgrade; {end}",
        severity=Severity.ERROR if is_rollback else None,
    )


def _autocommit_blocks(read: Script) -> Iterator[Hit]:
    for call, name in read.calls():
        if name.endswith(".autocommit_block"):
            yield "autocommit_block", call.lineno


def _concurrently(read: Script) -> Iterator[Hit]:
    inside = {
        id(inner)
        for node in read.nodes()
        if isinstance(node, ast.With) and any(_is_autocommit(read, item.context_expr) for item in node.items)
        for inner in ast.walk(node)
    }
    for call, name in read.calls():
        if id(call) in inside:
            continue
        asked = any(
            keyword.arg == "postgresql_concurrently"
            and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            for keyword in call.keywords
        )
        written = name.rpartition(".")[2] in _EXECUTING and any(
            isinstance(each, ast.Constant) and _says_concurrently(each.value)
            for argument in call.args
            for each in ast.walk(argument)
        )
        if asked or written:
            yield "concurrently_without_autocommit", call.lineno


def _is_autocommit(read: Script, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and read.full_name(node.func).endswith(".autocommit_block")


def _says_concurrently(value: object) -> bool:
    words = value.upper().split() if isinstance(value, str) else []
    return "CONCURRENTLY" in words and "REFRESH" not in words


def _reflection(read: Script) -> Iterator[Hit]:
    for call, name in read.calls():
        loads = any(
            keyword.arg in ("autoload_with", "autoload", "reflect") and not _is_off(keyword.value)
            for keyword in call.keywords
        )
        if (
            loads
            or name.startswith(_REFLECTING)
            or name.endswith((".reflect", ".get_table_names", ".has_table", ".from_engine"))
        ):
            yield "reflection", call.lineno


def _is_off(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _imports_of_the_application(read: Script) -> Iterator[Hit]:
    known = sys.stdlib_module_names | _LIBRARIES | _DRIVERS
    for node in read.nodes():
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        else:
            continue
        tops = [module.partition(".")[0] for module in modules]
        outward = [module for module in modules if module.startswith(_OUTWARD)]
        if any(not top or top not in known for top in tops) and not outward:
            yield "imports_application", node.lineno


def _outward(read: Script) -> Iterator[Hit]:
    for node in read.nodes():
        if isinstance(node, ast.Import) and any(_is_outward(alias.name) for alias in node.names):
            yield "calls_out", node.lineno
        if isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if any(_is_outward(f"{module}.{alias.name}") for alias in node.names):
                yield "calls_out", node.lineno
        if isinstance(node, ast.Attribute) and _is_outward(read.full_name(node)):
            yield "calls_out", node.lineno


def _is_outward(name: str) -> bool:
    return any(
        name == each or name.startswith(f"{each}.") or (each.startswith(("os.", "asyncio.")) and name.startswith(each))
        for each in _OUTWARD
    )


def _dynamic(read: Script) -> Iterator[Hit]:
    for call, name in read.calls():
        if any(name == each or (each.endswith(".") and name.startswith(each)) for each in _DYNAMIC):
            yield "dynamic_code", call.lineno


def _changing(read: Script) -> Iterator[Hit]:
    for call, name in read.calls():
        if any(name == each or (each.endswith(".") and name.startswith(each)) for each in _CHANGING):
            yield "not_repeatable", call.lineno
    for node in read.nodes():
        if isinstance(node, (ast.Attribute, ast.Name)) and read.full_name(node) in ("os.environ", "sys.argv"):
            yield "not_repeatable", node.lineno


def _files(read: Script) -> Iterator[Hit]:
    for call, name in read.calls():
        if name in _OPENING or name.endswith(_READING):
            yield "reads_file", call.lineno


def _built(read: Script) -> Iterator[Hit]:
    built = {
        target.id
        for node in read.nodes()
        if isinstance(node, ast.Assign) and _is_built(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call, name in read.calls():
        if name.rpartition(".")[2] not in _EXECUTING or not call.args:
            continue
        argument = call.args[0]
        if _is_built(argument) or (isinstance(argument, ast.Name) and argument.id in built):
            yield "built_sql", call.lineno


def _is_built(node: ast.expr) -> bool:
    """Whether a text is put together from what is not written there: an f-string, %, format, or a sum with a name."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(each, ast.FormattedValue) for each in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Add)):
        if isinstance(node.op, ast.Mod):
            return _is_text(node.left)
        return not (_is_text(node.left) and _is_text(node.right)) and (_is_text(node.left) or _is_text(node.right))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "join", "replace")
    ):
        return _is_text(node.func.value)
    return False


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) and _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


_RULES: Final[tuple[Callable[[Script], Iterator[Hit]], ...]] = (
    _concurrently,
    _outward,
    _dynamic,
    _reflection,
    _imports_of_the_application,
    _changing,
    _built,
    _files,
    _autocommit_blocks,
)
