"""A reading by another version of the portal may hold other kinds of objects: that is no change of the database."""

from __future__ import annotations

import pytest

from migrations_audit.engine import catalog, urls
from migrations_audit.engine.types import Catalog, Identity, Reading
from migrations_audit.execution import preflight
from migrations_audit.execution.executing import Ended
from migrations_audit.models import Observation
from tests.people import IDENTITY, make_place, make_run

pytestmark = pytest.mark.django_db
URL = urls.parse("postgresql://migrator@db.example/market")


@pytest.mark.parametrize(
    ("kinds", "code"), [("of before", "catalog_not_comparable"), (catalog.KINDS, "catalog_changed")]
)
def test_a_plan_of_another_version_is_void_without_calling_it_a_change(kinds: str, code: str) -> None:
    run = make_run(make_place(), state="queued")
    plan = run.plan
    assert plan is not None
    plan.base_observation = Observation(facts={"kinds": kinds})
    found = Catalog(fingerprint="0" * 64, body={"event trigger watch": "on ddl_command_start execute public.seen"})
    reading = Reading(Identity.from_dict(IDENTITY), ("002",), found, pooled=False, duration_ms=1)

    with pytest.raises(Ended) as refused:
        preflight.compare(run, plan, found=plan.snapshot, url=URL, worker={}, reading=reading)

    judgement = refused.value.judgement
    assert (judgement.state, judgement.code) == ("void", code)
