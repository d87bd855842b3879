"""A package index on the disk with tiny packages of the tests' own."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Index:
    """A simple index below ``folder``; ``address`` is what an installer is given."""

    folder: Path

    @property
    def address(self) -> str:
        return f"file://{self.folder}"

    def add_wheel(self, name: str, version: str, files: Mapping[str, str], *, requires: str = "") -> str:
        """Add a wheel and return its requirement with its hash."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        given = {
            **files,
            f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{path},,\n" for path in given) + f"{info}/RECORD,,\n"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as wheel:
            for path, content in {**given, f"{info}/RECORD": record}.items():
                wheel.writestr(path, content)
        return self._add(name, version, f"{name}-{version}-py3-none-any.whl", buffer.getvalue())

    def add_source(self, name: str, version: str, setup: str) -> str:
        """Add a source distribution and return its requirement with its hash."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            for path, content in {"setup.py": setup, "PKG-INFO": metadata}.items():
                member = tarfile.TarInfo(f"{name}-{version}/{path}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
        return self._add(name, version, f"{name}-{version}.tar.gz", buffer.getvalue())

    def _add(self, name: str, version: str, file: str, content: bytes) -> str:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        links = "".join(
            f'<a href="{path.name}">{path.name}</a>' for path in sorted(folder.iterdir()) if path.suffix != ".html"
        )
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"
