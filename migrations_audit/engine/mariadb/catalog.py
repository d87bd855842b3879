"""The schema of a MariaDB or MySQL database as text, in the key language of ``engine.catalog``, without the database's name.

Two databases with the same schema have the same fingerprint on the same version of the server. Data, definers, comments,
AUTO_INCREMENT's next value and the order of columns are not part of it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from migrations_audit import hashchain
from migrations_audit.engine.mariadb import session
from migrations_audit.engine.mariadb.session import Connection
from migrations_audit.engine.types import Catalog
from migrations_audit.states import Engine

_PLAIN: Final = re.compile(r"[A-Za-z0-9_$]+")

_TABLES: Final = """
    SELECT table_name, engine, table_collation, create_options FROM information_schema.tables
     WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_PARTITIONS: Final = """
    SELECT table_name, partition_method, partition_expression, partition_name, partition_description,
           subpartition_method, subpartition_expression, subpartition_name
      FROM information_schema.partitions WHERE table_schema = %s AND partition_name IS NOT NULL
     ORDER BY table_name, partition_ordinal_position, subpartition_ordinal_position
"""
_COLUMNS: Final = """
    SELECT c.table_name, c.column_name, c.column_type, c.collation_name, c.is_nullable, c.column_default, c.extra,
           c.generation_expression
      FROM information_schema.columns c
      JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
     WHERE c.table_schema = %s AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_INDEXES: Final = """
    SELECT table_name, index_name, non_unique, index_type, column_name, sub_part, collation
      FROM information_schema.statistics WHERE table_schema = %s ORDER BY table_name, index_name, seq_in_index
"""
_FOREIGN_KEYS: Final = """
    SELECT k.table_name, k.constraint_name, k.column_name,
           IF(k.referenced_table_schema = k.table_schema, '', k.referenced_table_schema), k.referenced_table_name,
           k.referenced_column_name, r.update_rule, r.delete_rule
      FROM information_schema.key_column_usage k
      JOIN information_schema.referential_constraints r
        ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
     WHERE k.table_schema = %s AND k.referenced_table_name IS NOT NULL
     ORDER BY k.table_name, k.constraint_name, k.ordinal_position
"""
_CHECKS: Final = {
    Engine.MARIADB: "SELECT table_name, constraint_name, check_clause FROM information_schema.check_constraints"
    " WHERE constraint_schema = %s",
    Engine.MYSQL: "SELECT t.table_name, c.constraint_name, c.check_clause FROM information_schema.check_constraints c"
    " JOIN information_schema.table_constraints t USING (constraint_schema, constraint_name) WHERE c.constraint_schema = %s",
}
_VIEWS: Final = """
    SELECT table_name, view_definition, check_option, security_type FROM information_schema.views WHERE table_schema = %s
"""
_TRIGGERS: Final = """
    SELECT event_object_table, trigger_name, action_timing, event_manipulation, action_order, action_statement
      FROM information_schema.triggers WHERE trigger_schema = %s
"""
_ROUTINES: Final = """
    SELECT r.routine_type, r.routine_name, r.dtd_identifier, r.is_deterministic, r.sql_data_access, r.security_type,
           (SELECT GROUP_CONCAT(CONCAT_WS(' ', p.parameter_mode, p.parameter_name, p.dtd_identifier)
                                ORDER BY p.ordinal_position SEPARATOR ', ')
              FROM information_schema.parameters p
             WHERE p.specific_schema = r.routine_schema AND p.specific_name = r.specific_name AND p.ordinal_position > 0
               AND p.routine_type = r.routine_type),
           r.routine_definition
      FROM information_schema.routines r WHERE r.routine_schema = %s
"""
_EVENTS: Final = """
    SELECT event_name, event_type, execute_at, interval_value, interval_field, status, event_definition
      FROM information_schema.events WHERE event_schema = %s
"""
_SEQUENCES: Final = """
    SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'SEQUENCE'
