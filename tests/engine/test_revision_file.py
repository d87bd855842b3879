"""One revision file, read without running it."""

from __future__ import annotations

import pytest

from migrations_audit.engine import revision_file, types

HEADER = 'revision = "002"\ndown_revision = "001"\n'
BODY = "\n\ndef upgrade():\n    op.drop_table('t')\n\n\ndef downgrade():\n    op.create_table('t')\n"


def read(text: str, path: str = "versions/002_name.py") -> types.Revision:
    found = revision_file.read(path, text.encode())
    assert found.problems == ()
    assert found.revision is not None
    return found.revision


def problem(text: str | bytes, path: str = "versions/002_name.py") -> types.Problem:
    found = revision_file.read(path, text if isinstance(text, bytes) else text.encode())
    (only,) = found.problems
    assert (found.revision is None) is only.fatal
    return only


def transactional(statement: str, more: str = "") -> bool:
    text = f"from alembic import op\nimport sqlalchemy as sa\n{more}\n{HEADER}\n\ndef upgrade():\n    {statement}\n"
    return read(text).transactional


@pytest.mark.parametrize(
    ("header", "down"),
    [
        ('revision = "002"\ndown_revision = None', ()),
        ('revision: str = "002"\ndown_revision: str | None = "001"', ("001",)),
        ("revision = '002'\ndown_revision = ('001', 'abc')", ("001", "abc")),
        ("revision = '002'\ndown_revision: Union[str, None] = ['001']", ("001",)),
        ("revision = '002'\ndown_revision = ()", ()),
        ("revision = ('0'\n  '02')\ndown_revision = ('001')", ("001",)),
        ("revision = old = '002'\ndown_revision = None", ()),
        ("revision = '001'\nrevision = '002'\ndown_revision = None", ()),
        ("down_revision = None\nrevision = '002'  # comment", ()),
    ],
)
def test_every_way_to_write_a_header_is_understood(header: str, down: tuple[str, ...]) -> None:
    found = read(header + BODY)

    assert (found.revision, found.down_revisions) == ("002", down)


def test_labels_and_dependencies_may_be_constants_of_the_file() -> None:
    found = read(
        f"LABEL = 'expand'\nOTHER = 'abc'\n{HEADER}branch_labels = (LABEL,)\ndepends_on = [OTHER, 'def']\n{BODY}"
    )

    assert (found.branch_labels, found.depends_on) == (("expand",), ("abc", "def"))


def test_computed_labels_are_named_and_not_fatal() -> None:
    found = problem(f"from app import cli\n{HEADER}branch_labels = (cli.EXPAND,)\n{BODY}")

    assert (found.code, found.fatal) == ("labels_not_literal", False)


@pytest.mark.parametrize(
    "header",
    [
        "revision = make()\ndown_revision = None",
        "revision = f'{x}'\ndown_revision = None",
        "REV = '002'\nrevision = REV\ndown_revision = None",
        "revision = '002'\ndown_revision = PREVIOUS",
        "revision, down_revision = '002', None",
        "if X:\n    revision = '002'\nelse:\n    revision = '003'\ndown_revision = None",
        "revision = '002'\nrevision += 'x'\ndown_revision = None",
        "revision = '002'\ndown_revision = None\ntry:\n    down_revision = find()\nexcept E:\n    pass",
        "revision = '002'\ndown_revision = None\nfor down_revision in x:\n    pass",
        "revision = '002'\ndown_revision = None\nfrom app import down_revision",
        "revision = '002'\ndown_revision = None\ndef f():\n    global revision\n    revision = 'x'",
        "revision = '002'\ndown_revision = None\ndepends_on = (app.OTHER,)",
        "revision = '002'\ndown_revision = None\nif (revision := 'x'): pass",
    ],
)
def test_a_header_that_only_running_could_tell_is_fatal(header: str) -> None:
    found = revision_file.read("002.py", (header + BODY).encode())

    assert found.revision is None
    assert {each.code for each in found.problems} == {"header_not_literal"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("revision = 2\ndown_revision = None", "header_wrong_type"),
        ("revision = None\ndown_revision = None", "header_wrong_type"),
        ("revision = ['002']\ndown_revision = None", "header_wrong_type"),
        ("revision = '002'\ndown_revision = 1", "header_wrong_type"),
        ("revision = '002'\ndown_revision = (None,)", "header_wrong_type"),
        ("revision = '002'", "header_missing"),
        ("down_revision = None", "header_missing"),
        ("revision: str\ndown_revision = None", "header_not_literal"),
    ],
)
def test_a_header_of_the_wrong_kind_is_fatal(text: str, code: str) -> None:
    assert problem(text + BODY).code == code


