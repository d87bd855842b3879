"""What is asked for on the target page: Check now, Plan upgrade, Plan rollback, Forget identity."""

from __future__ import annotations

import pytest

from migrations_audit.actions import attempts, plans, runs
from migrations_audit.models import MigrationRun, Target
from migrations_audit.states import Operation, TargetStatus
from tests import people
from tests.faces.web.graphs import observe_with_graph
from tests.faces.web.visitor import Visitor, VisitorOf, events

GOOD = {"revision": "head", "reason": "Production lacks 003.", "ticket": "OPS-7"}


def path(place: people.Place, verb: str = "") -> str:
    return f"/targets/{place.target.pk}/{verb}"


def test_anyone_who_sees_the_target_may_have_it_checked(place: people.Place, visitor: VisitorOf) -> None:
    viewer = visitor("viewer")

    answer = viewer.post(path(place, "check"))

    assert (answer.status, answer.location) == (303, path(place))
    assert "A worker was asked to read market/production/main." in viewer.said()
    assert len(events("target.check_requested")) == 1


def test_check_now_on_a_run_page_leads_back_to_the_run(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)
    viewer = visitor("viewer")

    assert viewer.post(path(place, "check"), run=str(run.number)).location == f"/runs/{run.number}/"
    assert viewer.post(path(place, "check"), run="//evil.example").location == path(place)


def test_a_requester_plans_an_upgrade_and_lands_on_the_run(place: people.Place, visitor: VisitorOf) -> None:
    dev = visitor("dev")

    answer = dev.post(path(place, "upgrade"), **GOOD)

    run = MigrationRun.objects.get()
    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    assert (run.requested, run.reason, run.ticket, run.requester_name) == ("head", GOOD["reason"], "OPS-7", "dev")
    assert "market/production/main to head" in dev.run(run).part("status")


@pytest.mark.parametrize("revision", ["", "--sql", "a:b", "base", "head --sql", "x\x00y", "\u202e003", "é"])
def test_an_odd_revision_comes_back_with_everything_typed(
    place: people.Place, visitor: VisitorOf, revision: str
) -> None:
    answer = visitor("dev").post(path(place, "upgrade"), **{**GOOD, "revision": revision})

    assert answer.status == 400
    assert 'id="upgrade-error"' in answer.source
    assert GOOD["reason"] in answer.words
    assert 'value="OPS-7"' in answer.source
    assert not MigrationRun.objects.exists()


def test_an_upgrade_without_a_reason_is_asked_for_one(place: people.Place, visitor: VisitorOf) -> None:
    answer = visitor("dev").post(path(place, "upgrade"), **{**GOOD, "reason": " "})

    assert answer.status == 400
    assert "Give a reason: the approvers and the audit need it." in answer.words


def test_asking_for_the_same_twice_is_told_and_nothing_typed_is_lost(place: people.Place, visitor: VisitorOf) -> None:
    dev = visitor("dev")
    dev.post(path(place, "upgrade"), **GOOD)

    answer = dev.post(path(place, "upgrade"), **GOOD)

    assert answer.status == 409
    assert "already asks for upgrade to head" in answer.words
    assert GOOD["reason"] in answer.source
    assert MigrationRun.objects.count() == 1


def test_a_viewer_cannot_ask(place: people.Place, visitor: VisitorOf) -> None:
    assert visitor("viewer").post(path(place, "upgrade"), **GOOD).status == 403
    assert not MigrationRun.objects.exists()
    assert len(events("access.denied")) == 1


def test_a_stranger_cannot_ask(place: people.Place) -> None:
    assert Visitor(None).post(path(place, "upgrade"), **GOOD).status == 302
    assert not MigrationRun.objects.exists()


def test_somebody_who_may_not_see_the_target_gets_404(place: people.Place, visitor: VisitorOf) -> None:
    assert visitor("outsider").post(path(place, "upgrade"), **GOOD).status == 404


def test_a_rollback_offers_the_revisions_below_and_has_its_own_form(place: people.Place, visitor: VisitorOf) -> None:
    observe_with_graph(place, rows=["003"])
    dev = visitor("dev")

    page = dev.get(path(place))
    answer = dev.post(path(place, "rollback"), revision="002", reason="003 locks too long.")

    assert '<option value="002"' in page.source
    assert '<option value="001"' in page.source
    assert '<option value="003"' not in page.source
    run = MigrationRun.objects.get()
    assert (run.operation, run.requested, answer.location) == ("rollback", "002", f"/runs/{run.number}/")
    assert "This is a rollback" in dev.run(run).words


def test_the_rollback_of_a_run_is_prepared_with_its_number(place: people.Place, visitor: VisitorOf) -> None:
    observe_with_graph(place, rows=["003"])
    run = people.finish(place, people.make_run(place, state="running"))
    dev = visitor("dev")

    assert f"?rolls_back={run.number}#rollback" in dev.run(run).source
    page = dev.get(f"{path(place)}?rolls_back={run.number}")
    dev.post(path(place, "rollback"), revision="002", reason="Back.", rolls_back=str(run.number))

    assert f'autocomplete="off" value="{run.number}"' in page.source
    assert MigrationRun.objects.get(rolls_back=run).requested == "002"
    assert "Rollback asked for:" in dev.run(run).words


