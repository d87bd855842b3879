"""A run on a SQLite file that sees only a part of the disk: it writes to the file's folder and to nothing beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrations_audit.states import Isolation
from tests.engine import confined, engines, runnable, running
from tests.engine.engines import SqliteTarget

UP = """
op.execute("CREATE TABLE users (id int)")
import os
folder = os.path.dirname(os.path.dirname(op.get_bind().engine.url.database))
print(sorted(os.listdir(folder)))
try:
    open(os.path.join(folder, "note"), "w")
except OSError:
    print("refused")
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that every account can reach, unlike those that pytest makes."""
    folder = Path(tempfile.mkdtemp(prefix="opsportal-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_wrapped_run_writes_to_the_files_folder_alone(scratch: Path) -> None:
    level = confined.offered(Isolation.BUBBLEWRAP, python=confined.reachable_python(scratch / "python"))
    data = scratch / "other" / "data"
    data.mkdir(parents=True)
    data.chmod(0o777)
    (data.parent / "secret").touch()
    path = data / "shop.db"
    path.touch()
    path.chmod(0o666)
    target = SqliteTarget(str(path))
    folder = runnable.write(scratch / "snapshot" / "project", [runnable.Script("r1", UP)])

    outcome = running.run(
        engines.request(target, "r1"), folder, interpreter=level.interpreter, confinement=level.confinement
    )

    assert outcome.exit.exit_code == 0, outcome.events
    assert target.tables() == {"users", "alembic_version"}
    assert outcome.printed["stdout"].splitlines() == ["['data']", "refused"]
