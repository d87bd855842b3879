"""What a runner is asked: built from an approved plan, or for the SQL of a plan in the making."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from migrations_audit.engine import dialects, fence, protocol, resolve, types
from migrations_audit.engine.configuration import ScriptConfiguration
from migrations_audit.engine.rehearsing import inspection
from migrations_audit.engine.rehearsing.types import Copy
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.execution import commands, places
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import Operation, UrlDelivery

OFFLINE_LIMITS = types.RunLimits(lock_timeout_ms=0, statement_timeout_ms=0, lock_budget_s=0, deadline_s=60)
IDLE_IN_TRANSACTION_MS = 600_000
CONNECTION_CHECK_MS = 1_000


def online(
    *, run: MigrationRun, plan: Plan, url: TargetUrl, configuration: ScriptConfiguration
) -> protocol.RunnerRequest:
    """The request to execute ``plan``. Its repr hides the password."""
    options = plan.options
    base = _common(
        run=run,
        url=url,
        rendered=url.render(run.target.project.driver),
        identity=plan.identity,
        operation=plan.operation,
        configuration=configuration,
    )
    return replace(
        base,
        lock_budget_s=options["lock_budget_s"],
        lock_timeout_ms=options["lock_timeout_ms"],
        statement_timeout_ms=options["statement_timeout_ms"],
        idle_in_transaction_timeout_ms=IDLE_IN_TRANSACTION_MS,
        client_connection_check_interval_ms=CONNECTION_CHECK_MS,
        start=tuple(plan.from_revisions),
        destination=tuple(plan.destination),
        steps=tuple((step["revision"], step["direction"]) for step in plan.steps),
        command=commands.words(
            run.target.project, operation=Operation(plan.operation), destination=plan.destination[0]
        ),
        files={step["revision"]: step["sha256"] for step in plan.steps},
        env_py=next((item["sha256"] for item in plan.snapshot.files if item["path"] == _env_py(configuration)), ""),
    )


def rehearsal(
    *,
    run: MigrationRun,
    plan: Plan,
    copy: Copy,
    resolution: types.Resolution,
    configuration: ScriptConfiguration,
    application_name: str,
) -> protocol.RunnerRequest:
    """The request to play ``resolution`` on a copy: the plan's limits, files and command, and the questions of a rehearsal."""
    base = _common(
        run=run,
        url=copy.url,
        rendered=copy.url.render(run.target.project.driver),
        identity=copy.identity.as_dict(),
        operation=resolution.operation,
        configuration=configuration,
    )
    known = {item["revision"]: item["sha256"] for item in plan.snapshot.graph["revisions"]}
    return replace(
        base,
        application_name=application_name,
        lock_budget_s=plan.options["lock_budget_s"],
        lock_timeout_ms=plan.options["lock_timeout_ms"],
        statement_timeout_ms=plan.options["statement_timeout_ms"],
        idle_in_transaction_timeout_ms=IDLE_IN_TRANSACTION_MS,
        client_connection_check_interval_ms=CONNECTION_CHECK_MS,
        start=resolution.start,
        destination=(resolve.argument(resolution),),
        steps=tuple((step.revision, step.direction) for step in resolution.steps),
        command=commands.words(
            run.target.project, operation=resolution.operation, destination=resolve.argument(resolution)
        ),
        files={step.revision: known[step.revision] for step in resolution.steps},
        env_py=next((item["sha256"] for item in plan.snapshot.files if item["path"] == _env_py(configuration)), ""),
        inspect={name: dict(questions) for name, questions in inspection.QUESTIONS.items()},
    )


def offline(
    *,
    run: MigrationRun,
    url: TargetUrl,
    identity: Mapping[str, Any],
    resolution: types.Resolution,
    configuration: ScriptConfiguration,
) -> protocol.RunnerRequest:
    """The request for the SQL from start to destination. It holds no password, and the runner refuses any connection."""
    start = resolution.start[0] if resolution.start else "base"
    base = _common(
        run=run,
        url=replace(url, password=""),
        rendered=url.without_password(run.target.project.driver),
        identity=identity,
        operation=resolution.operation,
        configuration=configuration,
    )
    return replace(base, offline_range=f"{start}:{resolution.destination[0]}")


def resolution(plan: Plan) -> types.Resolution:
    """What was planned, as the engine knows it."""
    return types.Resolution(
        operation=Operation(plan.operation),
        requested=plan.requested,
        start=tuple(plan.from_revisions),
        destination=tuple(plan.destination),
        result=tuple(plan.to_revisions),
        steps=tuple(types.Step(**{**step, "down_revisions": tuple(step["down_revisions"])}) for step in plan.steps),
    )


def limits(plan: Plan) -> types.RunLimits:
    """The limits that were approved with the plan."""
    names = ("lock_timeout_ms", "statement_timeout_ms", "lock_budget_s", "deadline_s")
    return types.RunLimits(**{name: plan.options[name] for name in names})


def _common(
    *,
    run: MigrationRun,
    url: TargetUrl,
    rendered: str,
    identity: Mapping[str, Any],
    operation: str,
    configuration: ScriptConfiguration,
) -> protocol.RunnerRequest:
    project = run.target.project
    return protocol.RunnerRequest(
        mode=commands.DIRECTIONS[Operation(operation)],
        config_path=_from(configuration.working_directory, configuration.ini_path),
        toml_path=_from(configuration.working_directory, configuration.toml_path),
        ini_section=project.ini_section,
        url=rendered,
        url_delivery=UrlDelivery(project.url_delivery),
        url_delivery_name=project.url_delivery_name,
        connection=protocol.Connection(
            host=url.host,
            port=url.port,
            database=url.database,
            user=url.user,
            password=url.password,
            parameters=dict(url.parameters),
            engine=url.engine.value,
        ),
        expected=protocol.Expected(
            system_identifier=identity["system_identifier"],
            database_oid=identity["database_oid"],
            database=identity["database"],
        ),
        application_name=places.tag_of(run),
        lock_key=fence.LOCK_KEY,
        lock_name=dialects.lock_name(url),
        lock_budget_s=0,
        lock_timeout_ms=0,
        statement_timeout_ms=0,
        idle_in_transaction_timeout_ms=0,
        client_connection_check_interval_ms=0,
        start=(),
        destination=(),
        steps=(),
        version_table=project.version_table,
        version_table_schema=project.version_table_schema,
        extra_environment=dict(project.extra_environment),
        x_arguments=tuple(project.x_arguments),
    )


def _env_py(configuration: ScriptConfiguration) -> str:
    return posixpath.normpath(posixpath.join(configuration.script_location, "env.py"))


def _from(working_directory: str, path: str) -> str:
    return posixpath.relpath(path, working_directory) if path else ""
