"""Tiny Alembic projects with a real env.py, written into a folder of the test, for the runner to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

INI_URL = 'context.config.get_main_option("sqlalchemy.url")'

ONLINE_ENV = """
    from alembic import context
    from sqlalchemy import engine_from_config, pool

    config = context.config
    if context.is_offline_mode():
        context.configure(url=config.get_main_option("sqlalchemy.url"), literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    else:
        engine = engine_from_config(config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool)
        with engine.connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
"""

ASYNC_ENV = """
    import asyncio

    from alembic import context
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import async_engine_from_config

    def migrate(connection):
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

    async def main():
        config = context.config
        section = config.get_section(config.config_ini_section)
        engine = async_engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
        await engine.dispose()

    asyncio.run(main())
"""


def env_with(url: str, *, setup: str = "", before: str = "", configure: str = "") -> str:
    """An env.py that takes its URL from the Python expression ``url``.

    ``setup`` runs first, ``before`` on the connection before configure, ``configure`` is more arguments for that.
    """
    return "\n".join(
        [
            "import os",
            "from alembic import context",
            "from sqlalchemy import create_engine, pool, text",
            dedent(setup),
            f"engine = create_engine({url}, poolclass=pool.NullPool)",
            "with engine.connect() as connection:",
            indent(dedent(before), "    "),
            f"    context.configure(connection=connection, {configure})",
            "    with context.begin_transaction():",
            "        context.run_migrations()",
            "",
        ]
    )


@dataclass(frozen=True)
class Script:
    """One revision. ``up`` and ``down`` are the bodies of its functions."""

    revision: str
    up: str
    down_revision: str | None = None
    down: str = "pass"

    def source(self) -> str:
        return "\n".join(
            [
                "from alembic import op",
                f"revision = {self.revision!r}",
                f"down_revision = {self.down_revision!r}",
                "def upgrade():",
                indent(dedent(self.up), "    "),
                "def downgrade():",
                indent(dedent(self.down), "    "),
                "",
            ]
        )


def chain(*names: str) -> list[Script]:
    """Revisions ``r1``, ``r2``, … that create one table each."""
    return [
        Script(
            revision=f"r{number}",
            down_revision=f"r{number - 1}" if number > 1 else None,
            up=f'op.execute("CREATE TABLE {name} (id int PRIMARY KEY)")',
            down=f'op.execute("DROP TABLE {name}")',
        )
        for number, name in enumerate(names, start=1)
    ]


def write(
    folder: Path, scripts: Sequence[Script], *, env: str = ONLINE_ENV, location: str = "migrations", ini: str = ""
) -> Path:
    """Write ``alembic.ini``, ``env.py`` and the revisions into ``folder`` and return it."""
    versions = folder / location / "versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {location}\n{dedent(ini)}")
    (folder / location / "env.py").write_text(dedent(env))
    for script in scripts:
        (versions / f"{script.revision}.py").write_text(script.source())
    return folder
