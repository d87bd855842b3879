"""The files of the project, as the tests about the project read them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APP = ROOT / "migrations_audit"
BINARY = {".png", ".jpg", ".ico", ".gz", ".zip", ".woff2"}


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the project, without Django's own migrations."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if "migrations" not in path.relative_to(ROOT).parts)


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text())


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in the file with the last part of the called name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            function = node.func
            yield function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ""), node


def constant(node: ast.expr | None) -> str:
    """The text of a string written out, else nothing."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts(path: Path) -> Iterator[str]:
    """The strings of a file that a program may show: all but docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def first_cells(page: str, *, below: str = "") -> list[str]:
    """What stands in backquotes at the beginning of each table row of a document, below a heading if one is named."""
    text = (ROOT / "docs" / page).read_text()
    if below:
        text = re.split(r"^## ", text.partition(f"## {below}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def kept_files() -> list[Path]:
    """The text files that belong to the project: what git keeps or would keep."""
    asked = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name]
    return [path for path in paths if path.is_file() and path.suffix not in BINARY]
