"""A password in a script is hidden from people, and nothing but the password is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.masking import MASK, mask, plain_secrets

S = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        f'url = "postgresql://u:{S}@h/d"',
        f'url = f"postgresql://u:{S}@{{host}}/d"',
        f'url = "postgresql://u:{S}@h/d?x=a@b"',
        f'conninfo = "host=h password={S} user=u"',
        f'password = "{S}"',
        f"db_password: str = '{S}'",
        f'settings = {{"password": "{S}", "user": "u"}}',
        f'os.environ["PGPASSWORD"] = "{S}"',
        f'os.getenv("DB_PASSWORD", "{S}")',
        f'connect(host="h", password="{S}", port=1)',
        f"op.execute(\"ALTER ROLE r PASSWORD '{S}'; DROP TABLE t\")",
        f"op.execute('ALTER ROLE r PASSWORD \\'{S}\\'; DROP TABLE t')",
        f"op.execute(\"ALTER ROLE r PASSWORD E'{S}'\")",
        f'op.execute("ALTER ROLE r PASSWORD $${S}$$; DROP TABLE t")',
        f'op.execute("ALTER ROLE r PASSWORD $tag${S}$tag$; DROP TABLE t")',
        f"# once it was postgresql://u:{S}@h/d",
    ],
)
def test_a_password_in_python_is_masked_and_nothing_beside_it(line: str) -> None:
    text = f"import os\n{line}\nprint('after')\n"

    masked = mask(text, is_python=True)

    assert masked.text == text.replace(S, MASK)
    assert masked.lines == (2,)


@pytest.mark.parametrize(
    "line",
    [
        'url = f"postgresql://{user}:{password}@{host}/d"',
        'url = "postgresql://%s:%s@%s/d" % parts',
        "password = os.environ['X']",
        'password = __import__("os").system("id")',
        'password = drop_everything("now")',
        'op.execute("UPDATE users SET password = crypt(secret, gen_salt()), admin = true")',
        'op.execute("UPDATE users SET password = NULL, admin = true")',
        'op.execute("UPDATE users SET password = :new")',
        'sa.Column("password", sa.String(255), nullable=False)',
        'password = ""',
        'see = "https://docs.example/a@b"',
        "x = 'a:b@c'",
    ],
)
def test_code_and_placeholders_stay_readable(line: str) -> None:
    assert mask(f"{line}\n", is_python=True).text == f"{line}\n"


def test_a_string_over_several_lines_tells_the_line_of_the_password() -> None:
    text = 'op.execute("""\n  ALTER ROLE r WITH\n  PASSWORD\n    \'hunter2\' VALID UNTIL \'2030-01-01\'\n""")\n'

    masked = mask(text, is_python=True)

    assert masked.text == text.replace(S, MASK)
    assert masked.lines == (4,)


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x0c", "\x85", "\x1c"])
def test_what_only_looks_like_a_line_end_does_not_move_the_mask(separator: str) -> None:
    text = f'# a{separator}b\npassword = "{S}"\nop.execute("DROP TABLE t")\n'

    assert mask(text, is_python=True).text == text.replace(S, MASK)


def test_a_comment_between_does_not_hide_the_line_after_it() -> None:
    text = 'token = (  # what follows is long\n    DROP("TABLE t"))\n'

    assert mask(text, is_python=True).text == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"[alembic]\nsqlalchemy.url = postgresql+psycopg://u:{S}@h/d\n", (2,)),
        (f"[alembic]\nsqlalchemy.url = postgresql://u:{S}@h/d\ndb_password = {S}\n", (2, 3)),
        (f'[tool.shop]\npassword = "{S}"\n', (2,)),
        (f"[shop]\napi_key: {S}\n", (2,)),
        ("[alembic]\nsqlalchemy.url = postgresql://%(user)s:%(password)s@h/d\npassword = %(DB_PASSWORD)s\n", ()),
        ("[alembic]\nscript_location = migrations\npassword =\n", ()),
    ],
)
def test_a_configuration_file_is_read_setting_by_setting(text: str, lines: tuple[int, ...]) -> None:
    masked = mask(text, is_python=False)

    assert S not in masked.text
    assert masked.lines == lines


def test_what_is_no_python_is_read_as_text() -> None:
    assert S not in mask(f'def broken(:\n  url = "postgresql://u:{S}@h/d"\n', is_python=True).text


def test_the_files_of_a_project_are_told_by_path_and_line() -> None:
    files = {
        "alembic.ini": f"[alembic]\nsqlalchemy.url = postgresql://u:{S}@h/d\n",
        "migrations/versions/1.py": "revision = '1'\n",
        "migrations/versions/2.py": f"password = '{S}'\n",
        "README.md": f"password: {S}\n",
    }

    assert plain_secrets(files) == {"alembic.ini": (2,), "migrations/versions/2.py": (1,)}


def test_the_example_of_alembics_own_template_is_no_secret() -> None:
    assert plain_secrets({"alembic.ini": "sqlalchemy.url = driver://user:pass@localhost/dbname\n"}) == {}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120), st.booleans())
def test_any_text_is_masked_or_left_and_only_ever_loses_what_the_masks_replace(text: str, is_python: bool) -> None:
    masked = mask(text, is_python=is_python)

    assert (MASK in masked.text) >= bool(masked.lines)
    if not masked.lines:
        assert masked.text == text


def test_hostile_files_are_read_in_linear_time() -> None:
    for text in ("a://b:" * 50_000, "password='" * 50_000, "password=" * 50_000, "password $" * 50_000, "'" * 50_000):
        assert mask(text, is_python=True).text
        assert mask(text, is_python=False).text
