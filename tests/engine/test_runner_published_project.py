"""A published project as it ships: optuna's own chain, whose script folder is named ``alembic``."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.conftest import MakeTargetDatabase
from tests.engine import running
from tests.engine.running import Target

CHAIN = [
    "v0.9.0.a",
    "v1.2.0.a",
    "v1.3.0.a",
    "v2.4.0.a",
    "v2.6.0.a",
    "v3.0.0.a",
    "v3.0.0.b",
    "v3.0.0.c",
    "v3.0.0.d",
    "v3.2.0.a",
]


@pytest.fixture
def optuna(tmp_path: Path) -> Path:
    found = importlib.util.find_spec("optuna")
    assert found is not None
    assert found.origin is not None
    return shutil.copytree(Path(found.origin).parent / "storages" / "_rdb", tmp_path / "optuna_rdb")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_optuna_goes_from_base_to_head(optuna: Path, make_target_database: MakeTargetDatabase, driver: str) -> None:
    target = Target(make_target_database("optuna"))

    outcome = running.run(running.upgrade_request(target, *CHAIN, driver=driver), optuna)

    assert outcome.exit.exit_code == 0
    assert [event["revision"] for event in outcome.all("step_ended")] == CHAIN
    assert outcome.one("finished")["commit_after_version"] is True
    assert target.revisions() == ["v3.2.0.a"]
    assert len(target.tables()) == 12
