"""What MariaDB and MySQL do in their own way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import dbapi, telling


class MariaDB:
    """What MariaDB and MySQL do in their own way.

    They keep no application name, so each session takes a lock of a name that nobody else has: by it the portal finds the session
    again, whatever happened to ids meanwhile.
    """

    def __init__(self, request: telling.Facts, events: telling.Events) -> None:
        self._request = request
        self._events = events
        self._approved: telling.Facts = request["connection"]
        self._lock = dbapi.plain_text(request["lock_name"])

    @property
    def approved(self) -> str:
        return dbapi.endpoint(self._approved)

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: telling.Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved database."""
        if dialect.name not in ("mysql", "mariadb"):
            return f"a database of {dialect.name}"
        asked = {
            "host": str(cparams.get("host") or "").lower(),
            "port": str(cparams.get("port") or 3306),
            "database": str(cparams.get("database") or cparams.get("db") or ""),
            "user": str(cparams.get("user") or ""),
        }
        detours = [name for name in ("unix_socket", "read_default_file", "read_default_group") if cparams.get(name)]
        detours += ["positional arguments"] if any(cargs) else []
        return (
            ""
            if dbapi.endpoint(asked) == self.approved and not detours
            else " and ".join([dbapi.endpoint(asked), *detours])
        )

    def arguments(self, driver: str, arguments: telling.Facts) -> telling.Facts:
        """The driver's arguments with our password and TLS."""
        approved = self._approved
        if approved["password"]:
            arguments["passwd" if "passwd" in arguments else "password"] = approved["password"]
        if driver == "pymysql":
            tls = {name[4:]: value for name, value in approved["parameters"].items() if name.startswith("ssl_")}
            if tls:
                tls["check_hostname"] = tls.get("check_hostname", "true") == "true"
                arguments["ssl"] = tls
            arguments["program_name"] = self._request["application_name"]
        return arguments

    def check(self, connection: Any, asserted: bool) -> telling.Facts:
        """What is told of a new connection, or a refusal."""
        session, database, user, read_only, version = dbapi.rows(
            connection,
            "SELECT CONNECTION_ID(), DATABASE(), SUBSTRING_INDEX(USER(), '@', 1),"
            " @@global.read_only OR @@global.innodb_read_only, VERSION()",
        )[0]
        is_mariadb = "mariadb" in version.lower()
        system = self._told(connection, f"SELECT @@global.{'server_uid' if is_mariadb else 'server_uuid'}")
        found = {"system_identifier": str(system or ""), "database_oid": 0, "database": database}
        if found != self._request["expected"] or not (asserted or user == self._approved["user"]):
            self._events.refuse(
                "wrong_identity",
                f"The server is not the approved one: found database {database} (server {system}) as {user}. "
                "It was not used. Check where the address leads, then plan again.",
                found=found,
            )
        if read_only:
            self._events.refuse("standby", "The server that answered only reads. Name the primary.")
        if self._protocol_id(connection) not in (None, session):
            self._events.refuse("pooler", "A proxy stands before the server. Use a direct address for runs.")
        settings = self._settings_in_force(connection, is_mariadb)
        name = "opsportal:session:" + os.urandom(12).hex()
        if dbapi.rows(connection, f"SELECT GET_LOCK({dbapi.plain_text(name)}, 0)")[0][0] != 1:
            self._events.refuse("not_checked", "The session could not be given a name by which it is found again.")
        return {
            **found, "user": user, "backend_pid": session, "session": name, "server_version": version.partition("-")[0],
            "engine": "MariaDB" if is_mariadb else "MySQL", "settings": settings,
        }  # fmt: skip

    def _told(self, connection: Any, query: str) -> Any:
        try:
            return dbapi.rows(connection, query)[0][0]
        except Exception:  # noqa: BLE001  an old version does not have it
            return None

    def _protocol_id(self, connection: Any) -> Any:
        thread_id = getattr(dbapi.driver_connection(connection), "thread_id", None)
        return thread_id() if callable(thread_id) else thread_id

    def _settings_in_force(self, connection: Any, is_mariadb: bool) -> dict[str, str]:
        """Set our limits in the session, then read them back. Seconds are what these servers count in."""
        lock_s = -(-self._request["lock_timeout_ms"] // 1000) or dbapi.LONGEST_WAIT_S
        statement_ms, idle_ms = self._request["statement_timeout_ms"], self._request["idle_in_transaction_timeout_ms"]
        wanted: dict[str, float] = {"lock_wait_timeout": lock_s, "innodb_lock_wait_timeout": lock_s}
        if is_mariadb:
            wanted.update(max_statement_time=statement_ms / 1000, idle_transaction_timeout=idle_ms // 1000)
        else:
            wanted["max_execution_time"] = statement_ms  # MySQL applies it to SELECT only
        for name, value in wanted.items():
            dbapi.rows(connection, f"SET SESSION {name} = {value}")
        found = dbapi.rows(connection, f"SELECT {', '.join(f'@@session.{name}' for name in wanted)}")[0]
        settings = dict(zip(wanted, map(str, found)))  # noqa: B905  strict= needs Python 3.10
        lost = [name for name, value in wanted.items() if float(settings[name]) != value]
        if lost:
            self._events.refuse(
                "settings_not_in_force", f"The server did not take our {', '.join(lost)}.", settings=settings
            )
        return settings

    def try_lock(self, connection: Any) -> bool:
        return bool(dbapi.rows(connection, f"SELECT GET_LOCK({self._lock}, 0)")[0][0])

    def unlock(self, connection: Any) -> None:
        dbapi.rows(connection, f"SELECT RELEASE_LOCK({self._lock})")

    def holder(self, connection: Any) -> telling.Facts:
        found = dbapi.rows(
            connection,
            f"SELECT id, '', user, time FROM information_schema.processlist WHERE id = IS_USED_LOCK({self._lock})",  # noqa: S608
        ) or dbapi.rows(connection, f"SELECT IS_USED_LOCK({self._lock}), '', 'another user', 0")
        names = ("pid", "application_name", "user", "session_age_s")
        return dict(zip(names, found[0])) if found[0][0] is not None else {}  # noqa: B905

    def version_rows(self, connection: Any) -> list[str]:
        schema = self._request["version_table_schema"] or self._approved["database"]
        name = self._request["version_table"]
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema = {} AND table_name = {}"
        if not dbapi.rows(connection, query.format(dbapi.plain_text(schema), dbapi.plain_text(name))):
            return []
        table = dbapi.quoted((schema, name), "`")
        return [row[0] for row in dbapi.rows(connection, f"SELECT version_num FROM {table}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether no transaction is open. A driver does not say; the lock needs none, so nothing is ever rolled back for it."""
        return False
