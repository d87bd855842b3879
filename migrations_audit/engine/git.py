"""Scripts from a git repository: one ref, resolved to one commit, read as files.

The repository is fetched into a bare cache of this worker and never checked out: no hook, filter, attribute, submodule or
large-file program of it ever runs. Only ``https`` and ``ssh`` to allowed hosts are spoken, without redirects.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from migrations_audit import hashchain, remotes
from migrations_audit.engine import bounded, caches, folders, git_transport, redaction
from migrations_audit.engine.git_transport import FetchRefused, Rules

KEPT_REPOSITORIES: Final = 50
WAIT_S: Final = 180.0
LOCAL_S: Final = 30.0
LONGEST_TEXT: Final = 200
OUTPUT_BYTES: Final = 1024**2
REF: Final = "refs/portal/wanted"
DEPTH: Final = 100
"""Commits that are fetched: the files of one, and who wrote them as far as the others tell."""


@dataclass(frozen=True)
class Source:
    """Where a project's files are. ``key_reference`` names the secret and is none itself."""

    owner: str
    url: str
    ref: str
    key_reference: str = ""


@dataclass(frozen=True)
class Limits:
    """Seconds for asking what a ref is and for fetching it, and the bytes that one repository may take up."""

    ask_s: float = 30.0
    fetch_s: float = 180.0
    max_bytes: int = 512 * 1024**2


@dataclass(frozen=True)
class Commit:
    """One commit, as it is shown to people. ``time`` is when it was committed, in ISO 8601."""

    id: str
    author: str
    email: str
    time: str
    subject: str
    ref: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Fetched:
    """A commit and the bare repository that holds it."""

    commit: Commit
    repository: Path


def fetch(
    source: Source,
    *,
    rules: Rules,
    secret: Callable[[], str],
    fresh_for_s: float,
    use: Callable[[Fetched], None],
    limits: Limits = Limits(),
) -> Commit:
    """Find out which commit the ref leads to now, have it in the cache, and call ``use`` while nobody else changes that.

    What was found out, or failed, within the last ``fresh_for_s`` seconds by any process of this worker is taken over; with 0
    the repository is always asked. An old commit never stands in for one that cannot be fetched.

    Raises what ``remotes`` raises for a URL, host or ref, FetchRefused with the reason, NoCache, CacheBusy, NoProgram, and
    what ``secret`` and ``use`` raise.
    """
    remote = remotes.parse(source.url)
    remotes.check_host(remote, rules.hosts)
    remotes.check_ref(source.ref)
    began = time.time()
    parent = caches.folder_in(rules.cache, "git")
    folder = parent / hashchain.digest(f"{source.owner} {source.url} {source.key_reference}")
    with caches.locked(folder, within_s=WAIT_S) as lock:
        folder.mkdir(mode=0o700, exist_ok=True)
        caches.note_use(folder)
        cache = _Cache(folder, source, limits, lock)
        # Whoever asked while this one waited for the lock asked late enough.
        commit = cache.remembered(not_before=min(began, time.time() - fresh_for_s))
        if commit is None:
            with git_transport.Transport(remote, rules=rules, secret=secret()) as transport:
                commit = cache.ask(transport)
        use(Fetched(commit, cache.repository))
    caches.keep_last_used(parent, count=KEPT_REPOSITORIES)
    return commit


