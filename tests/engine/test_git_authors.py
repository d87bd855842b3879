"""Who wrote each file of a commit: everybody who changed it as far as the history was fetched, and nobody on a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from migrations_audit.engine import git, git_authors, git_transport
from tests.engine.repositories import GitServer, Repository

FIRST, SECOND = "db/versions/001.py", "db/versions/002.py"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    served = GitServer(tmp_path / "served")
    yield served
    served.close()


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "shop.git")


def wrote(server: GitServer, cache: Path, *, folder: str = "db") -> Mapping[str, set[str]]:
    """The names of those who wrote each file of the branch."""
    found = history(server, cache, folder=folder)
    return {path: {each.author for each in authors} for path, authors in found.authors.items()}


def history(server: GitServer, cache: Path, *, folder: str = "db") -> git_authors.History:
    """What the fetched commits of the branch tell."""
    found: list[git_authors.History] = []
    git.fetch(
        git.Source(owner="shop", url=server.url("shop.git"), ref="main"),
        rules=git_transport.Rules(hosts=[server.host], cache=str(cache), ca=str(server.ca)),
        secret=lambda: "",
        fresh_for_s=0,
        use=lambda fetched: found.append(git_authors.of_files(fetched, folder=folder)),
    )
    return found[0]


def test_everybody_who_changed_a_file_wrote_it_and_whoever_did_not_did_not(
    repository: Repository, server: GitServer, tmp_path: Path
) -> None:
    first = repository.commit({FIRST: "1", "README.md": ""}, author="Ada")
    second = repository.commit({FIRST: "1", SECOND: "2", "README.md": ""}, author="Bob", parents=[first])
    third = repository.commit({FIRST: "1!", SECOND: "2", "README.md": ""}, author="Cyd", parents=[second])
    repository.commit({FIRST: "1!", SECOND: "2", "README.md": "Hi"}, author="Tip", parents=[third])

    assert wrote(server, tmp_path / "cache") == {"versions/001.py": {"Ada", "Cyd"}, "versions/002.py": {"Bob"}}
    assert wrote(server, tmp_path / "cache", folder=".")["README.md"] == {"Ada", "Tip"}


def test_a_merge_makes_an_author_only_of_what_it_changed_itself(
    repository: Repository, server: GitServer, tmp_path: Path
) -> None:
    base = repository.commit({FIRST: "1"}, author="Ada")
    left = repository.commit({FIRST: "left"}, author="Bob", parents=[base], ref="refs/heads/left")
    right = repository.commit({FIRST: "1", SECOND: "2"}, author="Cyd", parents=[base], ref="refs/heads/right")
    repository.commit({FIRST: "left", SECOND: "both"}, author="Merger", parents=[left, right])

    assert wrote(server, tmp_path / "cache") == {
        "versions/001.py": {"Ada", "Bob"},
        "versions/002.py": {"Cyd", "Merger"},
    }


def test_nobody_is_named_from_where_the_fetched_history_is_cut_off(
    repository: Repository, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "DEPTH", 2)
    first = repository.commit({FIRST: "1"}, author="Ada")
    second = repository.commit({FIRST: "1", "db/notes": "x"}, author="Bob", parents=[first])
    repository.commit({FIRST: "1", "db/notes": "x", SECOND: "2"}, author="Cyd", parents=[second])

    assert wrote(server, tmp_path / "cache") == {"versions/002.py": {"Cyd"}}


def test_a_path_that_looks_like_a_heading_hides_nobody(
    repository: Repository, server: GitServer, tmp_path: Path
) -> None:
    hostile = "db/\x01" + "a" * 40
    first = repository.commit({"db/notes": "x"}, author="Ada")
    repository.commit({"db/notes": "x", hostile: "", FIRST: "1", "db/ü b.py": "3"}, author="Eve", parents=[first])

    found = wrote(server, tmp_path / "cache")

    assert found["versions/001.py"] == {"Eve"}
    assert found["ü b.py"] == {"Eve"}
    assert found["notes"] == {"Ada"}


def test_a_history_that_is_too_long_to_read_names_nobody(
    repository: Repository, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_authors, "OUTPUT_BYTES", 60)
    first = repository.commit({FIRST: "1"}, author="Ada")
    repository.commit({FIRST: "1", SECOND: "2"}, author="Bob", parents=[first])

    assert wrote(server, tmp_path / "cache") == {}


def test_whoever_changed_a_file_after_a_commit_is_told_also_from_a_branch_that_was_merged_later(
    repository: Repository, server: GitServer, tmp_path: Path
) -> None:
    base = repository.commit({FIRST: "1"}, author="Ada")
    side = repository.commit({FIRST: "2"}, author="Bob", parents=[base], ref="refs/heads/side")
    verified = repository.commit({FIRST: "1", SECOND: "2"}, author="Cyd", parents=[base])
    repository.commit({FIRST: "2", SECOND: "2"}, author="Merger", parents=[verified, side])

    found = history(server, tmp_path / "cache")

    assert {each.author for each in found.since("versions/001.py", verified)} == {"Bob"}
    assert {each.author for each in found.since("versions/001.py", base)} == {"Bob"}
    assert found.since("versions/002.py", verified) == []
    assert found.since("versions/001.py", "f" * 40) == ()
