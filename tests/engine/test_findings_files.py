"""Rules about a revision's text: for each rule one file that breaks it and one that does not. Nothing is executed."""

from __future__ import annotations

import hashlib
import textwrap

import pytest

from migrations_audit.engine.findings import files, plain_text, rules
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.severities import Severity
from migrations_audit.states import Engine

PATH = "versions/r2.py"


def source(upgrade: str, *, imports: str = "", downgrade: str = 'op.drop_table("t")') -> bytes:
    return (
        f'"""A revision."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n{imports}\n\n'
        'revision = "r2"\ndown_revision = "r1"\n\n\n'
        f"def upgrade():\n{textwrap.indent(upgrade, '    ')}\n\n\n"
        f"def downgrade():\n{textwrap.indent(downgrade, '    ')}\n"
    ).encode()


def codes(upgrade: str, **more: str) -> set[str]:
    return {each.code for each in files.of_revision(source(upgrade, **more), path=PATH, revision="r2")}


CLEAN = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'
BLOCK = "with op.get_context().autocommit_block():\n    "
INDEX = 'op.create_index("i", "t", ["a"], postgresql_concurrently={})'

TRIGGERS = [
    ("autocommit_block", BLOCK + INDEX.format(True), ""),
    ("concurrently_without_autocommit", INDEX.format(True), ""),
    ("concurrently_without_autocommit", 'op.execute("CREATE INDEX CONCURRENTLY i ON t (a)")', ""),
    ("concurrently_without_autocommit", 'op.execute(sa.text("""drop index\n concurrently i"""))', ""),
    ("reflection", "sa.inspect(op.get_bind()).get_columns('t')", ""),
    ("reflection", "inspect(op.get_bind())", "from sqlalchemy import inspect"),
    ("reflection", "sa.Table('t', sa.MetaData(), autoload_with=op.get_bind())", ""),
    ("reflection", "sa.MetaData().reflect(bind=op.get_bind())", ""),
    ("reflection", "op.get_bind().dialect.has_table(op.get_bind(), 't')", ""),
    ("imports_application", CLEAN, "from shop.models import Order"),
    ("imports_application", CLEAN, "from ..models import Order"),
    ("imports_application", "import shop", ""),
    ("calls_out", "import subprocess\nsubprocess.run(['ls'])", ""),
    ("calls_out", "os.system('ls')", "import os"),
    ("calls_out", "os.execvp('ls', [])", "import os"),
    ("calls_out", "go('ls')", "from os import popen as go"),
    ("calls_out", CLEAN, "import requests"),
    ("calls_out", CLEAN, "from urllib.request import urlopen"),
    ("calls_out", "u.request.urlopen('x')", "import urllib as u"),
    ("calls_out", CLEAN, "import socket as s"),
    ("calls_out", CLEAN, "import httpx"),
    ("dynamic_code", "exec('1')", ""),
    ("dynamic_code", "__import__('os').system('ls')", ""),
    ("dynamic_code", "importlib.import_module('os')", "import importlib"),
    ("not_repeatable", "datetime.now()", "from datetime import datetime"),
    ("not_repeatable", "dt.datetime.utcnow()", "import datetime as dt"),
    ("not_repeatable", "time.time()", "import time"),
    ("not_repeatable", "uuid.uuid4()", "import uuid"),
    ("not_repeatable", "random.random()", "import random"),
    ("not_repeatable", "os.environ['A']", "import os"),
    ("not_repeatable", "environ.get('A')", "from os import environ"),
    ("not_repeatable", "os.getenv('A')", "import os"),
    ("built_sql", "op.execute(f'DROP TABLE {t}')", ""),
    ("built_sql", "op.execute(sa.text('DROP TABLE %s' % t))", ""),
    ("built_sql", "op.execute('DROP TABLE {}'.format(t))", ""),
    ("built_sql", "op.execute('DROP TABLE ' + t)", ""),
    ("built_sql", "statement = f'DROP TABLE {t}'\nop.execute(statement)", ""),
    ("built_sql", "op.get_bind().exec_driver_sql(f'DROP TABLE {t}')", ""),
    ("reads_file", "op.execute(open('x.sql').read())", ""),
    ("reads_file", "op.execute(Path('x.sql').read_text())", "from pathlib import Path"),
]
QUIET = [
    ("autocommit_block", INDEX.format(False), ""),
    ("concurrently_without_autocommit", BLOCK + INDEX.format(True), ""),
    ("concurrently_without_autocommit", INDEX.format(False), ""),
    ("concurrently_without_autocommit", BLOCK + 'op.execute("CREATE INDEX CONCURRENTLY i ON t (a)")', ""),
    ("concurrently_without_autocommit", 'op.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY v")', ""),
    ("concurrently_without_autocommit", 'print("CONCURRENTLY")', ""),
    ("reflection", "inspect.getsource(upgrade)", "import inspect"),
    ("reflection", "sa.Table('t', sa.MetaData(), sa.Column('a', sa.Integer))", ""),
    ("imports_application", CLEAN, "import os\nfrom sqlalchemy.dialects import postgresql\nimport geoalchemy2"),
    ("calls_out", CLEAN, "from urllib.parse import quote\nimport os.path\nimport json"),
    ("calls_out", "self.system('ls')", ""),
    ("dynamic_code", "re.compile('a')", "import re"),
    ("not_repeatable", "op.execute(sa.update(t).values(at=sa.func.now()))", ""),
    ("not_repeatable", "sa.Column('id', sa.Uuid, default=uuid.uuid4)", "import uuid"),
    ("not_repeatable", "datetime(2026, 1, 1)", "from datetime import datetime"),
    ("built_sql", "op.execute('DROP TABLE t')", ""),
    ("built_sql", "op.execute('DROP ' + 'TABLE t')", ""),
    ("built_sql", "op.execute(sa.text('UPDATE t SET a = :a').bindparams(a=value))", ""),
    ("built_sql", "print(f'{t} is made')", ""),
    ("reads_file", "op.execute('SELECT 1')", ""),
]


