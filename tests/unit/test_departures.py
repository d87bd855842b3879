"""What differs from what was approved, in words."""

from __future__ import annotations

from migrations_audit.engine import types
from migrations_audit.execution import departures
from migrations_audit.models import Catalog, Observation, Snapshot


def snapshot(**files: str) -> Snapshot:
    return Snapshot(files=[{"path": path, "sha256": digest} for path, digest in files.items()])


def test_files_are_named_by_what_became_of_them() -> None:
    approved, found = snapshot(a="1", b="1", c="1"), snapshot(a="1", b="2", d="1")

    assert departures.of_files(approved, found) == "changed b; added d; removed c"


def test_a_long_list_is_cut_and_says_how_much_more() -> None:
    found = snapshot(**{f"f{number}": "1" for number in range(7)})

    assert departures.of_files(snapshot(), found) == "added f0, f1, f2, f3, f4 and 2 more"


def test_objects_of_the_catalog_are_named_with_their_sign() -> None:
    approved = Observation(catalog=Catalog(fingerprint="x", body={"table public.a": "table"}))

    assert departures.of_catalog(approved, types.Catalog("y", {"table public.b": "table"})) == (
        "- table public.a, + table public.b"
    )
    assert departures.of_catalog(Observation(), types.Catalog("y", {})) == ""
