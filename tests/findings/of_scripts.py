"""The rules about a revision's text: a file that breaks one, and a file that resembles it and does not."""

from __future__ import annotations

import textwrap
from pathlib import Path

from migrations_audit.engine.findings import files
from tests.findings.cases import Part


def source(upgrade: str, *, imports: str = "", downgrade: str = 'op.drop_table("t")') -> bytes:
    return (
        f'"""A revision."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n{imports}\n\n'
        'revision = "r2"\ndown_revision = "r1"\n\n\n'
        f"def upgrade():\n{textwrap.indent(upgrade, '    ')}\n\n\n"
        f"def downgrade():\n{textwrap.indent(downgrade, '    ')}\n"
    ).encode()


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


def found(text: bytes, _: Path) -> set[str]:
    return {each.code for each in files.of_revision(text, path="versions/r2.py", revision="r2")}


OF_SCRIPTS = Part(
    "scripts",
    found,
    [
        *((code, source(upgrade, imports=imports)) for code, upgrade, imports in TRIGGERS),
        ("no_downgrade", source(CLEAN, downgrade="pass")),
        ("unreadable_script", b"def upgrade(:"),
    ],
    [
        *((code, source(upgrade, imports=imports)) for code, upgrade, imports in QUIET),
        ("no_downgrade", source(CLEAN)),
        ("unreadable_script", source(CLEAN)),
    ],
)
