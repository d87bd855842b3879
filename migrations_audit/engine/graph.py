"""The revisions of a project as a graph, made from its files without executing one of them."""

from __future__ import annotations

import ast
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from alembic.script import revision as alembic_revision

from migrations_audit import requests
from migrations_audit.engine import configuration, revision_file, types

VERSION_COLUMN_LENGTH: Final = 32
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.]+")
_LABEL: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_REVISION_NAME: Final = re.compile(r"(?!\.#|__init__).*\.py")


def read(files: Mapping[str, bytes], *, config_path: str, ini_section: str) -> types.Graph:
    """The graph of the scripts in ``files`` (path to content, as ``snapshot.files`` gives them).

    Revisions stand in the order in which Alembic reads their files; with several branches the order of steps depends on
    it. ``heads`` are the effective ones, sorted, and empty when a problem is fatal. Nothing is raised: what is wrong comes
    back as problems. Fatal are those of the configuration and of single files, and ``env_missing``,
    ``env_chooses_folders`` (unless the configuration names version_locations), ``no_revisions``, ``forbidden_characters``,
    ``reserved_word``, ``duplicate_revision``, ``missing_parent``, ``missing_dependency``, ``label_clash`` and ``cycle``. Not
    fatal are ``long_revision``,
    ``label_unusable``, ``labels_not_literal``, ``several_heads``, ``folder_missing`` and ``sourceless``.

    While a file cannot be read, names and links between the others are not judged.
    """
    try:
        settings = configuration.read(files, config_path=config_path, ini_section=ini_section)
    except configuration.ConfigurationRefused as error:
        return types.Graph((), (), (types.Problem(error.code, config_path, error.message),))
    read_files = [revision_file.read(path, files[path]) for path in _revision_paths(files, settings)]
    revisions = tuple(each.revision for each in read_files if each.revision is not None)
    problems = [*_environment_problems(files, settings), *(problem for each in read_files for problem in each.problems)]
    if len(revisions) == len(read_files):
        problems += [*_name_problems(revisions), *_missing_links(revisions)]
    if not read_files:
        sentence = f"No revision was found in {', '.join(settings.version_locations)}. Check the configuration."
        problems.append(types.Problem("no_revisions", settings.script_location, sentence))
    heads: tuple[str, ...] = ()
    if not any(problem.fatal for problem in problems):
        try:
            heads = _effective_heads(revision_map(types.Graph(revisions, ())))
        except alembic_revision.CycleDetected as error:
            names = ", ".join(sorted(error.revisions))
            sentence = f"The revisions run in a circle or hang on one: {names}. Correct down_revision or depends_on."
            problems.append(types.Problem("cycle", settings.script_location, sentence))
    if len(heads) > 1:
        sentence = f"There are {len(heads)} heads: {', '.join(heads)}. Merge them, or name one in every request."
        problems.append(types.Problem("several_heads", settings.script_location, sentence, fatal=False))
    return types.Graph(revisions, heads, tuple(problems))


def revision_map(graph: types.Graph) -> alembic_revision.RevisionMap:
    """Alembic's own map of a graph without fatal problems, in memory.

    Alembic keeps the dependencies of a revision in a set; they are sorted here, so that every process gets the same order.
    """
    made = alembic_revision.RevisionMap(
        lambda: [
            alembic_revision.Revision(
                item.revision, item.down_revisions, dependencies=item.depends_on, branch_labels=item.branch_labels
            )
            for item in graph.revisions
        ]
    )
    for item in graph.revisions:
        each = made.get_revision(item.revision)
        if each is not None:
            each._normalized_resolved_dependencies = tuple(sorted(each._normalized_resolved_dependencies))
    return made


def fatal(graph: types.Graph) -> tuple[types.Problem, ...]:
    """The problems because of which no plan can be made."""
    return tuple(problem for problem in graph.problems if problem.fatal)


def _effective_heads(made: alembic_revision.RevisionMap) -> tuple[str, ...]:
    return tuple(
        sorted(head.revision for head in made.get_revisions("heads") if isinstance(head, alembic_revision.Revision))
    )


def _revision_paths(files: Mapping[str, bytes], settings: configuration.ScriptConfiguration) -> Iterator[str]:
    """Revision files in Alembic's order: by location, the files of a folder before those of its subfolders, sorted."""
    seen: set[str] = set()
    for location in settings.version_locations:
        below = {path: posixpath.relpath(path, location).split("/") for path in files if _is_below(path, location)}
        for path in sorted(
            below, key=lambda path: [(index < len(below[path]) - 1, part) for index, part in enumerate(below[path])]
        ):
            wanted = settings.recursive or len(below[path]) == 1
            if wanted and path not in seen and _REVISION_NAME.fullmatch(posixpath.basename(path)):
                seen.add(path)
                yield path


