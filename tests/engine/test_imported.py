"""Which files of a project a script imports: those that its own lines name."""

from __future__ import annotations

from migrations_audit.engine import imported


def test_only_direct_imports_within_the_project_are_shared() -> None:
    among = ("app/__init__.py", "app/a.py", "app/b.py", "migrations/versions/util.py", "os.py", "lib/app/a.py")
    source = b"import os.path\nimport app.a\nfrom .util import x\nfrom . import gone\n"

    found = imported.files(source, path="migrations/versions/003.py", among=among, roots=(".", "lib"))

    assert found == {"app/__init__.py", "app/a.py", "lib/app/a.py", "migrations/versions/util.py", "os.py"}
