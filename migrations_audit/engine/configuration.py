"""Where a project keeps its scripts, read from ``alembic.ini`` and ``pyproject.toml`` as text. Nothing is executed.

No value of a configuration file enters a message: a database URL with its password may stand in any line.
"""

from __future__ import annotations

import configparser
import posixpath
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from migrations_audit.errors import Invalid

_SEPARATORS: Final = {"space": " ", "newline": "\n", "os": ":", ":": ":", ";": ";"}
_UNSEPARATED_LOCATIONS: Final = re.compile(r", *|(?: +)")
_UNSEPARATED_SYS_PATH: Final = re.compile(r", *|(?: +)|:")


class ConfigurationRefused(Invalid):
    """The project's configuration does not say where its scripts are, or says something that cannot be frozen."""

    code = "configuration_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class ScriptConfiguration:
    """Where Alembic looks for scripts.

    Every path is relative to the project's folder, with forward slashes; ``.`` is the folder itself. ``ini_path`` and
    ``toml_path`` are the files that Alembic reads, empty where there is none. ``working_directory`` is where Alembic
    must be started, because it resolves relative paths there and not beside its configuration.
    """

    ini_path: str
    toml_path: str
    working_directory: str
    script_location: str
    version_locations: tuple[str, ...]
    names_version_locations: bool
    recursive: bool
    prepend_sys_path: tuple[str, ...]
    sourceless: bool


def read(files: Mapping[str, bytes], *, config_path: str, ini_section: str) -> ScriptConfiguration:
    """What the configuration at ``config_path`` says, by Alembic's own rules: the ini section first, then ``[tool.alembic]``
    of the ``pyproject.toml`` beside it.

    The working directory is the folder of the configuration. Only when no ``env.py`` is found from there and one is found
    from the project's folder, it is the project's folder (``alembic -c config/alembic.ini``). A configuration that says no
    ``script_location`` means its own folder when ``env.py`` lies there, as Flask-Migrate's does.

    Raises ConfigurationRefused: the file is absent or unreadable, section or ``script_location`` are absent, or a path is
    absolute, leaves the folder, or names an installed package (``package:path``). ``%(here)s`` is allowed.
    """
    options = _Options(files, config_path=config_path, ini_section=ini_section)
    beside = posixpath.dirname(config_path) or "."
    location = options.text("script_location")
    if location is None and posixpath.normpath(posixpath.join(beside, "env.py")) in files:
        location = "."  # Flask-Migrate's own configuration says nothing: its command knows the folder
    if location is None:
        raise options.nothing_said()
    working_directory = next(
        (base for base in (beside, ".") if posixpath.normpath(posixpath.join(base, location, "env.py")) in files),
        beside,
    )
    inside = _Inside(options, working_directory)
    script_location = inside.path(location, "script_location")
    versions = options.paths("version_locations", unseparated=_UNSEPARATED_LOCATIONS, legacy="version_path_separator")
    sys_path = options.paths("prepend_sys_path", unseparated=_UNSEPARATED_SYS_PATH)
    return ScriptConfiguration(
        ini_path=options.ini_path,
        toml_path=options.toml_path,
        working_directory=working_directory,
        script_location=script_location,
        version_locations=tuple(dict.fromkeys(inside.path(item, "version_locations") for item in versions))
        or (posixpath.normpath(posixpath.join(script_location, "versions")),),
        names_version_locations=bool(versions),
        recursive=options.flag("recursive_version_locations"),
        prepend_sys_path=tuple(inside.path(item, "prepend_sys_path") for item in sys_path),
        sourceless=options.flag("sourceless"),
    )


