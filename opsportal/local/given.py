"""Checks a database or Redis server that was named in the environment, before anything is built on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import NoBackoff
from redis.retry import Retry

from opsportal.local.process import LaunchFailed

_WITHIN = 5  # seconds
_DIALECTS = {"postgres", "postgresql", "psql"}
_REDIS = {"redis", "rediss", "unix"}

Need = Literal["CREATEDB", "SUPERUSER"]


class ServerRefused(LaunchFailed):
    """A server that was given by a setting cannot be used. The message names setting, server, user and reason."""

    code = "server_refused"


@dataclass(frozen=True)
class Server:
    """A server that answered. ``url`` works for libpq, Django and SQLAlchemy alike; ``name`` holds no password."""

    url: str
    name: str


def plain_url(url: str) -> str:
    """Return a database URL with the scheme ``postgresql``: people paste SQLAlchemy's ``postgresql+psycopg://`` too."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme.lower().partition("+")[0] in _DIALECTS:
        return f"postgresql://{rest}"
    return url


def check_database(setting: str, url: str, *, needs: Need | None = None) -> Server:
    """Connect to PostgreSQL at ``url`` within seconds. ``needs``: an attribute that its role must have. Raises ServerRefused."""
    plain = plain_url(url)
    if not plain.startswith("postgresql://"):
        raise ServerRefused(
            f"{setting} is not a PostgreSQL URL. Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
        )
    try:
        parts = conninfo_to_dict(plain)
    except psycopg.ProgrammingError:
        # The reason that libpq gives may quote the password, so it is neither shown nor chained.
        raise ServerRefused(
            f"{setting} cannot be parsed. Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %XX."
        ) from None
    name = (
        f"server {parts.get('host') or 'the local socket'}:{parts.get('port') or 5432}, "
        f"user {parts.get('user') or '(not given)'}, database {parts.get('dbname') or '(not given)'}"
    )
    try:
        with psycopg.connect(plain, connect_timeout=_WITHIN, autocommit=True) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.Error as error:
        reason = _without(str(parts.get("password") or ""), str(error))
        raise ServerRefused(f"{setting} cannot be used: {name}. Reason: {reason}") from None
    superuser, may_create = row or (False, False)
    if needs == "CREATEDB" and not may_create:
        raise ServerRefused(
            f"{setting} cannot be used: {name}. Reason: this role lacks CREATEDB, and the tests make databases."
        )
    if needs == "SUPERUSER" and not superuser:
        raise ServerRefused(
            f"{setting} cannot be used: {name}. Reason: this role is no superuser, and the tests need one."
        )
    return Server(url=plain, name=name)


def check_redis(setting: str, url: str) -> Server:
    """Connect to Redis or Valkey at ``url`` within seconds. Raises ServerRefused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or parts.path, parts.port or 6379
    except ValueError:
        raise ServerRefused(
            f"{setting} cannot be parsed. Write it as redis://USER:PASSWORD@HOST:PORT/NUMBER."
        ) from None
    if parts.scheme not in _REDIS:
        raise ServerRefused(f"{setting} is not a Redis URL. Write it as redis://USER:PASSWORD@HOST:PORT/NUMBER.")
    name = f"server {host}:{port}, user {parts.username or 'default'}, database {parts.path.strip('/') or 0}"
    try:
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(url, socket_connect_timeout=_WITHIN, socket_timeout=_WITHIN, retry=once) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        reason = _without(unquote(parts.password or ""), str(error))
        raise ServerRefused(f"{setting} cannot be used: {name}. Reason: {reason}") from None
    return Server(url=url, name=name)


def _without(password: str, text: str) -> str:
    one_line = " ".join(text.split())
    return one_line.replace(password, "***") if password else one_line
