"""Whether a pass ended because of what a copy cannot give, or because of the plan: by the SQLSTATE and the server's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from migrations_audit.engine.rehearsing.types import Pass

OF_THE_RUNNER: Final = (
    "wrong_target",
    "wrong_identity",
    "not_checked",
    "settings_not_in_force",
    "plan_differs",
    "connection_failed",
    "pooler",
    "standby",
    "lock_busy",
    "protocol",
    "too_long",
)
_BUILD: Final = "the server for copies does not have this feature or extension"
_OUTSIDE: Final = "something that lives outside the database, or that no copy is given, is not on the copy"
# Both states are those of ordinary mistakes as well, such as a wrong name or a column that a view uses.
_BY_WORDS: Final = {
    "0A000": (
        _BUILD,
        re.compile(
            r'extension ".*" (?:is not available|has no installation script)|not supported (?:by|in) this build'
            r"|compression method \S+ not supported|unsupported XML feature",
            re.IGNORECASE,
        ),
    ),
    "42704": (
        _OUTSIDE,
        re.compile(
            r"\b(?:role|language|access method|tablespace|foreign-data wrapper|publication|subscription|event trigger"
            r'|user mapping for|collation) ".*" (?:for .* )?does not exist|unrecognized configuration parameter',
            re.IGNORECASE,
        ),
    ),
}
_ALWAYS: Final = {
    "42501": "the role that migrates has less rights on a copy than it may have on its target",
    "58P01": "the server for copies lacks a file that this needs, of an extension for example",
}
_IS_MISSING: Final = ("42P01", "42703", "42704", "42883", "3F000")
"""No such table, column, object, function, schema: what a copy may lack that is not like its target."""


def of_the_copy(ended: Pass, problems: Sequence[str]) -> str:
    """Why a pass that did not come to its end says nothing about the target, or nothing.

    ``problems`` are what could not be copied. They explain only that something is missing.
    """
    if ended.code in OF_THE_RUNNER:
        return "the copy could not be used as its target is"
    if ended.sqlstate in _ALWAYS:
        return _ALWAYS[ended.sqlstate]
    because, words = _BY_WORDS.get(ended.sqlstate, ("", None))
    if words is not None and words.search(ended.problem.partition("\n")[0]):
        return because
    return "the copy is not like its target" if problems and ended.sqlstate in _IS_MISSING else ""
