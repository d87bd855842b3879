"""What lets runs start in production at more times is proposed by one person and confirmed by another."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.actions import approvals, proposals, registry, registry_rights, registry_windows
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import PolicyProposal, Role, Window
from tests import windowing
from tests.domain import trail
from tests.people import Place, add_person, at_once, make_place, make_run, observe

pytestmark = pytest.mark.django_db

NIGHTLY: dict[str, Any] = {
    "kind": "allow",
    "cron": "0 22 * * 1-5",
    "duration_minutes": 240,
    "time_zone": "Europe/Zurich",
    "description": "nightly",
}


def in_use(**environment: Any) -> tuple[Place, Actor]:
    """Production of which something was read, and its superuser."""
    place = make_place(**environment)
    observe(place)
    return place, add_person(place, "root", superuser=True)


def change(actor: Actor, window: Window, **values: Any) -> Window | PolicyProposal:
    return proposals.save_window(actor=actor, window_id=window.pk, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"cron": "0 21 * * 1-5"},
        {"time_zone": "Asia/Tokyo"},
        {"kind": "deny"},
        {"duration_minutes": 61},
        {"overrun": True},
        {"duration_minutes": 59, "cron": "0 21 * * 1-5"},
    ],
)
def test_what_lets_runs_start_at_more_times_is_proposed(values: dict[str, Any]) -> None:
    place, root = in_use(deadline_s=60)
    window = windowing.opened(place.environment, overrun=False)

    proposal = change(root, window, **values)

    assert isinstance(proposal, PolicyProposal)
    assert str(proposal) == f"Proposal {proposal.pk} for a window of Production"
    assert set(trail.last("policy.proposed").facts["facts"]["changed"]) == set(values)
    before = Window.objects.get(pk=window.pk)
    assert [getattr(before, name) for name in values] == [getattr(window, name) for name in values]
    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)
    after = Window.objects.get(pk=window.pk)
    assert {name: getattr(after, name) for name in values} == values
    assert trail.last("window.changed").actor == "admin"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("opened", {"description": "always on"}),
        ("opened", {"duration_minutes": 59}),
        ("opened", {"overrun": False}),
        ("closed", {"duration_minutes": 61}),
        ("closed", {"overrun": False, "description": "year end"}),
    ],
)
def test_what_can_only_make_less_time_takes_effect_at_once(kind: str, values: dict[str, Any]) -> None:
    place, root = in_use(deadline_s=60)
    window = getattr(windowing, kind)(place.environment)

    assert isinstance(change(root, window, **values), Window)


def test_a_shorter_time_in_which_runs_may_not_start_is_proposed() -> None:
    place, root = in_use()

    assert isinstance(change(root, windowing.closed(place.environment), duration_minutes=59), PolicyProposal)


def test_a_first_window_that_allows_and_any_that_denies_take_one_person_and_a_second_that_allows_takes_two() -> None:
    place, root = in_use()

    for values in (NIGHTLY, {**NIGHTLY, "kind": "deny"}):
        assert isinstance(proposals.save_window(actor=root, environment=place.environment, **values), Window)
    proposal = proposals.save_window(actor=root, environment=place.environment, **{**NIGHTLY, "description": "noon"})
    assert isinstance(proposal, PolicyProposal)
    with pytest.raises(proposals.OpenProposal):
        proposals.save_window(actor=root, environment=place.environment, **{**NIGHTLY, "description": "noon"})

    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    assert Window.objects.filter(description="noon").count() == 1
    assert trail.last("window.created").actor == "admin"


def test_a_removal_that_opens_production_is_proposed_and_the_window_goes_when_it_is_confirmed() -> None:
    place, root = in_use()
    window = windowing.closed(place.environment)

    proposal = proposals.remove_window(actor=root, window_id=window.pk)
    assert proposal is not None
    assert str(proposal) == f"Proposal {proposal.pk} for the removal of a window of Production"
    assert (proposal.before["cron"], proposal.after["cron"]) == ("* * * * *", None)
    with pytest.raises(proposals.SelfConfirmation):
        proposals.confirm(actor=root, proposal_id=proposal.pk)
    assert Window.objects.exists()

    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    assert not Window.objects.exists()
    proposal.refresh_from_db()
    assert (proposal.decision, proposal.window) == ("confirmed", None)
    assert trail.last("window.removed").actor == "admin"


def test_of_several_windows_that_allow_one_goes_at_once_and_the_last_takes_two_people() -> None:
    place, root = in_use()
    first, last = windowing.opened(place.environment), windowing.opens_in(place.environment, 3)

    assert proposals.remove_window(actor=root, window_id=first.pk) is None
    assert proposals.remove_window(actor=root, window_id=last.pk) is not None


def test_a_window_that_cannot_be_read_any_more_closes_production_so_its_removal_takes_two_people() -> None:
    place, root = in_use()
    windowing.opened(place.environment)
    unreadable = windowing.opened(place.environment, time_zone="Europe/Abolished")

    assert proposals.remove_window(actor=root, window_id=unreadable.pk) is not None
    assert Window.objects.filter(pk=unreadable.pk).exists()


def test_of_two_that_are_removed_at_once_one_is_proposed(real_transactions: None) -> None:
    place, root = in_use()
    both = [windowing.opened(place.environment), windowing.opens_in(place.environment, 3)]

    answers = at_once(2, lambda index: proposals.remove_window(actor=root, window_id=both[index].pk))

    assert sorted(answer is None for answer in answers) == [False, True]
    assert Window.objects.count() == 1


def test_nobody_goes_round_the_proposal_by_the_registrys_own_verbs() -> None:
    place, root = in_use()
    window = windowing.closed(place.environment)

    for attempt in (
        lambda: registry_windows.remove(actor=root, window_id=window.pk),
        lambda: registry_windows.save(actor=root, window_id=window.pk, duration_minutes=1),
    ):
        with pytest.raises(registry_rights.NeedsSecondPerson, match="more times is proposed"):
            attempt()

    window.refresh_from_db()
    assert window.duration_minutes == 60


def test_other_tiers_and_production_that_is_being_set_up_take_one_person() -> None:
    staging = make_place(slug="staging", tier="staging")
    observe(staging)
    fresh = make_place(slug="fresh", project=staging.project)
    root = add_person(staging, "root", superuser=True)

    for place in (staging, fresh):
        assert proposals.remove_window(actor=root, window_id=windowing.closed(place.environment).pk) is None


def test_a_window_that_changed_or_went_since_is_not_confirmed() -> None:
    place, root = in_use()
    window = windowing.closed(place.environment)
    removal = proposals.remove_window(actor=root, window_id=window.pk)
    shorter = change(root, window, duration_minutes=30)
    assert removal is not None
    assert isinstance(shorter, PolicyProposal)
    change(root, window, duration_minutes=90)

    for proposal in (removal, shorter):
        with pytest.raises(ChangedMeanwhile, match="propose it again"):
            proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)
    Window.objects.all().delete()
    for proposal in (removal, shorter):
        with pytest.raises(Invalid, match="is not there any more"):
            proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)
    assert proposals.decline(actor=root, proposal_id=removal.pk, reason="Gone.").decision == "declined"


def test_a_change_of_the_environments_other_settings_does_not_overtake_a_windows_proposal() -> None:
    place, root = in_use()
    proposal = proposals.remove_window(actor=root, window_id=windowing.closed(place.environment).pk)
    assert proposal is not None
    registry.save_environment(actor=root, environment_id=place.environment.pk, name="Live")

    assert proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk).decision == "confirmed"


def test_whoever_may_not_change_windows_proposes_nothing() -> None:
    place, _ = in_use()
    window = windowing.closed(place.environment)

    for name in ("admin", "operator", "dba"):
        with pytest.raises(registry_rights.MayNotRegister):
            proposals.remove_window(actor=place.actor(name), window_id=window.pk)

    assert not PolicyProposal.objects.exists()


@pytest.mark.parametrize("who", ["proposer", "direct"])
def test_whoever_edited_the_windows_does_not_approve_what_was_requested_before(who: str) -> None:
    place, _ = in_use()
    keeper = add_person(place, "keeper", (Role.APPROVER, "owner"), superuser=True)
    window = windowing.closed(place.environment)
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    if who == "proposer":
        proposals.remove_window(actor=keeper, window_id=window.pk)
    else:
        change(keeper, window, duration_minutes=90)

    with pytest.raises(
        approvals.EditedAfterRequest, match=r"keeper (proposed a change of|edited the windows of) the environment"
    ):
        approvals.approve(actor=keeper, number=run.number, digest=run.plan.digest)
