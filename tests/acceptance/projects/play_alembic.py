"""Run Alembic's own commands on one database, one after another, in a project's interpreter.

Started in the folder where Alembic is to be started, with one argument, a JSON object: ``config``, ``section``, ``variable``
(empty where the URL goes into the configuration) and ``url``. Each line that comes in is a command and its revision; the answer
is ``ok`` or ``failed``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from alembic import command
from alembic.config import Config

asked = json.loads(sys.argv[1])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the project prints is no answer
if asked["variable"]:
    os.environ[asked["variable"]] = asked["url"]
for line in sys.stdin:
    name, revision = line.split()
    config = Config(asked["config"], ini_section=asked["section"])
    if not asked["variable"]:
        config.set_main_option("sqlalchemy.url", asked["url"].replace("%", "%%"))
    try:
        getattr(command, name)(config, revision)
    except Exception:  # noqa: BLE001  whatever the project raises, its revision failed
        traceback.print_exc()
        print("failed", file=answers, flush=True)
    else:
        print("ok", file=answers, flush=True)
