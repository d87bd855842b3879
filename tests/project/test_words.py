"""Words that the portal does not say, and traces of the machine that it was written on."""

from __future__ import annotations

import re

import pytest

from tests.project.sources import APP, ROOT, kept_files, python_files, texts

# A status is read, never guessed; what could not run has failed; and nobody is congratulated.
AVOIDED = (
    "likely",
    "probably",
    "resolved",
    "successful",
    "successfully",
    "skipped",
    "skip",
    "done",
    "hopefully",
    "oops",
)
WORD = re.compile(rf"\b(?:{'|'.join(AVOIDED)})\b", re.IGNORECASE)

TEMPLATES = sorted([*(ROOT / "templates").rglob("*.*"), *APP.rglob("static/**/*.js")])
# Names of other people's programs and formats that hold such a word, with what they are.
NAMES = {"skip-link": "the class of the link past the navigation", "skip_locked": "an argument of Django's"}


def avoided_in(text: str) -> list[str]:
    """The avoided words in a text that is shown."""
    for name in NAMES:
        text = text.replace(name, "")
    return WORD.findall(text)


def test_the_words_are_found_where_they_stand() -> None:
    assert avoided_in("Likely resolved, 3 skipped: Done.") == ["Likely", "resolved", "skipped", "Done"]
    assert avoided_in("The unresolved likelihood of abandoned skipping.") == []


def test_no_sentence_of_the_code_holds_an_avoided_word() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text[:80]}": words
        for path in python_files("migrations_audit", "opsportal")
        for text in texts(path)
        if " " in text.strip() and (words := avoided_in(text))
    }

    assert found == {}


def test_no_template_and_no_script_holds_an_avoided_word() -> None:
    found = {str(path.relative_to(ROOT)): words for path in TEMPLATES if (words := avoided_in(path.read_text()))}

    assert found == {}


@pytest.mark.parametrize("trace", ["/work" + "/", "/root" + "/", "/tmp/" + "w/", "uvicorn-" + "dev"])
def test_no_file_names_the_machine_that_it_was_written_on(trace: str) -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in kept_files()
        if trace in path.read_text(encoding="utf-8", errors="replace")
    ]

    assert found == []