def _is_below(path: str, location: str) -> bool:
    return location == "." or path.startswith(location + "/")


def _environment_problems(
    files: Mapping[str, bytes], settings: configuration.ScriptConfiguration
) -> Iterator[types.Problem]:
    path = posixpath.normpath(posixpath.join(settings.script_location, "env.py"))
    if path not in files:
        yield types.Problem("env_missing", path, f"There is no {path}. Check script_location in the configuration.")
    elif _chooses_folders(files[path]):
        # With the folders named, a plan can be made; the runner refuses when Alembic then has other steps or other files.
        known = settings.names_version_locations
        hint = (
            "The folders that the configuration names are taken; a run that finds others is refused."
            if known
            else "Name the folders of this target in the configuration, as version_locations."
        )
        sentence = f"{path} sets the version folders itself, so that only running it can tell which they are. {hint}"
        yield types.Problem("env_chooses_folders", path, sentence, fatal=not known)
    for location in settings.version_locations:
        if not any(_is_below(each, location) for each in files):
            sentence = f"The version folder {location} holds no file. Alembic passes over it without a word."
            yield types.Problem("folder_missing", location, sentence, fatal=False)
    if settings.sourceless:
        sentence = (
            "sourceless = true: compiled revisions without a source file are not in the snapshot and are not run."
        )
        yield types.Problem("sourceless", settings.ini_path or settings.toml_path, sentence, fatal=False)


def _chooses_folders(content: bytes) -> bool:
    """Whether an env.py assigns ``version_locations`` or sets that option. One that cannot be parsed fails when it runs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    options = {"version_locations", "script_location", "recursive_version_locations"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in options and isinstance(node.ctx, ast.Store))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("set_main_option", "set_section_option")
            and any(isinstance(argument, ast.Constant) and argument.value in options for argument in node.args)
        )
        for node in ast.walk(tree)
    )


def _name_problems(revisions: Sequence[types.Revision]) -> Iterator[types.Problem]:
    paths: dict[str, str] = {}
    for item in revisions:
        yield from _identifier_problems(item.revision, item.path)
        if item.revision in paths:
            sentence = f"{paths[item.revision]} and {item.path} are both revision {item.revision}. Rename one of them."
            yield types.Problem("duplicate_revision", item.path, sentence)
        paths.setdefault(item.revision, item.path)
    labels: set[str] = set()
    for item in revisions:
        for label in item.branch_labels:
            if not _LABEL.fullmatch(label) or label in requests.RESERVED:
                sentence = f"The branch label {label!a} in {item.path} cannot be used in a request. Rename it."
                yield types.Problem("label_unusable", item.path, sentence, fatal=False)
            if label in labels or label in paths:
                sentence = (
                    f"The branch label {label!a} in {item.path} is a revision or another branch already. Rename it."
                )
                yield types.Problem("label_clash", item.path, sentence)
            labels.add(label)


def _identifier_problems(name: str, path: str) -> Iterator[types.Problem]:
    if not _IDENTIFIER.fullmatch(name):
        sentence = f"The revision id {name!a} in {path} may hold only ASCII letters, digits, '_' and '.'. Rename it."
        yield types.Problem("forbidden_characters", path, sentence)
    elif name in requests.RESERVED:
        yield types.Problem(
            "reserved_word", path, f"{path} calls its revision {name!r}, a word of Alembic's. Rename it."
        )
    elif len(name) > VERSION_COLUMN_LENGTH:
        sentence = (
            f"The revision id {name} has {len(name)} characters; the version table takes {VERSION_COLUMN_LENGTH} unless the "
            "project has widened its column. PostgreSQL would refuse to record it."
        )
        yield types.Problem("long_revision", path, sentence, fatal=False)


def _missing_links(revisions: Sequence[types.Revision]) -> Iterator[types.Problem]:
    known = {item.revision for item in revisions}
    labels = {label for item in revisions for label in item.branch_labels}
    for item in revisions:
        for name in sorted(set(item.down_revisions) - known):
            sentence = (
                f"{item.path} comes after revision {name!a}, which no file has. Add the file or correct down_revision."
            )
            yield types.Problem("missing_parent", item.path, sentence)
        for name in sorted(set(item.depends_on) - known - labels):
            sentence = f"{item.path} depends on {name!a}, which is neither a revision nor a label. Correct depends_on."
            yield types.Problem("missing_dependency", item.path, sentence)
