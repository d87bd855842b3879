"""No secret and no dangerous character is left in text that is stored."""

from __future__ import annotations

import configparser
import json
import unicodedata
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.engine.redaction import Redactor, clean, secrets_in
from migrations_audit.masking import MASK

SECRET = "p@ss w%rd/'\"\\+é"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        quote(SECRET, safe="").replace("%", "%%"),
        repr(SECRET),
        ascii(SECRET),
        json.dumps(SECRET),
        json.dumps({"url": SECRET}, ensure_ascii=False),
        sqlalchemy.URL.create("postgresql", "u", SECRET, "h").render_as_string(hide_password=False),
    ],
)
def test_a_known_secret_is_masked_in_every_form_in_which_programs_print_it(shown: str) -> None:
    text = Redactor([SECRET]).text(f"before {shown} after")

    assert "rd" not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_the_error_that_prints_a_whole_url_loses_its_password() -> None:
    parser = configparser.ConfigParser()
    parser.add_section("alembic")
    try:
        parser.set("alembic", "sqlalchemy.url", "postgresql://u:hunter2%zz@h/d")
    except ValueError as error:
        message = str(error)

    assert "hunter2" in message
    assert Redactor([]).text(message) == message.replace("hunter2%zz", MASK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg2://u:hunter2@h/d", f"postgresql+psycopg2://u:{MASK}@h/d"),
        ("redis://:hunter2@h", f"redis://:{MASK}@h"),
        ("x://u:hunter2/@#?@h", f"x://u:{MASK}@h"),
        ("host=h password=hunter2 user=u", f"host=h password={MASK} user=u"),
        ("password = 'hun ter2' user=u", f"password = '{MASK}' user=u"),
        ("{'password': 'hunter2', 'user': 'u'}", f"{{'password': '{MASK}', 'user': 'u'}}"),
        ('{"PGPASSWORD":"hunter2"}', f'{{"PGPASSWORD":"{MASK}"}}'),
        ("ALTER ROLE r PASSWORD 'hunter2'", f"ALTER ROLE r PASSWORD '{MASK}'"),
        ("ALTER ROLE r PASSWORD E'hun\\'ter2' VALID", f"ALTER ROLE r PASSWORD E'{MASK}' VALID"),
        ("ALTER ROLE r PASSWORD $$hunter2$$; SELECT 1", f"ALTER ROLE r PASSWORD $${MASK}$$; SELECT 1"),
        ("ALTER ROLE r PASSWORD\n  $q$hunter2$q$; SELECT 1", f"ALTER ROLE r PASSWORD\n  $q${MASK}$q$; SELECT 1"),
        ("SET password = crypt(p, gen_salt()), admin = true", "SET password = crypt(p, gen_salt()), admin = true"),
        ("SET password = NULL, admin = true", "SET password = NULL, admin = true"),
        ("?sslpassword=hunter2&x=1", f"?sslpassword={MASK}&x=1"),
        ("password authentication failed for user u", "password authentication failed for user u"),
        ("see https://docs.example/a@b", "see https://docs.example/a@b"),
        ("at 12:30 mail a@b.c", "at 12:30 mail a@b.c"),
    ],
)
def test_unknown_passwords_are_masked_where_their_place_tells(text: str, expected: str) -> None:
    assert Redactor([]).text(text) == expected


def test_a_very_short_secret_does_not_eat_ordinary_words() -> None:
    redactor = Redactor(["a", ""])

    assert redactor.text("data password=a postgresql://u:a@h") == f"data password={MASK} postgresql://u:{MASK}@h"


def test_the_longest_secret_wins() -> None:
    assert Redactor(["secret", "secret-and-more"]).text("secret-and-more") == MASK


def test_the_secrets_of_an_environment_are_known_by_name_and_by_url() -> None:
    environment = {
        "API_TOKEN": "canary-token",
        "REGION": "eu-central-1",
        "CACHE": "redis://:canary-cache@h",
        "DEBUG_TOKEN": "on",
    }

    assert secrets_in(environment) == ["canary-token", "canary-cache"]


def test_a_redactor_does_not_show_its_secrets() -> None:
    assert "hunter2" not in repr(Redactor(["hunter2"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b", "a\\x00b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("over\rwritten", "over\\x0dwritten"),
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\udcff broken", "\\udcff broken"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("Grüße, 東京 🐘", "Grüße, 東京 🐘"),
    ],
)
def test_unfit_characters_become_visible(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_whatever_is_cleaned_can_be_stored_and_cannot_steer_a_terminal(text: str) -> None:
    cleaned = clean(text)

    cleaned.encode("utf-8")
    assert not [each for each in cleaned if unicodedata.category(each) == "Cc" and each not in "\n\t"]
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(codec="utf-8"), min_size=6, max_size=40), st.text(max_size=40))
def test_no_known_secret_survives(secret: str, around: str) -> None:
    assert secret not in Redactor([secret]).text(f"{around}{secret}{around}")


def test_hostile_output_is_read_in_linear_time() -> None:
    redactor = Redactor(["hunter2"])

    for text in ("a://b:" * 200_000, "password='" * 100_000, "\x00" * 1_000_000, "password=" * 100_000):
        assert redactor.text(text)
