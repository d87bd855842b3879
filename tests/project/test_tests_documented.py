"""A document that names a test as its proof names one that exists."""

from __future__ import annotations

import re

from tests.project.sources import ROOT

NAMED = re.compile(r"`(?:tests/)?((?:\w+/)+test_\w+\.py)::(test_\w+)")


def test_every_test_that_a_document_names_exists() -> None:
    named = {
        (page.name, file, test)
        for page in (ROOT / "docs").rglob("*.md")
        for file, test in NAMED.findall(page.read_text())
    }

    missing = {each for each in named if not _has(*each[1:])}

    assert named
    assert missing == set()


def _has(file: str, test: str) -> bool:
    path = ROOT / "tests" / file
    return path.is_file() and re.search(rf"^(?:async )?def {test}\(", path.read_text(), re.MULTILINE) is not None
