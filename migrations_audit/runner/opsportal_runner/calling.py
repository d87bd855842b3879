"""Calls Alembic, or the project's own command, as it would be called at a shell."""

from __future__ import annotations

import io
import os
import runpy
import sys
from importlib import metadata
from typing import Any, cast

from . import planned, telling

SQL_PIECE = 200_000


def configured(request: telling.Facts, buffer: io.StringIO) -> Any:
    """Alembic's configuration as its own command line would make it, with the URL where the project takes it."""
    from alembic.config import CommandLine, Config

    path, section, name = request["config_path"], request["ini_section"], request["url_delivery_name"]
    toml = request["toml_path"] or (path if os.path.basename(path) == "pyproject.toml" else "")
    files = {"file_": "alembic.ini" if path in ("", toml) else path}
    if toml:  # Alembic before 1.16 knows none
        files["toml_file"] = toml
    options = CommandLine(prog="alembic").parser.parse_args(
        ["-c", path or toml, "-n", section, request["mode"], "base"]
    )
    options.x = list(request["x_arguments"])
    config: Any = Config(ini_section=section, cmd_opts=options, output_buffer=buffer, **cast("telling.Facts", files))
    set_environment(request)
    if request["url_delivery"] == "x_argument":
        options.x.append(f"{name}={request['url']}")
    elif request["url_delivery"] != "environment":
        config.set_main_option("sqlalchemy.url", request["url"].replace("%", "%%"))
    return config


def set_environment(request: telling.Facts) -> None:
    os.environ.update(request["extra_environment"])
    if request["url_delivery"] == "environment":
        os.environ[request["url_delivery_name"]] = request["url"]


def hand_over(request: telling.Facts, events: telling.Events) -> None:
    """Call the project's own command in this process, as its console script would, with our hooks armed."""
    set_environment(request)
    sys.argv = list(request["command"])
    first = sys.argv[0]
    try:
        if first == "-m":
            del sys.argv[0]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        elif first.endswith(".py"):
            sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
            runpy.run_path(first, run_name="__main__")
        else:
            installed = [script for package in metadata.distributions() for script in package.entry_points]
            found = [script for script in installed if script.group == "console_scripts" and script.name == first]
            if not found:
                events.refuse(
                    "no_such_command",
                    f"The project's interpreter has no command {first}. Correct the project's command.",
                )
            code = found[0].load()()
            if isinstance(code, int) and code:
                raise SystemExit(code)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def perform(request: telling.Facts, events: telling.Events, plan: planned.Plan) -> None:
    from alembic import command

    if request["command"]:
        plan.last_call = False  # importing the project may call Alembic too
        hand_over(request, events)
        return
    act = {"upgrade": command.upgrade, "downgrade": command.downgrade, "stamp": command.stamp}[request["mode"]]
    buffer = io.StringIO()
    config = configured(request, buffer)
    if request["offline_range"]:
        act(config, request["offline_range"], sql=True)
        sql = buffer.getvalue()
        for begin in range(0, len(sql), SQL_PIECE):
            events.emit("sql", text=sql[begin : begin + SQL_PIECE])
        return
    for index, destination in enumerate(request["destination"], start=1):
        plan.last_call = index == len(request["destination"])
        config.cmd_opts.revision = destination
        act(config, destination)
