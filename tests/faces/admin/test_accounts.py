"""Accounts and groups in the admin: superusers only, every change in the chain, no hash anywhere."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Group, Permission, User

from migrations_audit.models import AuditEvent, Membership
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, fields, list_url, submit, text

NEW_PASSWORD = "several-words-that-nobody-guesses"


def test_a_superuser_makes_an_account_that_can_sign_in(sign_in: SignIn) -> None:
    submit(sign_in("root"), add_url(User), username="newcomer", password1=NEW_PASSWORD, password2=NEW_PASSWORD)

    user = User.objects.get(username="newcomer")
    assert user.check_password(NEW_PASSWORD)
    assert not user.is_superuser
    event = trail.last("user.created")
    assert event.object_id == "newcomer"
    assert NEW_PASSWORD not in event.body
    assert user.password not in event.body


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"username": "DBA"}, "already"),
        ({"username": "new\ncomer"}, "Enter a valid username"),
        ({"password1": "short", "password2": "short"}, "too short"),
        ({"password2": "another"}, "didn’t match"),
    ],
)
def test_an_odd_account_is_refused_with_a_sentence(sign_in: SignIn, typed: dict[str, str], sentence: str) -> None:
    asked = {"username": "newcomer", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD} | typed

    page = submit(sign_in("root"), add_url(User), **asked)

    assert sentence in errors(page)
    assert not User.objects.filter(username="newcomer").exists()


def test_switches_and_groups_are_told_with_old_and_new(sign_in: SignIn, place: people.Place) -> None:
    dev, group = place.people["dev"], Group.objects.create(name="night shift")
    groups = [str(each.pk) for each in (*dev.groups.all(), group)]

    submit(sign_in("root"), change_url(dev), is_superuser="on", groups=groups, email="dev@example.org")

    changed = trail.last("user.changed").facts["facts"]["changed"]
    assert changed == {
        "email": "changed",
        "is_superuser": {"old": False, "new": True},
        "groups": {"old": ["production dev"], "new": ["night shift", "production dev"]},
    }
    assert User.objects.get(username="dev").groups.count() == 2


def test_switching_an_account_off_is_told_and_ends_its_rights(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("root"), change_url(place.people["dba"])
    form = fields(client, url)
    form.pop("is_active")

    client.post(url, form)

    assert trail.last("user.changed").facts["facts"]["changed"] == {"is_active": {"old": True, "new": False}}
    assert sign_in("dba").get("/").status_code == 302


def test_the_last_superuser_stays_one(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("root"), change_url(place.people["root"])
    form = fields(client, url)
    form.pop("is_superuser")

    page = client.post(url, form)

    assert "the last active superuser" in errors(page)
    assert User.objects.get(username="root").is_superuser


def test_a_username_is_not_in_the_form(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("root"), change_url(place.people["dev"])

    client.post(url, fields(client, url) | {"username": ["renamed"]})

    assert User.objects.get(pk=place.people["dev"].pk).username == "dev"


def test_another_password_is_set_and_told_without_it(sign_in: SignIn, place: people.Place) -> None:
    url = f"{change_url(place.people['dev']).removesuffix('change/')}password/"

    submit(sign_in("root"), url, password1=NEW_PASSWORD, password2=NEW_PASSWORD)

    user = User.objects.get(username="dev")
    assert user.check_password(NEW_PASSWORD)
    event = trail.last("user.password_set")
    assert (event.object_id, event.actor) == ("dev", "root")
    assert NEW_PASSWORD not in event.body
    assert user.password not in event.body


def test_no_page_and_no_event_holds_a_hash(sign_in: SignIn, place: people.Place) -> None:
    client, dev = sign_in("root"), place.people["dev"]
    submit(client, change_url(dev), first_name="Devi")
    hashes = list(User.objects.values_list("password", flat=True))

    pages = [client.get(change_url(dev)), client.get(list_url(User)), client.get(f"{list_url(User)}?q=dev")]

    for secret in hashes:
        parts = [part for part in secret.split("$") if len(part) > 8]
        assert all(part not in page.content.decode() for page in pages for part in parts)
        assert all(secret not in body for body in AuditEvent.objects.values_list("body", flat=True))
    assert client.get(f"{list_url(User)}?password__startswith=md5").status_code == 400


@pytest.mark.parametrize("name", ["admin", "viewer", "outsider"])
def test_nobody_else_sees_or_changes_accounts(sign_in: SignIn, place: people.Place, name: str) -> None:
    client, own = sign_in(name), place.people[name]
    own.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))

    answers = [
        client.get(list_url(User)),
        client.get(change_url(own)),
        client.post(change_url(own), {"is_superuser": "on"}),
        client.post(add_url(User), {"username": "x"}),
        client.get(list_url(Group)),
        client.post(add_url(Group), {"name": "x"}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 6
    assert not User.objects.get(pk=own.pk).is_superuser


def test_nobody_deletes_an_account(sign_in: SignIn, place: people.Place) -> None:
    answer = sign_in("root").post(delete_url(place.people["outsider"]), {"post": "yes"})

    assert answer.status_code == 403
    assert User.objects.filter(username="outsider").exists()


def test_a_group_is_made_changed_and_removed_on_record(sign_in: SignIn) -> None:
    client = sign_in("root")
    permission = Permission.objects.get(codename="change_environment")
    submit(client, add_url(Group), name="policy keepers", permissions=[str(permission.pk)])
    group = Group.objects.get(name="policy keepers")
    submit(client, change_url(group), name="keepers")

    client.post(delete_url(group), {"post": "yes"})

    created = trail.last("group.created").facts["facts"]["changed"]["permissions"]["new"]
    assert created == ["migrations_audit.change_environment"]
    assert trail.last("group.changed").facts["facts"]["changed"] == {
        "name": {"old": "policy keepers", "new": "keepers"}
    }
    assert trail.last("group.removed").object_id == "keepers"
    assert not Group.objects.filter(pk=group.pk).exists()


def test_a_group_that_holds_roles_is_not_removed(sign_in: SignIn, place: people.Place) -> None:
    group = Membership.objects.get(approver_role="owner").group

    page = sign_in("root").post(delete_url(group), {"post": "yes"}, follow=True)

    assert "production owner holds 1 role" in text(page)
    assert Group.objects.filter(pk=group.pk).exists()


def test_the_chain_holds_after_all_of_it(sign_in: SignIn, place: people.Place) -> None:
    submit(sign_in("root"), change_url(place.people["dev"]), first_name="Devi\u00e9")

    assert "Devi" not in json.dumps(trail.last("user.changed").facts)
    assert trail.verify().holds