class _Cache:
    """The cache of one project's repository; its lock is held by the caller."""

    def __init__(self, folder: Path, source: Source, limits: Limits, lock: int) -> None:
        self.repository = folder / "repository"
        self._state = folder / "state.json"
        self._source = source
        self._limits = limits
        self._lock = lock

    def remembered(self, *, not_before: float) -> Commit | None:
        """What was found out since then. Raises FetchRefused for a failure that is as fresh."""
        try:
            state: dict[str, Any] = json.loads(self._state.read_text())
            is_fresh = not_before <= state["at"] <= time.time() and state["ref"] == self._source.ref
            problem, found = state["problem"], state["commit"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not is_fresh:
            return None
        if problem is not None:
            raise FetchRefused(problem["code"], problem["message"])
        commit = Commit(**found)
        return commit if self._has(commit.id) else None

    def ask(self, transport: git_transport.Transport) -> Commit:
        """Ask the repository, fetch what is not here yet, and remember the answer or the failure."""
        self._make()
        try:
            commit = self._describe(self._resolve(transport))
        except FetchRefused as error:
            self._remember(problem={"code": error.code, "message": error.message})
            raise
        except bounded.TookTooLong as error:
            self._forget()
            raise self._failed(
                "git_timeout", f"{transport.host} did not deliver the repository in time. {error.message}"
            ) from None
        except bounded.WroteTooMuch as error:
            self._forget()
            raise self._failed(
                "git_too_large", f"The repository at {transport.host} is too large for a cache. {error.message}"
            ) from None
        self._remember(commit=commit.as_dict())
        return commit

    def _failed(self, code: str, message: str) -> FetchRefused:
        self._remember(problem={"code": code, "message": message})
        return FetchRefused(code, message)

    def _resolve(self, transport: git_transport.Transport) -> str:
        ref = self._source.ref
        if remotes.is_commit(ref):
            return ref if self._has(ref) else self._fetch(transport, ref)
        names = remotes.names_of(ref)
        wanted = [pattern for name in names for pattern in (name, f"{name}^{{}}")]
        ended = self._git(transport, "ls-remote", "--", self._source.url, *wanted, within_s=self._limits.ask_s)
        lines = [line.partition("\t") for line in ended.stdout.decode("utf-8", "replace").splitlines()]
        found = {name: object_id for object_id, _, name in lines}
        there = [name for name in names if name in found]
        if not there:
            raise FetchRefused(
                "git_no_such_ref", f"The repository has neither a branch nor a tag {ref!r}. Correct the project's ref."
            )
        if len(there) > 1:
            raise FetchRefused(
                "git_ambiguous_ref",
                f"The repository has a branch and a tag {ref!r}. Write refs/heads/{ref} or refs/tags/{ref} in the project's ref.",
            )
        name = there[0]
        tip = found.get(f"{name}^{{}}", found[name])
        return tip if remotes.is_commit(tip) and self._has(tip) else self._fetch(transport, name)

    def _fetch(self, transport: git_transport.Transport, name: str) -> str:
        if bounded.size_of(self.repository) > self._limits.max_bytes // 2:
            self._forget()  # what piled up over time
            self._make()
        options = [
            f"--depth={DEPTH}",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--no-write-fetch-head",
        ]
        self._git(
            transport, "fetch", "--quiet", "--force", *options, "--", self._source.url, f"+{name}:{REF}",
            within_s=self._limits.fetch_s,
        )  # fmt: skip
        ended = self._local("rev-parse", "--verify", "--quiet", f"{REF}^{{commit}}")
        commit = ended.stdout.decode("ascii", "replace").strip()
        if ended.code or not remotes.is_commit(commit):
            raise FetchRefused(
                "git_no_such_ref", f"{self._source.ref!r} leads to no commit. Correct the project's ref."
            )
        return commit

    def _git(self, transport: git_transport.Transport, verb: str, *words: str, within_s: float) -> bounded.Ended:
        ended = bounded.run(
            ["git", *transport.options, f"--git-dir={self.repository}", verb, *words],
            environment=transport.environment,
            timeout_s=within_s,
            folder=self.repository,
            max_output_bytes=OUTPUT_BYTES,
            grows=self.repository,
            max_growth_bytes=self._limits.max_bytes,
            keep_open=(self._lock,),
        )
        if ended.code:
            refused = transport.refusal(ended.stderr)
            if refused.code == "git_failed":
                self._forget()  # a damaged cache must not be in the way for ever
            raise refused
        return ended

    def _describe(self, commit: str) -> Commit:
        shown = "--format=%H%x00%an%x00%ae%x00%cI%x00%s"
        ended = self._local("log", "-1", "--no-show-signature", "--no-mailmap", "--encoding=UTF-8", shown, commit)
        parts = ended.stdout.decode("utf-8", "replace").rstrip("\n").split("\0")
        if ended.code or len(parts) != 5 or parts[0] != commit:
            self._forget()
            raise FetchRefused(
                "git_failed", "The commit could not be read from the cache, which is made anew next time."
            )
        author, email, when, subject = (redaction.clean(part)[:LONGEST_TEXT] for part in parts[1:])
        return Commit(commit, author, email, when, subject, self._source.ref)

    def _local(self, *words: str) -> bounded.Ended:
        return local(self.repository, *words)

    def _has(self, commit: str) -> bool:
        return self.repository.is_dir() and self._local("cat-file", "-e", f"{commit}^{{commit}}").code == 0

    def _make(self) -> None:
        if (self.repository / "HEAD").is_file():
            return
        self._forget()
        self.repository.mkdir(mode=0o700)
        if local(self.repository, "init", "--quiet", "--bare", "--template=", ".").code:
            raise FetchRefused("git_failed", "A cache for the repository could not be made. Look at PORTAL_CACHE.")

    def _forget(self) -> None:
        shutil.rmtree(self.repository, ignore_errors=True)

    def _remember(self, *, commit: Mapping[str, str] | None = None, problem: Mapping[str, str] | None = None) -> None:
        state = {"at": time.time(), "ref": self._source.ref, "commit": commit, "problem": problem}
        beside = self._state.with_suffix(".new")
        beside.write_text(json.dumps(state))
        beside.replace(self._state)


def local(repository: Path, *words: str, stdin: bytes = b"", max_output_bytes: int = OUTPUT_BYTES) -> bounded.Ended:
    """Run git on a cached repository without any transport. Raises NoProgram, TookTooLong and WroteTooMuch."""
    with folders.made("git") as home:
        return bounded.run(
            ["git", *git_transport.HARMLESS, "-c", "protocol.allow=never", f"--git-dir={repository}", *words],
            environment={**git_transport.bare_environment(str(home)), "GIT_ALLOW_PROTOCOL": "none"},
            timeout_s=LOCAL_S,
            folder=repository,
            stdin=stdin,
            max_output_bytes=max_output_bytes,
        )
