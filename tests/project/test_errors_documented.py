"""docs/errors.md knows every code that a caller, a run or an observation can carry, and no other."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import migrations_audit
from migrations_audit.engine import environments, git_transport, session
from migrations_audit.errors import PortalError
from tests.project.sources import calls, constant, first_cells, python_files

# Where a call gives a code by position: the name of what is called, and the position.
GIVEN_BY_POSITION = {"Judgement": 2, "Ended": 1, "_unknown": 0, "refuse": 0, "_failed": 0, "__init__": 0}
GIVEN_BY_NAME = {"code", "error_code", "reason_code"}


def error_classes(base: type[PortalError] = PortalError) -> Iterator[type[PortalError]]:
    """Every error class of the portal, its modules imported first. The runner's program belongs to another process."""
    for module in pkgutil.walk_packages(migrations_audit.__path__, "migrations_audit."):
        if ".migrations" not in module.name and ".runner" not in module.name:
            importlib.import_module(module.name)
    for child in base.__subclasses__():
        yield child
        yield from error_classes(child)


def codes_of_classes() -> set[str]:
    """The codes that stand at the classes."""
    return {error.code for error in error_classes() if error.__module__.startswith("migrations_audit")}


def codes_given() -> set[str]:
    """The codes that are given where a run, an observation or a refusal is told its reason."""
    found = {kind.code for kind in session._KINDS} | {code for code, _ in session._STATES.values()}
    found |= {code for _, code, _ in (*git_transport._KINDS, *environments._KINDS)}
    found |= {"no_plan", "approved_thing_changed"}  # returned by the claim
    for path in python_files("migrations_audit"):
        for name, call in calls(path):
            position = GIVEN_BY_POSITION.get(name, 0 if name.endswith("Refused") else None)
            if position is not None and len(call.args) > position:
                found.add(constant(call.args[position]))
            found |= {constant(keyword.value) for keyword in call.keywords if keyword.arg in GIVEN_BY_NAME}
    return {code for code in found if re.fullmatch(r"[a-z_]+", code)}


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    assert set(first_cells("errors.md", below="Errors")) == codes_of_classes() | {PortalError.code}


def test_every_reason_has_a_row_and_every_row_a_reason() -> None:
    assert set(first_cells("errors.md", below="Reasons")) == codes_given() - codes_of_classes()


def test_no_code_has_two_rows() -> None:
    rows = first_cells("errors.md")

    assert sorted(set(rows)) == sorted(rows)


@pytest.mark.parametrize("error", sorted(set(error_classes()), key=str))
def test_an_error_says_in_its_docstring_what_happened(error: type[PortalError]) -> None:
    assert error.__doc__
    assert error.__doc__.strip().endswith(".")
