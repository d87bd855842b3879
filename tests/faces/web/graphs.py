"""Snapshots with real archives, and readings that rest on them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from typing import Any

from migrations_audit import hashchain
from migrations_audit.actions import evidence
from migrations_audit.models import Observation, Snapshot
from migrations_audit.states import TargetStatus
from tests import people

CHAIN = [
    {"revision": "003", "down_revisions": ["002"], "message": "add phase 3 enhancements"},
    {"revision": "002", "down_revisions": ["001"], "message": "fix schema"},
    {"revision": "001", "down_revisions": [], "message": "first"},
]


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files, as a worker freezes them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def snapshot_of(place: people.Place, archive: bytes) -> Snapshot:
    return evidence.keep_snapshot(
        actor=people.WORKER,
        project=place.project,
        digest=hashlib.sha256(archive).hexdigest(),
        archive=archive,
        files=[],
        graph={"heads": ["003"], "revisions": CHAIN, "problems": []},
    )


def observe_with_graph(place: people.Place, *, rows: list[str]) -> Observation:
    """A reading in sync at ``rows``, against the three revisions of CHAIN."""
    return evidence.record_observation(
        actor=people.WORKER,
        target=place.target,
        purpose="check",
        read=evidence.Read(
            status=TargetStatus.IN_SYNC,
            sentence="in sync",
            identity=people.IDENTITY,
            revisions=rows,
            heads=["003"],
            catalog=(hashchain.digest("x"), {"table public.users": "table"}),
        ),
        snapshot=snapshot_of(place, archive_of({})),
    )


def step_of(path: str, content: bytes, **changes: Any) -> dict[str, Any]:
    """A planned step whose file has this content."""
    return {
        "position": 1,
        "revision": "003",
        "down_revisions": ["002"],
        "direction": "upgrade",
        "message": "add phase 3 enhancements",
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "transactional": True,
    } | changes


def linked_archive(path: str, to: str) -> bytes:
    """A tar in which ``path`` is a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(path)
        member.type, member.linkname = tarfile.SYMTYPE, to
        tar.addfile(member)
    return buffer.getvalue()
