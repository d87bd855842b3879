"""Production's policy is changed by two people: one proposes, a second administrator confirms."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.actions import approvals, proposals, registry, registry_rights
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import Environment, PolicyProposal, Role
from migrations_audit.models.clock import database_now
from tests.domain import raw, trail
from tests.people import Place, add_person, at_once, make_place, make_run, observe

pytestmark = pytest.mark.django_db

LESS = [{"role": "owner", "count": 1}]


def in_use() -> Place:
    """Production of which something was read."""
    place = make_place()
    observe(place)
    return place


def root(place: Place, name: str = "root") -> Actor:
    return add_person(place, name, superuser=True)


def save(place: Place, actor: Actor, **values: Any) -> Environment | PolicyProposal:
    return proposals.save_environment(actor=actor, environment_id=place.environment.pk, **values)


def propose(place: Place, actor: Actor, **values: Any) -> PolicyProposal:
    stored = save(place, actor, **(values or {"requirements": LESS}))
    assert isinstance(stored, PolicyProposal)
    return stored


def now_of(place: Place) -> Environment:
    return Environment.objects.get(pk=place.environment.pk)


def test_a_superuser_alone_changes_nothing_that_production_rests_on() -> None:
    place = in_use()
    ada = root(place)

    proposal = propose(place, ada)
    with pytest.raises(proposals.SelfConfirmation):
        proposals.confirm(actor=ada, proposal_id=proposal.pk)

    assert now_of(place).requirements == place.environment.requirements
    assert now_of(place).settings_version == 1
    trail.denied(verb="proposals.confirm", code="self_confirmation")


def test_a_second_administrator_puts_it_into_force() -> None:
    place = in_use()
    proposal = propose(place, root(place))

    confirmed = proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    assert (confirmed.decision, confirmed.decided_by_name) == ("confirmed", "admin")
    assert (now_of(place).requirements, now_of(place).settings_version) == (LESS, 2)
    changed = trail.last("environment.changed").facts
    assert (changed["actor"]["name"], set(changed["facts"]["changed"])) == ("admin", {"requirements"})


def test_every_step_leaves_an_event_with_what_is_and_what_would_be() -> None:
    place = in_use()
    first = propose(place, root(place))
    proposals.decline(actor=place.actor("admin"), proposal_id=first.pk, reason="Two people are the rule.")
    second = propose(place, place.actor("root"), deadline_s=7_200)
    proposals.confirm(actor=place.actor("admin"), proposal_id=second.pk)

    proposed, declined = trail.last("policy.proposed").facts["facts"], trail.last("policy.declined").facts["facts"]
    confirmed = trail.last("policy.confirmed")

    assert proposed["changed"] == {"deadline_s": {"old": 3_600, "new": 7_200}}
    assert declined["changed"]["requirements"] == {"old": place.environment.requirements, "new": LESS}
    assert (declined["reason"], declined["proposed_by"]) == ("Two people are the rule.", "root")
    assert (confirmed.actor, confirmed.object_id, confirmed.environment) == ("admin", "production", "production")


@pytest.mark.parametrize(
    "values",
    [
        {"requirements": LESS},
        {"isolation": "none"},
        {"tier": "staging"},
        {"approval_lifetime_s": 172_800},
        {"lock_timeout_ms": 2_000},
        {"statement_timeout_ms": 1_800_000},
        {"lock_retry_budget_s": 1_200},
        {"lock_budget_s": 120},
        {"deadline_s": 7_200},
        {"name": "Live", "deadline_s": 7_200},
    ],
)
def test_what_loosens_is_proposed(values: dict[str, Any]) -> None:
    place = in_use()

    propose(place, root(place), **values)

    assert now_of(place).policy_facts() == place.environment.policy_facts()


@pytest.mark.parametrize(
    "values",
    [
        {"name": "Live"},
        {"position": 9},
        {"approval_lifetime_s": 3_600},
        {"lock_timeout_ms": 500},
        {"statement_timeout_ms": 600_000},
        {"lock_retry_budget_s": 0},
        {"lock_budget_s": 30},
        {"deadline_s": 1_800},
    ],
)
def test_what_tightens_or_does_not_matter_takes_effect_at_once(values: dict[str, Any]) -> None:
    place = in_use()

    stored = save(place, root(place), **values)

    assert isinstance(stored, Environment)
    assert {name: getattr(now_of(place), name) for name in values} == values


@pytest.mark.parametrize("tier", ["development", "staging"])
def test_other_tiers_take_one_person(tier: str) -> None:
    place = make_place(slug=tier, tier=tier)
    observe(place)

    assert isinstance(save(place, root(place), requirements=LESS, deadline_s=7_200), Environment)


def test_production_that_is_being_set_up_takes_one_person() -> None:
    place = make_place()
    ada = root(place)
    made = proposals.save_environment(
        actor=ada, slug="live", name="Live", tier="production", queue="target-live", requirements=LESS
    )

    assert isinstance(made, Environment)
    assert isinstance(save(place, ada, requirements=LESS), Environment)


def test_nobody_goes_round_the_proposal_by_the_registrys_own_verb() -> None:
    place = in_use()

    with pytest.raises(registry_rights.NeedsSecondPerson, match="a change of requirements is proposed"):
        registry.save_environment(actor=root(place), environment_id=place.environment.pk, requirements=LESS)

    assert now_of(place).requirements == place.environment.requirements


def test_what_could_not_be_stored_is_not_proposed() -> None:
    place = in_use()

    with pytest.raises(Invalid, match="at least one approval requirement"):
        save(place, root(place), requirements=[])

    assert not PolicyProposal.objects.exists()


def test_there_is_one_open_proposal_for_a_policy() -> None:
    place = in_use()
    propose(place, root(place))

    with pytest.raises(proposals.OpenProposal):
        propose(place, root(place, "grace"), deadline_s=7_200)


@pytest.mark.parametrize("name", ["viewer", "dba", "owner", "operator", "auditor", "dev"])
def test_others_neither_confirm_nor_decline(name: str) -> None:
    place = in_use()
    proposal = propose(place, root(place))

    with pytest.raises(registry_rights.MayNotRegister):
        proposals.confirm(actor=place.actor(name), proposal_id=proposal.pk)
    with pytest.raises(registry_rights.MayNotRegister):
        proposals.decline(actor=place.actor(name), proposal_id=proposal.pk, reason="No.")

    trail.denied(verb="proposals.decline", code="may_not_register")


def test_a_stranger_and_a_token_do_not_see_or_decide_it() -> None:
    place = in_use()
    proposal = propose(place, root(place))

    with pytest.raises(proposals.NoSuchProposal):
        proposals.confirm(actor=place.actor("outsider"), proposal_id=proposal.pk)
    with pytest.raises(registry_rights.MayNotRegister):
        proposals.confirm(actor=place.token("admin", "run", "request"), proposal_id=proposal.pk)


def test_a_proposal_is_decided_once() -> None:
    place = in_use()
    proposal = propose(place, root(place))
    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    with pytest.raises(proposals.AlreadyClosed, match="admin has confirmed this at"):
        proposals.decline(actor=place.actor("admin"), proposal_id=proposal.pk, reason="Changed my mind.")


def test_whoever_proposed_may_decline_and_says_why() -> None:
    place = in_use()
    ada = root(place)
    proposal = propose(place, ada)

    with pytest.raises(Invalid, match="Say why"):
        proposals.decline(actor=ada, proposal_id=proposal.pk, reason=" ")
    assert proposals.decline(actor=ada, proposal_id=proposal.pk, reason="A mistake.").decision == "declined"


def test_a_proposal_that_the_settings_have_overtaken_is_not_confirmed() -> None:
    place = in_use()
    ada = root(place)
    proposal = propose(place, ada)
    Environment.objects.filter(pk=place.environment.pk).update(requirements=[{"role": "owner", "count": 2}])

    with pytest.raises(ChangedMeanwhile, match="Decline it, and propose it again"):
        proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)


def test_the_only_administrator_is_told_what_to_do() -> None:
    place = in_use()
    place.people["admin"].groups.clear()
    proposal = propose(place, root(place))

    alone = proposals.who_confirms(proposal)
    root(place, "grace")

    assert "A superuser makes a second one" in alone
    assert proposals.who_confirms(proposal).endswith("confirms it: grace.")


def test_another_name_of_the_environment_overtakes_nothing() -> None:
    place = in_use()
    ada = root(place)
    proposal = propose(place, ada)
    save(place, ada, name="Live")

    assert proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk).decision == "confirmed"


@pytest.mark.parametrize("who", ["proposer", "confirmer"])
def test_neither_of_the_two_approves_a_run_that_was_requested_before(who: str) -> None:
    place = in_use()
    role = (Role.APPROVER, "owner")
    two = {
        "proposer": add_person(place, "proposer", role, superuser=True),
        "confirmer": add_person(place, "confirmer", role, superuser=True),
    }
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    proposal = propose(place, two["proposer"])
    proposals.confirm(actor=two["confirmer"], proposal_id=proposal.pk)

    with pytest.raises(approvals.EditedAfterRequest, match=rf"{who} (proposed|confirmed) a change of the environment"):
        approvals.approve(actor=two[who], number=run.number, digest=run.plan.digest)


def test_the_database_refuses_a_confirmation_by_the_proposer() -> None:
    place = in_use()
    proposal = propose(place, root(place))

    with raw.refused(match="a_second_person_confirms"):
        PolicyProposal.objects.filter(pk=proposal.pk).update(
            decision="confirmed", decided_by=proposal.proposed_by, decided_at=database_now()
        )


def test_of_a_confirmation_and_a_refusal_at_once_one_counts(real_transactions: None) -> None:
    place = in_use()
    proposal = propose(place, root(place))
    admin = place.actor("admin")

    answers = at_once(
        2,
        lambda index: (
            proposals.confirm(actor=admin, proposal_id=proposal.pk)
            if index
            else proposals.decline(actor=admin, proposal_id=proposal.pk, reason="Two people are the rule.")
        ),
    )

    assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]
    proposal.refresh_from_db()
    assert (now_of(place).requirements == LESS) == (proposal.decision == "confirmed")
