"""How large relations of a target are, with their partitions. One that is locked away is told as such and holds up no other."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import DictRow

from migrations_audit.engine.redaction import clean

LOCK_TIMEOUT_MS: Final = 200
BUDGET_S: Final = 5.0
"""For those that are asked for one by one, in all."""
MOST_PARTS: Final = 5_000
"""Tables with their partitions and heirs, in all; where there are more, sizes are the least that they can be."""

# The catalogs are read without a lock on what they speak of: a table that is locked away is found all the same.
_PARTS: Final[LiteralString] = """
    WITH RECURSIVE tree AS (
      SELECT asked.name, c.oid, true AS is_root
        FROM unnest(%(names)s::text[]) AS asked(name) JOIN pg_class c ON c.oid = to_regclass(asked.name)
       UNION
      SELECT tree.name, i.inhrelid, false FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
    SELECT part.name, part.oid::int8 AS oid, part.is_root, c.relkind::text AS kind, c.reltuples::float8 AS rows,
           s.n_live_tup::int8 AS live, s.n_dead_tup::int8 AS dead,
           s.seq_scan::int8 AS sequential_scans, s.idx_scan::int8 AS index_scans,
           CASE WHEN c.relispartition THEN (SELECT format('%%I.%%I', n.nspname, r.relname)
                  FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE r.oid = pg_partition_root(c.oid))
           END AS partition_of
      FROM (SELECT * FROM tree LIMIT %(most)s) AS part
      JOIN pg_class c ON c.oid = part.oid
      LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
"""
_LOCKED: Final[LiteralString] = """
    SELECT DISTINCT l.relation::int8 AS oid FROM pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY (%(oids)s::oid[])
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SIZES: Final[LiteralString] = """
    SELECT asked.oid::int8 AS oid, pg_total_relation_size(asked.oid)::int8 AS bytes FROM unnest(%(oids)s::oid[]) AS asked(oid)
"""
# Its indexes and its TOAST table are measured with it, so that one of them may be what is locked.
_BY_WHOM: Final[LiteralString] = """
    SELECT DISTINCT ON (t.oid) t.oid::int8 AS oid,
           CASE WHEN l.granted THEN 'locked by ' ELSE 'behind the waiting lock of ' END ||
           CASE WHEN a.pid IS NULL THEN 'a prepared transaction'
                ELSE 'session ' || a.pid || ' of ' || coalesce(a.usename::text, 'an unknown user')
                     || coalesce(' (' || nullif(a.application_name, '') || ')', '') END AS by_whom
      FROM unnest(%(oids)s::oid[]) AS t(oid)
      JOIN pg_locks l ON l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.relation IN (SELECT t.oid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = t.oid
                          UNION ALL SELECT c.reltoastrelid FROM pg_class c WHERE c.oid = t.oid)
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     ORDER BY t.oid, l.granted DESC, a.xact_start
"""
_PARTITIONED: Final = ("p", "I")
_WITHOUT_STORAGE: Final = (*_PARTITIONED, "v", "f", "c")
_STATISTICS: Final = ("live", "dead", "sequential_scans", "index_scans")


def read(cursor: psycopg.Cursor[DictRow], names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each of these relations that is there: those that could not be measured first, then the largest.

    ``bytes`` and ``rows`` of a partitioned one are those of its partitions together. ``unmeasured`` says what of it could not be
    measured and why; ``bytes`` is None then, or the least that it can be.
    """
    parts = cursor.execute(_PARTS, {"names": list(names), "most": MOST_PARTS}).fetchall()
    stored = {part["oid"] for part in parts if part["kind"] not in _WITHOUT_STORAGE}
    sizes = _measure(cursor, stored)
    by_whom = _by_whom(cursor, stored - sizes.keys())
    trees: dict[str, list[DictRow]] = {}
    for part in parts:
        trees.setdefault(part["name"], []).append(part)
    rows = [_row(name, tree, sizes, by_whom, is_cut=len(parts) == MOST_PARTS) for name, tree in trees.items()]
    return sorted(rows, key=lambda row: (row["bytes"] is not None, -(row["bytes"] or 0)))


def _measure(cursor: psycopg.Cursor[DictRow], oids: Collection[int]) -> dict[int, int]:
    """The size of each that could be measured. What is dropped meanwhile has none any more, and counts as empty."""
    if not oids:
        return {}
    locked = {row["oid"] for row in cursor.execute(_LOCKED, {"oids": list(oids)}).fetchall()}
    free = sorted(set(oids) - locked)
    cursor.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    try:
        found = _sizes(cursor, free)
        if found is not None:
            return found
        sizes: dict[int, int] = {}
        give_up_at = time.monotonic() + BUDGET_S
        for oid in free:
            if time.monotonic() > give_up_at:
                break
            sizes |= _sizes(cursor, [oid]) or {}
        return sizes
    finally:
        cursor.execute("RESET lock_timeout")


def _sizes(cursor: psycopg.Cursor[DictRow], oids: Sequence[int]) -> dict[int, int] | None:
    """None where it took too long: measuring takes a lock, for which it may have to wait."""
    try:
        return {row["oid"]: row["bytes"] or 0 for row in cursor.execute(_SIZES, {"oids": oids}).fetchall()}
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return None


def _by_whom(cursor: psycopg.Cursor[DictRow], oids: Collection[int]) -> dict[int, str]:
    """Who keeps each of these from being measured, as a reason."""
    if not oids:
        return {}
    found = cursor.execute(_BY_WHOM, {"oids": list(oids)}).fetchall()
    told = {row["oid"]: clean(row["by_whom"]) for row in found}
    return {oid: told.get(oid, "not in time") for oid in oids}


def _row(
    name: str, tree: Sequence[DictRow], sizes: Mapping[int, int], by_whom: Mapping[int, str], *, is_cut: bool
) -> dict[str, Any]:
    root = next(part for part in tree if part["is_root"])
    below = [part for part in tree if not part["is_root"]]
    is_partitioned = root["kind"] in _PARTITIONED
    partitions = [part for part in below if part["kind"] not in _PARTITIONED] if is_partitioned else []
    heirs = [] if is_partitioned else below
    own = partitions if is_partitioned else [root]
    return {
        "name": name,
        "bytes": _bytes(own, sizes, by_whom),
        "rows": round(sum(part["rows"] if part["rows"] >= 0 else part["live"] or 0 for part in own)),
        "never_analyzed": all(part["rows"] < 0 for part in own),
        **{each: _sum(part[each] for part in own) for each in _STATISTICS},
        "partitions": len(partitions),
        "partition_of": root["partition_of"] or "",
        "heirs": len(heirs),
        "heirs_bytes": _bytes(heirs, sizes, by_whom) or 0,
        "unmeasured": _unmeasured(own, by_whom, is_cut=is_cut and bool(below)),
    }


def _bytes(parts: Sequence[DictRow], sizes: Mapping[int, int], by_whom: Mapping[int, str]) -> int | None:
    """None where nothing of it could be measured."""
    if parts and all(part["oid"] in by_whom for part in parts):
        return None
    return sum(sizes.get(part["oid"], 0) for part in parts)


def _unmeasured(parts: Sequence[DictRow], by_whom: Mapping[int, str], *, is_cut: bool) -> str:
    reasons = [by_whom[part["oid"]] for part in parts if part["oid"] in by_whom]
    if not reasons:
        return "there are more partitions than are measured" if is_cut else ""
    if len(parts) == 1:
        return f"could not be measured: {reasons[0]}"
    return f"{len(reasons)} of {len(parts)} partitions could not be measured, the first: {reasons[0]}"


def _sum(values: Iterable[int | None]) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None