def test_a_file_of_the_first_alembic_is_named_by_its_file() -> None:
    assert read("down_revision = None" + BODY, path="versions/1a2b3c.py").revision == "1a2b3c"


def test_a_file_without_upgrade_is_fatal() -> None:
    assert problem(HEADER).code == "upgrade_missing"
    assert read(f"from app import upgrade\n{HEADER}").has_downgrade is False


@pytest.mark.parametrize(
    "content",
    [b"def (", b"\x00", b"\xff\xfe", b"# coding: none-such\n", b"x = " + b"(" * 9000, b"x = " + b"-" * 90000 + b"1"],
)
def test_what_is_not_python_is_fatal(content: bytes) -> None:
    found = problem(content)

    assert (found.code, found.fatal) == ("unreadable_file", True)


@pytest.mark.parametrize("depth", [100, 900, 1500, 3000, 20000])
def test_a_file_nested_without_end_is_judged_or_refused(depth: int) -> None:
    deep = " + ".join(["'a'"] * depth)
    for text in (f"revision = {deep}\ndown_revision = None{BODY}", f"{HEADER}{BODY}    op.execute({deep})\n"):
        found = revision_file.read("002.py", text.encode())
        assert found.revision is not None or found.problems[0].fatal


def test_a_line_number_helps_to_find_the_error() -> None:
    assert "(line 3)" in problem(HEADER + "def (\n").sentence


def test_old_spellings_that_python_warns_about_are_read() -> None:
    assert read(f"{HEADER}\nPATTERN = '\\d'\nx = 1 is 1\n{BODY}").revision == "002"


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        ('"""Add orders\n\nRevision ID: 002\n"""', "Add orders"),
        ('"""\n\n   Add   orders.\n"""', "Add   orders."),
        ("", ""),
        ('""" """', ""),
        ('"""a\u202eb\x1b[31m"""', "ab[31m"),
        (f'"""{"x" * 500}"""', "x" * 200),
        ("'Überschrift'", "Überschrift"),
    ],
)
def test_the_message_is_the_first_line_of_the_docstring(docstring: str, message: str) -> None:
    assert read(f"{docstring}\n{HEADER}{BODY}").message == message


@pytest.mark.parametrize(
    ("downgrade", "expected"),
    [
        ("", False),
        ("def downgrade():\n    pass", False),
        ("def downgrade():\n    '''Not possible.'''", False),
        ("def downgrade() -> None:\n    ...", False),
        ("def downgrade():\n    return", False),
        ("def downgrade():\n    return None", False),
        ("def downgrade():\n    raise NotImplementedError", False),
        ("def downgrade():\n    '''No.'''\n    raise RuntimeError('one way')", False),
        ("def downgrade():\n    print('no')\n    raise RuntimeError('one way')", False),
        ("def downgrade():\n    if empty():\n        raise RuntimeError\n    op.drop_table('t')", True),
        ("def downgrade():\n    op.drop_table('t')", True),
        ("downgrade = upgrade", True),
    ],
)
def test_a_downgrade_counts_when_it_can_take_something_back(downgrade: str, expected: bool) -> None:
    assert read(f"{HEADER}\ndef upgrade():\n    op.create_table('t')\n\n{downgrade}\n").has_downgrade is expected


def test_an_empty_downgrade_of_an_empty_upgrade_is_right() -> None:
    assert read(f"{HEADER}\ndef upgrade():\n    pass\n\ndef downgrade():\n    pass\n").has_downgrade


@pytest.mark.parametrize(
    "statement",
    [
        "op.create_table('orders', sa.Column('commit', sa.Text), sa.Column('vacuum', sa.Text))",
        "op.execute('UPDATE t SET a = 1')",
        "op.execute(sa.text('ALTER TABLE t ADD COLUMN c int'))",
        "op.execute(sa.text('INSERT INTO commit VALUES (1)').bindparams(x=1))",
        "op.execute(f'ALTER TABLE {name} ENABLE ROW LEVEL SECURITY')",
        "op.execute('DELETE FROM %s' % 't')",
        "op.execute('ALTER TABLE {} ADD c int'.format('t'))",
        "op.execute('ALTER TYPE mood RENAME VALUE $$a$$ TO $$b$$')",
        "op.create_index('i', 't', ['c'], postgresql_concurrently=False)",
        "t = sa.table('t', sa.column('a')); op.execute(t.update().values(a=1))",
        "op.get_bind().execute(sa.select(sa.literal(1)))",
        "sql = 'UPDATE t SET a = 1'; op.execute(sql)",
        "for each in ('DROP TABLE a', 'DROP TABLE b'): op.execute(each)",
        "with op.batch_alter_table('t') as batch: batch.add_column(sa.Column('a', sa.Text))",
    ],
)
def test_ordinary_revisions_are_transactional(statement: str) -> None:
    assert transactional(statement) is True


