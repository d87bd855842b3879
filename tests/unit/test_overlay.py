"""Catalogs that share what they have in common: each is the mapping that a copy would be."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.engine.rehearsing.inspection import Follower
from migrations_audit.engine.rehearsing.overlay import Overlay

KEYS = st.sampled_from("abcdef")
CHANGES = st.lists(st.dictionaries(KEYS, st.one_of(st.none(), st.sampled_from("123"))), max_size=5)


@given(st.dictionaries(KEYS, st.sampled_from("123")), CHANGES)
def test_a_catalog_after_changes_is_what_a_changed_copy_would_be(
    known: dict[str, str], changes: list[dict[str, str | None]]
) -> None:
    overlay, copied = Overlay(known), dict(known)
    for change in changes:
        before, earlier = overlay, dict(copied)
        overlay = overlay.later(change)
        copied = {key: text for key, text in {**copied, **change}.items() if text is not None}

        assert dict(before) == earlier
        assert overlay == copied
        assert len(overlay) == len(copied)
        assert {key: overlay.get(key) for key in "abcdef"} == {key: copied.get(key) for key in "abcdef"}


def test_what_is_gone_is_no_key() -> None:
    with pytest.raises(KeyError):
        Overlay({"a": "1"}).later({"a": None})["a"]


def test_a_long_chain_on_a_large_catalog_is_held_in_little_memory() -> None:
    known = {f"column public.t{number}.c": "integer" for number in range(20_000)}
    tracemalloc.start()
    follower = Follower(known, {})
    for position in range(40):
        step = {"revision": f"r{position}", "direction": "upgrade", "position": position}
        packed = f'[["table public.new{position}", "ordinary"]]'.encode().hex()
        follower.event({"event": "step_started", **step})
        follower.event({"event": "inspected", "of": "catalog", "sign": "new", "packed": packed, "more": False, **step})
        follower.event({"event": "step_ended", "ms": 1, "statements": 0, **step})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [len(step.changes) for step in follower.finish().steps] == [1] * 40
    assert held < 5 * 1024**2
