"""The parts that every database URL with a server has, taken apart strictly. No message holds the password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from migrations_audit.errors import Invalid

MAX_URL: Final = 4096
MAX_PASSWORD: Final = 1024

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
_IPV6: Final = re.compile(r"[0-9a-f]*:[0-9a-f:.]+", re.IGNORECASE)
_PERCENT: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InvalidUrl(Invalid):
    """The database URL is not one that the portal accepts. The message names the part and never holds the password."""

    code = "invalid_url"


@dataclass(frozen=True)
class Parts:
    """``user:password@place/path?query``, still percent-encoded."""

    user: str
    password: str
    place: str
    path: str
    query: str


def scheme_and_rest(text: str, *, example: str) -> tuple[str, str]:
    """What stands before and after ``://``. Raises InvalidUrl for text that is no URL at all."""
    if len(text) > MAX_URL:
        raise InvalidUrl(f"The database URL is longer than {MAX_URL} characters.")
    if _UNSAFE.search(text):
        raise InvalidUrl(
            "The database URL holds white space, a control character or broken text. Write it as %20, %0A, …"
        )
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise InvalidUrl(f"A database URL looks like {example}.")
    return scheme, rest


def of_server(rest: str) -> Parts:
    """The parts of what follows ``://`` in the URL of a database on a server. Raises InvalidUrl."""
    if "#" in rest:
        raise InvalidUrl("The database URL holds #. Inside a name or password write it as %23.")
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    userinfo, at, place = authority.rpartition("@")
    if not at or "@" in userinfo:
        raise InvalidUrl(
            "The database URL needs one user:password@ before its host. In a password write @ as %40, / as %2F, ? as %3F."
        )
    user, _, password = userinfo.partition(":")
    return Parts(user=user, password=password, place=place, path=path, query=query)


def host_and_port(place: str, *, default_port: int) -> tuple[str, int]:
    """The host in one form, and the port. Raises InvalidUrl."""
    if "," in place:
        raise InvalidUrl("The URL names several hosts. A target is one server: name the primary.")
    if place.lower().startswith(("%2f", "%40")):
        raise InvalidUrl("The URL's host is a unix socket. Name a host that the worker reaches over TCP.")
    if place.startswith("["):
        host, bracket, after = place[1:].partition("]")
        if not bracket or not _IPV6.fullmatch(host) or (after and not after.startswith(":")):
            raise InvalidUrl("The URL's host is not an IPv6 address in brackets, like [2001:db8::1]:5432.")
        return host.lower(), _port(after[1:]) if after else default_port
    host, colon, port = place.partition(":")
    if not host:
        raise InvalidUrl("The URL names no host. A unix socket or a default host is not accepted: name the server.")
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise InvalidUrl("The URL's host is not a host name or address; a non-ASCII name is written in its xn-- form.")
    return host.lower(), _port(port) if colon else default_port


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise InvalidUrl(
            "The URL's port is not a number from 1 to 65535. In a password write : / ? @ as %3A %2F %3F %40."
        )
    return int(text)


def name(part: str, text: str, *, longest: int, engine: str) -> str:
    """The decoded name of a ``user`` or ``database``, of at most ``longest`` bytes. Raises InvalidUrl."""
    found = decoded(part, text)
    if not found:
        raise InvalidUrl(f"The URL names no {part}. It is never guessed: name it.")
    if len(found.encode()) > longest:
        raise InvalidUrl(f"The URL's {part} is longer than {longest} bytes, which no {engine} name is.")
    if part == "database" and re.search("[?%#@]", found):
        # SQLAlchemy before 2.1 does not decode this part, and would take an @ in it for the end of a password.
        raise InvalidUrl(
            "The database's name holds ?, %, # or @, which SQLAlchemy does not read reliably. Use another name."
        )
    return found


def password(text: str) -> str:
    """The decoded password. Raises InvalidUrl."""
    found = decoded("password", text)
    if len(found) > MAX_PASSWORD:
        raise InvalidUrl(f"The URL's password is longer than {MAX_PASSWORD} characters.")
    return found


def decoded(part: str, text: str) -> str:
    """``text`` without its percent-encoding. Raises InvalidUrl for what is not percent-encoded UTF-8."""
    if _PERCENT.search(text):
        raise InvalidUrl(f"The URL's {part} holds a % that two hexadecimal digits do not follow. Write % as %25.")
    try:
        found = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidUrl(f"The URL's {part} is not percent-encoded UTF-8.") from None
    if _CONTROL.search(found):
        raise InvalidUrl(f"The URL's {part} holds a control character.")
    return found
