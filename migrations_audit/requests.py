"""What a person may write as the revision of a request. Pure: the web refuses nonsense before a worker sees it.

The grammar is an allow-list. Everything else, above all anything that looks like an option of Alembic (it honours
abbreviations such as ``--sq``), is refused with a sentence. Whether a revision exists is the plan's question.
"""

from __future__ import annotations

import re

from migrations_audit.errors import Invalid
from migrations_audit.states import Operation

LONGEST = 100
_ID = r"[A-Za-z0-9_.]{1,64}"
_UPGRADE = re.compile(rf"head|heads|\+[1-9][0-9]{{0,2}}|{_ID}|{_ID}@(?:head|{_ID})")
_ROLLBACK = re.compile(rf"base|-[1-9][0-9]{{0,2}}|{_ID}")
_NOT_AN_ID = frozenset({"current", "none"})


class RevisionRefused(Invalid):
    """This is not a revision that the portal accepts."""

    code = "revision_refused"


def check_request(text: str, *, operation: Operation) -> str:
    """The request, stripped of surrounding spaces, or RevisionRefused with what is accepted."""
    asked = text.strip(" ")
    if operation is Operation.UPGRADE:
        if re.fullmatch(r"-[0-9]+|base", asked):
            raise RevisionRefused(f"{asked} goes back. Use Plan rollback for that.", field="revision")
        accepted, grammar = "head, heads, a revision id, +1, or label@head", _UPGRADE
    else:
        accepted, grammar = "a revision id, -1, or base", _ROLLBACK
        if asked in ("head", "heads"):
            raise RevisionRefused(f"{asked} goes forward. Use Plan upgrade for that.", field="revision")
    if not asked:
        raise RevisionRefused(f"Name the revision: {accepted}.", field="revision")
    if len(asked) > LONGEST:
        raise RevisionRefused(f"A revision has at most {LONGEST} characters. Give {accepted}.", field="revision")
    if not grammar.fullmatch(asked) or asked.lower() in _NOT_AN_ID:
        raise RevisionRefused(
            f"That is not a revision. Give {accepted}; options and ranges are not accepted.", field="revision"
        )
    return asked
