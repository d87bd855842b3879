"""Git repositories of the tests, made with plumbing so that they can hold anything, and an https server that gives them away."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import ssl
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FILE, LINK, SUBMODULE = "100644", "120000", "160000"
SOMEBODY = {
    "GIT_AUTHOR_NAME": "Ann Author", "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Carl", "GIT_COMMITTER_EMAIL": "carl@example.org", "GIT_COMMITTER_DATE": "2026-03-04T05:06:07+01:00",
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """A bare repository on the disk."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Repository:
        made = cls(path)
        path.mkdir(parents=True)
        made.git("init", "--quiet", "--bare", ".")
        made.git("config", "uploadpack.allowAnySHA1InWant", "true")
        return made

    def git(self, *words: str, stdin: bytes = b"", index: Path | None = None, author: str = "") -> str:
        """Run git here. ``author``, a name, wrote what it makes; else Ann did."""
        given = {"GIT_INDEX_FILE": str(index), "GIT_DIR": str(self.path)} if index else {}
        if author:
            given |= {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": f"{author.lower()}@example.org"}
        ended = subprocess.run(
            ["git", *words], cwd=self.path, input=stdin, capture_output=True, check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.path), **SOMEBODY, **given},
        )  # fmt: skip
        return ended.stdout.decode().strip()

    def commit(
        self,
        files: Mapping[str, str | bytes],
        *,
        ref: str = "refs/heads/main",
        subject: str = "Add a table",
        author: str = "",
        parents: Sequence[str] = (),
        links: Mapping[str, str] | None = None,
        submodules: Mapping[str, str] | None = None,
    ) -> str:
        """Let ``ref`` lead to a new commit (without parents if none are named) that holds exactly these; returns its id."""
        index = self.path / "building-index"
        index.unlink(missing_ok=True)
        entries = [(FILE, path, self.blob(content)) for path, content in files.items()]
        entries += [(LINK, path, self.blob(target)) for path, target in (links or {}).items()]
        entries += [(SUBMODULE, path, commit) for path, commit in (submodules or {}).items()]
        listed = "".join(f"{mode} {object_id}\t{path}\n" for mode, path, object_id in entries)
        self.git("update-index", "--index-info", stdin=listed.encode(), index=index)
        tree = self.git("write-tree", index=index)
        return self.commit_tree(tree, ref=ref, subject=subject, author=author, parents=parents)

    def blob(self, content: str | bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content.encode() if isinstance(content, str) else content)

    def commit_tree(
        self,
        tree: str,
        *,
        ref: str = "refs/heads/main",
        subject: str = "Add a table",
        author: str = "",
        parents: Sequence[str] = (),
    ) -> str:
        before = [word for parent in parents for word in ("-p", parent)]
        commit = self.git("commit-tree", *before, "-m", subject, tree, author=author)
        self.git("update-ref", ref, commit)
        return commit


@dataclass
class GitServer:
    """An https server for the repositories below a folder. ``asked`` holds the requests, with what stood in their headers."""

    root: Path
    token: str = ""
    redirect_to: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.ca = self.root / "authority.pem"
        key = self.root / "key.pem"
        _certificate(self.ca, key)
        self._server = _Server(self)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def url(self, name: str, *, user: str = "") -> str:
        return f"https://{user}{'@' if user else ''}{self.host}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        played = self.server.played
        given = self.headers.get("Authorization", "")
        played.asked.append((self.path, given))
        wanted = "Basic " + base64.b64encode(f"git:{played.token}".encode()).decode()
        if played.redirect_to:
            self._plain(302, Location=played.redirect_to + self.path)
        elif played.token and given != wanted:
            self._plain(401, **{"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _plain(self, status: int, **headers: str) -> None:
        self._say(status, headers, b"")

    def _backend(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.played.root), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path, "QUERY_STRING": parts.query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        ended = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = ended.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self._say(int(headers.pop("Status", "200 OK").split()[0]), headers, content)

    def _say(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The tests look at ``asked`` instead."""


class _Server(ThreadingHTTPServer):
    def __init__(self, played: GitServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.played = played


def _certificate(path: Path, key_path: Path) -> None:
    """A self-signed certificate for this machine's loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