def begun_at(place: people.Place, rows: list[str]) -> MigrationRun:
    """A verified run from these rows to 003."""
    run = people.make_run(place, state="planning")
    draft = people.make_draft(place, from_revisions=rows, base_observation=people.observe(place, revisions=rows))
    plan = plans.record(actor=people.WORKER, number=run.number, epoch=run.epoch, draft=draft)
    people.approve_by_all(place, run.number, plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=plan.digest, confirm=place.target.label)
    ended = people.finish(place, attempts.claim(actor=people.WORKER, number=run.number))
    observe_with_graph(place, rows=["003"])
    return ended


def back(place: people.Place, undone: MigrationRun, to: list[str]) -> MigrationRun:
    """A planned rollback of that run to these rows."""
    run = people.make_run(
        place,
        state="planning",
        revision=to[0] if to else "base",
        operation=Operation.ROLLBACK,
        rolls_back=undone.number,
    )
    draft = people.make_draft(place, from_revisions=["003"], to_revisions=to)
    plans.record(actor=people.WORKER, number=run.number, epoch=run.epoch, draft=draft)
    return run


@pytest.mark.parametrize(("rows", "chosen"), [(["002"], "002"), (["001"], "001"), ([], "base")])
def test_where_a_run_began_is_chosen_for_its_rollback(
    place: people.Place, visitor: VisitorOf, rows: list[str], chosen: str
) -> None:
    run = begun_at(place, rows)

    page = visitor("dev").get(f"{path(place)}?rolls_back={run.number}")

    assert page.source.count(" selected>") == 1
    assert f'<option value="{chosen}" selected>' in page.source
    assert f"Run {run.number} began at {chosen}: going back to there takes back what it applied." in page.words


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["002", "abc"], "began at 002, abc, which has no single name to go back to."),
        (["000"], "began at 000, which is not below where the target was read last."),
    ],
)
def test_where_nobody_can_go_back_to_nothing_is_chosen(
    place: people.Place, visitor: VisitorOf, rows: list[str], words: str
) -> None:
    run = begun_at(place, rows)

    page = visitor("dev").get(f"{path(place)}?rolls_back={run.number}")

    assert " selected>" not in page.source
    assert words in page.words


def test_the_run_of_another_target_chooses_nothing(place: people.Place, visitor: VisitorOf) -> None:
    observe_with_graph(place, rows=["003"])
    other = people.make_place(slug="staging", tier="staging", project=place.project)
    run = people.make_run(other, state="awaiting_approval")

    page = visitor("dev").get(f"{path(place)}?rolls_back={run.number}")

    assert " selected>" not in page.source
    assert f"Run {run.number} began" not in page.words


def test_what_somebody_chose_is_not_chosen_anew_after_an_error(place: people.Place, visitor: VisitorOf) -> None:
    run = begun_at(place, ["001"])

    page = visitor("dev").post(path(place, "rollback"), revision="002", reason=" ", rolls_back=str(run.number))

    assert page.status == 400
    assert '<option value="002" selected>' in page.source
    assert page.source.count(" selected>") == 1
    assert f"Run {run.number} began at 001" in page.words


@pytest.mark.parametrize(("to", "says"), [(["002"], False), (["001"], True), ([], True)])
def test_a_rollback_that_leads_elsewhere_than_its_run_began_says_so(
    place: people.Place, visitor: VisitorOf, to: list[str], says: bool
) -> None:
    run = begun_at(place, ["002"])

    words = visitor("dba").run(back(place, run, to)).part("status")

    assert f"It rolls back run {run.number} ." in words
    leads = f"Another revision was chosen: run {run.number} began at 002, and this leads to {''.join(to) or 'base'}."
    assert (leads in words) is says
    assert ("Another revision" in words) is says


def test_a_rollback_does_not_go_forward(place: people.Place, visitor: VisitorOf) -> None:
    observe_with_graph(place, rows=["003"])

    answer = visitor("dev").post(path(place, "rollback"), revision="head", reason="Back.")

    assert answer.status == 400
    assert "that is an upgrade; use Plan upgrade" in answer.words


def test_an_administrator_forgets_the_identity_with_a_reason(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    admin = visitor("admin")

    silent = admin.post(path(place, "forget"), reason=" ")
    answer = admin.post(path(place, "forget"), reason="Restored from the backup of Monday.")

    assert silent.status == 400
    assert "Say why the enrolled identity is given up." in silent.words
    assert answer.status == 303
    assert Target.objects.get(pk=place.target.pk).identity is None
    assert events("target.identity_forgotten")[0].facts["facts"]["reason"] == "Restored from the backup of Monday."


def test_forgetting_twice_is_told(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)
    admin = visitor("admin")
    admin.post(path(place, "forget"), reason="Replaced.")

    answer = admin.post(path(place, "forget"), reason="Replaced.")

    assert answer.status == 303
    assert "has no enrolled identity" in admin.said()


def test_a_requester_cannot_forget_the_identity(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, status=TargetStatus.WRONG_DATABASE)

    assert visitor("dev").post(path(place, "forget"), reason="x").status == 403
