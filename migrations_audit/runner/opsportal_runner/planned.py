"""What was approved, compared with what Alembic is about to do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from . import telling


class Plan:
    """The steps and files that were approved. A run that would do others, or note them elsewhere, is refused."""

    def __init__(self, request: telling.Facts, events: telling.Events) -> None:
        self._events = events
        self._table = (request["version_table_schema"], request["version_table"])
        self._files: dict[str, str] = request["files"]
        self._env_py: str = request["env_py"]
        self.remaining: list[list[str]] = request["steps"]
        self.last_call = True

    def refuse_other(self, context: Any, ahead: Sequence[Any]) -> None:
        """Go on only when ``ahead``, which Alembic is about to do, is what was approved."""
        steps = [named(step) for step in ahead]
        expected = self.remaining if self.last_call else self.remaining[: len(steps)]
        if steps != expected:
            would, approved = (", ".join(step[0] for step in each)[:400] or "nothing" for each in (steps, expected))
            self._events.refuse(
                "plan_differs", f"Alembic would do {would}; approved is {approved}.", steps=steps[:1000]
            )
        self._refuse_other_files(context, ahead)
        schema = context.dialect.default_schema_name
        table = [context.version_table_schema or schema, context.version_table]
        if table != [self._table[0] or schema, self._table[1]]:
            self._events.refuse(
                "plan_differs", f"The project notes its revisions in {'.'.join(table)}, which nobody read."
            )

    def _refuse_other_files(self, context: Any, ahead: Sequence[Any]) -> None:
        """The project's own command may load scripts from elsewhere than the approved snapshot."""
        loaded = {step.revision.revision: step.revision.path for step in ahead if hasattr(step, "revision")}
        found = [(name, path, self._files.get(name)) for name, path in loaded.items()]
        if context.script is not None:
            found.append(("env.py", os.path.join(context.script.dir, "env.py"), self._env_py))
        for name, path, approved in found:
            if approved and digest_of(path) != approved:
                self._events.refuse(
                    "scripts_differ",
                    f"{path}, from which {name} was loaded, is not the file that was approved. Plan again.",
                )


def settle_order(context: Any) -> None:
    """Sort what Alembic keeps in sets: with several ``depends_on`` its order of steps would change with the hash seed."""
    revision_map = getattr(getattr(context, "script", None), "revision_map", None)
    for revision in revision_map._revision_map.values() if revision_map is not None else ():
        if revision is not None and hasattr(revision, "_normalized_resolved_dependencies"):
            revision._normalized_resolved_dependencies = tuple(sorted(revision._normalized_resolved_dependencies))


def named(step: Any) -> list[str]:
    """What a step of Alembic's does, as the plan says it."""
    if hasattr(step, "revision"):
        return [step.revision.revision, "upgrade" if step.is_upgrade else "downgrade"]
    return [", ".join(step.to_), "stamp"]


def digest_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
