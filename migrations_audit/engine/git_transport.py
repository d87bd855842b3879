"""How git is called to reach a repository: which options, which environment, which key, and what its complaints mean."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from migrations_audit.engine import folders, redaction
from migrations_audit.errors import PortalError
from migrations_audit.remotes import Remote

HARMLESS: Final = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "credential.helper=",
        "gc.auto=0", "maintenance.auto=false", "submodule.recurse=false", "fetch.recurseSubmodules=false",
        "fetch.unpackLimit=1", "fetch.writeCommitGraph=false", "log.showSignature=false",
    )
    for word in ("-c", setting)
)  # fmt: skip
PASSED_ON: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
LONGEST_COMPLAINT: Final = 200

_KINDS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), code, sentence)
    for pattern, code, sentence in (
        (
            r"host key verification failed|no .{1,40} host key is known|remote host identification has changed",
            "git_host_key",
            "The host key of {host} is not in PORTAL_GIT_KNOWN_HOSTS, or another one. Compare it with the host's own first.",
        ),
        (
            r"certificate|ssl connection|ssl_error|gnutls_handshake|tls (?:alert|handshake|connection)",
            "git_tls",
            "{host} could not prove who it is. Check its certificate; a private authority belongs into PORTAL_GIT_CA.",
        ),
        (
            r"error: 30[12378]|redirect",
            "git_redirect",
            "{host} sends elsewhere, and redirects are not followed. Enter the repository's final URL.",
        ),
        (
            r"could not resolve|failed to connect|couldn't connect|connection (?:refused|timed out|reset|closed)|timed out"
            r"|network is unreachable|no route to host|empty reply|unexpected disconnect|too slow",
            "git_unreachable",
            "This worker does not reach {host}. Check the address and the network.",
        ),
        (
            r"authentication failed|could not read (?:username|password)|terminal prompts disabled|permission denied"
            r"|access denied|error: 40[13]|invalid format|error in libcrypto|load key",
            "git_authentication",
            "{host} did not accept the project's key or token, or wants one. Correct the project's git key.",
        ),
        (
            r"not our ref|couldn't find remote ref|unadvertised object|no such remote ref",
            "git_no_such_ref",
            "{host} does not give this ref away. Correct it; if it is a commit, name its branch or a tag instead.",
        ),
        (
            r"not found|does not exist|error: 404|does not appear to be a git repository|not a valid repository",
            "git_no_such_repository",
            "{host} has no such repository, or none that the project's key may read. Correct the URL or the key.",
        ),
    )
)


class FetchRefused(PortalError):
    """The repository cannot be read."""

    code = "git_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Rules:
    """What this worker allows: hosts, its cache folder, the file of known ssh host keys, an authority besides the system's."""

    hosts: Sequence[str]
    cache: str
    known_hosts: str = ""
    ca: str = ""


def bare_environment(home: str) -> dict[str, str]:
    """The environment of every git: nobody's configuration, no question, no replaced or lazily fetched object."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }


class Transport:
    """The way to one repository. As long as it is entered, the secret lies in a private file; afterwards nowhere."""

    def __init__(self, remote: Remote, *, rules: Rules, secret: str) -> None:
        """Raises FetchRefused when ssh lacks its key or its known hosts."""
        if remote.scheme == "ssh" and not secret:
            raise FetchRefused("git_key_missing", "ssh needs a private key. Give the project a git key.")
        if remote.scheme == "ssh" and not rules.known_hosts:
            raise FetchRefused(
                "git_known_hosts_missing",
                f"PORTAL_GIT_KNOWN_HOSTS is not set on this worker, so {remote.shown_host} cannot be told from an impostor. "
                "Set it to a file with the host's key.",
            )
        self.host = remote.shown_host
        self._remote = remote
        self._rules = rules
        self._secret = secret
        self._scratch = ExitStack()
        self._folder = self._scratch.enter_context(folders.made("git"))

    def __enter__(self) -> Transport:
        if self._secret and self._remote.scheme == "ssh":
            self._write("key", self._secret.rstrip("\n") + "\n", mode=0o600)
        elif self._secret:
            user, colon, token = self._secret.partition(":")
            self._write("user", (user if colon else self._remote.user or "git") + "\n", mode=0o600)
            self._write("token", (token if colon else self._secret) + "\n", mode=0o600)
            asked_user, asked_token = (f"exec cat {shlex.quote(self._path(name))}" for name in ("user", "token"))
            ask = f'case "$1" in Username*) {asked_user};; esac; {asked_token}'
            self._write("askpass", f"#!/bin/sh\n{ask}\n", mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scratch.close()

    @property
    def options(self) -> list[str]:
        """The words between ``git`` and its verb. Nothing secret stands in them."""
        scheme = self._remote.scheme
        settings = ["protocol.allow=never", f"protocol.{scheme}.allow=always"]
        if scheme == "https":
            settings += [
                "http.followRedirects=false",
                "http.sslVerify=true",
                "http.lowSpeedLimit=1000",
                "http.lowSpeedTime=20",
            ]
            settings += [f"http.sslCAInfo={self._rules.ca}"] if self._rules.ca else []
        return [*HARMLESS, *(word for setting in settings for word in ("-c", setting))]

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of git. The secret is not in it, only the place of its file."""
        given = {**bare_environment(str(self._folder)), "GIT_ALLOW_PROTOCOL": self._remote.scheme}
        if self._remote.scheme == "ssh":
            return {**given, "GIT_SSH_COMMAND": shlex.join(self.ssh_command()), "GIT_SSH_VARIANT": "ssh"}
        given |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return given | ({"GIT_ASKPASS": self._path("askpass")} if self._secret else {})

    def ssh_command(self) -> list[str]:
        """How ssh is called: this key, these host keys, nobody's configuration, no command of its own."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self._rules.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "UpdateHostKeys": "no",
            "IdentityFile": self._path("key"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "ProxyCommand": "none",
            "PermitLocalCommand": "no",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ControlMaster": "no",
            "ControlPath": "none",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "3",
        }
        return ["ssh", "-F", "/dev/null", *(word for pair in options.items() for word in ("-o", "=".join(pair)))]

    def refusal(self, complaint: str) -> FetchRefused:
        """What git's complaint means, in words. It may quote the server, so nothing of it is passed on unmasked."""
        words = complaint.replace(self._remote.url, "").replace(self._remote.host, "")
        for pattern, code, sentence in _KINDS:
            if pattern.search(words):
                return FetchRefused(code, sentence.format(host=self.host))
        lines = redaction.Redactor([self._secret, self._secret.partition(":")[2]]).text(complaint).strip().splitlines()
        last = lines[-1][:LONGEST_COMPLAINT] if lines else "it said nothing"
        return FetchRefused("git_failed", f"git could not read the repository at {self.host}: {last}.")

    def _path(self, name: str) -> str:
        return str(self._folder / name)

    def _write(self, name: str, content: str, *, mode: int) -> None:
        descriptor = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
