"""docs/commands.md knows every command, option and exit code."""

from __future__ import annotations

import re
from pathlib import Path

from django.core.management import get_commands, load_command_class

from migrations_audit.management.portal_command import Exit

PAGE = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
OURS = sorted(name for name, app in get_commands().items() if app == "migrations_audit")
FROM_DJANGO = {"--help", "--version", "-h"}


def test_every_command_is_documented_with_its_own_options() -> None:
    assert len(OURS) >= 11
    for name in OURS:
        documented = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}"))
        parser = load_command_class("migrations_audit", name).create_parser("manage.py", name)
        own = [action.option_strings[0] for action in parser._actions if action.option_strings]
        filters = {"--actor", "--action", "--environment", "--target", "--run", "--since", "--until"}
        expected = set(own) - FROM_DJANGO - set(django_options()) - (filters if name == "export_audit" else set())
        assert set(re.findall(r"--[a-z-]+", documented)) == expected, name


def django_options() -> list[str]:
    parser = load_command_class("migrations_audit", "verify_audit").create_parser("manage.py", "verify_audit")
    return [action.option_strings[0] for action in parser._actions if action.option_strings]


def test_every_exit_code_is_documented() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)] == [int(code) for code in Exit]
