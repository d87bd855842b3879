"""What an approval binds of settings: all that changes what runs or how it connects, and no password."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from django.test import override_settings

from migrations_audit import hashchain, sealing
from migrations_audit.actions import attempts, plans
from migrations_audit.engine import urls
from migrations_audit.engine.types import Catalog, Identity, Reading
from migrations_audit.execution import places, preflight
from migrations_audit.execution.executing import Ended
from migrations_audit.models import MigrationRun, Plan, Project, Target
from migrations_audit.queries import bound
from tests.domain import changes
from tests.people import IDENTITY, WORKER, make_draft, make_place, make_run

pytestmark = pytest.mark.django_db

URL = "postgresql://migrator:secret@db.example/market"
HOOK = {"backup program": "/srv/backup", "interpreter": ""}
SEALING_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def planned(**draft: object) -> tuple[MigrationRun, Plan]:
    place = make_place()
    run = make_run(place, state="planning")
    return run, plans.record(actor=WORKER, number=run.number, epoch=run.epoch, draft=make_draft(place, **draft))


def compare(run: MigrationRun, plan: Plan, *, url: str = URL, worker: Mapping[str, str] = HOOK) -> None:
    fingerprint, body = plan.base_observation.catalog_id or "", {"table public.users": "table"}
    reading = Reading(Identity.from_dict(IDENTITY), ("002",), Catalog(fingerprint, body), pooled=False, duration_ms=1)
    preflight.compare(run, plan, found=plan.snapshot, url=urls.parse(url), worker=worker, reading=reading)


def test_what_is_as_it_was_holds_whatever_the_password() -> None:
    run, plan = planned(connection={"sslmode": "verify-full"}, worker=HOOK)

    compare(run, plan, url="postgresql://migrator:another@db.example/market?sslmode=verify-full")


@pytest.mark.parametrize(
    ("url", "worker", "codes", "told"),
    [
        (f"{URL}?sslmode=disable", HOOK, "connection_changed", "sslmode: verify-full → disable"),
        (URL, HOOK, "connection_changed", "sslmode: verify-full → nothing"),
        (
            f"{URL}?sslmode=verify-full&channel_binding=disable",
            HOOK,
            "connection_changed",
            "channel_binding: nothing → disable",
        ),
        (
            f"{URL}?sslmode=verify-full",
            {**HOOK, "backup program": ""},
            "worker_changed",
            "backup program: /srv/backup → nothing",
        ),
        (
            f"{URL}?sslmode=verify-full",
            {**HOOK, "interpreter": "/opt/other/bin/python"},
            "worker_changed",
            "interpreter: nothing → /opt/other/bin/python",
        ),
    ],
)
def test_another_way_to_the_target_or_another_worker_is_void(
    url: str, worker: Mapping[str, str], codes: str, told: str
) -> None:
    run, plan = planned(connection={"sslmode": "verify-full"}, worker=HOOK)

    with pytest.raises(Ended, match=told) as ended:
        compare(run, plan, url=url, worker=worker)

    judgement = ended.value.judgement
    assert (judgement.state, judgement.code) == ("void", codes)
    then, now = told.split(": ")[1].split(" → ")
    assert {line[:2] + line.rpartition(": ")[2] for line in judgement.checks[0].detail} == {f"- {then}", f"+ {now}"}


def test_everything_that_departs_is_told_at_once() -> None:
    run, plan = planned(connection={"sslmode": "verify-full"}, worker=HOOK)

    with pytest.raises(Ended, match="Also another than approved: what the worker uses for a run") as ended:
        compare(run, plan, worker={})

    assert len(ended.value.judgement.checks) == 2


def test_what_a_worker_is_set_to_use_is_named_by_its_path() -> None:
    place = make_place()
    place.project.interpreter = "shop"

    with override_settings(PORTAL_INTERPRETERS={"shop": "/opt/shop/bin/python"}, PORTAL_BACKUP_HOOK="/srv/backup"):
        found = places.worker_settings(place.target)

    assert found == {"backup program": "/srv/backup", "interpreter": "/opt/shop/bin/python"}


def test_no_digest_of_a_variable_is_found_by_trying_values() -> None:
    place = make_place()
    Project.objects.filter(pk=place.project.pk).update(extra_environment={"PIN": "1234"})
    target = Target.objects.get(pk=place.target.pk)
    plan = make_run(place, state="awaiting_approval").plan
    assert plan is not None

    plain = {**target.project.approved_facts(), "extra_environment": {"PIN": hashchain.digest("1234")}}
    for project in (plain, target.project.approved_facts()):
        facts = {"target": target.label, "reference": plan.settings["reference"], "project": project}
        assert plan.parts["target"] != hashchain.digest(hashchain.canonical(facts))
    assert hashchain.digest("1234") not in json.dumps([plan.settings, plan.parts, plan.body])
    with override_settings(SECRET_KEY="another key of fifty characters, which no other test has"):
        assert bound.kept(target)["variables"] != plan.settings["variables"]


@override_settings(PORTAL_SEALING_KEYS=[SEALING_KEY])
def test_a_url_that_is_sealed_anew_is_left_for_the_worker_to_compare() -> None:
    place = make_place(url_reference=f"sealed:{sealing.seal(URL, keys=[SEALING_KEY])}")
    run = make_run(place, state="queued")
    anew = sealing.seal(URL.replace("secret", "rotated"), keys=[SEALING_KEY])
    Target.objects.filter(pk=place.target.pk).update(url_reference=f"sealed:{anew}")

    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


def test_a_run_that_is_void_at_its_claim_keeps_what_changed_as_evidence() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    for change in (changes.other_folder, changes.longer_deadline, changes.other_environment_variables):
        change(place, run)
    Target.objects.filter(pk=place.target.pk).update(identity={**IDENTITY, "database_oid": 7})

    attempts.claim(actor=WORKER, number=run.number)

    assert {each.check_name: each.detail for each in run.evidence.all()} == {
        changes.SETTINGS: [
            "- folder: /srv/market",
            "+ folder: /srv/elsewhere",
            "~ another value for the variable APP_ENV",
        ],
        changes.POLICY: ["- deadline_s: 3600", "+ deadline_s: 7200"],
        plans.IDENTITY: ["- database oid: 16384", "+ database oid: 7"],
    }
    assert {each.outcome for each in run.evidence.all()} == {"failed"}


def test_a_database_that_was_given_up_is_told_without_another() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    Target.objects.filter(pk=place.target.pk).update(identity=None)

    attempts.claim(actor=WORKER, number=run.number)

    (check,) = run.evidence.all()
    assert (check.check_name, check.observed, check.detail) == (plans.IDENTITY, "given up, and none is enrolled", [])


def test_a_run_that_is_refused_at_its_claim_has_no_such_evidence() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    changes.expire(place, run)

    assert attempts.claim(actor=WORKER, number=run.number).state == "refused"
    assert not run.evidence.exists()
