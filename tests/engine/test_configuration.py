"""Where the scripts are, read from the configuration as text, and compared with Alembic's own reading."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from alembic import config
from alembic.script import ScriptDirectory

from migrations_audit.engine import configuration
from tests.engine import projects


def read(
    text: str, *, path: str = "alembic.ini", section: str = "alembic", **more: str
) -> configuration.ScriptConfiguration:
    files = {
        path: text,
        "migrations/env.py": "",
        **{name.replace("__", "/"): content for name, content in more.items()},
    }
    encoded = {name: content.encode() for name, content in files.items()}
    return configuration.read(encoded, config_path=path, ini_section=section)


def refusal(
    text: str | bytes, *, path: str = "alembic.ini", section: str = "alembic"
) -> configuration.ConfigurationRefused:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(configuration.ConfigurationRefused) as caught:
        configuration.read({path: content}, config_path=path, ini_section=section)
    return caught.value


def test_the_plainest_configuration_says_where_the_versions_are() -> None:
    assert read("[alembic]\nscript_location = migrations\n") == configuration.ScriptConfiguration(
        ini_path="alembic.ini",
        toml_path="",
        working_directory=".",
        script_location="migrations",
        version_locations=("migrations/versions",),
        names_version_locations=False,
        recursive=False,
        prepend_sys_path=(),
        sourceless=False,
    )


@pytest.mark.parametrize(
    "location", ["%(here)s/migrations", "./migrations", "migrations/", "x/../migrations", "%(root)s/migrations"]
)
def test_here_and_other_spellings_are_understood(location: str) -> None:
    assert read(f"[DEFAULT]\nroot = .\n[alembic]\nscript_location = {location}\n").script_location == "migrations"


def test_a_named_section_is_read(tmp_path: Path) -> None:
    text = "[alembic]\nscript_location = other\n[jobs]\nscript_location = migrations\n"

    assert read(text, section="jobs").script_location == "migrations"


@pytest.mark.parametrize(
    ("separator", "value"),
    [
        ("path_separator = os", "one:two/three"),
        ("path_separator = :", "one: two/three :"),
        ("path_separator = ;", "one;two/three"),
        ("path_separator = space", "one two/three"),
        ("path_separator = newline", "\n  one\n  two/three"),
        ("version_path_separator = ;", "one;two/three"),
        ("", "one two/three"),
        ("", "one, two/three"),
    ],
)
def test_every_path_separator_is_understood_as_by_alembic(tmp_path: Path, separator: str, value: str) -> None:
    text = f"[alembic]\nscript_location = migrations\n{separator}\nversion_locations = {value}\n"

    found = read(text).version_locations

    assert found == ("one", "two/three")
    (tmp_path / "alembic.ini").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alembic.util.warn_deprecated", lambda *_: None)
        assert [
            part for part in config.Config(str(tmp_path / "alembic.ini")).get_version_locations_list() or [] if part
        ] == [*found]


def test_an_unknown_separator_is_refused() -> None:
    text = "[alembic]\nscript_location = migrations\npath_separator = tab\nversion_locations = a\n"

    assert refusal(text).code == "bad_value"


def test_switches_and_the_python_path_are_read() -> None:
    text = (
        "[alembic]\nscript_location = migrations\nprepend_sys_path = . src:lib, more\n"
        "recursive_version_locations = true\nsourceless = true\n"
    )

    found = read(text)

    assert (found.recursive, found.sourceless, found.prepend_sys_path) == (True, True, (".", "src", "lib", "more"))
    assert read(text.replace("true", "True")).recursive is False


@pytest.mark.parametrize(
    ("path", "location", "more", "working_directory", "script_location"),
    [
        ("backend/alembic.ini", "alembic", {"backend__alembic__env.py": ""}, "backend", "backend/alembic"),
        ("backend/alembic.ini", "%(here)s/alembic", {"backend__alembic__env.py": ""}, "backend", "backend/alembic"),
        ("config/alembic.ini", "migrations", {}, ".", "migrations"),
        ("config/alembic.ini", "../migrations", {}, "config", "migrations"),
        ("backend/alembic.ini", "absent", {}, "backend", "backend/absent"),
    ],
)
def test_relative_paths_are_taken_from_where_env_py_is_found(
    path: str, location: str, more: dict[str, str], working_directory: str, script_location: str
) -> None:
    found = read(f"[alembic]\nscript_location = {location}\n", path=path, **more)

    assert (found.working_directory, found.script_location) == (working_directory, script_location)


@pytest.mark.parametrize(
    "location", ["../../etc", "..", "/etc", "/", "a/../../b", "%(here)s/../x", "%(here)sx", "//etc"]
)
def test_a_path_outside_the_folder_is_refused(location: str) -> None:
    found = refusal(f"[alembic]\nscript_location = {location}\n")

    assert found.code == "outside_folder"
    assert "script_location" in found.message


@pytest.mark.parametrize("location", ["package:migrations", "package:sub:migrations", "C:migrations"])
def test_an_installed_package_is_refused(location: str) -> None:
    assert refusal(f"[alembic]\nscript_location = {location}\n").code == "package_path"


@pytest.mark.parametrize("name", ["version_locations", "prepend_sys_path"])
@pytest.mark.parametrize(("value", "code"), [("a /b", "outside_folder"), ("../up", "outside_folder")])
def test_the_other_paths_may_not_leave_the_folder_either(name: str, value: str, code: str) -> None:
    found = refusal(f"[alembic]\nscript_location = migrations\n{name} = {value}\n")

    assert (found.code, name in found.message) == (code, True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "section_missing"),
        ("[other]\nscript_location = migrations\n", "section_missing"),
        ("[alembic]\n", "no_script_location"),
        ("[alembic]\nscript_location =\n", "no_script_location"),
        ("[alembic]\nscript_location = %(missing)s\n", "bad_value"),
        ("[alembic]\nscript_location = 100%\n", "bad_value"),
        ("[alembic]\na = 1\na = 2\nscript_location = m\n", "config_unreadable"),
        ("script_location = m\n", "config_unreadable"),
        ("[alembic\n", "config_unreadable"),
        (b"[alembic]\nscript_location = \xff\n", "config_unreadable"),
        (b"\x00\x00", "config_unreadable"),
    ],
)
def test_a_configuration_that_says_nothing_usable_is_refused(text: str | bytes, code: str) -> None:
    assert refusal(text).code == code


def test_an_absent_section_is_refused_with_the_sections_that_there_are() -> None:
    assert "It has: jobs, users." in refusal("[jobs]\n[users]\n").message


PASSWORD = "hunter2-%40-secret"


@pytest.mark.parametrize(
    "text",
    [
        f"[alembic]\nscript_location = %(sqlalchemy.url)s\nsqlalchemy.url = postgresql://u:{PASSWORD}@h/d\n",
        f"[alembic]\nurl = postgresql://u:{PASSWORD}@h/d\nscript_location = %(url)s/%(gone)s\n",
        f"[alembic]\npostgresql://u:{PASSWORD}@h/d\n",
        f"postgresql://u:{PASSWORD}@h/d = 1\n",
        f"[alembic]\nscript_location = /postgresql://u:{PASSWORD}@h/d\n".replace("%", "%%"),
    ],
)
def test_no_value_of_the_file_enters_a_message_or_a_cause(text: str) -> None:
    found = refusal(text)

    assert "hunter2" not in str(found)
    assert found.__cause__ is None
    assert found.__suppress_context__ or found.__context__ is None


def test_a_url_that_cannot_be_interpolated_is_not_touched() -> None:
    text = f"[alembic]\nsqlalchemy.url = postgresql://u:{PASSWORD}@h/d\nscript_location = migrations\n"

    assert read(text).script_location == "migrations"


TOML = """
[tool.alembic]
script_location = "%(here)s/migrations"
version_locations = ["%(here)s/one", "two"]
prepend_sys_path = ["."]
recursive_version_locations = true
"""


def test_pyproject_is_read_as_alembic_does() -> None:
    found = read(TOML, path="pyproject.toml", section="ignored")

    assert (found.ini_path, found.toml_path) == ("", "pyproject.toml")
    assert (found.script_location, found.version_locations, found.recursive) == ("migrations", ("one", "two"), True)


def test_an_ini_beside_a_pyproject_wins_value_by_value() -> None:
    text = "[alembic]\nversion_locations = three\npath_separator = os\n"

    for path, other in itertools.permutations((("alembic.ini", text), ("pyproject.toml", TOML))):
        found = read(path[1], path=path[0], **{other[0]: other[1]})
        assert (found.ini_path, found.toml_path) == ("alembic.ini", "pyproject.toml")
        assert (found.script_location, found.version_locations) == ("migrations", ("three",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "no_script_location"),
        ("[tool]\nalembic = 1\n", "config_unreadable"),
        ("[tool.alembic\n", "config_unreadable"),
        ("tool = 1\n", "no_script_location"),
        ("[tool.alembic]\nscript_location = 1\n", "bad_value"),
        ("[tool.alembic]\nscript_location = ['a']\n", "bad_value"),
        ("[tool.alembic]\nscript_location = '%(gone)s'\n", "bad_value"),
        ("[tool.alembic]\nscript_location = '50%'\n", "bad_value"),
        ("[tool.alembic]\nscript_location = 'a'\nversion_locations = [1]\n", "bad_value"),
        ("[tool.alembic]\nscript_location = 'a'\nversion_locations = true\n", "bad_value"),
        ("[tool.alembic]\nscript_location = '/etc'\n", "outside_folder"),
        (b"\xff", "config_unreadable"),
    ],
)
def test_a_pyproject_that_says_nothing_usable_is_refused(text: str | bytes, code: str) -> None:
    assert refusal(text, path="pyproject.toml").code == code


def test_an_absent_file_is_refused() -> None:
    with pytest.raises(configuration.ConfigurationRefused) as caught:
        configuration.read({}, config_path="alembic.ini", ini_section="alembic")

    assert caught.value.code == "config_missing"


@pytest.mark.parametrize(
    "settings",
    [
        "script_location = %(here)s/migrations",
        "script_location = %(here)s/migrations\nversion_locations = %(here)s/migrations/versions:%(here)s/more",
        "script_location = %(here)s/migrations\nversion_locations = %(here)s/more\nrecursive_version_locations = true",
    ],
)
def test_the_version_folders_are_those_of_alembic(tmp_path: Path, settings: str) -> None:
    ini = f"[alembic]\n{settings}\npath_separator = os\n".encode()
    contents = projects.files([], ini=ini)
    projects.write(tmp_path, contents)

    ours = configuration.read(contents, config_path="alembic.ini", ini_section="alembic")
    theirs: Any = ScriptDirectory.from_config(config.Config(str(tmp_path / "alembic.ini")))

    assert [str(tmp_path / each) for each in ours.version_locations] == [
        str(each) for each in theirs._version_locations
    ]
    assert (str(tmp_path / ours.script_location), ours.recursive) == (theirs.dir, theirs.recursive_version_locations)
