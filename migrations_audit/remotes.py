"""The grammar of git repositories: which URLs, refs, folders and hosts are accepted at all. Pure; nothing is looked up."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit.errors import Invalid

LONGEST_URL: Final = 500
LONGEST_REF: Final = 200
DEFAULT_PORTS: Final = {"https": 443, "ssh": 22}

# No percent escapes: git decodes them in ssh URLs, so that what is checked here would not be what is used there.
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._+-]{0,63})@)?"
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9._~/+-]+)"
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")
_LIKE_SCP: Final = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:(?!//)")
_ALLOWED_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")
_NOT_IN_A_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"gh[a-z]_|github_pat_|gl[a-z]+-|[A-Za-z0-9._+-]{33}")
_SHORTENED: Final = re.compile(r"[0-9a-f]{7,39}")


class GitUrlRefused(Invalid):
    """The repository's URL is not one that the portal follows."""

    code = "git_url_refused"


class GitHostNotAllowed(Invalid):
    """The repository's host is not in PORTAL_GIT_HOSTS."""

    code = "git_host_not_allowed"


class GitRefRefused(Invalid):
    """The ref is neither a branch, a tag nor a full commit id."""

    code = "git_ref_refused"


class GitFolderRefused(Invalid):
    """The folder inside the repository is not written as one."""

    code = "git_folder_refused"


@dataclass(frozen=True)
class Remote:
    """A repository that may be asked: an accepted URL and where it leads."""

    url: str
    scheme: str
    user: str
    host: str
    port: int

    @property
    def shown_host(self) -> str:
        """The host for sentences, with its port unless that is the scheme's own."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def parse(url: str) -> Remote:
    """Read ``https://host/path`` or ``ssh://user@host/path``. Raises GitUrlRefused, which repeats nothing but the scheme."""
    match = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
    if match is None or match["scheme"] not in DEFAULT_PORTS or not _is_plain(match["path"]):
        raise GitUrlRefused(_why_not(url), field="git_url")
    if _TOKEN.match(match["user"] or ""):
        raise GitUrlRefused(
            "What stands before @ looks like a token, so it was not stored. The key or token has a field of its own; "
            "if others saw this, replace the token.",
            field="git_url",
        )
    port = int(match["port"] or DEFAULT_PORTS[match["scheme"]])
    if not 0 < port < 65_536 or ".." in match["host"]:
        raise GitUrlRefused("The host or the port of the repository's URL is malformed.", field="git_url")
    return Remote(url=url, scheme=match["scheme"], user=match["user"] or "", host=match["host"], port=port)


def check_host(remote: Remote, allowed: Sequence[str]) -> None:
    """Raise GitHostNotAllowed unless ``allowed`` holds the host, with its port when that is not the scheme's own."""
    if not allowed:
        raise GitHostNotAllowed(
            "PORTAL_GIT_HOSTS is empty, so no repository is followed. Set it on the portal and on its workers.",
            field="git_url",
        )
    if remote.shown_host not in allowed and f"{remote.host}:{remote.port}" not in allowed:
        raise GitHostNotAllowed(
            f"The host {remote.shown_host} is not in PORTAL_GIT_HOSTS ({', '.join(allowed)}). "
            "Choose a repository there, or add the host on the portal and on its workers.",
            field="git_url",
        )


def is_host(entry: str) -> bool:
    """Whether an entry of PORTAL_GIT_HOSTS is written as ``host`` or ``host:port``."""
    return _ALLOWED_HOST.fullmatch(entry) is not None and ".." not in entry


def check_ref(ref: str) -> None:
    """Accept the name of a branch or tag, ``refs/heads/…``, ``refs/tags/…`` and full commit ids. Raises GitRefRefused."""
    parts = ref.split("/")
    if not ref:
        raise GitRefRefused("Name a branch, a tag or a full commit id.", field="git_ref")
    if (
        len(ref) > LONGEST_REF
        or not ref.isprintable()
        or _NOT_IN_A_REF.search(ref)
        or ref.startswith("-")
        or ".." in ref
        or "@{" in ref
        or ref.endswith(".")
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise GitRefRefused(
            "This is not the name of a branch or tag as git accepts it, nor a commit id in full. "
            "Write main, v1.2 or 40 hex digits.",
            field="git_ref",
        )
    if ref in ("@", "HEAD") or (parts[0] == "refs" and (len(parts) < 3 or parts[1] not in ("heads", "tags"))):
        raise GitRefRefused(
            "Only branches, tags and commits are followed: what HEAD or another ref means is decided elsewhere.",
            field="git_ref",
        )
    if _SHORTENED.fullmatch(ref) and not ref.isdigit():
        raise GitRefRefused(
            "This looks like a shortened commit id, which may come to mean another commit. Give all 40 characters; "
            "a branch or tag of this name is written refs/heads/… or refs/tags/….",
            field="git_ref",
        )


def is_commit(ref: str) -> bool:
    """Whether ``ref`` is a commit id in full."""
    return _COMMIT.fullmatch(ref) is not None


def names_of(ref: str) -> tuple[str, ...]:
    """The full names that a branch or tag ``ref`` can have in a repository."""
    return (ref,) if ref.startswith("refs/") else (f"refs/heads/{ref}", f"refs/tags/{ref}")


def check_folder(folder: str) -> None:
    """Accept ``.`` for the repository's root, or a plain relative path. Raises GitFolderRefused."""
    plain = folder == "." or (_is_plain("/" + folder) and posixpath.normpath(folder) == folder)
    if not plain or not folder.isprintable() or folder.startswith(("/", "-", ":")) or "\\" in folder:
        raise GitFolderRefused(
            "Give the folder inside the repository as a relative path without .. in it, like services/shop, or . for its root.",
            field="folder",
        )


def _is_plain(path: str) -> bool:
    parts = path.removeprefix("/").removesuffix("/").split("/")
    return all(part not in ("", ".", "..", ".git") for part in parts)


def _why_not(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in DEFAULT_PORTS:
        return f"Repositories are reached by https:// or ssh:// only, not by {scheme[1][:20]}."
    if _LIKE_SCP.match(url):
        return "Write the repository as ssh://git@host/path, not as git@host:path."
    if scheme is not None and ":" in url[scheme.end() :].partition("/")[0].rpartition("@")[0]:
        return (
            "The URL holds a password, so it was not stored. The key or token has a field of its own; "
            "if others saw this, change the password."
        )
    return (
        "A repository is written https://host/path or ssh://user@host/path, in lower case for the host and without spaces, "
        "%, ? and #."
    )
