"""Scripts from a git repository: one commit, read as files, and nothing else of it ever comes to life."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrations_audit import errors
from migrations_audit.engine import caches, git, git_transport, git_tree, snapshot
from migrations_audit.errors import PortalError
from migrations_audit.remotes import parse
from tests.engine.repositories import GitServer, Repository

FILES = {
    "db/alembic.ini": "[alembic]\nscript_location = migrations\n",
    "db/migrations/env.py": "pass\n",
    "db/migrations/versions/001_first.py": 'revision = "001"\ndown_revision = None\n',
    "README.md": "# The shop\n",
}
TOKEN = "ghp-canary-19283"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    served = GitServer(tmp_path / "served")
    yield served
    served.close()


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "shop.git")


@pytest.fixture
def rules(server: GitServer, tmp_path: Path) -> git_transport.Rules:
    return git_transport.Rules(hosts=[server.host], cache=str(tmp_path / "cache"), ca=str(server.ca))


@pytest.fixture
def source(server: GitServer) -> git.Source:
    return git.Source(owner="shop", url=server.url("shop.git"), ref="main")


def read(
    source: git.Source, rules: git_transport.Rules, into: Path, *, folder: str = "db", secret: str = "", **more: Any
) -> git.Commit:
    """Lay the folder out below ``into``; the repository is always asked unless ``fresh_for_s`` says otherwise."""

    def use(fetched: git.Fetched) -> None:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        git_tree.lay_out(fetched, folder=folder, destination=into)

    return git.fetch(source, rules=rules, secret=lambda: secret, use=use, **{"fresh_for_s": 0, **more})


def code(source: git.Source, rules: git_transport.Rules, into: Path, **more: Any) -> str:
    with pytest.raises(PortalError) as caught:
        read(source, rules, into, **more)
    assert caught.value.message.endswith(".")
    assert TOKEN not in caught.value.message
    return caught.value.code


def digest(folder: Path) -> str:
    return snapshot.freeze(folder, config_path="alembic.ini", ini_section="alembic").digest


def test_a_folder_of_a_branch_has_the_digest_of_the_same_files_on_a_disk(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    commit = repository.commit(FILES, links={"db/migrations/versions/again.py": "001_first.py"})
    for path, content in FILES.items():
        (tmp_path / "disk" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / path).write_text(content)
    (tmp_path / "disk/db/migrations/versions/again.py").symlink_to("001_first.py")

    found = read(source, rules, tmp_path / "out")

    assert digest(tmp_path / "out") == digest(tmp_path / "disk/db")
    assert found == git.Commit(
        commit, "Ann Author", "ann@example.org", "2026-03-04T05:06:07+01:00", "Add a table", "main"
    )


def test_a_tag_a_full_name_and_a_commit_lead_to_their_commit(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    first = repository.commit(FILES)
    repository.git("tag", "-a", "-m", "Release", "v1.0", first)
    second = repository.commit(FILES | {"db/more.py": ""}, ref="refs/heads/feature/more")

    asked = {ref: read(replace(source, ref=ref), rules, tmp_path / "out").id for ref in ("v1.0", "feature/more", first)}

    assert asked == {"v1.0": first, "feature/more": second, first: first}


def test_a_forced_push_is_followed_and_the_old_commit_is_not_used_again(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    repository.commit(FILES)
    before = read(source, rules, tmp_path / "out")
    repository.commit(FILES | {"db/migrations/versions/001_first.py": "# another\n"}, subject="Rewrite")

    after = read(source, rules, tmp_path / "out")

    assert (before.subject, after.subject) == ("Add a table", "Rewrite")
    assert (tmp_path / "out/migrations/versions/001_first.py").read_text() == "# another\n"


def test_within_the_time_it_is_fresh_nobody_asks_the_repository_again(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    first = repository.commit(FILES)
    read(source, rules, tmp_path / "out")
    asked = len(server.asked)
    repository.commit(FILES, subject="Later")

    assert read(source, rules, tmp_path / "out", fresh_for_s=600).id == first
    assert len(server.asked) == asked
    assert read(replace(source, ref="refs/heads/main"), rules, tmp_path / "out", fresh_for_s=600).subject == "Later"


def test_a_commit_that_is_here_already_is_not_fetched_again(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    repository.commit(FILES)
    read(source, rules, tmp_path / "out")
    server.asked.clear()

    read(source, rules, tmp_path / "out")

    assert [path for path, _ in server.asked] == [
        "/shop.git/info/refs?service=git-upload-pack",
        "/shop.git/git-upload-pack",
    ]


def test_a_failure_is_told_and_remembered_and_no_old_commit_stands_in(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    repository.commit(FILES)
    read(source, rules, tmp_path / "out")
    server.close()

    assert code(source, rules, tmp_path / "out2") == "git_unreachable"
    assert code(source, rules, tmp_path / "out2", fresh_for_s=600) == "git_unreachable"
    assert not (tmp_path / "out2").exists()


def test_another_project_does_not_get_what_a_key_fetched(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    server.token = TOKEN
    repository.commit(FILES)
    read(source, rules, tmp_path / "out", secret=TOKEN)

    assert code(replace(source, owner="other"), rules, tmp_path / "out", fresh_for_s=600) == "git_authentication"


def test_a_token_travels_in_a_header_and_stands_in_no_argument_no_environment_and_no_file_afterwards(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server.token = TOKEN
    repository.commit(FILES)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[str] = []
    ask = server.asked.append

    def watch(request: tuple[str, str]) -> None:
        seen.extend(_processes())
        ask(request)

    monkeypatch.setattr(server, "asked", _Watched(watch))
    read(source, rules, tmp_path / "out", secret=TOKEN)

    assert any("git-remote-https" in process or "remote-https" in process for process in seen)
    assert not [process for process in seen if TOKEN in process]
    assert not list(tmp_path.glob("opsportal-git-*"))
    assert not [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]


def test_a_wrong_token_and_none_are_told_apart_from_nothing_there(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    repository.commit(FILES)
    missing = replace(source, url=server.url("absent.git"))
    assert code(missing, rules, tmp_path / "out") == "git_no_such_repository"
    server.token = TOKEN

    assert code(source, rules, tmp_path / "out", secret="wrong") == "git_authentication"
    assert code(source, rules, tmp_path / "out") == "git_authentication"


def test_redirects_are_not_followed_and_a_stranger_as_authority_is_refused(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    repository.commit(FILES)
    assert code(source, replace(rules, ca=""), tmp_path / "out") == "git_tls"
    server.redirect_to = "https://localhost:1"

    assert code(source, rules, tmp_path / "out") == "git_redirect"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ref": "absent"}, "git_no_such_ref"),
        ({"ref": "twice"}, "git_ambiguous_ref"),
        ({"ref": "refs/tags/blob"}, "git_no_such_ref"),
        ({"ref": "0" * 40}, "git_no_such_ref"),
    ],
)
def test_a_ref_that_leads_nowhere_is_refused(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path, change: Any, expected: str
) -> None:
    commit = repository.commit(FILES)
    for name in ("refs/heads/twice", "refs/tags/twice"):
        repository.git("update-ref", name, commit)
    repository.git("update-ref", "refs/tags/blob", repository.blob("no commit"))

    assert code(replace(source, **change), rules, tmp_path / "out") == expected


@pytest.mark.parametrize("folder", ["absent", "README.md", "db/linked"])
def test_a_folder_that_is_not_there_is_refused(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path, folder: str
) -> None:
    repository.commit(FILES, links={"db/linked": "/etc"})

    assert code(source, rules, tmp_path / "out", folder=folder) == "git_no_such_folder"


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ext::sh -c touch% /tmp/x"}, {"url": "file:///srv/shop.git"}, {"url": "--upload-pack=touch /tmp/x"},
        {"url": "ssh://-oProxyCommand=touch%20x/shop"}, {"url": "https://elsewhere/shop.git"}, {"ref": "--upload-pack=x"},
        {"ref": "main\n--exec=x"},
    ],
)  # fmt: skip
def test_an_address_or_a_ref_that_could_be_more_is_refused_before_git_sees_it(
    tmp_path: Path, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", _must_not_run)
    source = replace(git.Source("shop", "https://localhost/shop.git", "main"), **change)

    refused = code(source, git_transport.Rules(hosts=["localhost"], cache=str(tmp_path)), tmp_path / "out")

    assert refused in ("git_url_refused", "git_host_not_allowed", "git_ref_refused")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({"submodules": {"db/vendored": "1" * 40}}, "git_submodule"),
        ({"links": {"db/out": "/etc/passwd"}}, "link_leaves_folder"),
        ({"links": {"db/out": "../README.md"}}, "link_leaves_folder"),
        ({"links": {"db/a/out": "../../README.md"}}, "link_leaves_folder"),
        ({"links": {"db/migrations": "/etc"}}, "link_leaves_folder"),
        ({"more": {"db/seed.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"}}, "git_lfs_pointer"),
        ({"more": {"db/big.bin": b"0" * (8 * 1024**2 + 1)}}, "too_large"),
    ],
)  # fmt: skip
def test_what_is_no_plain_file_of_the_folder_is_refused(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path, contents: Any, expected: str
) -> None:
    files = {"db/alembic.ini": "[alembic]\n", **contents.pop("more", {})}
    repository.commit(files, **contents)

    assert code(source, rules, tmp_path / "out") == expected


def test_what_lies_outside_the_folder_is_nobodys_concern(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    repository.commit(
        FILES, links={"out": "/etc/passwd"}, submodules={"vendored": "1" * 40, "db/node_modules/x": "2" * 40}
    )

    read(source, rules, tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alembic.ini", "migrations"]


def test_hooks_filters_and_attributes_of_a_repository_do_nothing(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    mark = tmp_path / "came-to-life"
    script = f"#!/bin/sh\ntouch {mark}\n"
    repository.commit(
        FILES | {
            ".gitattributes": "* filter=evil text eol=crlf export-subst ident\n",
            ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = -oProxyCommand=touch\n',
            "db/kept.py": "$Id$ $Format:%H$\n",
            "hooks/post-checkout": script,
        }
    )  # fmt: skip
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        (repository.path / "hooks" / hook).write_text(script)
        (repository.path / "hooks" / hook).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {mark}\n[core]\n\thooksPath = {repository.path}/hooks\n'
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
        patch.setenv("GIT_EXTERNAL_DIFF", f"touch {mark}")
        patch.setenv("GIT_SSH_COMMAND", f"touch {mark}")
        read(source, rules, tmp_path / "out")

    assert (tmp_path / "out/kept.py").read_text() == "$Id$ $Format:%H$\n"
    assert not mark.exists()


def test_a_path_that_is_a_link_and_a_folder_at_once_writes_nothing_through_the_link(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    inner = repository.git("mktree", stdin=f"100644 blob {repository.blob('owned')}\tpwned\n".encode())
    both = f"120000 blob {repository.blob('migrations')}\ttwice\n040000 tree {inner}\ttwice\n100644 blob {inner}\tx\n"
    lines = both.replace(f"100644 blob {inner}\tx\n", "")
    twice = repository.git("mktree", stdin=lines.encode())
    repository.commit_tree(repository.git("mktree", stdin=f"040000 tree {twice}\tdb\n".encode()))

    assert code(source, rules, tmp_path / "out") == "git_tree"


@pytest.mark.parametrize("name", ["..", ".", "../pwned"])
def test_a_tree_whose_names_lead_elsewhere_is_refused(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path, name: str
) -> None:
    raw = b"100644 " + name.encode() + b"\0" + bytes.fromhex(repository.blob("owned"))
    evil = repository.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw)
    repository.commit_tree(repository.git("mktree", stdin=f"040000 tree {evil}\tdb\n".encode()))

    assert code(source, rules, tmp_path / "out") in ("git_tree", "git_failed")
    assert not list(tmp_path.glob("pwned*"))


def test_a_repository_that_is_too_large_or_too_slow_is_given_up_and_leaves_nothing(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    repository.commit(FILES | {"noise": os.urandom(3 * 1024**2)})

    assert code(source, rules, tmp_path / "out", limits=git.Limits(max_bytes=1024**2)) == "git_too_large"
    assert code(source, rules, tmp_path / "out", limits=git.Limits(ask_s=0.0)) == "git_timeout"
    assert not list((tmp_path / "cache").rglob("*.pack"))
    read(source, rules, tmp_path / "out")


def test_two_readers_at_once_ask_the_repository_once(
    repository: Repository, source: git.Source, rules: git_transport.Rules, server: GitServer, tmp_path: Path
) -> None:
    repository.commit(FILES)
    begin = threading.Barrier(2)

    def reader(name: str) -> Callable[[], None]:
        def run() -> None:
            begin.wait()
            read(source, rules, tmp_path / name)

        return run

    threads = [threading.Thread(target=reader(name)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert [path.partition("?")[0] for path, _ in server.asked].count("/shop.git/info/refs") == 2


def test_a_damaged_cache_is_made_anew(
    repository: Repository, source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    repository.commit(FILES)
    read(source, rules, tmp_path / "out")
    for pack in (tmp_path / "cache").rglob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"rubbish")
    with pytest.raises(PortalError):
        read(source, rules, tmp_path / "out")

    read(source, rules, tmp_path / "out")


def test_without_a_cache_folder_the_reason_is_said(
    source: git.Source, rules: git_transport.Rules, tmp_path: Path
) -> None:
    assert code(source, replace(rules, cache=""), tmp_path / "out") == caches.NoCache.code


def test_ssh_needs_a_key_and_known_hosts(rules: git_transport.Rules, tmp_path: Path) -> None:
    source = git.Source("shop", "ssh://git@localhost/shop.git", "main")
    allowed = replace(rules, hosts=["localhost"])

    assert code(source, allowed, tmp_path / "out") == "git_key_missing"
    assert code(source, allowed, tmp_path / "out", secret="key") == "git_known_hosts_missing"


def test_ssh_itself_understands_the_options_as_they_are_meant(tmp_path: Path) -> None:
    rules = git_transport.Rules(hosts=["h"], cache="", known_hosts="/etc/opsportal/known hosts")
    with git_transport.Transport(parse("ssh://git@git.example.org/x"), rules=rules, secret="key") as transport:
        command = [*transport.ssh_command(), "-G", "git.example.org"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    expected = [
        "batchmode yes",
        "stricthostkeychecking true",
        "identitiesonly yes",
        "permitlocalcommand no",
        "forwardagent no",
    ]
    assert [line for line in expected if line not in shown.splitlines()] == []
    assert "proxycommand" not in shown
    assert re.search(r"^identityagent none$", shown, re.MULTILINE)


def test_over_ssh_the_key_is_a_private_file_that_is_gone_afterwards(
    repository: Repository, rules: git_transport.Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(FILES)
    (tmp_path / "bin").mkdir()
    told = tmp_path / "told"
    # In the place of ssh: keeps what it was told, then serves the repository as the far side would.
    (tmp_path / "bin/ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\nfor each; do case "$each" in IdentityFile=*) key="${{each#*=}}";; esac; done\n'
        f'stat -c "%a" "$key" >> {told}; cat "$key" >> {told}\nexec git-upload-pack {repository.path}\n'
    )
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}:{_git_programs()}")
    allowed = replace(rules, hosts=["localhost"], known_hosts="/etc/known_hosts")

    read(git.Source("shop", "ssh://git@localhost/shop.git", "main"), allowed, tmp_path / "out", secret="PRIVATE\nKEY")

    lines = told.read_text().splitlines()
    assert lines[-3:] == ["600", "PRIVATE", "KEY"]
    assert "git@localhost" in lines
    key = next(line.partition("=")[2] for line in lines if line.startswith("IdentityFile="))
    assert not Path(key).exists()


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ("fatal: unable to access 'https://localhost/x/': Could not resolve host: localhost", "git_unreachable"),
        ("ssh: connect to host localhost port 22: Connection refused", "git_unreachable"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "git_host_key"),
        ("git@localhost: Permission denied (publickey).\nfatal: Could not read from remote repository.", "git_authentication"),
        ("Load key \"/x\": invalid format", "git_authentication"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", "git_no_such_repository"),
        (f"fatal: something odd https://u:{TOKEN}@localhost/x and {TOKEN}", "git_failed"),
        ("", "git_failed"),
    ],
)  # fmt: skip
def test_a_complaint_is_put_into_words_without_its_secrets(complaint: str, expected: str) -> None:
    rules = git_transport.Rules(hosts=["localhost"], cache="")
    with git_transport.Transport(parse("https://localhost/x"), rules=rules, secret=TOKEN) as transport:
        refused = transport.refusal(complaint)

    assert refused.code == expected
    assert TOKEN not in refused.message
    assert isinstance(refused, errors.PortalError)


class _Watched(list[Any]):
    def __init__(self, watch: Callable[[Any], None]) -> None:
        super().__init__()
        self._watch = watch

    def append(self, item: Any) -> None:
        self._watch(item)


def _processes() -> list[str]:
    """The arguments and the environment of every process of this machine that can be read."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                found.append(Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
    return found


def _git_programs() -> str:
    return subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()


def _must_not_run(*_: object, **__: object) -> None:
    raise AssertionError("A program was started.")
