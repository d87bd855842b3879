"""A password that is entered somewhere in the registry is afterwards in no page, message, log, log entry or row in clear."""

from __future__ import annotations

import logging

import pytest
from django.db import connection

from migrations_audit.models import Environment, Membership, Project, Target
from tests import people, windowing
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, fields, list_url

CANARY = "kanarien-vogel-1942"
URL = f"postgresql://migrator:{CANARY}@db.example:5432/market"


def everything_stored() -> str:
    """All rows of all tables of the portal, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows += [row for (row,) in cursor.fetchall()]
    return "\n".join(rows)


@pytest.mark.parametrize("url", [URL, URL.replace("postgresql", "oracle"), f"{URL} ", f"host=h password={CANARY}"])
def test_a_password_typed_into_any_field_is_nowhere_afterwards(
    sign_in: SignIn, place: people.Place, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = sign_in("root")
    membership = Membership.objects.all()[0]
    entries = (place.environment, place.project, place.target, membership, windowing.opened(place.environment))
    answers = []

    for address in [change_url(entry) for entry in entries] + [
        add_url(model) for model in (Environment, Project, Target)
    ]:
        found = fields(client, address)
        hidden = ("csrf", "seen_version", "memberships-", "windows-")
        for name in (name for name in found if not name.startswith(hidden)):
            answers.append(client.post(address, found | {name: url}, follow=True))
    answers += [client.get(list_url(model)) for model in (Environment, Project, Target, Membership)]

    for answer in answers:
        assert CANARY not in answer.content.decode()
    assert CANARY not in everything_stored()
    assert CANARY not in caplog.text


def test_a_sealed_token_is_in_its_row_and_in_no_other(sign_in: SignIn, place: people.Place) -> None:
    client, address = sign_in("root"), change_url(place.target)

    client.post(address, fields(client, address) | {"new_url": URL})

    token = Target.objects.get().url_reference
    assert token.startswith("sealed:")
    assert everything_stored().count(token.removeprefix("sealed:")) == 1
