"""Sealing values and the grammar of references."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from migrations_audit import sealing
from migrations_audit.errors import Invalid

OLD = Fernet.generate_key().decode()
NEW = Fernet.generate_key().decode()


def test_a_sealed_value_opens_with_its_key() -> None:
    token = sealing.seal("postgresql://u:pässword@h/db", keys=[NEW])

    assert sealing.unseal(token, keys=[NEW]) == "postgresql://u:pässword@h/db"
    assert "pässword" not in token


def test_the_first_key_seals_and_every_key_unseals() -> None:
    before_rotation = sealing.seal("x", keys=[OLD])
    after_rotation = sealing.seal("x", keys=[NEW, OLD])

    assert sealing.unseal(before_rotation, keys=[NEW, OLD]) == "x"
    assert sealing.unseal(after_rotation, keys=[NEW]) == "x"


def test_a_value_whose_key_is_gone_says_what_to_do() -> None:
    token = sealing.seal("canary", keys=[OLD])

    with pytest.raises(sealing.CannotUnseal, match="PORTAL_SEALING_KEYS") as caught:
        sealing.unseal(token, keys=[NEW])
    assert caught.value.code == "cannot_unseal"


@pytest.mark.parametrize("change", [lambda token: token[:-2], lambda token: "A" + token[1:], lambda token: "ä" + token])
def test_an_altered_value_does_not_open(change: object) -> None:
    assert callable(change)
    token = change(sealing.seal("x", keys=[NEW]))

    with pytest.raises(sealing.CannotUnseal):
        sealing.unseal(token, keys=[NEW])


@pytest.mark.parametrize("keys", [[], ["short"], [NEW, "schlüssel"], [NEW[:-4]]])
def test_missing_or_broken_keys_are_named_and_never_repeated(keys: list[str]) -> None:
    with pytest.raises(sealing.NoSealingKey) as caught:
        sealing.seal("x", keys=keys)

    assert all(key not in str(caught.value) for key in keys)
    assert caught.value.__suppress_context__ or not keys


@pytest.mark.parametrize(
    "reference",
    ["env:PROD_DATABASE_URL", "env:_x", "file:/run/secrets/orders url", f"sealed:{sealing.seal('x' * 90, keys=[NEW])}"],
)
def test_a_well_formed_reference_is_accepted(reference: str) -> None:
    sealing.check_reference(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "PROD_DATABASE_URL",
        "env:",
        "env:1ABC",
        "env:A-B",
        "env:A B",
        "env:" + "A" * 129,
        "env:Ä",
        "env:DATABASE_URL",
        "file:",
        "file:relative/url",
        "file:/run/../etc/passwd",
        "file:/run//secrets",
        "file:/run/secrets/",
        "file:/run/a\nb",
        "file:/run/a\x00b",
        "file:/run/\u202egnp",
        "file:/" + "a" * sealing.MAX_REFERENCE,
        "sealed:",
        "sealed:not a token",
        "ENV:NAME",
        "vault:secret/x",
    ],
)
def test_a_malformed_reference_is_refused(reference: str) -> None:
    with pytest.raises(Invalid):
        sealing.check_reference(reference)


@pytest.mark.parametrize(
    "pasted",
    [
        "postgresql://portal:hunter2secret@db/orders",
        "postgresql+psycopg2://portal:hunter2secret@db/orders",
        "portal:hunter2secret@db",
        "host=db password=hunter2secret",
        "sealed:hunter2secret",
        "env:hunter2secret!",
    ],
)
def test_a_pasted_secret_is_refused_and_not_repeated(pasted: str) -> None:
    with pytest.raises(Invalid) as caught:
        sealing.check_reference(pasted)

    assert "hunter2" not in str(caught.value)
