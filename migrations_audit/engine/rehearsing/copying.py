"""A copy of a target for one rehearsal: its schema by pg_dump, its version rows, never its data.

The role that migrates is no superuser on the copy, whatever it is on the target: a superuser may start programs on the server's
host, which is the worker's. Restored is with pg_restore, not psql: a hostile target could put psql's own commands into a dump.
The server's owner asks with a pinned search path only, because the copy's own functions must never be executed as the owner. User
mappings are left out: a copy must not reach the servers that its target reaches.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from migrations_audit import listing
from migrations_audit.engine import bounded, catalog, session, target
from migrations_audit.engine.redaction import Redactor, clean
from migrations_audit.engine.rehearsing import inspection
from migrations_audit.engine.rehearsing.types import Copy, Scratch
from migrations_audit.engine.types import Reading
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

DUMP_TIMEOUT_S: Final = 300.0
MAX_DUMP_BYTES: Final = 256 * 1024**2
LOCK_WAIT_MS: Final = 2_000
MOST_PROBLEMS: Final = 20
MOST_DIFFERENCES: Final = 200
LONGEST_PROBLEM: Final = 300
MOST_ROLES: Final = 2_000
SAFE_CREATEROLE: Final = 160_000
"""Before PostgreSQL 16 a role that may create roles may grant itself those that start programs on the server's host."""
OWNERS_SETTINGS: Final = "-c search_path=pg_catalog,pg_temp -c statement_timeout=120000"
CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60
MAX_LIST_BYTES: Final = 32 * 1024**2
_NOT_COPIED: Final = ("publication ", "event trigger ")
"""What no copy has, and what says nothing about how alike the rest is."""
_IS_MAPPING: Final = re.compile(rb"\d+; \d+ \d+ USER MAPPING ")

_ROLE: Final[LiteralString] = """
    SELECT r.rolcreatedb, r.rolcreaterole, pg_catalog.current_setting('search_path'),
           ARRAY(SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.rolname !~ '^pg_' AND o.oid <> r.oid ORDER BY 1),
           ARRAY(SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.rolname !~ '^pg_' AND o.oid <> r.oid
                    AND NOT o.rolsuper AND pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER') ORDER BY 1)
      FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


class NoCopy(PortalError):
    """No copy of the target could be made, so nothing was rehearsed. The message says which step failed and why."""

    code = "no_copy"


@dataclass(frozen=True)
class _Role:
    """What the migrating role is on the target."""

    may_create_databases: bool
    may_create_roles: bool
    search_path: str
    others: Sequence[str]
    member_of: Sequence[str]


def make(
    *,
    source: TargetUrl,
    reading: Reading,
    scratch: Scratch,
    folder: Path,
    version_table: str,
    version_schema: str,
    application_name: str,
    name: str,
) -> Copy:
    """Copy the schema of ``source`` to ``scratch`` and set the version rows that ``reading`` found.

    ``folder`` takes the dump for as long as it is needed. ``name`` is the copy's on a shared server; a private one gives it
    the target's own name and the target's roles. Raises NoCopy and CannotRead. The target is only read: pg_dump holds
    AccessShare locks on its tables, and waits two seconds at most for one.
    """
    role = _role_of(source, application_name)
    dump = folder / "schema.dump"
    try:
        _dump(source, scratch, dump, application_name)
        url = _database(scratch, source, role, name)
        schemas, problems = _extensions(scratch, url, reading)
        # The schema of an extension is there before the dump makes it.
        expected = {f'schema "{name}" already exists' for name in schemas}
        problems += [problem for problem in _restore(url, scratch, dump) if problem not in expected]
    finally:
        dump.unlink(missing_ok=True)
    if reading.revisions:
        _note_revisions(url, reading.revisions, version_table, version_schema, application_name)
    with _as_owner(scratch, url.database) as owner:
        inspection.install(owner)
    copied = target.read(
        url, version_table=version_table, version_schema=version_schema, application_name=application_name
    )
    changes = catalog.diff(reading.catalog, copied.catalog)
    differences = catalog.readable(change for change in changes if not change.key.startswith(_NOT_COPIED))
    return Copy(
        url,
        copied.identity,
        copied.catalog,
        tuple(listing.lines(differences, MOST_DIFFERENCES)),
        tuple(listing.lines(problems, MOST_PROBLEMS)),
    )


def keep(copy: Copy, scratch: Scratch, *, name: str) -> None:
    """Keep an untouched twin of the copy under ``name``, as long as nobody is connected to the copy."""
    _twin(scratch, of=copy.url.database, name=name, user=copy.url.user)


def renew(copy: Copy, scratch: Scratch, *, kept: str) -> Copy:
    """The copy as it was made, out of its twin ``kept``: the one that was played on is dropped."""
    name = copy.url.database
    drop([name], scratch)
    _twin(scratch, of=kept, name=name, user=copy.url.user)
    with _as_owner(scratch, name) as owner:
        row = owner.execute("SELECT oid::int8 FROM pg_database WHERE datname = current_database()").fetchone()
    return replace(copy, identity=replace(copy.identity, database_oid=row[0] if row else 0))


def _twin(scratch: Scratch, *, of: str, name: str, user: str) -> None:
    with _as_owner(scratch, _beside(scratch, of, name)) as owner:
        owner.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(of), sql.Identifier(user)
            )
        )


def drop(names: Sequence[str], scratch: Scratch) -> None:
    """Remove copies from a shared server, with whatever is still connected to them."""
    with _as_owner(scratch, _beside(scratch, *names)) as owner:
        for name in names:
            owner.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _beside(scratch: Scratch, *names: str) -> str:
    """A database from which the ones with these names can be made and dropped."""
    return scratch.owner.database if scratch.owner.database not in names else "template1"


def relations(copy: Copy, scratch: Scratch) -> dict[str, str]:
    """The copy's relations by oid, before anything is played on it."""
    with _as_owner(scratch, copy.url.database) as owner:
        return inspection.relations_of(owner)


