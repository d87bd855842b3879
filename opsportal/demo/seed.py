"""Fill an empty portal with the story: one project, three databases, production without revision 003, and its people.

Run by ``dev.py demo`` after ``migrate``; a second run changes nothing, and one that was interrupted is begun again. What is
there before the portal (databases, and the upgrades that were run by hand) is made with Alembic's own command line. Everything in
the portal goes through its actions.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import django
import psycopg
from psycopg import sql

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")
django.setup()

from opsportal.demo import story  # noqa: E402  (models exist from here on)

ROOT = Path(__file__).resolve().parent.parent.parent
MARKETEDGE = ROOT / "opsportal" / "demo" / "marketedge"
LEDGER = ROOT / "opsportal" / "demo" / "ledger"
ENTRIES = 250_000

STORY = (("development", "head"), ("staging", "head"), ("production", "002"))


class Cluster:
    """The private server that plays the world of the targets."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    def make(self, name: str) -> str:
        """A fresh database owned by a role of its own; its URL. One that an interrupted start left is replaced."""
        password = secrets.token_urlsafe(18)
        with psycopg.connect(self._admin_url, autocommit=True) as server:
            role = sql.Identifier(name)
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(role))
            server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
            server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        parts = urlsplit(self._admin_url)
        return f"postgresql://{name}:{quote(password, safe='')}@{parts.hostname}:{parts.port}/{name}"


def by_hand(url: str, revision: str, *, project: Path = MARKETEDGE) -> None:
    """What the team did before it had a portal: run Alembic in a shell."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", revision],
        cwd=project,
        env=environment | {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1)},
        check=True,
    )


def fill_ledger(url: str) -> None:
    """Rows enough that rewriting their table would be felt."""
    with psycopg.connect(url, autocommit=True) as ledger:
        ledger.execute("INSERT INTO accounts SELECT n, 'Account ' || n, 'L' || n FROM generate_series(1, 200) n")
        ledger.execute(
            "INSERT INTO entries SELECT n, 1 + n %% 200, n, now() - n * interval '1 minute', repeat('booked ', 12)"
            " FROM generate_series(1, %s) n",
            [ENTRIES],
        )
        ledger.execute("ANALYZE")


def main() -> int:
    """Seed once. Returns 0, or 1 when the portal's database holds somebody's environments already."""
    data = Path(os.environ["PORTAL_DATA"])
    kept = data / "signins.json"
    if kept.exists():
        print("The story is there already.")
        return 0
    if story.is_inhabited():
        print(
            f"This portal database holds environments, but {kept} is missing. The demo needs an empty database.",
            file=sys.stderr,
        )
        return 1
    cluster = Cluster(os.environ["PORTAL_DEMO_TARGET_URL"])
    urls: dict[str, str] = {}
    for environment, revision in STORY:
        urls[environment] = cluster.make(f"marketedge_{environment}")
        print(f"marketedge_{environment}: alembic upgrade {revision}, by hand, as before the portal", flush=True)
        by_hand(urls[environment], revision)
    experiments, ledger = cluster.make("experiments"), cluster.make("ledger_production")
    print(f"ledger_production: alembic upgrade 001, by hand, and {ENTRIES:,} entries", flush=True)
    by_hand(ledger, "001", project=LEDGER)
    fill_ledger(ledger)

    def keep(signins: list[dict[str, str]]) -> None:
        with open(kept, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            json.dump(signins, file, indent=2)

    story.tell(
        urls=urls,
        experiments=experiments,
        ledger=ledger,
        folders=(MARKETEDGE, LEDGER),
        secrets_folder=data / "target-urls",
        keep=keep,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
