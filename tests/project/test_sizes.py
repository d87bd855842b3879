"""A file has one subject, and a function fits on a screen."""

from __future__ import annotations

import ast

from tests.project.sources import ROOT, python_files, tree

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def test_no_file_is_longer_than_one_subject() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in python_files("migrations_audit", "opsportal")
        if (lines := path.read_text().count("\n")) > LONGEST_FILE
    }

    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in python_files("migrations_audit", "opsportal")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }

    assert long == {}
