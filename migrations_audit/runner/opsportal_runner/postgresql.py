"""What PostgreSQL does in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import dbapi, telling


class PostgreSQL:
    """What PostgreSQL does in its own way."""

    def __init__(self, request: telling.Facts, events: telling.Events) -> None:
        self._request = request
        self._events = events
        self._approved: telling.Facts = request["connection"]
        self._startup = {
            "application_name": request["application_name"],
            "lock_timeout": str(request["lock_timeout_ms"]),
            "statement_timeout": str(request["statement_timeout_ms"]),
            "idle_in_transaction_session_timeout": str(request["idle_in_transaction_timeout_ms"]),
        }
        # Some servers do not let it be set; asked for at start-up it would cost the connection.
        interval = request["client_connection_check_interval_ms"]
        self._optional = {"client_connection_check_interval": str(interval)} if interval else {}

    @property
    def approved(self) -> str:
        return dbapi.endpoint(self._approved)

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: telling.Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved database."""
        if dialect.name != "postgresql":
            return f"a database of {dialect.name}"
        asked = {
            "host": str(cparams.get("host") or "").lower(),
            "port": str(cparams.get("port") or 5432),
            "database": str(cparams.get("dbname") or cparams.get("database") or ""),
            "user": str(cparams.get("user") or ""),
        }
        detours = [name for name in ("hostaddr", "service", "dsn", "conninfo", "unix_sock") if cparams.get(name)]
        detours += ["a connection string"] if any(cargs) else []  # not repeated: it may hold a password
        return (
            ""
            if dbapi.endpoint(asked) == self.approved and not detours
            else " and ".join([dbapi.endpoint(asked), *detours])
        )

    def arguments(self, driver: str, arguments: telling.Facts) -> telling.Facts:
        """The driver's arguments with our settings."""
        approved, application_name = self._approved, self._startup["application_name"]
        if approved["password"]:  # without one the project fetches its own, a token for example
            arguments["password"] = approved["password"]
        if driver.startswith("psycopg"):
            ours = [f"-c {name}={value}" for name, value in self._startup.items() if name != "application_name"]
            options = " ".join([arguments.get("options") or "", *ours]).strip()
            # The empty values keep libpq from taking its own out of PG* variables that env.py may set.
            arguments.update(approved["parameters"], hostaddr="", target_session_attrs="any")
            arguments.update(application_name=application_name, options=options)
        elif driver == "asyncpg":
            arguments["server_settings"] = {**(arguments.get("server_settings") or {}), **self._startup}
            if "sslmode" in approved["parameters"] and isinstance(arguments.get("ssl"), (str, bool, type(None))):
                arguments["ssl"] = approved["parameters"]["sslmode"]
        elif driver == "pg8000":
            arguments["application_name"] = application_name
        return arguments

    def check(self, connection: Any, asserted: bool) -> telling.Facts:
        """What is told of a new connection, or a refusal."""
        pid, database, oid, user, standby, system, version = dbapi.rows(
            connection,
            "SELECT pg_backend_pid(), current_database(), (SELECT CAST(oid AS bigint) FROM pg_database"
            " WHERE datname = current_database()), session_user, pg_is_in_recovery(),"
            " (SELECT CAST(system_identifier AS text) FROM pg_control_system()), current_setting('server_version')",
        )[0]
        found = {"system_identifier": system, "database_oid": oid, "database": database}
        if found != self._request["expected"] or not (asserted or user == self._approved["user"]):
            self._events.refuse(
                "wrong_identity",
                f"The server is not the approved one: found database {database} (oid {oid}, system {system}) as {user}. "
                "It was not used. Check where the address leads, then plan again.",
                found=found,
            )
        if standby:
            self._events.refuse("standby", "The server that answered is a standby, which only reads. Name the primary.")
        if dbapi.protocol_pid(connection) not in (None, pid):
            self._events.refuse(
                "pooler", "A connection pooler stands before the server. Use a direct address for runs."
            )
        settings = self._settings_in_force(connection)
        return {
            **found, "user": user, "backend_pid": pid, "session": "", "engine": "PostgreSQL", "server_version": version,
            "settings": settings,
        }  # fmt: skip

    def _settings_in_force(self, connection: Any) -> dict[str, str]:
        """Set what the driver could not pass on, then read everything back."""
        wanted = {**self._startup, **self._optional}
        query = f"SELECT name, setting FROM pg_settings WHERE name IN ({', '.join(map(dbapi.literal, wanted))})"  # noqa: S608
        before = dict(dbapi.rows(connection, query))
        for name in [name for name in wanted if before.get(name) != wanted[name]]:
            try:
                dbapi.rows(
                    connection, f"SELECT set_config({dbapi.literal(name)}, {dbapi.literal(wanted[name])}, false)"
                )
                connection.commit()  # without it the setting would be lost again
            except Exception:  # noqa: BLE001  what is in force is read next
                connection.rollback()
        settings = dict(dbapi.rows(connection, query))
        lost = [name for name in self._startup if settings.get(name) != wanted[name]]
        if lost:
            self._events.refuse(
                "settings_not_in_force", f"The server did not take our {', '.join(lost)}.", settings=settings
            )
        return settings

    def try_lock(self, connection: Any) -> bool:
        """Take the run lock. A session that waits inside pg_advisory_lock would make CREATE INDEX CONCURRENTLY hang."""
        high, low = map(int, self._request["lock_key"])
        return bool(dbapi.rows(connection, f"SELECT pg_try_advisory_lock({high}, {low})")[0][0])

    def unlock(self, connection: Any) -> None:
        high, low = map(int, self._request["lock_key"])
        dbapi.rows(connection, f"SELECT pg_advisory_unlock({high}, {low})")

    def holder(self, connection: Any) -> telling.Facts:
        high, low = (int(part) & 0xFFFFFFFF for part in self._request["lock_key"])
        found = dbapi.rows(
            connection,
            "SELECT a.pid, a.application_name, a.usename, CAST(extract(epoch FROM now() - a.backend_start) AS int)"  # noqa: S608
            " FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
            f" WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {high} AND l.objid = {low} AND l.objsubid = 2"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        names = ("pid", "application_name", "user", "session_age_s")
        return dict(zip(names, found[0])) if found else {}  # noqa: B905  strict= needs Python 3.10

    def version_rows(self, connection: Any) -> list[str]:
        table = dbapi.quoted((self._request["version_table_schema"], self._request["version_table"]), '"')
        if dbapi.rows(connection, f"SELECT CAST(to_regclass({dbapi.literal(table)}) AS text)")[0][0] is None:
            return []
        return [row[0] for row in dbapi.rows(connection, f"SELECT version_num FROM {table}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether the driver says that no transaction is open."""
        driver = dbapi.driver_connection(connection)
        if hasattr(driver, "is_in_transaction"):  # asyncpg
            return not driver.is_in_transaction()
        return getattr(getattr(driver, "info", None), "transaction_status", None) == 0