@pytest.mark.parametrize(
    "statement",
    ["op.execute('COMMENT ON TABLE t IS $$one; commit$$')", "op.bulk_insert(t, [{'note': 'commit this later'}])"],
)
def test_a_text_that_only_looks_like_a_commit_counts_as_one(statement: str) -> None:
    assert transactional(statement) is False


@pytest.mark.parametrize(
    "statement",
    [
        "with op.get_context().autocommit_block(): pass",
        "op.create_index('i', 't', ['c'], postgresql_concurrently=True)",
        "op.drop_index('i', postgresql_concurrently=FLAG)",
        "op.create_index('i', 't', ['c'], **{'postgresql_concurrently': True})",
        "op.execute('COMMIT')",
        "op.execute('commit')",
        "op.execute('  commit ;')",
        "op.execute('UPDATE t SET a = 1; COMMIT; BEGIN')",
        "op.execute('/* end */ COMMIT')",
        "op.execute(sa.text('rollback'))",
        "op.get_bind().exec_driver_sql('VACUUM ANALYZE t')",
        "sql = 'vacuum full t'; op.execute(sql)",
        "op.execute('CREATE INDEX CONCURRENTLY i ON t (c)')",
        "op.execute('create unique  index\\nconcurrently i ON t (c)')",
        "op.execute('DROP INDEX CONCURRENTLY i')",
        "op.execute('REINDEX TABLE CONCURRENTLY t')",
        "op.execute('REFRESH MATERIALIZED VIEW CONCURRENTLY v')",
        "op.execute('ALTER TABLE t DETACH PARTITION p CONCURRENTLY')",
        "op.execute(\"ALTER TYPE mood ADD VALUE 'x'\")",
        "op.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'x'\")",
        "op.execute(f\"ALTER TYPE {name} ADD VALUE 'x'\")",
        "op.execute('ALTER TYPE ' + name + \" ADD VALUE 'x'\")",
        "op.execute('ALTER TYPE %s ADD VALUE %s' % (name, value))",
        "op.execute('ALTER TYPE {} ADD VALUE {}'.format(name, value))",
        "op.execute('CREATE DATABASE other')",
        "op.execute('ALTER SYSTEM SET work_mem = 1')",
        "op.execute('PREPARE TRANSACTION $$x$$')",
        "op.get_bind().execution_options(isolation_level='AUTOCOMMIT')",
        "op.get_bind().execution_options(**{'isolation_level': 'AUTOCOMMIT'})",
        "sa.create_engine(URL).execute(X)",
        "op.get_bind().engine.connect()",
        "sa.orm.Session(op.get_bind()).commit()",
        "op.get_bind().commit()",
    ],
)
def test_what_leaves_the_transaction_is_seen(statement: str) -> None:
    assert transactional(statement) is False


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("op.execute(open('x.sql').read())", ""),
        ("op.execute(pathlib.Path('x.sql').read_text())", "import pathlib"),
        ("op.execute(SQL)", "from app.sql import SQL"),
        ("op.execute(queries.CREATE)", "from app import queries"),
        ("op.execute(f'{queries.CREATE} x')", "from app import queries"),
        ("run('SELECT 1')", "def run(sql):\n    op.execute(sql)"),
        ("create_trigger('t')", "from app.migrations import create_trigger"),
        ("tools.create_trigger('t')", "from . import tools"),
        ("tools.sql.create('t').now()", "import app.tools as tools"),
        ("with paused(): op.drop_table('t')", "from app import paused"),
        ("subprocess.run(['psql'])", "import subprocess"),
        ("op.execute(lambda: 1)", ""),
    ],
)
def test_what_the_file_does_not_show_counts_as_not_transactional(statement: str, more: str) -> None:
    assert transactional(statement, more) is False


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("op.add_column('t', sa.Column('a', app.types.GUID()))", "import app.types"),
        ("op.add_column('t', sa.Column('a', sqlmodel.sql.sqltypes.AutoString()))", "import sqlmodel"),
        ("op.add_column('t', sa.Column('a', MyType(), server_default=default()))", "from app import MyType, default"),
        ("logger.info('start')", "import logging\nlogger = logging.getLogger()"),
    ],
)
def test_types_of_the_project_do_not_matter(statement: str, more: str) -> None:
    assert transactional(statement, more) is True


def test_a_docstring_that_speaks_of_commit_does_not_matter() -> None:
    assert read(
        f'"""COMMIT the orders"""\n{HEADER}\n\ndef upgrade():\n    """VACUUM later"""\n    op.drop_table("t")\n'
    ).transactional
