"""Which URLs, hosts, refs and folders of repositories are accepted."""

from __future__ import annotations

import pytest

from migrations_audit import remotes
from migrations_audit.errors import Invalid


@pytest.mark.parametrize(
    ("url", "host", "user"),
    [
        ("https://git.example.org/team/shop.git", "git.example.org", ""),
        ("https://deploy@git.example.org:8443/shop", "git.example.org:8443", "deploy"),
        ("ssh://git@git.example.org/team/shop.git", "git.example.org", "git"),
        ("ssh://git.example.org:2222/~ann/shop", "git.example.org:2222", ""),
        ("https://git.example.org:443/shop.git", "git.example.org", ""),
    ],
)
def test_https_and_ssh_are_accepted_with_user_and_port(url: str, host: str, user: str) -> None:
    remote = remotes.parse(url)

    assert (remote.url, remote.shown_host, remote.user) == (url, host, user)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ext::sh -c touch% /tmp/x", "not by ext"),
        ("file:///srv/shop.git", "not by file"),
        ("http://h/x", "not by http"),
        ("git://h/x", "not by git"),
        ("https://user:canary-1@h/x", "holds a password"),
        ("https://ghp_abcdefghij@h/x", "looks like a token"),
        ("https://" + "a1" * 20 + "@h/x", "looks like a token"),
        ("git@h:shop.git", "ssh://git@host/path"),
    ],
)
def test_the_usual_mistakes_get_a_sentence_of_their_own(url: str, words: str) -> None:
    with pytest.raises(remotes.GitUrlRefused) as caught:
        remotes.parse(url)

    assert words in caught.value.message
    assert "canary-1" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "", "/srv/shop.git", "--upload-pack=x", "ssh://-oProxyCommand=x/shop", "ssh://git@-oProxyCommand=x/shop", "ssh://-x@h/shop",
        "https://h/../x", "https://h/x?y", "https://h/x#y", "https://h/x\n", "https://h/x y", "https://h/%2e%2e/x", "https://h", "https://h/",
        "HTTPS://h/x", "https://H/x", "https://h..i/x", "https://локал/x", "https://h:0/x", "https://h:99999/x", "https://[::1]/x",
        "https://h/.git/x", "https://h//x", "https://h/" + "x" * 500,
    ],
)  # fmt: skip
def test_an_address_that_could_be_more_is_refused(url: str) -> None:
    with pytest.raises(remotes.GitUrlRefused):
        remotes.parse(url)


@pytest.mark.parametrize(
    ("url", "allowed", "accepted"),
    [
        ("https://h/x", ["h"], True),
        ("https://h:443/x", ["h"], True),
        ("https://h/x", ["h:443"], True),
        ("ssh://h/x", ["h"], True),
        ("https://h:8443/x", ["h"], False),
        ("https://h:8443/x", ["h:8443"], True),
        ("https://sub.h/x", ["h"], False),
        ("https://h/x", [], False),
    ],
)
def test_a_host_is_allowed_with_its_port(url: str, allowed: list[str], accepted: bool) -> None:
    if accepted:
        remotes.check_host(remotes.parse(url), allowed)
        return
    with pytest.raises(remotes.GitHostNotAllowed, match="PORTAL_GIT_HOSTS"):
        remotes.check_host(remotes.parse(url), allowed)


@pytest.mark.parametrize(
    "ref", ["main", "feature/é", "v1.2", "refs/heads/abc1234", "refs/tags/x", "a" * 40, "2024", "20260101"]
)
def test_a_ref_that_names_a_branch_a_tag_or_a_commit_is_accepted(ref: str) -> None:
    remotes.check_ref(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "-x", "--upload-pack=x", "a..b", "a@{1}", "a b", "a\nb", "a~1", "a^", "a:b", "a*", "a[b", "a\\b", ".a", "a/.b", "a.lock",
        "a//b", "/a", "a/", "a.", "@", "HEAD", "refs/pull/1/head", "refs/x", "refs/heads", "abc1234", "", "a" * 201,
        "a\u202eb", "a\x00",
    ],
)  # fmt: skip
def test_a_ref_that_git_could_read_as_something_else_is_refused(ref: str) -> None:
    with pytest.raises(remotes.GitRefRefused):
        remotes.check_ref(ref)


@pytest.mark.parametrize("folder", [".", "db", "services/shop", "a b/c", "x/-y"])
def test_a_folder_inside_the_repository_is_accepted(folder: str) -> None:
    remotes.check_folder(folder)


@pytest.mark.parametrize(
    "folder",
    ["", "/etc", "..", "../x", "a/../b", "a/", "./a", "-x", ":(top)x", "a\\b", "a//b", ".git", "a/.git/b", "a\nb"],
)
def test_a_folder_that_leads_elsewhere_is_refused(folder: str) -> None:
    with pytest.raises(Invalid) as caught:
        remotes.check_folder(folder)

    assert caught.value.field == "folder"


@pytest.mark.parametrize(
    ("entry", "accepted"),
    [("git.example.org", True), ("h:8443", True), ("https://h", False), ("H", False), ("*", False), ("h/x", False)],
)
def test_an_entry_of_the_setting_is_a_host_with_or_without_a_port(entry: str, accepted: bool) -> None:
    assert remotes.is_host(entry) is accepted
