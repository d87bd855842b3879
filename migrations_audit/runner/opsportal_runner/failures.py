"""What is told of an exception: its reason, its SQLSTATE and where in the project it came from."""

from __future__ import annotations

import os
import resource
import traceback

from . import telling

MAX_MESSAGE = 8_000


def described(error: BaseException) -> telling.Facts:
    """What an exception tells, without its statement's parameters. A long message keeps its end, where the reason stands."""
    origin = getattr(error, "orig", None) or error
    statement = getattr(error, "statement", None)
    message = f"The project called sys.exit({error.code!r})." if isinstance(error, SystemExit) else str(origin)
    message = message.partition("\nDETAIL:")[0]  # PostgreSQL quotes the row there; the traceback in the log keeps it
    if type(origin).__module__.partition(".")[0] in ("pymysql", "MySQLdb") and len(origin.args) > 1:
        message = f"{origin.args[1]} (error {origin.args[0]})"
    if isinstance(origin, MemoryError):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0] // 1024**2
        message = f"Out of memory: a run may use {limit} MiB. {message}".strip()
    return {
        "type": type(origin).__name__,
        "sqlstate": sqlstate(error),
        "message": message[-MAX_MESSAGE:] or type(origin).__name__,
        "statement": statement[: telling.MAX_STATEMENT] if isinstance(statement, str) else "",
    }


def chain(error: BaseException) -> list[BaseException]:
    """The exception and those behind it. One may name itself as its cause."""
    found = [error]
    while (behind := found[-1].__cause__ or found[-1].__context__) and behind not in found:
        found.append(behind)
    return found


def sqlstate(error: BaseException) -> str:
    for each in chain(error):
        for origin in (getattr(each, "orig", None), each):
            code = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
            arguments = getattr(origin, "args", ())  # there may be no original exception
            if code is None and arguments and isinstance(arguments[0], dict):  # pg8000
                code = arguments[0].get("C")
            if isinstance(code, str):
                return code
    return ""


def place(error: BaseException) -> str:
    """The last line of the project's own files that the exception came through."""
    here = os.getcwd() + os.sep
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
    return f"{inside[-1].filename[len(here) :]}:{inside[-1].lineno}" if inside else ""
