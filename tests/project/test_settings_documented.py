"""docs/settings.md knows every variable that the settings read, with its default, and every system check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = ROOT / "opsportal" / "settings.py"
PAGE = (ROOT / "docs" / "settings.md").read_text()
READERS = {"str", "bool", "int", "float", "list", "dict", "json", "url", "path", "db_url", "tuple", "bytes"}


def read_variables() -> dict[str, ast.expr | None]:
    """The variables named in calls of ``env``, each with the expression of its default."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(ast.parse(SETTINGS.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        is_reader = isinstance(node.func, ast.Name) or node.func.attr in READERS
        if isinstance(called, ast.Name) and called.id == "env" and is_reader:
            name = node.args[0]
            assert isinstance(name, ast.Constant), "The name of a variable is written out, so that it can be found."
            defaults = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
            found[str(name.value)] = defaults[0] if defaults else None
    return found


def rows() -> dict[str, list[str]]:
    """The rows of the page's table by variable, each with its cells."""
    lines = [line.strip("| \n").split(" | ") for line in PAGE.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)]
    return {cells[0].strip("`"): cells for cells in lines}


def test_the_settings_read_variables_at_all() -> None:
    assert {"DATABASE_URL", "SECRET_KEY", "PORTAL_SEALING_KEYS"} <= set(read_variables())


def test_every_variable_has_a_row_and_every_row_a_variable() -> None:
    assert set(rows()) == set(read_variables())


@pytest.mark.parametrize("name", sorted(read_variables()))
def test_a_row_says_the_default_and_what_the_variable_means(name: str) -> None:
    _, default, meaning, _ = rows()[name]

    expression = read_variables()[name]
    if expression is None:
        assert default == "none"
    elif isinstance(expression, ast.Constant):
        assert default.strip("`").lower() == (str(expression.value).lower() or "empty")
    elif isinstance(expression, ast.List):
        assert (default, expression.elts) == ("empty", [])
    assert len(meaning) > 20


def test_every_system_check_is_described() -> None:
    source = (ROOT / "migrations_audit" / "checks.py").read_text()

    assert set(re.findall(r"portal\.[EW]\d{3}", source)) == set(re.findall(r"portal\.[EW]\d{3}", PAGE))
