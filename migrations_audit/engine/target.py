"""Reading a target: who it is, which revisions it records, what its catalog holds. Nothing is ever written to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from migrations_audit.engine import catalog, session
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.types import Identity, Reading
from migrations_audit.engine.urls import TargetUrl

__all__ = ["CannotRead", "IdentityCheck", "UnreadableVersionTable", "compare_identity", "read"]

MAX_REVISION_ROWS: Final = 1000
MAX_REVISION_ID: Final = 255
LOCK_TIMEOUT_MS: Final = 2000

type_Connection = psycopg.Connection[TupleRow]


class UnreadableVersionTable(CannotRead):
    """The version table is not one that Alembic wrote."""

    code = "unreadable_version_table"


@dataclass(frozen=True)
class IdentityCheck:
    """``differences`` say why this is not the enrolled database; ``remarks`` are worth knowing and forbid nothing."""

    matches: bool
    differences: tuple[str, ...]
    remarks: tuple[str, ...]


# What the session's role or database may have set and what the text of the catalog depends on. Set for the transaction only: through
# a pooler nothing of it may stay behind.
_PINNED: Final = {
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}

# Some services withhold the control functions from ordinary roles; the walfile name tells a promotion at once, the control file later.
_FACTS: Final[LiteralString] = """
    SELECT pg_catalog.current_database() AS database,
           (SELECT d.oid::pg_catalog.int8 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AS database_oid,
           session_user::pg_catalog.text AS "user",
           coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), '') AS server_address,
           coalesce(pg_catalog.inet_server_port(), 0) AS server_port,
           pg_catalog.current_setting('server_version') AS server_version,
           pg_catalog.pg_is_in_recovery() AS in_recovery,
           pg_catalog.pg_backend_pid() AS backend_pid,
           pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS tells_system,
           pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE') AS tells_checkpoint
"""
_SYSTEM: Final[LiteralString] = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()"
_TIMELINE_OF_STANDBY: Final[LiteralString] = "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()"
_TIMELINE_OF_PRIMARY: Final[LiteralString] = """
    SELECT ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int4
"""
