"""Freezing a project's files, and taking them out again."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit.engine import snapshot, types


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root / "alembic.ini", "[alembic]\nscript_location = migrations\n")
    write(root / "migrations/env.py", "pass\n")
    write(root / "migrations/versions/001_first.py", 'revision = "001"\ndown_revision = None\n')
    return root


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def freeze(folder: Path, **changes: Any) -> types.Frozen:
    return snapshot.freeze(folder, **{"config_path": "alembic.ini", "ini_section": "alembic", **changes})


def code(folder: Path, **changes: Any) -> str:
    with pytest.raises(snapshot.SnapshotRefused) as caught:
        freeze(folder, **changes)
    assert caught.value.message.endswith(".")
    return caught.value.code


def unpack(frozen: types.Frozen, destination: Path, **changes: Any) -> None:
    given: dict[str, Any] = {"digest": frozen.digest, "config_path": "alembic.ini", "ini_section": "alembic"}
    snapshot.unpack(frozen.archive, **{**given, **changes}, destination=destination)


def test_every_file_is_listed_with_its_hash_and_size(folder: Path) -> None:
    frozen = freeze(folder)

    assert [item.path for item in frozen.files] == [
        "alembic.ini",
        "migrations/env.py",
        "migrations/versions/001_first.py",
    ]
    assert frozen.files[1] == types.ScriptFile("migrations/env.py", hashlib.sha256(b"pass\n").hexdigest(), 5)


def test_the_same_files_give_the_same_digest_and_bytes_elsewhere_and_later(folder: Path, tmp_path: Path) -> None:
    first = freeze(folder)
    copy = tmp_path / "elsewhere"
    for path, content in reversed(snapshot.files(first.archive).items()):
        write(copy / path, content)
        (copy / path).chmod(0o700)
        os.utime(copy / path, (1, 1))

    assert freeze(copy) == first
    assert freeze(copy).archive == first.archive


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "migrations/env.py", "pass  \n"),
        lambda root: write(root / "migrations/versions/zz_extra.py", ""),
        lambda root: (root / "migrations/env.py").rename(root / "migrations/env2.py"),
        lambda root: (root / "migrations/env.py").unlink(),
    ],
)
def test_any_change_gives_another_digest(folder: Path, change: Callable[[Path], object]) -> None:
    before = freeze(folder).digest
    change(folder)

    assert freeze(folder).digest != before


def test_configuration_path_and_section_belong_to_the_digest(folder: Path) -> None:
    write(folder / "other.ini", "")

    assert (
        len(
            {
                freeze(folder).digest,
                freeze(folder, config_path="other.ini").digest,
                freeze(folder, ini_section="b").digest,
            }
        )
        == 3
    )


@pytest.mark.parametrize(
    "name",
    [".git/config", ".git", "a/__pycache__/x.txt", "x.pyc", "x.pyo",
     ".pgpass", "certs/server.key", "a.pem", ".ssh/id_rsa", ".venv/lib.py", "venv/lib.py", "a/node_modules/x.js",
     ".mypy_cache/x", ".pytest_cache/x", ".env", ".env.production", "sub/.env.local"],
)  # fmt: skip
def test_what_is_no_script_or_holds_secrets_is_left_out(folder: Path, name: str) -> None:
    before = freeze(folder)
    write(folder / name, "SECRET=1")

    assert freeze(folder) == before


@pytest.mark.parametrize(
    "config_path", ["absent.ini", "", ".", "migrations", "../alembic.ini", "/etc/hosts", "./alembic.ini", ".env"]
)
def test_a_configuration_file_that_is_not_among_the_files_is_refused(folder: Path, config_path: str) -> None:
    write(folder.parent / "alembic.ini", "")
    write(folder / ".env", "")

    assert code(folder, config_path=config_path) == "config_missing"


def test_a_folder_that_is_absent_or_a_file_is_refused(folder: Path) -> None:
    assert code(folder / "absent") == "folder_missing"
    assert code(folder / "alembic.ini") == "not_a_folder"


def test_a_folder_outside_the_allowed_roots_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "allowed").mkdir()

    assert (
        freeze(folder, roots=[tmp_path / "allowed", tmp_path]).digest
        == freeze(tmp_path / "link", roots=[folder]).digest
    )
    assert code(folder, roots=[tmp_path / "allowed"]) == "outside_roots"
    assert code(folder, roots=[]) == "outside_roots"
    assert code(tmp_path / "link", roots=[tmp_path / "allowed"]) == "outside_roots"


@pytest.mark.parametrize("destination", ["/etc/hosts", "../../../outside.py", "../../..", "/"])
def test_a_link_that_leaves_the_folder_is_refused_by_name(folder: Path, destination: str) -> None:
    write(folder.parent / "outside.py", "")
    (folder / "migrations/versions/extra.py").symlink_to(destination)

    with pytest.raises(snapshot.SnapshotRefused, match=r"migrations/versions/extra\.py leaves"):
        freeze(folder)


def test_a_link_inside_the_folder_enters_as_a_copy(folder: Path, tmp_path: Path) -> None:
    (folder / "migrations/versions/linked.py").symlink_to("001_first.py")
    (folder / "again").symlink_to("migrations/versions", target_is_directory=True)

    unpack(freeze(folder), tmp_path / "out")

    assert not (tmp_path / "out/migrations/versions/linked.py").is_symlink()
    assert (tmp_path / "out/again/linked.py").read_bytes() == (folder / "migrations/versions/001_first.py").read_bytes()


@pytest.mark.parametrize(
    ("link", "destination"), [("loop", "."), ("migrations/up", ".."), ("self", "self"), ("a/b", "../c")]
)
def test_links_in_a_circle_are_refused(folder: Path, link: str, destination: str) -> None:
    for name in ("a", "c"):
        (folder / name).mkdir()
    (folder / "c/d").symlink_to("../a", target_is_directory=True)
    (folder / link).symlink_to(destination)

    assert code(folder) == "link_loop"


def test_a_broken_link_and_one_to_a_secret_are_refused(folder: Path) -> None:
    (folder / "settings").symlink_to(".env")
    assert code(folder) == "unreadable_file"

    write(folder / ".env", "SECRET=1")
    assert code(folder) == "link_to_excluded"


def test_many_links_to_folders_end_at_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_ENTRIES", 2_000)
    for level in range(20):
        (folder / f"d{level}").mkdir()
        for side in "ab":
            (folder / f"d{level}" / side).symlink_to(f"../d{level + 1}")
    (folder / "d20").mkdir()

    assert code(folder) == "too_large"


def test_pipes_and_sockets_are_refused_without_being_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert code(folder) == "special_file"

    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        server.bind("socket")
        assert code(folder) == "special_file"


@pytest.mark.parametrize(
    "name", [b"new\nline.py", b"tab\t.py", b"\xff\xfe.py", b"esc\x1b[31m.py", "rtl\u202eyp.txt".encode(), b"del\x7f"]
)
def test_names_that_are_not_printable_text_are_refused(folder: Path, name: bytes) -> None:
    with open(os.fsencode(folder) + b"/migrations/" + name, "wb"):
        pass

    assert code(folder) == "file_name"


def test_names_in_other_scripts_are_kept(folder: Path, tmp_path: Path) -> None:
    write(folder / "migrations/Übersicht für 日本.md", "text")

    unpack(freeze(folder), tmp_path / "out")

    assert (tmp_path / "out/migrations/Übersicht für 日本.md").read_text() == "text"


def test_the_limits_are_inclusive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [item.size for item in freeze(folder).files]
    for limit, value in (
        ("MAX_FILES", 3),
        ("MAX_TOTAL_BYTES", sum(sizes)),
        ("MAX_FILE_BYTES", max(sizes)),
        ("MAX_ENTRIES", 5),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, limit, value)
            assert len(snapshot.files(freeze(folder).archive)) == 3
            patch.setattr(snapshot, limit, value - 1)
            assert code(folder) == "too_large"


def test_the_real_limits_hold(folder: Path) -> None:
    with (folder / "big.bin").open("wb") as handle:
        handle.truncate(8 * 1024**2)
    freeze(folder)
    with (folder / "big.bin").open("ab") as handle:
        handle.write(b"x")

    assert code(folder) == "too_large"


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder that is readable, while this process has no rights of root's."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        write(root / "alembic.ini", "")
        write(root / "secret/key.py", "")
        user = os.geteuid()
        try:
            yield root
        finally:
            os.seteuid(user)
            (root / "secret").chmod(0o700)


@pytest.mark.parametrize("name", ["secret", "secret/key.py"])
def test_what_the_worker_may_not_read_is_an_error_and_not_left_out(without_rights: Path, name: str) -> None:
    (without_rights / name).chmod(0)
    if os.geteuid() == 0:
        (without_rights / "secret").chmod(0o755 if name != "secret" else 0)
        os.seteuid(65534)

    with pytest.raises(snapshot.SnapshotRefused, match=f"^{name} cannot be read") as caught:
        freeze(without_rights)
    assert caught.value.code == "unreadable_file"


def test_a_file_that_changes_while_it_is_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = folder / "migrations/env.py"
    real = os.fstat

    def touching(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino == env.stat().st_ino:
            env.write_text(env.read_text() + "#")
        return found

    monkeypatch.setattr(os, "fstat", touching)

    assert code(folder) == "file_changed"


def test_a_file_that_vanishes_while_the_folder_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def removing(path: Any, *arguments: Any, **keywords: Any) -> int:
        Path(path).unlink()
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", removing)

    assert code(folder) == "unreadable_file"


def test_a_file_that_becomes_a_link_before_it_is_opened_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def swapping(path: Any, *arguments: Any, **keywords: Any) -> int:
        Path(path).unlink()
        Path(path).symlink_to("/etc/hosts")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", swapping)

    assert code(folder) == "unreadable_file"


def test_unpacking_gives_the_files_back_with_plain_rights(folder: Path, tmp_path: Path) -> None:
    (folder / "alembic.ini").chmod(0o777)
    old = os.umask(0o077)
    try:
        unpack(freeze(folder), tmp_path / "out")
    finally:
        os.umask(old)

    assert freeze(tmp_path / "out") == freeze(folder)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_dir()} == {0o755}


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"config_path": "other.ini"}, {"ini_section": "other"}])
def test_files_of_another_digest_are_not_unpacked(folder: Path, tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(snapshot.SnapshotRefused) as caught:
        unpack(freeze(folder), tmp_path / "out", **change)

    assert caught.value.code == "digest_mismatch"
    assert not (tmp_path / "out").exists()


def test_unpacking_into_a_folder_that_holds_something_is_refused(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "out/left", "")

    with pytest.raises(snapshot.SnapshotRefused) as caught:
        unpack(freeze(folder), tmp_path / "out")

    assert caught.value.code == "destination_not_empty"


def tar(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 1, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


@pytest.mark.parametrize(
    "archive",
    [
        tar(member("../escape.py")),
        tar(member("/etc/passwd")),
        tar(member("a/../../b")),
        tar(member("./a")),
        tar(member("a\nb")),
        tar(member("link", tarfile.SYMTYPE, 0, "/etc")),
        tar(member("link", tarfile.LNKTYPE, 0, "a")),
        tar(member("device", tarfile.CHRTYPE, 0)),
        tar(member("pipe", tarfile.FIFOTYPE, 0)),
        tar(member("folder", tarfile.DIRTYPE, 0)),
        tar(member("a"), member("a")),
        tar(member("big", size=8 * 1024**2 + 1)),
        b"",
        b"not an archive",
        bytes(10240)[:600],
    ],
    ids=lambda archive: str(len(archive)),
)
def test_an_archive_that_freeze_cannot_have_made_is_refused(archive: bytes) -> None:
    with pytest.raises(snapshot.SnapshotRefused) as caught:
        snapshot.files(archive)

    assert caught.value.code == "archive_damaged"


def test_a_compressed_archive_is_refused(folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        made.addfile(member("a"), io.BytesIO(b"x"))

    with pytest.raises(snapshot.SnapshotRefused):
        snapshot.files(buffer.getvalue())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_refused_or_has_another_digest(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        for path in ("alembic.ini", "a.py", "b/c.py"):
            write(Path(name) / path, path * 5)
        frozen = freeze(Path(name))
        archive = bytearray(frozen.archive)
        if data.draw(st.booleans()):
            del archive[data.draw(st.integers(0, len(archive) - 1)) :]
        else:
            archive[data.draw(st.integers(0, 3 * 1024 - 1))] ^= data.draw(st.integers(1, 255))
        try:
            found = snapshot.files(bytes(archive))
        except snapshot.SnapshotRefused:
            return
        if found == snapshot.files(frozen.archive):
            return  # The damage is in a field that nobody reads, such as the owner.
        with pytest.raises(snapshot.SnapshotRefused):
            snapshot.unpack(
                bytes(archive), digest=frozen.digest, config_path="alembic.ini", ini_section="alembic",
                destination=Path(name) / "out",
            )  # fmt: skip