@pytest.mark.parametrize(("code", "upgrade", "imports"), TRIGGERS)
def test_a_rule_finds(code: str, upgrade: str, imports: str) -> None:
    assert code in codes(upgrade, imports=imports)


@pytest.mark.parametrize(("code", "upgrade", "imports"), QUIET)
def test_a_rule_leaves_alone(code: str, upgrade: str, imports: str) -> None:
    assert code not in codes(upgrade, imports=imports)


def test_a_plain_revision_has_no_finding() -> None:
    assert codes(CLEAN) == set()


@pytest.mark.parametrize("downgrade", ["pass", "raise NotImplementedError", "'''Nothing.'''\nreturn"])
def test_a_revision_without_a_way_back_is_told(downgrade: str) -> None:
    assert codes(CLEAN, downgrade=downgrade) == {"no_downgrade"}


def test_one_without_the_function_is_told_too() -> None:
    text = source(CLEAN).partition(b"def downgrade")[0]

    assert [each.code for each in files.of_revision(text, path=PATH)] == ["no_downgrade"]


def test_for_a_rollback_it_is_an_error() -> None:
    (found,) = files.of_revision(source(CLEAN, downgrade="pass"), path=PATH, revision="r2", is_rollback=True)

    assert found == Finding(
        "no_downgrade",
        Severity.ERROR,
        PATH,
        "r2 has no downgrade; this rollback will fail there.",
        rules.BY_CODE["no_downgrade"].advice,
    )


def test_a_rule_is_told_once_with_its_lines() -> None:
    text = source("op.execute(f'{a}')\n" * 9)

    (found,) = files.of_revision(text, path=PATH, revision="r2")

    digest = hashlib.sha256(text).hexdigest()[:12]
    assert found.sentence.startswith(f"r2 (file {digest}), lines 12, 13, 14, 15, 16 and more: SQL is put together")
    assert (found.place, found.severity) == (PATH, Severity.WARNING)


@pytest.mark.parametrize("text", [b"def upgrade(:", b"\x00", b"x = " + b"(" * 5_000 + b")" * 5_000, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_and_not_nothing(text: bytes) -> None:
    (found,) = files.of_revision(text, path=PATH)

    assert (found.code, found.severity) == ("unreadable_script", Severity.ERROR)


def test_nothing_of_the_file_is_executed() -> None:
    text = b"raise SystemExit('executed')\n" + source(CLEAN)

    assert {each.code for each in files.of_revision(text, path=PATH)} == set()


@pytest.mark.parametrize(
    ("upgrade", "codes"),
    [
        ('op.drop_table("t")', {"drop_table"}),
        ('with op.batch_alter_table("t") as batch:\n    batch.drop_column("a")', {"drop_column"}),
        ('op.drop_constraint("c", "t")', {"drop_object"}),
        ('op.rename_table("t", "u")', {"renames"}),
        ('op.execute("DELETE FROM t; DROP TABLE u")', {"delete_without_where", "drop_table"}),
        ('op.execute(sa.text("TRUNCATE t"))', {"truncate"}),
        ('op.execute("SELECT 1")\nop.create_table("t")', set()),
        ("op.execute(statement)", set()),
    ],
)
def test_without_sql_what_a_script_destroys_plainly_is_read_from_its_text(upgrade: str, codes: set[str]) -> None:
    found = plain_text.of_revision(
        source(upgrade), path=PATH, revision="r2", is_rollback=False, engine=Engine.POSTGRESQL
    )

    assert {each.code for each in found} == codes
    assert {each.place.partition(",")[0] for each in found} <= {PATH}


def test_without_sql_a_rollback_is_read_in_its_own_function() -> None:
    text = source('op.execute("TRUNCATE t")', downgrade='op.drop_column("t", "a")')

    found = plain_text.of_revision(text, path=PATH, revision="r2", is_rollback=True, engine=Engine.SQLITE)

    assert [(each.code, each.place) for each in found] == [("drop_column", PATH)]


def test_without_sql_a_file_that_cannot_be_read_is_told_by_the_other_rules_alone() -> None:
    assert plain_text.of_revision(b"(", path=PATH, revision="r2", is_rollback=False, engine=Engine.SQLITE) == ()
