"""Who may become an approver of production takes two people, and what was proposed stays what it was proposed about."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit.actions import people, proposals, registry, registry_rights
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from migrations_audit.models import Membership, PolicyProposal, Role
from migrations_audit.queries import second_person
from tests.domain import trail
from tests.domain.test_two_people import in_use, root
from tests.people import Place, at_once, make_place, make_user, observe

pytestmark = pytest.mark.django_db


def test_those_who_are_named_can_confirm_and_others_with_the_permission_alone_cannot() -> None:
    place = in_use()
    permission = Permission.objects.get(codename="change_environment")
    for name in ("viewer", "outsider"):
        place.people[name].user_permissions.add(permission)
    values: dict[str, Any] = {
        "environment": place.environment,
        "group": Group.objects.create(name="friends"),
        "role": Role.APPROVER,
    }
    proposal = proposals.save_membership(actor=root(place), **values, approver_role="owner")
    assert isinstance(proposal, PolicyProposal)

    assert proposals.who_confirms(proposal).endswith("confirms it: admin, viewer.")
    with pytest.raises(proposals.NoSuchProposal):
        proposals.confirm(actor=place.actor("outsider"), proposal_id=proposal.pk)
    assert proposals.confirm(actor=place.actor("viewer"), proposal_id=proposal.pk).decision == "confirmed"


def test_another_approver_of_two_environments_takes_somebody_who_administers_both() -> None:
    first = in_use()
    second = make_place(slug="live", project=first.project)
    observe(second)
    group, dev = Group.objects.get(name="production dba"), first.people["dev"]
    Membership.objects.create(environment=second.environment, group=group, role=Role.APPROVER, approver_role="owner")
    carol, carols = make_user("carol"), Group.objects.create(name="carols")
    carols.user_set.add(carol)
    Membership.objects.create(environment=second.environment, group=carols, role=Role.ADMINISTRATOR)
    Membership.objects.create(environment=first.environment, group=carols, role=Role.VIEWER)
    (proposal,) = proposals.change_user(actor=root(first), user_id=dev.pk, groups=[group])

    assert "carol" not in proposals.who_confirms(proposal)
    with pytest.raises(registry_rights.MayNotRegister, match="every environment that it touches"):
        proposals.confirm(actor=Actor(kind=ActorKind.USER, name="carol", user_id=carol.pk), proposal_id=proposal.pk)


def test_a_membership_that_became_another_groups_is_not_confirmed() -> None:
    place = in_use()
    trusted, friends = Group.objects.create(name="trusted"), Group.objects.create(name="friends")
    viewers = registry.save_membership(
        actor=root(place), environment=place.environment, group=trusted, role=Role.VIEWER
    )
    proposal = proposals.save_membership(
        actor=place.actor("admin"), membership_id=viewers.pk, role=Role.APPROVER, approver_role="owner"
    )
    assert isinstance(proposal, PolicyProposal)
    (shown,) = second_person.open_for(place.people["root"].pk)
    assert shown.about == "trusted is viewer in Production"
    proposals.save_membership(actor=place.actor("admin"), membership_id=viewers.pk, group=friends)

    with pytest.raises(ChangedMeanwhile, match="propose it again"):
        proposals.confirm(actor=place.actor("root"), proposal_id=proposal.pk)


def test_a_membership_that_is_gone_is_declined() -> None:
    place = in_use()
    viewers = Membership.objects.get(role=Role.VIEWER)
    proposal = proposals.save_membership(
        actor=root(place), membership_id=viewers.pk, role=Role.APPROVER, approver_role="owner"
    )
    assert isinstance(proposal, PolicyProposal)
    registry.remove_membership(actor=place.actor("admin"), membership_id=viewers.pk)

    with pytest.raises(Invalid, match="not there any more"):
        proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)
    assert proposals.decline(actor=place.actor("admin"), proposal_id=proposal.pk, reason="Gone.").decision == "declined"


def test_many_proposals_cost_as_many_queries_as_one() -> None:
    place = in_use()
    ada = root(place)
    groups = [Group.objects.create(name=f"g{number}") for number in range(6)]
    values: dict[str, Any] = {"environment": place.environment, "role": Role.APPROVER, "approver_role": "owner"}
    proposals.save_membership(actor=ada, group=groups[0], **values)
    with CaptureQueriesContext(connection) as one:
        second_person.open_for(ada.user_id)
    for group in groups[1:]:
        proposals.save_membership(actor=ada, group=group, **values)

    with CaptureQueriesContext(connection) as many:
        assert len(second_person.open_for(ada.user_id)) == 6

    assert len(many) == len(one)


def test_a_confirmation_and_the_removal_of_what_it_is_about_do_not_block_each_other(real_transactions: None) -> None:
    first = in_use()
    for number in range(5):
        place = make_place(slug=f"prod{number}", project=first.project)
        observe(place)
        ada = root(place, f"root{number}")
        group = Group.objects.create(name=f"friends{number}")
        made = registry.save_membership(actor=ada, environment=place.environment, group=group, role=Role.VIEWER)
        proposal = proposals.save_membership(
            actor=ada, membership_id=made.pk, role=Role.APPROVER, approver_role="owner"
        )
        assert isinstance(proposal, PolicyProposal)

        answers = at_once(
            2,
            lambda index, pk=proposal.pk, made=made, place=place, ada=ada: (  # type: ignore[misc]
                registry.remove_membership(actor=ada, membership_id=made.pk)
                if index
                else proposals.confirm(actor=place.actor("admin"), proposal_id=pk)
            ),
        )

        assert all(not isinstance(answer, Exception) or isinstance(answer, Invalid) for answer in answers), answers


def made_approvers(place: Place, group: Group) -> Membership | PolicyProposal:
    """A superuser's wish that the group approves as owners."""
    return proposals.save_membership(
        actor=root(place), environment=place.environment, group=group, role=Role.APPROVER, approver_role="owner"
    )


