"""The graph of a project's files, compared with what Alembic makes of them."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import pytest
from alembic import config, util
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit.engine import graph, resolve, snapshot, types
from tests.engine import projects
from tests.engine.projects import Spec


def read(files: dict[str, bytes]) -> types.Graph:
    return graph.read(files, config_path="alembic.ini", ini_section="alembic")


def codes(found: types.Graph) -> list[str]:
    return [problem.code for problem in found.problems]


def only(found: types.Graph) -> types.Problem:
    (problem,) = found.problems
    return problem


def refused_by_alembic(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        projects.write(Path(folder), files)
        real = projects.RealAlembic(Path(folder))
        try:
            with pytest.raises((util.CommandError, RevisionError, KeyError, AttributeError, UserWarning)):
                real.scripts().get_heads()
        finally:
            real.close()


def test_optuna_is_read_unchanged() -> None:
    found = importlib.util.find_spec("optuna")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "storages/_rdb"

    frozen = snapshot.freeze(folder, config_path="alembic.ini", ini_section="alembic")
    ours = read(snapshot.files(frozen.archive))

    assert (len(ours.revisions), ours.heads, ours.problems) == (10, ("v3.2.0.a",), ())
    configuration = config.Config(str(folder / "alembic.ini"))
    configuration.set_main_option("script_location", str(folder / "alembic"))
    theirs = [
        step.revision.revision for step in ScriptDirectory.from_config(configuration)._upgrade_revs("heads", "base")
    ]
    assert list(resolve.pending(ours, ())) == theirs
    assert [item.revision for item in ours.revisions if not item.has_downgrade] == ["v2.4.0.a"]


def test_a_revision_carries_what_its_file_says() -> None:
    spec = Spec("abc", ("parent",), ("other",), ("branch",))
    ours = projects.read([Spec("parent"), Spec("other"), spec])

    item = ours.by_id()["abc"]

    assert (item.down_revisions, item.depends_on, item.branch_labels) == (("parent",), ("other",), ("branch",))
    assert (item.message, item.path) == ("Revision abc", "migrations/versions/abc.py")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    trap = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n".encode()
    files = projects.files(projects.chain("001"))

    read({**files, **{path: content + trap for path, content in files.items() if path.endswith(".py")}})

    assert not (tmp_path / "ran").exists()


def test_no_revision_is_an_error_and_not_up_to_date() -> None:
    found = projects.read([])

    assert [problem.code for problem in graph.fatal(found)] == ["no_revisions"]
    assert found.heads == ()


def test_a_configuration_that_is_refused_is_a_fatal_problem() -> None:
    found = read(projects.files(projects.chain("001"), ini=b"[alembic]\nscript_location = package:migrations\n"))

    assert (only(found).code, only(found).fatal, found.revisions) == ("package_path", True, ())


def test_an_absent_env_py_is_fatal() -> None:
    files = projects.files(projects.chain("001"))
    del files["migrations/env.py"]

    assert only(read(files)).sentence.startswith("There is no migrations/env.py.")
    assert read(files).heads == ()


@pytest.mark.parametrize(
    "line",
    [
        b"config.set_main_option('version_locations', 'a b')",
        b"config.set_section_option('alembic', 'script_location', folder)",
        b"context.script.version_locations = [folder]",
        b"if True:\n    script.version_locations = compute()",
    ],
)
def test_an_env_py_that_chooses_the_folders_is_fatal(line: bytes) -> None:
    files = projects.files(projects.chain("001"), more={"migrations/env.py": projects.ENV + line + b"\n"})

    assert only(read(files)).code == "env_chooses_folders"


def test_an_env_py_that_chooses_the_folders_is_a_warning_when_the_configuration_names_them() -> None:
    ini = b"[alembic]\nscript_location = migrations\nversion_locations = migrations/versions\n"
    line = b"context.script.version_locations = [folder]\n"
    files = projects.files(projects.chain("001"), more={"migrations/env.py": projects.ENV + line, "alembic.ini": ini})

    graph = read(files)

    assert graph.heads == ("001",)
    assert (only(graph).code, only(graph).fatal) == ("env_chooses_folders", False)


@pytest.mark.parametrize(
    "line",
    [
        b"print(config.get_main_option('version_locations'))",
        b"# version_locations",
        b"config.set_main_option('sqlalchemy.url', u)",
    ],
)
def test_an_env_py_that_only_mentions_the_folders_is_fine(line: bytes) -> None:
    files = projects.files(projects.chain("001"), more={"migrations/env.py": projects.ENV + line + b"\n"})

    assert read(files).problems == ()


def test_the_files_that_alembic_would_read_are_read() -> None:
    more = {
        f"migrations/versions/{name}": Spec(f"no{index:02}").content()
        for index, name in enumerate(
            ["__init__.py", "__init__old.py", ".#002.py", "notes.txt", "003.pyc", "old/004.py", "x.py.bak"]
        )
    }
    files = projects.files(projects.chain("001"), more=more)

    assert [item.revision for item in read(files).revisions] == ["001"]
    with tempfile.TemporaryDirectory() as folder:
        projects.write(Path(folder), files)
        assert projects.RealAlembic(Path(folder)).scripts().get_heads() == ["001"]


def test_subfolders_are_read_when_configured_in_alembics_order() -> None:
    ini = b"[alembic]\nscript_location = migrations\nrecursive_version_locations = true\npath_separator = os\n"
    names = ["b/2.py", "a/z.py", "a/y/1.py", "z.py", "a.py", "b/10.py", "a/y/__init__.py", "ab/1.py"]
    more = {f"migrations/versions/{name}": Spec(f"rev{index}").content() for index, name in enumerate(names)}
    files = projects.files([], ini=ini, more=more)

    with tempfile.TemporaryDirectory() as folder:
        projects.write(Path(folder), files)
        made = config.Config(str(Path(folder) / "alembic.ini"))
        made.set_main_option("script_location", str(Path(folder) / "migrations"))
        theirs = [each.revision for each in ScriptDirectory.from_config(made)._load_revisions()]
    assert [item.revision for item in read(files).revisions] == theirs
    assert len(theirs) == 7


def test_several_version_folders_make_one_graph() -> None:
    ini = b"[alembic]\nscript_location = migrations\nversion_locations = one two gone one\npath_separator = space\n"
    files = projects.files(
        [], ini=ini, more={"one/a.py": Spec("aaa").content(), "two/b.py": Spec("bbb", ("aaa",)).content()}
    )

    found = read(files)

    assert found.heads == ("bbb",)
    assert (only(found).code, only(found).path, only(found).fatal) == ("folder_missing", "gone", False)


def test_sourceless_is_named_as_not_frozen() -> None:
    found = read(projects.files(projects.chain("001"), ini=projects.INI + b"sourceless = true\n"))

    assert (only(found).code, only(found).fatal) == ("sourceless", False)


def test_a_duplicate_revision_names_both_files() -> None:
    files = projects.files(projects.chain("001", "002"))
    files["migrations/versions/copy.py"] = files["migrations/versions/002.py"]

    problem = only(read(files))

    assert (problem.code, problem.fatal) == ("duplicate_revision", True)
    assert "002.py and migrations/versions/copy.py are both revision 002" in problem.sentence


def test_a_missing_parent_and_a_missing_dependency_are_fatal() -> None:
    missing_parent, missing_dependency = [Spec("abc", ("gone",))], [Spec("abc", (), ("gone",))]

    assert only(projects.read(missing_parent)).code == "missing_parent"
    assert only(projects.read(missing_dependency)).code == "missing_dependency"
    refused_by_alembic(projects.files(missing_parent))
    refused_by_alembic(projects.files(missing_dependency))


@pytest.mark.parametrize(
    "specs",
    [
        [Spec("a1", ("a2",)), Spec("a2", ("a1",))],
        [Spec("a1", ("a1",))],
        [Spec("a1", (), ("a1",))],
        [Spec("a1", (), ("a2",)), Spec("a2", ("a1",))],
        [Spec("a0"), Spec("a1", ("a0", "a3")), Spec("a2", ("a1",)), Spec("a3", ("a2",)), Spec("a4", ("a0",))],
        [Spec("a0", (), ("lab",)), Spec("a1", ("a0",), (), ("lab",))],
    ],
)
def test_circles_are_fatal(specs: list[Spec]) -> None:
    assert only(projects.read(specs)).code == "cycle"
    assert projects.read(specs).heads == ()
    refused_by_alembic(projects.files(specs))


@pytest.mark.parametrize("name", ["a-b", "a@b", "a+b", "a:b"])
def test_what_alembic_forbids_in_a_revision_is_fatal(name: str) -> None:
    assert only(projects.read([Spec(name)])).code == "forbidden_characters"
    refused_by_alembic({**projects.files([]), "migrations/versions/x.py": Spec(name).content()})


@pytest.mark.parametrize("name", ["", " ", "a b", "a'b", 'a"b', "a;b", "a\\b", "a\nb", "а1", "a\u202eb", "a%b", "ä"])
def test_what_could_deceive_or_break_sql_in_a_revision_is_fatal(name: str) -> None:
    found = read({**projects.files([]), "migrations/versions/x.py": Spec(name).content()})

    assert only(found).code == "forbidden_characters"
    assert only(found).sentence.isascii()


@pytest.mark.parametrize("name", ["head", "heads", "base", "current"])
def test_a_word_of_alembics_is_no_revision(name: str) -> None:
    assert only(projects.read([Spec(name)])).code == "reserved_word"


def test_a_revision_longer_than_the_column_is_named() -> None:
    assert projects.read([Spec("a" * 32)]).problems == ()
    problem = only(projects.read([Spec("a" * 33)]))
    assert (problem.code, problem.fatal) == ("long_revision", False)
    assert "33 characters" in problem.sentence


def test_labels_that_clash_are_fatal() -> None:
    twice = [Spec("a1", labels=("same",)), Spec("b1", labels=("same",))]
    revision = [Spec("a1"), Spec("b1", labels=("a1",))]

    assert codes(projects.read(twice)) == codes(projects.read(revision)) == ["label_clash"]
    refused_by_alembic(projects.files(twice))
    refused_by_alembic(projects.files(revision))


@pytest.mark.parametrize("label", ["head", "a b", "a@b", "\u202eb"])
def test_a_label_that_cannot_be_asked_for_is_named(label: str) -> None:
    problem = only(projects.read([Spec("a1", labels=(label,))]))

    assert (problem.code, problem.fatal) == ("label_unusable", False)


def test_several_heads_are_named_and_not_fatal() -> None:
    found = projects.read([Spec("a1"), Spec("b1", ("a1",)), Spec("c1", ("a1",))])

    assert (only(found).code, only(found).fatal, found.heads) == ("several_heads", False, ("b1", "c1"))


def test_heads_are_effective() -> None:
    specs = [Spec("a1"), Spec("b1", ("a1",)), Spec("c1", ("a1",), ("b1",))]

    assert projects.read(specs).heads == ("c1",)


def test_while_a_file_is_unreadable_its_children_are_not_blamed() -> None:
    files = projects.files(projects.chain("001", "002"))
    files["migrations/versions/001.py"] = b"revision = \n"

    assert codes(read(files)) == ["unreadable_file"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abA1.@-'\n ", max_size=3) | st.sampled_from(["head", "a" * 40]), min_size=1, max_size=4),
    st.lists(st.text("abA1", max_size=2), max_size=4),
    st.binary(max_size=40),
)
def test_no_files_make_the_reading_fail(names: list[str], others: list[str], noise: bytes) -> None:
    specs = [
        Spec(name, tuple(others[index : index + 2]), tuple(others[index + 1 : index + 2]), tuple(others[3:4]))
        for index, name in enumerate(names)
    ]
    files = {f"migrations/versions/{index}.py": spec.content() for index, spec in enumerate(specs)}

    found = read({**projects.files([]), **files, "migrations/versions/noise.py": noise})

    assert found.heads == ()
    assert any(problem.fatal for problem in found.problems)
