"""Run Alembic's own commands in a project's interpreter and print what they say, as one line of JSON.

Started in the folder where Alembic is to be started, with one argument, a JSON object: ``config``, ``section``, ``variable``
(empty where the URL goes into the configuration), ``url``, and ``commands``, each a name with its keyword arguments.
"""

from __future__ import annotations

import io
import json
import os
import sys

from alembic import command
from alembic.config import Config

asked = json.loads(sys.argv[1])
if asked["variable"]:
    os.environ[asked["variable"]] = asked["url"]
answers = []
for name, arguments in asked["commands"]:
    said = io.StringIO()
    config = Config(asked["config"], ini_section=asked["section"], stdout=said)
    if not asked["variable"]:
        config.set_main_option("sqlalchemy.url", asked["url"].replace("%", "%%"))
    getattr(command, name)(config, **arguments)
    answers.append(said.getvalue())
sys.stdout.write("\n" + json.dumps(answers))
sys.stdout.flush()
os._exit(0)  # no exit handler of the project
