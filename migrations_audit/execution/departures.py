"""What differs from what was approved, in words: the files, the catalog. For the sentence of a run that is void."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from migrations_audit import listing
from migrations_audit.engine import catalog, types
from migrations_audit.models import Observation, Snapshot

MOST_NAMED: Final = 5


def of_files(approved: Snapshot, found: Snapshot) -> str:
    """Which script files were changed, added or removed."""
    then, now = _digests(approved.files), _digests(found.files)
    changed = [path for path in then.keys() & now.keys() if then[path] != now[path]]
    parts = (
        ("changed", changed),
        ("added", list(now.keys() - then.keys())),
        ("removed", list(then.keys() - now.keys())),
    )
    return "; ".join(f"{word} {listing.listed(sorted(paths), MOST_NAMED)}" for word, paths in parts if paths)


def of_catalog(approved: Observation, found: types.Catalog) -> str:
    """Which objects of the catalog are not as they were when the plan was made."""
    if approved.catalog is None:
        return ""
    return listing.listed(catalog.diff(approved.catalog.body, found), MOST_NAMED)


def of_identity(approved: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Which facts of a database's identity are others."""
    return listing.listed(
        [f"{name}: {approved[name]} → {value}" for name, value in found.items() if approved.get(name) != value],
        MOST_NAMED,
    )


def _digests(files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {each["path"]: each["sha256"] for each in files}
