"""F43: the target fails over in the middle of a run, before its commit."""

from __future__ import annotations

import pytest

from tests.acceptance.portal import Portal
from tests.engine import clusters
from tests.engine.conftest import related_clusters
from tests.reliability import truth
from tests.waiting import wait_for

__all__ = ["related_clusters"]

SLEEPY = 'op.execute("CREATE TABLE half (id int)")\nop.execute("SELECT pg_sleep(60)")'


@pytest.mark.slow
def test_a_failover_during_the_run_is_read_on_the_new_primary(
    sound: Portal, related_clusters: clusters.Clusters
) -> None:
    primary = related_clusters.primary()
    address = clusters.Address(primary)
    scripts = truth.counted(primary.url(), SLEEPY)
    standby = related_clusters.standby(primary)
    run = sound.started(sound.place(address.url(primary), scripts))
    wait_for(lambda: truth.active(primary.url()), within=30, what="the revision to sleep")

    primary.stop()
    standby.promote()
    address.lead_to(standby)

    ended = sound.until(run.number, "failed", within=60)
    address.close()
    assert (ended.reason_code, ended.verdict) == ("no_change", "unverified"), ended.sentence
    assert truth.tables(standby.url()) == set()
    newest = ended.observations.order_by("-pk")[0]
    assert any("failover" in remark for remark in newest.facts["remarks"])
    primary.start()
    truth.assert_nothing_lost(sound, primary.url())
