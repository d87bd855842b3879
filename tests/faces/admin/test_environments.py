"""Environments and memberships through the admin's forms."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission

from migrations_audit.models import Environment, Membership, Role, Tier
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, fields, list_url, submit, text


def test_a_superuser_adds_an_environment_with_requirements_in_lines(sign_in: SignIn) -> None:
    page = submit(
        sign_in("root"),
        add_url(Environment),
        name="Staging",
        slug="staging",
        tier=Tier.STAGING,
        queue="target-staging",
        requirements="1 database-administrator\n\n2 x owner\n",
    )

    assert "was added" in text(page)
    assert "successfully" not in text(page)
    environment = Environment.objects.get(slug="staging")
    assert environment.requirements == [{"role": "database-administrator", "count": 1}, {"role": "owner", "count": 2}]
    assert trail.last("environment.created").facts["actor"]["name"] == "root"
    assert LogEntry.objects.get().object_id == str(environment.pk)


def test_the_number_of_people_in_all_is_written_and_shown_as_a_line(sign_in: SignIn, place: people.Place) -> None:
    client = sign_in("root")
    submit(
        client,
        add_url(Environment),
        name="Staging",
        slug="staging",
        tier=Tier.STAGING,
        queue="target-staging",
        requirements="1 owner\n3 distinct people in all",
    )

    environment = Environment.objects.get(slug="staging")
    assert environment.requirements == [{"role": "owner", "count": 1}, {"people": 3}]
    assert fields(client, change_url(environment))["requirements"] == ["1 owner\n3 people in all"]


def test_a_form_sent_back_as_it_is_changes_nothing(sign_in: SignIn, place: people.Place) -> None:
    before = trail.head()

    submit(sign_in("root"), change_url(place.environment))

    place.environment.refresh_from_db()
    assert (place.environment.settings_version, trail.head()) == (1, before)


def test_the_findings_that_must_be_accepted_are_chosen_with_the_policy(sign_in: SignIn, place: people.Place) -> None:
    before = place.environment.policy_facts()["findings_must_be_accepted"]

    submit(sign_in("root"), change_url(place.environment), findings_must_be_accepted="warning")

    place.environment.refresh_from_db()
    assert (before, place.environment.findings_must_be_accepted) == ("", "warning")
    changes = trail.last("environment.changed").facts["facts"]["changed"]
    assert changes["findings_must_be_accepted"] == {"old": "", "new": "warning"}


def test_a_word_that_no_policy_knows_is_refused(sign_in: SignIn, place: people.Place) -> None:
    submit(sign_in("root"), change_url(place.environment), findings_must_be_accepted="none")

    place.environment.refresh_from_db()
    assert place.environment.findings_must_be_accepted == ""


def test_the_requirements_are_shown_as_lines(sign_in: SignIn, place: people.Place) -> None:
    shown = fields(sign_in("root"), change_url(place.environment))["requirements"]

    assert shown == ["1 database-administrator\n1 owner"]


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("requirements", "1 owner\ntwo dba", "Line 2 is not a requirement"),
        ("requirements", "", "at least one approval requirement"),
        ("requirements", "1 owner\n1 owner", "Name each role once"),
        ("requirements", "99 owner", "from 1 to 10"),
        ("requirements", "2 owner\n1 people in all", "The roles alone need 2 people"),
        ("queue", "a b", "lower-case letters"),
        ("fresh_for_s", "100", "stale between two observations"),
        ("observe_every_s", "1", "greater than or equal to 10"),
        ("deadline_s", "many", "whole number"),
        ("tier", "moon", "Select a valid choice"),
        ("rehearsal", "sometimes", "Select a valid choice"),
        ("rehearsal_within_h", "721", "less than or equal to 720"),
        ("rehearsal_within_h", "-1", "greater than or equal to 0"),
        ("scratch_reference", "postgresql://u:hunter2@h/db", "This held a password"),
        ("scratch_reference", "db.example", "never the URL itself"),
        ("scratch_reference", "file:relative", "never the URL itself"),
        ("name", "postgresql://u:hunter2@h/db", "This held a password"),
    ],
)
def test_nonsense_is_refused_with_a_sentence_and_nothing_is_stored(
    sign_in: SignIn, place: people.Place, field: str, typed: str, sentence: str
) -> None:
    before = trail.head()

    page = submit(sign_in("root"), change_url(place.environment), **{field: typed})

    assert sentence in errors(page)
    assert "hunter2" not in page.content.decode()
    place.environment.refresh_from_db()
    assert (place.environment.settings_version, trail.head(), LogEntry.objects.count()) == (1, before, 0)


def test_what_is_demanded_of_rehearsals_is_stored_and_told(sign_in: SignIn, place: people.Place) -> None:
    page = submit(
        sign_in("root"),
        change_url(place.environment),
        rehearsal="passed",
        rehearsal_within_h="24",
        scratch_reference="env:COPIES_URL",
    )

    assert "was changed" in text(page)
    place.environment.refresh_from_db()
    assert (place.environment.rehearsal, place.environment.rehearsal_within_h) == ("passed", 24)
    assert place.environment.scratch_reference == "env:COPIES_URL"
    assert "COPIES_URL" in str(trail.last("environment.changed").facts)


def test_two_people_at_one_form_the_second_is_told(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("root"), change_url(place.environment)
    opened = fields(client, url)
    submit(client, url, deadline_s="1200")

    page = client.post(url, opened | {"deadline_s": "1800"})

    assert "Somebody changed Production since you opened the page" in errors(page)
    place.environment.refresh_from_db()
    assert place.environment.deadline_s == 1200


def test_a_link_cannot_fill_in_a_policy(sign_in: SignIn) -> None:
    filled = fields(sign_in("root"), f"{add_url(Environment)}?requirements=&tier=development&name=Trap")

    assert filled["name"] == [""]


@pytest.mark.parametrize("name", ["viewer", "admin", "dba"])
def test_others_look_at_the_policy_and_cannot_send_the_form(sign_in: SignIn, place: people.Place, name: str) -> None:
    client, url = sign_in(name), change_url(place.environment)
    page = client.get(url)

    answer = client.post(url, {"name": "Mine", "requirements": "1 owner", "tier": "development"})

    assert "1 database-administrator, 1 owner" in text(page)
    assert 'name="requirements"' not in page.content.decode()
    assert answer.status_code == 403
    trail.denied(verb="admin.environment.change", code="denied")
    place.environment.refresh_from_db()
    assert place.environment.name == "Production"


def test_the_permission_of_djangos_opens_the_form(sign_in: SignIn, place: people.Place) -> None:
    place.people["outsider"].user_permissions.add(Permission.objects.get(codename="change_environment"))

    submit(sign_in("outsider"), change_url(place.environment), name="Prod")

    assert trail.last("environment.changed").actor == "outsider"


def test_somebody_without_any_role_sees_no_environment(sign_in: SignIn, place: people.Place) -> None:
    client = sign_in("outsider")

    assert client.get(list_url(Environment)).status_code == 403
    assert client.get(change_url(place.environment)).status_code == 403


def test_a_person_sees_only_environments_of_the_own_roles(sign_in: SignIn, place: people.Place) -> None:
    other = people.make_place(slug="secretive", project=place.project)
    for membership in Membership.objects.filter(environment=other.environment):
        membership.group.user_set.clear()

    page = sign_in("viewer").get(list_url(Environment))
    filtered = sign_in("viewer").get(f"{list_url(Environment)}?slug__startswith=sec")

    assert "Production" in text(page)
    assert "Secretive" not in text(page) + text(filtered)
    assert sign_in("viewer").get(change_url(other.environment)).status_code == 302


def test_deleting_an_environment_with_targets_is_refused_with_a_sentence(sign_in: SignIn, place: people.Place) -> None:
    for page in (
        sign_in("root").get(delete_url(place.environment), follow=True),
        sign_in("root").post(delete_url(place.environment), {"post": "yes"}, follow=True),
    ):
        assert "Production has 1 target. Remove those first" in text(page)
    assert Environment.objects.filter(pk=place.environment.pk).exists()


def test_deleting_an_empty_environment_leaves_an_event(sign_in: SignIn, place: people.Place) -> None:
    place.target.delete()

    sign_in("root").post(delete_url(place.environment), {"post": "yes"})

    assert not Environment.objects.exists()
    assert len(trail.last("environment.removed").facts["facts"]["memberships"]) == 7


def test_an_administrator_adds_and_removes_a_membership(sign_in: SignIn, place: people.Place) -> None:
    group = Group.objects.create(name="night shift")
    client = sign_in("admin")

    page = submit(
        client,
        add_url(Membership),
        environment=str(place.environment.pk),
        group=str(group.pk),
        role=Role.APPROVER,
        approver_role="owner",
    )
    client.post(delete_url(Membership.objects.get(group=group)), {"post": "yes"})

    assert "night shift is approver: owner in Production" in text(page)
    assert trail.last("membership.created").environment == "production"
    assert trail.last("membership.removed").actor == "admin"


def test_a_membership_changes_its_role_and_not_its_environment(sign_in: SignIn, place: people.Place) -> None:
    membership = Membership.objects.get(role=Role.VIEWER)

    client, url = sign_in("admin"), change_url(membership)

    submit(client, url, role=Role.OPERATOR)

    assert "environment" not in fields(client, url)
    assert trail.last("membership.changed").facts["facts"]["changed"] == {"role": {"old": "viewer", "new": "operator"}}


def test_a_membership_that_means_nothing_is_refused_at_its_field(sign_in: SignIn, place: people.Place) -> None:
    membership = Membership.objects.get(role=Role.VIEWER)

    page = submit(sign_in("admin"), change_url(membership), approver_role="owner")

    assert "Only an approver has an approver role" in errors(page) or "Name the approver role" in errors(page)


def test_an_administrator_cannot_choose_another_environment(sign_in: SignIn, place: people.Place) -> None:
    other = Environment.objects.create(slug="other", name="Other", tier=Tier.STAGING, queue="other")
    group = Group.objects.get(name="production dev")

    page = submit(
        sign_in("admin"), add_url(Membership), environment=str(other.pk), group=str(group.pk), role=Role.OPERATOR
    )

    assert "Select a valid choice" in errors(page)


@pytest.mark.parametrize(("who", "is_led"), [("root", True), ("viewer", False)])
def test_the_history_of_the_forms_says_that_the_whole_is_in_the_audit(
    place: people.Place, sign_in: SignIn, who: str, is_led: bool
) -> None:
    page = sign_in(who).get(f"/migrations_audit/environment/{place.environment.pk}/history/").content.decode()

    assert "This list holds only what was entered in the forms here" in page
    assert ('href="/audit/?action=environment."' in page) is is_led
