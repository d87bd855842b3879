"""API tokens in the admin: one's own, the secret once, revoked by a POST."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from migrations_audit.actions import tokens
from migrations_audit.models import ApiToken
from migrations_audit.models.clock import database_now
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, list_url, submit, text


def make(sign_in: SignIn, person: str, **typed: Any) -> Any:
    """The answer to somebody's form for a new token."""
    return submit(
        sign_in(person), add_url(ApiToken), **{"name": "deploy", "scopes": ["read", "request"], "days": "30"} | typed
    )


def revoke_url(token: ApiToken) -> str:
    return reverse("admin:migrations_audit_apitoken_revoke", args=[token.pk])


def test_the_secret_is_on_the_answer_and_nowhere_else(sign_in: SignIn, place: people.Place) -> None:
    answer = make(sign_in, "dev")

    (secret,) = set(re.findall(r"ops_[0-9a-f]{10}_[A-Za-z0-9_-]{43}", answer.content.decode()))
    token = ApiToken.objects.get()
    client = sign_in("dev")
    later = [client.get(list_url(ApiToken)), client.get(change_url(token))]
    assert "no-store" in answer["Cache-Control"]
    assert tokens.authenticate(secret=secret, address="").user_id == place.people["dev"].pk
    assert all(secret not in page.content.decode() for page in later)
    assert all(token.digest not in page.content.decode() for page in [answer, *later])
    assert secret not in trail.last("token.created").body + str(LogEntry.objects.values_list())
    assert (token.scopes, token.name) == (["read", "request"], "deploy")
    assert token.expires_at - database_now() < timedelta(days=30)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"scopes": ["approve"]}, "Select a valid choice"),
        ({"scopes": []}, "required"),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": "5000"}, "less than or equal to 366"),
        ({"name": "a\u202eb"}, "printable"),
    ],
)
def test_an_odd_token_is_refused_with_a_sentence(sign_in: SignIn, typed: dict[str, Any], sentence: str) -> None:
    assert sentence in errors(make(sign_in, "dev", **typed))
    assert not ApiToken.objects.exists()


def test_everybody_sees_the_own_tokens_and_a_superuser_all(sign_in: SignIn) -> None:
    make(sign_in, "dev", name="of-dev")
    make(sign_in, "dba", name="of-dba")
    token = ApiToken.objects.get(name="of-dba")

    own, every = text(sign_in("dev").get(list_url(ApiToken))), text(sign_in("root").get(list_url(ApiToken)))

    assert ("of-dev" in own, "of-dba" in own) == (True, False)
    assert ("of-dev" in every, "of-dba" in every) == (True, True)
    assert sign_in("dev").get(change_url(token)).status_code == 302


def test_its_owner_revokes_a_token_with_the_button(sign_in: SignIn) -> None:
    make(sign_in, "dev")
    token = ApiToken.objects.get()
    client = sign_in("dev")
    assert revoke_url(token) in client.get(change_url(token)).content.decode()

    page = client.post(revoke_url(token), follow=True)

    assert "is revoked" in text(page)
    assert trail.last("token.revoked").actor == "dev"
    assert revoke_url(token) not in client.get(change_url(token)).content.decode()
    assert "was revoked at" in text(client.post(revoke_url(token), follow=True))


def test_tokens_are_found_by_whether_they_are_accepted(sign_in: SignIn) -> None:
    for name in ("good", "old", "gone"):
        make(sign_in, "dev", name=f"{name}-token")
    ApiToken.objects.filter(name="old-token").update(expires_at=database_now())
    client = sign_in("dev")
    client.post(revoke_url(ApiToken.objects.get(name="gone-token")), follow=True)

    found = {
        state: re.findall(r"(?:good|old|gone)-token", text(client.get(f"{list_url(ApiToken)}?state={state}")))
        for state in ("accepted", "expired", "revoked")
    }

    assert found["accepted"] == ["good-token"]
    assert found["expired"] == ["old-token"]
    assert found["revoked"] == ["gone-token"]


def test_a_link_revokes_nothing(sign_in: SignIn) -> None:
    make(sign_in, "dev")

    answer = sign_in("dev").get(revoke_url(ApiToken.objects.get()))

    assert answer.status_code == 405
    assert ApiToken.objects.get().revoked_at is None


def test_nobody_revokes_the_token_of_another(sign_in: SignIn) -> None:
    make(sign_in, "dev")
    token = ApiToken.objects.get()

    page = sign_in("dba").post(revoke_url(token), follow=True)

    assert "no such token" in text(page)
    assert ApiToken.objects.get().revoked_at is None


def test_a_token_is_neither_changed_nor_deleted(sign_in: SignIn) -> None:
    make(sign_in, "dev")
    token = ApiToken.objects.get()
    client = sign_in("root")

    answers = [
        client.post(change_url(token), {"name": "x", "owner": "1"}),
        client.post(delete_url(token), {"post": "yes"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert ApiToken.objects.get().name == "deploy"


def test_nobody_reads_a_digest_letter_by_letter(sign_in: SignIn) -> None:
    make(sign_in, "dev")

    assert sign_in("dev").get(f"{list_url(ApiToken)}?digest__startswith=a").status_code == 400
