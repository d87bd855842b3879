"""The forms in which a person may name a revision. Pure: the web refuses nonsense before a worker sees it.

The grammar is an allow-list. Above all nothing that looks like an option comes near Alembic, which honours abbreviations such as
``--sq``. Whether a revision exists is the plan's question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from migrations_audit.errors import Invalid
from migrations_audit.states import Operation

RESERVED: Final = frozenset({"head", "heads", "base", "current"})
"""Words that mean a place in the history and are never the id of a revision."""

MAX_LENGTH: Final = 100
MIN_PREFIX: Final = 4
"""Alembic itself takes a single letter when only one id begins with it; the next file would change what it means."""

ACCEPTED: Final = {
    Operation.UPGRADE: "head, heads, a revision id or at least its first four characters, +N, label@head or label@revision",
    Operation.ROLLBACK: "base, a revision id or at least its first four characters, or -N",
    Operation.ADOPT: "head, heads, a revision id or at least its first four characters, label@head or label@revision",
}
_NAME: Final = r"(?P<name>[A-Za-z0-9_.]+)"
_COUNT: Final = r"(?P<count>[1-9][0-9]{0,3})"
_FORMS: Final = {
    Operation.UPGRADE: re.compile(rf"(?:(?P<label>[A-Za-z0-9_.][A-Za-z0-9_.-]*)@)?{_NAME}|\+{_COUNT}"),
    Operation.ROLLBACK: re.compile(rf"{_NAME}|-{_COUNT}"),
    Operation.ADOPT: re.compile(rf"(?:(?P<label>[A-Za-z0-9_.][A-Za-z0-9_.-]*)@)?{_NAME}"),
}
_OTHER_WAY: Final = {
    Operation.UPGRADE: (re.compile(r"-[0-9]+|base"), "that is a rollback; use Plan rollback"),
    Operation.ROLLBACK: (
        re.compile(r"\+[0-9]+|heads?|[\w.-]+@heads?", re.ASCII),
        "that is an upgrade; use Plan upgrade",
    ),
    Operation.ADOPT: (
        re.compile(r"[+-][0-9]+|base"),
        "a database is adopted at a revision of its own, not at a distance",
    ),
}


class RevisionRefused(Invalid):
    """The request cannot be made into steps. ``code`` says why and is stable."""

    code = "revision_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, field="revision")
        self.code = code


@dataclass(frozen=True)
class Request:
    """One of the accepted forms: ``count`` steps from where the target is, or a name, perhaps on the branch ``label``."""

    name: str = ""
    label: str = ""
    count: int = 0


def parse(operation: Operation, requested: str) -> Request:
    """The request in its parts.

    Raises RevisionRefused: ``empty_request``, ``request_too_long``, ``wrong_direction`` (an upgrade named as a rollback or
    the other way round) or ``bad_request``.
    """
    if not requested.strip():
        raise RevisionRefused("empty_request", f"No revision was named. Accepted are {ACCEPTED[operation]}.")
    if len(requested) > MAX_LENGTH:
        raise RevisionRefused(
            "request_too_long",
            f"The revision has more than {MAX_LENGTH} characters. Accepted are {ACCEPTED[operation]}.",
        )
    other_way, sentence = _OTHER_WAY[operation]
    if other_way.fullmatch(requested):
        raise RevisionRefused("wrong_direction", f"{requested}: {sentence}. Accepted here are {ACCEPTED[operation]}.")
    match = _FORMS[operation].fullmatch(requested)
    parts = {key: value or "" for key, value in match.groupdict().items()} if match else {}
    name, label = parts.get("name", ""), parts.get("label", "")
    words = {"base"} if operation is Operation.ROLLBACK else {"head"} if label else {"head", "heads"}
    if match is None or name in RESERVED - words or label in RESERVED:
        raise RevisionRefused(
            "bad_request", f"{requested!a} does not name a revision. Accepted are {ACCEPTED[operation]}."
        )
    return Request(name=name, label=label, count=int(parts.get("count") or 0))


def check_request(text: str, *, operation: Operation) -> str:
    """The request without surrounding spaces. Raises RevisionRefused as ``parse`` does."""
    asked = text.strip(" ")
    parse(operation, asked)
    return asked