def catalog_of(copy: Copy, application_name: str) -> Mapping[str, str]:
    """What the copy's catalog is now, read as its target's is. Raises CannotRead and SchemaChanging."""
    with (
        session.connect(
            copy.url, application_name=application_name, connect_timeout_s=CONNECT_TIMEOUT_S, deadline_s=READ_TIMEOUT_S
        ) as connection,
        session.snapshot(connection, statement_timeout_ms=READ_TIMEOUT_S * 1000),
    ):
        return catalog.read(connection).body


def _role_of(source: TargetUrl, application_name: str) -> _Role:
    with session.connect(
        source, application_name=application_name, connect_timeout_s=CONNECT_TIMEOUT_S, deadline_s=15
    ) as connection:
        row = connection.execute(_ROLE).fetchone()
    if row is None:
        raise NoCopy(f"{source.display()} does not know its own role.")
    role = _Role(*row)
    if len(role.others) > MOST_ROLES:
        raise NoCopy(
            f"The server of {source.display()} has {len(role.others)} roles, more than are copied ({MOST_ROLES})."
        )
    return role


def _dump(source: TargetUrl, scratch: Scratch, dump: Path, application_name: str) -> None:
    command = [
        _program(scratch, "pg_dump"), "--schema-only", "--format=custom", "--no-owner", "--no-privileges", "--no-comments",
        "--no-security-labels", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--exclude-schema=opsportal",
        "--no-password", f"--lock-wait-timeout={LOCK_WAIT_MS}", "--file", str(dump),
        "--dbname", _conninfo(source, application_name),
    ]  # fmt: skip
    said = _run(command, source, dump.parent)
    if said.code:
        raise NoCopy(f"The schema of {source.display()} was not dumped: {_last_lines(said.stderr, source)}")


def _restore(url: TargetUrl, scratch: Scratch, dump: Path) -> list[str]:
    """Restore all but user mappings, which hold passwords of other servers. Returns what the copy's server refused."""
    restore = _program(scratch, "pg_restore")
    listed = _run([restore, "--list", str(dump)], url, dump.parent)
    if listed.code:
        raise NoCopy(f"The schema's dump could not be read: {_last_lines(listed.stderr, url)}")
    contents = dump.with_suffix(".list")
    contents.write_bytes(b"\n".join(line for line in listed.stdout.split(b"\n") if not _IS_MAPPING.match(line)))
    command = [restore, "--no-owner", "--no-privileges", f"--use-list={contents}", "--no-password"]
    try:
        said = _run([*command, "--dbname", _conninfo(url, "pg_restore"), str(dump)], url, dump.parent)
    finally:
        contents.unlink(missing_ok=True)
    told = [
        clean(line)[:LONGEST_PROBLEM]
        for line in re.findall(r"ERROR:\s*(.+)", Redactor([url.password]).text(said.stderr))
    ]
    if said.code and not told:
        raise NoCopy(f"The schema was not restored on the copy: {_last_lines(said.stderr, url)}")
    return told


def _run(command: Sequence[str], url: TargetUrl, folder: Path) -> bounded.Ended:
    """Run a client program. The password goes by a file without a name, so that none is left even by a worker that is killed."""
    with tempfile.TemporaryFile("w+", dir=folder) as secret:
        secret.write("*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", url.password) + "\n")
        secret.flush()
        secret.seek(0)
        try:
            return bounded.run(
                command,
                environment={"PATH": "/usr/bin:/bin", "PGPASSFILE": f"/dev/fd/{secret.fileno()}", "LC_ALL": "C"},
                timeout_s=DUMP_TIMEOUT_S,
                folder=folder,
                max_output_bytes=MAX_LIST_BYTES,
                grows=folder,
                max_growth_bytes=MAX_DUMP_BYTES,
                keep_open=[secret.fileno()],
            )
        except PortalError as error:
            name = Path(command[0]).name
            raise NoCopy(f"{name} was ended while {url.display()} was copied. {error.message}") from error


def _conninfo(url: TargetUrl, application_name: str) -> str:
    arguments = url.connect_arguments()
    given = {name: value for name, value in arguments.items() if name not in ("password", "passfile") and value != ""}
    return make_conninfo("", **given, application_name=application_name, connect_timeout=10)


