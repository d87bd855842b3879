"""Form fields for what the model keeps as JSON or as a reference: lines that people can write and read."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from migrations_audit import policy, sealing
from migrations_audit.errors import Invalid

_REQUIREMENT = re.compile(r"([0-9]{1,4})\s*[x×]?\s+([a-z0-9-]+)")
_IN_ALL = re.compile(r"([0-9]{1,4})\s+(?:distinct\s+)?people\s+in\s+all", re.IGNORECASE)


class LinesField(forms.CharField):
    """One entry per line. What was entered is never repeated in an error: it may be a secret."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.Textarea(attrs={"rows": 4, "cols": 60, "spellcheck": "false"}))
        super().__init__(required=False, strip=True, **options)

    def to_python(self, value: Any) -> Any:
        lines = enumerate(str(value or "").splitlines(), 1)
        return self.read([(number, line.strip()) for number, line in lines if line.strip()])

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True

    def read(self, lines: list[tuple[int, str]]) -> Any:
        raise NotImplementedError


class RequirementsField(LinesField):
    """Approval requirements, like ``1 database-administrator``, and ``3 people in all``."""

    def read(self, lines: list[tuple[int, str]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number, line in lines:
            if (total := _IN_ALL.fullmatch(line)) is not None:
                found.append({"people": int(total[1])})
                continue
            match = _REQUIREMENT.fullmatch(line)
            if match is None:
                raise ValidationError(
                    f"Line {number} is not a requirement. Write a count and a role, like 1 database-administrator, or the number "
                    "of distinct people, like 3 people in all."
                )
            found.append({"role": match[2], "count": int(match[1])})
        return found

    def prepare_value(self, value: Any) -> Any:
        return requirement_lines(value) if isinstance(value, list) else value


class VariablesField(LinesField):
    """Environment variables, like ``NAME=value``."""

    def read(self, lines: list[tuple[int, str]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, line in lines:
            name, separator, value = line.partition("=")
            if not separator or not name.strip():
                raise ValidationError(f"Line {number} is not a variable. Write NAME=value.")
            if name.strip() in found:
                raise ValidationError(f"Line {number} names a variable that an earlier line names.")
            found[name.strip()] = value.strip()
        return found

    def prepare_value(self, value: Any) -> Any:
        return variable_lines(value) if isinstance(value, dict) else value


class WordsField(LinesField):
    """Words of a command line, one per line, so that no quoting is needed."""

    def read(self, lines: list[tuple[int, str]]) -> list[str]:
        return [line for _, line in lines]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class ReferenceInput(forms.TextInput):
    """Shows a reference again only when it is one: what was pasted by mistake is not sent back to the screen."""

    def format_value(self, value: Any) -> str | None:
        text = str(value or "")
        try:
            sealing.check_reference(text)
        except Invalid:
            return None
        return None if text.startswith("sealed:") else text


class BlindTextarea(forms.Textarea):
    """Takes a secret of several lines and never sends one back to the screen."""

    def format_value(self, value: Any) -> None:
        return None


def requirement_lines(requirements: list[dict[str, Any]]) -> str:
    """Requirements as people write them, one in a line."""
    return policy.said(requirements, between="\n") if requirements else ""


def variable_lines(variables: dict[str, str]) -> str:
    """Variables as people write them."""
    return "\n".join(f"{name}={value}" for name, value in variables.items())
