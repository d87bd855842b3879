"""The scripts of a project whose source is a git repository, frozen as those of a folder are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings

from migrations_audit.engine import folders, git, git_authors, git_transport, git_tree, snapshot, types
from migrations_audit.models import Project, Snapshot

NOT_FOUND_OUT: Final = frozenset(
    {
        "git_unreachable", "git_timeout", "git_authentication", "git_tls", "git_host_key", "git_redirect", "git_failed",
        "git_too_large", "git_no_such_repository", "git_key_missing", "git_known_hosts_missing", "git_host_not_allowed",
        "program_missing", "program_timed_out", "program_wrote_too_much", "no_cache", "cache_busy", "cannot_resolve",
        "no_sealing_key", "cannot_unseal",
    }
)  # fmt: skip
"""The codes of failures after which nobody knows whether the ref still leads to the same scripts."""


@dataclass(frozen=True)
class Frozen:
    """The files to which a ref led, the commit that holds them, and who wrote them as far as is known."""

    files: types.Frozen
    commit: Mapping[str, str] = field(default_factory=dict)
    history: git_authors.History = field(default_factory=git_authors.History)


def freeze(project: Project, *, secret: Callable[[], str], fresh: bool) -> Frozen:
    """The files to which the project's ref leads now.

    Raises PortalError with the reason; a failure to fetch also names the newest commit that the portal keeps, which never
    stands in for the one that cannot be had.
    """
    taken: list[tuple[types.Frozen, git_authors.History]] = []

    def take(fetched: git.Fetched) -> None:
        with folders.made("scripts") as scratch:
            folder = scratch / "files"
            folder.mkdir()
            git_tree.lay_out(fetched, folder=project.folder, destination=folder)
            frozen = snapshot.freeze(folder, config_path=project.config_path, ini_section=project.ini_section)
            taken.append((frozen, git_authors.of_files(fetched, folder=project.folder)))

    source = git.Source(project.slug, project.git_url, project.git_ref, project.git_key)
    try:
        commit = git.fetch(
            source, rules=_rules(), secret=secret, fresh_for_s=0 if fresh else settings.PORTAL_GIT_FRESH_S, use=take
        )
    except git_transport.FetchRefused as error:
        raise git_transport.FetchRefused(error.code, f"{error.message}{_last_known(project)}") from error
    files, history = taken[0]
    return Frozen(files, commit.as_dict(), history)


def _rules() -> git_transport.Rules:
    return git_transport.Rules(
        hosts=settings.PORTAL_GIT_HOSTS,
        cache=settings.PORTAL_CACHE,
        known_hosts=settings.PORTAL_GIT_KNOWN_HOSTS,
        ca=settings.PORTAL_GIT_CA,
    )


def _last_known(project: Project) -> str:
    kept = Snapshot.objects.filter(project=project).exclude(commit={}).only("commit").order_by("-at").first()
    if kept is None:
        return ""
    known = kept.commit
    return f" The newest commit whose files are kept is {known['id'][:7]} of {known['ref']}; nothing is said from it."