class _Options:
    """The two files as Alembic merges them. ``here`` is a folder that exists nowhere, so that no other path can lie in it."""

    def __init__(self, files: Mapping[str, bytes], *, config_path: str, ini_section: str) -> None:
        folder = posixpath.dirname(config_path)
        is_toml = posixpath.basename(config_path) == "pyproject.toml"
        ini_path = posixpath.join(folder, "alembic.ini") if is_toml else config_path
        toml_path = config_path if is_toml else posixpath.join(folder, "pyproject.toml")
        if config_path not in files:
            raise ConfigurationRefused(
                "config_missing", f"There is no configuration file {config_path!r} in the snapshot."
            )
        self.root = f"/{secrets.token_hex(16)}"
        self.ini_path = ini_path if ini_path in files else ""
        self.toml_path = toml_path if toml_path in files else ""
        self._config_path = config_path
        self._section = ini_section
        self._here = {"here": posixpath.join(self.root, folder).rstrip("/")}
        self._ini = self._read_ini(files)
        self._toml = self._read_toml(files)

    def text(self, name: str) -> str | None:
        value = self._raw(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "must be a text")
        return value or None

    def flag(self, name: str) -> bool:
        """As Alembic: the word ``true`` in an ini file, a boolean in TOML."""
        return self._raw(name) in ("true", True)

    def paths(self, name: str, *, unseparated: re.Pattern[str], legacy: str | None = None) -> list[str]:
        value = self._raw(name)
        if isinstance(value, list):
            return value
        if isinstance(value, bool):
            raise self._wrong(name, "must be a list of paths")
        separator = self.text("path_separator")
        if separator is None and legacy is not None:
            separator = self.text(legacy)
        if separator is not None and separator not in _SEPARATORS:
            raise self._wrong("path_separator", "must be one of space, newline, os, ':' or ';'")
        parts = (value or "").split(_SEPARATORS[separator]) if separator else unseparated.split(value or "")
        return [part.strip() for part in parts if part.strip()]

    def nothing_said(self) -> ConfigurationRefused:
        if self._ini is not None and not self._ini.has_section(self._section):
            return ConfigurationRefused(
                "section_missing",
                f"{self.ini_path} has no section [{self._section}]. It has: {', '.join(self._ini.sections()) or 'none'}.",
            )
        return ConfigurationRefused(
            "no_script_location",
            f"{self._config_path} does not say script_location. Name the folder that holds env.py.",
        )

    def _raw(self, name: str) -> str | bool | list[str] | None:
        try:
            if self._ini is not None and self._ini.has_option(self._section, name):
                return self._ini.get(self._section, name) or self._from_toml(name)
            return self._from_toml(name)
        except (configparser.InterpolationError, ValueError, KeyError, TypeError):
            # The original message quotes the line, and with it whatever secret stands there.
            raise self._wrong(
                name, "uses a % placeholder that cannot be filled in; only %(here)s is known here"
            ) from None

    def _from_toml(self, name: str) -> str | bool | list[str] | None:
        value = self._toml.get(name)
        if isinstance(value, str):
            return value % self._here
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return [item % self._here for item in value]
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(name, "must be a text, a list of texts or a boolean")

    def _wrong(self, name: str, why: str) -> ConfigurationRefused:
        return ConfigurationRefused("bad_value", f"The value of {name} in {self._config_path} {why}.")

    def _read_ini(self, files: Mapping[str, bytes]) -> configparser.ConfigParser | None:
        if not self.ini_path:
            return None
        parser = configparser.ConfigParser(self._here)
        try:
            parser.read_string(files[self.ini_path].decode("utf-8"))
        except (configparser.Error, UnicodeDecodeError):
            raise ConfigurationRefused(
                "config_unreadable",
                f"{self.ini_path} is not an ini file in UTF-8. Try: alembic -c {self.ini_path} heads",
            ) from None
        return parser

    def _read_toml(self, files: Mapping[str, bytes]) -> Mapping[str, object]:
        if not self.toml_path:
            return {}
        try:
            tool = tomllib.loads(files[self.toml_path].decode("utf-8")).get("tool", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
            raise ConfigurationRefused("config_unreadable", f"{self.toml_path} is not a TOML file in UTF-8.") from None
        section = tool.get("alembic", {}) if isinstance(tool, dict) else {}
        if not isinstance(section, dict):
            raise ConfigurationRefused("config_unreadable", f"[tool.alembic] in {self.toml_path} is not a table.")
        return section


@dataclass(frozen=True)
class _Inside:
    """Turns what a configuration names into a path below the project's folder, or refuses."""

    options: _Options
    working_directory: str

    def path(self, value: str, name: str) -> str:
        root = self.options.root
        if not posixpath.isabs(value) and ":" in value:
            raise ConfigurationRefused(
                "package_path",
                f"{name} names an installed package (package:path). Its files are not in the snapshot, so nobody could approve "
                "them. Give a path below the project's folder.",
            )
        full = posixpath.normpath(posixpath.join(root, self.working_directory, value))
        if full != root and not full.startswith(root + "/"):
            raise ConfigurationRefused(
                "outside_folder",
                f"{name} points outside the project's folder. Give a path below it, or choose a folder higher up.",
            )
        return posixpath.relpath(full, root)