def test_a_membership_that_adds_approvers_is_proposed_and_confirmed() -> None:
    place = in_use()
    group = Group.objects.create(name="friends")

    proposal = made_approvers(place, group)
    assert isinstance(proposal, PolicyProposal)
    before = Membership.objects.filter(group=group).count()
    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    assert (before, Membership.objects.get(group=group).approver_role) == (0, "owner")
    assert trail.last("membership.created").actor == "admin"


def test_a_membership_that_becomes_an_approvers_is_proposed_and_others_are_not() -> None:
    place = in_use()
    ada = root(place)
    viewers = Membership.objects.get(role=Role.VIEWER)
    group = Group.objects.create(name="friends")

    proposed = proposals.save_membership(actor=ada, membership_id=viewers.pk, role=Role.APPROVER, approver_role="owner")
    stored = proposals.save_membership(actor=ada, environment=place.environment, group=group, role=Role.OPERATOR)

    assert isinstance(proposed, PolicyProposal)
    assert isinstance(stored, Membership)
    assert Membership.objects.get(pk=viewers.pk).role == Role.VIEWER


def test_a_group_that_is_gone_cannot_be_confirmed() -> None:
    place = in_use()
    group = Group.objects.create(name="friends")
    proposal = made_approvers(place, group)
    group.delete()

    with pytest.raises(Invalid, match="is not there any more"):
        proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)


def test_a_superuser_alone_puts_nobody_into_a_group_of_approvers() -> None:
    place = in_use()
    ada, dev = root(place), place.people["dev"]
    approvers, viewers = place.people["dba"].groups.get(), place.people["viewer"].groups.get()

    with pytest.raises(registry_rights.NeedsSecondPerson, match="that dev enters is proposed"):
        people.change_user(actor=ada, user_id=dev.pk, groups=[approvers])
    (proposal,) = proposals.change_user(actor=ada, user_id=dev.pk, groups=[approvers, viewers], first_name="Dev")
    entered = set(dev.groups.all())
    proposals.confirm(actor=place.actor("admin"), proposal_id=proposal.pk)

    dev.refresh_from_db()
    assert (entered, dev.first_name) == ({viewers}, "Dev")
    assert set(dev.groups.all()) == {viewers, approvers}
    assert trail.last("user.changed").actor == "admin"
    assert str(proposal) == f"Proposal {proposal.pk} for another approver in Production"


def test_groups_that_one_has_already_and_groups_without_approvers_take_one_person() -> None:
    place = in_use()
    dba = place.people["dba"]
    groups = [*dba.groups.all(), place.people["operator"].groups.get()]

    assert proposals.change_user(actor=root(place), user_id=dba.pk, groups=groups) == []
    assert set(dba.groups.all()) == set(groups)


def test_the_same_person_and_group_are_proposed_once() -> None:
    place = in_use()
    ada, dev, approvers = root(place), place.people["dev"], place.people["dba"].groups.get()
    proposals.change_user(actor=ada, user_id=dev.pk, groups=[approvers])

    with pytest.raises(proposals.OpenProposal, match="for another approver in Production is open, by root"):
        proposals.change_user(actor=ada, user_id=dev.pk, groups=[approvers])
