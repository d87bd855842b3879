"""What a person may write as a revision."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit import requests
from migrations_audit.requests import RevisionRefused, check_request
from migrations_audit.states import Operation

PLAIN = set(string.ascii_letters + string.digits + "_.+-@")


@pytest.mark.parametrize(
    "text", ["head", "heads", "003", "ae1027a6acf", "+1", "+12", "billing@head", "billing@003", "v1.2_x"]
)
def test_an_upgrade_accepts(text: str) -> None:
    assert check_request(text, operation=Operation.UPGRADE) == text


@pytest.mark.parametrize("text", ["base", "002", "-1", "-12", "ae1027a6acf"])
def test_a_rollback_accepts(text: str) -> None:
    assert check_request(text, operation=Operation.ROLLBACK) == text


def test_spaces_around_it_do_not_matter() -> None:
    assert check_request("  head ", operation=Operation.UPGRADE) == "head"


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "--sql",
        "--sq",
        "--s",
        "-x",
        "-x a=b",
        "--",
        "head --sql",
        "003:004",
        ":003",
        "003:",
        "current",
        "head@head@head",
        "+0",
        "-0",
        "+10000",
        "-10000",
        "+01",
        "head\n",
        "head\t",
        "003\x00",
        "003;drop",
        "$(id)",
        "../003",
        "a/b",
        "é03",
        "٣",
        "x" * 101,
        "a@b@c",
        "base@003",
        "003@base",
        "current@head",
        "heads@head",
        "a@heads",
        "@head",
        "003+1",
        "\ud800",
        "\u2212" + "1",
    ],
)
def test_nonsense_and_options_are_refused_with_a_sentence(text: str, operation: Operation) -> None:
    with pytest.raises(RevisionRefused) as refused:
        check_request(text, operation=operation)

    assert refused.value.field == "revision"
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize("text", ["base", "-1"])
def test_an_upgrade_that_goes_back_is_sent_to_plan_rollback(text: str) -> None:
    with pytest.raises(RevisionRefused, match="that is a rollback; use Plan rollback"):
        check_request(text, operation=Operation.UPGRADE)


@pytest.mark.parametrize("text", ["head", "heads", "+1", "billing@head"])
def test_a_rollback_that_goes_forward_is_sent_to_plan_upgrade(text: str) -> None:
    with pytest.raises(RevisionRefused, match="that is an upgrade; use Plan upgrade"):
        check_request(text, operation=Operation.ROLLBACK)


@given(st.text(max_size=120), st.sampled_from(Operation))
def test_what_is_accepted_is_short_plain_and_no_option(text: str, operation: Operation) -> None:
    try:
        asked = check_request(text, operation=operation)
    except RevisionRefused:
        return

    assert asked == text.strip(" ")
    assert set(asked) <= PLAIN
    assert 0 < len(asked) <= requests.MAX_LENGTH
    assert not asked.startswith("--")


@given(st.from_regex(r"[-+]{0,2}[a-z0-9@.:=]{0,12}", fullmatch=True), st.sampled_from(Operation))
def test_a_hyphen_leads_only_to_a_number_of_steps_back(text: str, operation: Operation) -> None:
    try:
        asked = check_request(text, operation=operation)
    except RevisionRefused:
        return

    if asked.startswith("-"):
        assert operation is Operation.ROLLBACK
        assert asked[1:].isdigit()