"""


def read(connection: Connection, database: str, engine: Engine) -> Catalog:
    """Read the whole catalog of ``database``. DDL of others may happen meanwhile: compare two readings."""
    body = dict(
        sorted(
            (
                *_tables(connection, database),
                *_columns(connection, database),
                *_indexes(connection, database),
                *_foreign_keys(connection, database),
                *_checks(connection, database, engine),
                *_views(connection, database),
                *_programs(connection, database),
                *_sequences(connection, database),
            )
        )
    )
    return Catalog(fingerprint=hashchain.digest(hashchain.canonical(body)), body=body)


def key(kind: str, *names: str) -> str:
    """The key of an object, its names quoted where they are not plain."""
    return f"{kind} {'.'.join(name if _PLAIN.fullmatch(name) else _in_quotes(name) for name in names)}"


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _words(*parts: object) -> str:
    return " ".join(text for part in parts if (text := str(part if part is not None else "").strip()))


def _tables(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    partitions: dict[str, list[str]] = defaultdict(list)
    for table, *facts in session.rows(connection, _PARTITIONS, [database]):
        partitions[table].append(_words(*facts))
    for table, storage, collation, options in session.rows(connection, _TABLES, [database]):
        parts = f", partitions: {'; '.join(partitions[table])}" if table in partitions else ""
        yield key("table", table), _words(storage, "collate", collation, options) + parts


def _columns(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    for table, column, kind, collation, nullable, default, extra, generated in session.rows(
        connection, _COLUMNS, [database]
    ):
        yield (
            key("column", table, column),
            _words(
                kind,
                f"collate {collation}" if collation else "",
                "not null" if nullable == "NO" else "",
                f"default {default}" if default is not None else "",
                extra,
                f"as ({generated})" if generated else "",
            ),
        )


def _indexes(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    found: dict[tuple[str, str, bool, str], list[str]] = defaultdict(list)
    for table, index, non_unique, kind, column, length, direction in session.rows(connection, _INDEXES, [database]):
        part = f"{column or 'expression'}{f'({length})' if length else ''}{' desc' if direction == 'D' else ''}"
        found[table, index, bool(non_unique), kind].append(part)
    for (table, index, non_unique, kind), columns in found.items():
        listed = f"({', '.join(columns)})"
        if index == "PRIMARY":
            yield key("constraint", table, index), f"primary key {listed}"
        else:
            yield key("index", table, index), _words("" if non_unique else "unique", kind.lower(), listed)


def _foreign_keys(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    found: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for table, name, column, schema, other, other_column, on_update, on_delete in session.rows(
        connection, _FOREIGN_KEYS, [database]
    ):
        found[table, name, schema, other, on_update, on_delete].append((column, other_column))
    for (table, name, schema, other, on_update, on_delete), pairs in found.items():
        columns, others = (", ".join(pair[side] for pair in pairs) for side in (0, 1))
        place = f"{schema}.{other}" if schema else other
        yield (
            key("constraint", table, name),
            f"foreign key ({columns}) references {place} ({others}) on update {on_update} on delete {on_delete}",
        )


def _checks(connection: Connection, database: str, engine: Engine) -> Iterator[tuple[str, str]]:
    for table, name, clause in session.rows(connection, _CHECKS[engine], [database]):
        yield key("constraint", table, name), f"check ({clause})"


def _views(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    own = f"`{database.replace('`', '``')}`."
    for name, definition, check, security in session.rows(connection, _VIEWS, [database]):
        shown = _text(definition).replace(own, "")
        yield key("view", name), _words(f"security {security}", "" if check == "NONE" else f"check {check}", shown)


def _programs(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    """Triggers, functions, procedures and events."""
    for table, name, timing, event, order, statement in session.rows(connection, _TRIGGERS, [database]):
        yield key("trigger", table, name), f"{timing} {event}, {order}. of its kind: {_text(statement)}"
    for kind, name, returns, fixed, access, security, parameters, body in session.rows(
        connection, _ROUTINES, [database]
    ):
        head = _words(
            f"({parameters or ''})", f"returns {returns}" if returns else "", access, f"security {security}",
            "deterministic" if fixed == "YES" else "",
        )  # fmt: skip
        yield key(kind.lower(), name), f"{head}, {_text(body)}"
    for name, kind, at, amount, field, status, body in session.rows(connection, _EVENTS, [database]):
        yield key("event", name), f"{_words(kind, at, amount, field, status)}: {_text(body)}"


def _text(source: str | None) -> str:
    """A body, and its digest where it would be too long to compare by eye."""
    if source is None:
        return "(this user may not see its body)"
    return f"sha256 {hashlib.sha256(source.encode()).hexdigest()}: {source}" if len(source) > 200 else source


def _sequences(connection: Connection, database: str) -> Iterator[tuple[str, str]]:
    for (name,) in session.rows(connection, _SEQUENCES, [database]):
        quoted = "`" + name.replace("`", "``") + "`"
        shown = session.rows(connection, f"SHOW CREATE SEQUENCE {quoted}")[0][1]
        yield key("sequence", name), str(shown).partition(quoted)[2].strip()