def _program(scratch: Scratch, name: str) -> str:
    own = scratch.binaries / name if scratch.binaries else None
    found = str(own) if own is not None and own.exists() else shutil.which(name)
    if not found:
        raise NoCopy(
            f"The worker has no {name}. Install PostgreSQL's client programs on it, as new as the newest target."
        )
    return found


def _database(scratch: Scratch, source: TargetUrl, role: _Role, name: str) -> TargetUrl:
    """Make the empty database and, on a private server, the roles. Returns its URL as the migrating role."""
    owner = scratch.owner
    if not scratch.private:
        with _as_owner(scratch, owner.database) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return replace(owner, database=name)
    password = secrets.token_urlsafe(24)
    with _as_owner(scratch, owner.database) as connection:
        user = sql.Identifier(source.user)
        if source.user == owner.user:
            raise NoCopy(f"The target's role {source.user} is also the name of the private server's own.")
        creates_roles = role.may_create_roles and connection.info.server_version >= SAFE_CREATEROLE
        may = [
            word for word, given in (("CREATEDB", role.may_create_databases), ("CREATEROLE", creates_roles)) if given
        ]
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(user, sql.Literal(password), sql.SQL(" ".join(may)))
        )
        for other in role.others:
            if other not in (owner.user, source.user):
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(other)))
        for other in role.member_of:
            if other != owner.user:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(other), user))
        database = sql.Identifier(source.database)
        if source.database != owner.database:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(database, user))
        else:
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, user))
        names = _names(role.search_path)
        path = sql.SQL(", ").join(map(sql.Identifier, names)) if names else sql.SQL("''")
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(user, path))
    return replace(owner, database=source.database, user=source.user, password=password)


def _extensions(scratch: Scratch, url: TargetUrl, reading: Reading) -> tuple[set[str], list[str]]:
    """Make the target's extensions as the server's owner: the migrating role may not, and could not drop them either.

    Returns the schemas that were made for them, and what the server refused.
    """
    schemas: set[str] = set()
    problems: list[str] = []
    with _as_owner(scratch, url.database) as connection:
        for key, definition in reading.catalog.body.items():
            found = re.fullmatch(r'extension ("?)(.+)\1', key)
            schema = re.search(r'schema ("?)(.+)\1$', definition)
            if found is None or schema is None or found[2] == "plpgsql":
                continue
            try:
                with connection.transaction():
                    if schema[2] not in ("public", "pg_catalog"):
                        schemas.add(schema[2])
                        connection.execute(
                            sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
                                sql.Identifier(schema[2]), sql.Identifier(url.user)
                            )
                        )
                    connection.execute(
                        sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
                            sql.Identifier(found[2]), sql.Identifier(schema[2])
                        )
                    )
            except psycopg.Error as error:
                problems.append(f"extension {found[2]}: {_words(error)}")
    return schemas, problems


def _names(search_path: str) -> list[str]:
    """The names in a search path as the server shows it: separated by commas, in quotation marks where they need them."""
    found = re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^",]+))\s*(?:,|\Z)', search_path)
    return [name for quoted, plain in found if (name := quoted.replace('""', '"') or plain.strip())]


def _note_revisions(
    url: TargetUrl, rows: Sequence[str], version_table: str, version_schema: str, application_name: str
) -> None:
    table = sql.Identifier(version_schema, version_table) if version_schema else sql.Identifier(version_table)
    with session.connect(
        url, application_name=application_name, connect_timeout_s=CONNECT_TIMEOUT_S, deadline_s=60
    ) as connection:
        try:
            for row in rows:
                connection.execute(sql.SQL("INSERT INTO {} (version_num) VALUES (%s)").format(table), [row])
        except psycopg.Error as error:
            raise NoCopy(f"The copy's schema is there, but its version rows are not: {_words(error)}") from error


@contextlib.contextmanager
def _as_owner(scratch: Scratch, database: str) -> Iterator[psycopg.Connection[TupleRow]]:
    """A session of the server's owner. Whoever owns the copy may leave functions and settings there for it: none is heeded."""
    arguments = replace(scratch.owner, database=database).connect_arguments() | {"options": OWNERS_SETTINGS}
    try:
        connection = psycopg.connect(
            autocommit=True, connect_timeout=10, application_name="opsportal/rehearsal", **arguments
        )
    except psycopg.Error as error:
        raise NoCopy(f"The server for copies, {scratch.owner.display()}, did not answer: {_words(error)}") from error
    with contextlib.closing(connection):
        try:
            yield connection
        except psycopg.Error as error:
            raise NoCopy(f"The server for copies, {scratch.owner.display()}, refused: {_words(error)}") from error


def _words(error: psycopg.Error) -> str:
    return clean(str(error).strip().partition("\n")[0])[:LONGEST_PROBLEM]


def _last_lines(text: str, url: TargetUrl) -> str:
    lines = [line for line in Redactor([url.password]).text(text).strip().splitlines() if line.strip()]
    return clean(" ".join(lines[-3:])) or "no reason was given"
