"""What the registry accepts. Each rule raises Invalid with its field and a sentence, and repeats nothing that may be a secret."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from django.views.decorators.debug import sensitive_variables

from migrations_audit import policy, sealing, windows
from migrations_audit.actions import registry_launchers, registry_sources
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, Membership, Project, Role, Target, Tier, Window
from migrations_audit.models.projects import Delivery

LONGEST_ROLE: Final = 60
LONGEST_IDENTIFIER_BYTES: Final = 63
LONGEST_URL: Final = 1_400  # sealed it must fit into Target.url_reference
MOST_VARIABLES: Final = 50
LONGEST_VALUE: Final = 2_000

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_ROLE: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_CONFIG_NAME: Final = re.compile(r"[A-Za-z0-9._-]+\.ini|pyproject\.toml")
_SECTION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,79}")
_REFERENCE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/[^\x00]{1,1000}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_X_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,79}")

# They decide what an interpreter loads, where libpq connects, or belong to the portal itself.
_TAKEN: Final = re.compile(
    r"(?:PYTHON|LD_|DYLD_|PG|ALEMBIC_|PORTAL_|OPSPORTAL_|CELERY_|DJANGO_|BASH_|GCONV_|GLIBC_|MALLOC_).*"
    r"|PATH|HOME|TMPDIR|SHELL|ENV|IFS|USER|LOGNAME|NLSPATH|LOCPATH|HOSTALIASES|RES_OPTIONS|OPENSSL_CONF"
    r"|SECRET_KEY|REDIS_URL",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/\s@]*:[^\s@]*@|(?:password|passwd|pwd)\s*=\s*\S")
_SECRET_NAME: Final = re.compile(r"(?i)passw|pwd|secret|token|api_?key|access_?key|private|credential|dsn")
_SCHEME: Final = re.compile(
    r"(?i)postgres(?:ql)?(?:\+(?:psycopg|psycopg2|asyncpg|pg8000))?|(?:mysql|mariadb)(?:\+pymysql)?"
)
_SQLITE: Final = re.compile(r"(?i)sqlite(?:\+pysqlite)?:")


def holds_a_password(text: str) -> bool:
    """Whether the text holds a URL with a password, or ``password=``."""
    return _SECRET.search(text) is not None


def check_texts(values: Mapping[str, Any]) -> None:
    """Every text is one printable line without a password, whatever field it is for."""
    for name, value in values.items():
        if not isinstance(value, str):
            continue
        if holds_a_password(value):
            raise Invalid(
                "This holds a password. Passwords belong only into a target's URL reference; nothing was stored.",
                field=name,
            )
        if not value.isprintable():
            raise Invalid(
                "Use one line of printable characters: no control, direction or zero-width characters.", field=name
            )


def check_environment(environment: Environment) -> None:
    """Raise Invalid for an environment that could not work, or that would let production run unapproved."""
    _check_slug(environment.slug)
    if not _QUEUE.fullmatch(environment.queue):
        raise Invalid(
            "A queue's name has lower-case letters, digits, dots, hyphens and _, like target-production.", field="queue"
        )
    for requirement in environment.parsed_requirements:
        if requirement.role != policy.ANY_ROLE:
            check_role(requirement.role, field="requirements")
    if environment.tier == Tier.PRODUCTION and not environment.requirements:
        raise Invalid(
            "Production needs at least one approval requirement, for example 1 database-administrator.",
            field="requirements",
        )
    _check_promotion(environment)
    if environment.fresh_for_s <= environment.observe_every_s:
        raise Invalid(
            f"An observation every {environment.observe_every_s} s cannot stay fresh for only {environment.fresh_for_s} s: "
            "every target would turn stale between two observations. Give more than that.",
            field="fresh_for_s",
        )
    if environment.lock_timeout_ms >= environment.statement_timeout_ms:
        raise Invalid(
            "The lock timeout must be shorter than the statement timeout, or it never takes effect.",
            field="lock_timeout_ms",
        )
    if environment.scratch_reference and not _REFERENCE.fullmatch(environment.scratch_reference):
        raise Invalid(
            "Write env:NAME or file:/path, where the worker finds the URL of the server for copies; never the URL itself.",
            field="scratch_reference",
        )
    if environment.lock_budget_s >= environment.deadline_s:
        raise Invalid("The wait for the run lock must be shorter than the run's deadline.", field="lock_budget_s")


def _check_promotion(environment: Environment) -> None:
    """What comes first in the order of promotion is verified first, so that no two environments wait for each other."""
    earlier = environment.requires_verified_in
    if earlier is not None and (earlier.pk == environment.pk or earlier.position >= environment.position):
        raise Invalid(
            f"{environment.name} can wait for an environment that comes before it in the order of promotion: one "
            "whose position is "
            f"lower than {environment.position}.",
            field="requires_verified_in",
        )
    later = environment.required_by.order_by("position").first() if environment.pk else None
    if later is not None and later.position <= environment.position:
        raise Invalid(
            f"{later.name} asks that scripts were verified here first, so the position must stay lower than {later.position}.",
            field="position",
        )


def check_membership(membership: Membership) -> None:
    """Raise Invalid unless exactly an approver has an approver role, written as policies write it."""
    if membership.role == Role.APPROVER:
        check_role(membership.approver_role, field="approver_role")
    elif membership.approver_role:
        raise Invalid(
            "Only an approver has an approver role. Leave it empty, or choose the role Approver.", field="approver_role"
        )


def check_window(window: Window) -> None:
    """Raise Invalid for a window that never opens, or in which no run of its environment could start."""
    windows.check(window.rule, lasts=timedelta(seconds=window.environment.deadline_s))


def check_role(role: str, *, field: str) -> None:
    """Raise Invalid unless ``role`` is written like ``database-administrator``."""
    if len(role) > LONGEST_ROLE or not _ROLE.fullmatch(role):
        raise Invalid(
            "An approver role is written in lower case with hyphens, like database-administrator, "
            f"in at most {LONGEST_ROLE} characters.",
            field=field,
        )


def check_project(project: Project) -> None:
    """Raise Invalid for settings that a worker could not use or that would lead it out of the project."""
    _check_slug(project.slug)
    registry_sources.check_source(project)
    _check_config_path(project.config_path)
    if not _SECTION.fullmatch(project.ini_section) or project.ini_section == "DEFAULT":
        raise Invalid(
            "An ini section is named with letters, digits and _ . : -, like alembic. DEFAULT is not one.",
            field="ini_section",
        )
    registry_sources.check_interpreter(project)
    _check_delivery(project)
    registry_launchers.check_launcher(project)
    for field in ("command", "x_arguments"):
        check_texts(dict.fromkeys([field], " ".join(getattr(project, field))))
    _check_variables(project.extra_environment, delivered=project.url_delivery_name)
    _check_identifier(project.version_table, field="version_table", what="version table", required=True)
    _check_identifier(project.version_table_schema, field="version_table_schema", what="schema", required=False)


def check_target(target: Target) -> None:
    """Raise Invalid unless slug and reference are well formed. The reference is not followed: only the worker can."""
    _check_slug(target.slug)
    check_reference(target.url_reference)


def check_reference(reference: str) -> None:
    """Raise Invalid unless it is ``env:NAME``, ``file:/path`` or a sealed value. A pasted URL is not repeated."""
    if not reference:
        raise Invalid(
            "Say where the worker finds the URL: env:NAME or file:/path here, or the URL itself in “New URL”, to be sealed.",
            field="url_reference",
        )
    if "://" in reference or holds_a_password(reference):
        raise Invalid(
            "This is a URL, not a reference, and it was not stored. Enter it in “New URL”: it is sealed there. "
            "If it held a password and others saw this page, change the password.",
            field="url_reference",
        )
    try:
        sealing.check_reference(reference)
    except Invalid as error:
        raise Invalid(error.message, field="url_reference") from None


@sensitive_variables()
def check_url(url: str) -> None:
    """Raise Invalid unless ``url`` looks like one database, which the worker reads strictly. Nothing is repeated."""
    if _SQLITE.match(url):
        _check_file(url)
        return
    parts = _split(url)
    if parts is None:
        raise Invalid(
            "This is not a URL: a host or a port is malformed. In a password write @ as %40, / as %2F, # as %23.",
            field="new_url",
        )
    sentences = (
        (len(url) <= LONGEST_URL, f"The URL is longer than {LONGEST_URL:,} characters."),
        (
            url.isprintable() and " " not in url,
            "The URL holds white space or a control character. In a password write a space as %20.",
        ),
        (
            _SCHEME.fullmatch(parts.scheme),
            "The URL begins with postgresql:// or postgresql+driver:// (psycopg, psycopg2, asyncpg, pg8000), with "
            "mysql+pymysql:// or mariadb+pymysql://, or with sqlite:////.",
        ),
        (parts.username, "The URL names no user. It looks like postgresql://user:password@host:5432/database."),
        (parts.hostname and "," not in parts.netloc, "The URL names one host: not none, and not several."),
        (
            parts.path.strip("/") and parts.path.count("/") == 1,
            "The URL names no database. It stands after the host: …/database.",
        ),
        ("#" not in url, "The URL holds #. In a password write it as %23."),
    )
    for holds, sentence in sentences:
        if not holds:
            raise Invalid(sentence, field="new_url")


def _check_file(url: str) -> None:
    path = url.partition(":")[2]
    if (
        not path.startswith("////")
        or path.startswith("/////")
        or any(mark in path for mark in "?#")
        or len(url) > LONGEST_URL
    ):
        raise Invalid(
            "The URL of a SQLite file is sqlite:////absolute/path/to/file.db, with four slashes and without parameters.",
            field="new_url",
        )


@sensitive_variables()
def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError:
        return None
    return parts


def _check_slug(slug: str) -> None:
    if not _SLUG.fullmatch(slug):
        raise Invalid(
            "A short name has lower-case letters, digits, hyphens and _, and begins and ends with a letter or digit.",
            field="slug",
        )


def _check_config_path(path: str) -> None:
    if path.startswith(("/", "-")) or posixpath.normpath(path) != path or ".." in path.split("/"):
        raise Invalid(
            "Give the configuration's path relative to the folder, without . or .. in it.", field="config_path"
        )
    if ":" in path or "\\" in path or not _CONFIG_NAME.fullmatch(posixpath.basename(path)):
        raise Invalid("The configuration is a file that ends in .ini, or pyproject.toml.", field="config_path")


def _check_delivery(project: Project) -> None:
    name = project.url_delivery_name
    if project.url_delivery == Delivery.SQLALCHEMY_URL:
        if name:
            raise Invalid(
                "sqlalchemy.url needs no name. Leave it empty, or choose another way of delivery.",
                field="url_delivery_name",
            )
    elif project.url_delivery == Delivery.X_ARGUMENT:
        if not _X_KEY.fullmatch(name):
            raise Invalid(
                "Name the -x key, like db_url: letters, digits and _ . -, beginning with a letter.",
                field="url_delivery_name",
            )
    else:
        _check_variable(name, field="url_delivery_name")


def _check_variable(name: str, *, field: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise Invalid(
            "A variable's name has letters, digits and _, like DATABASE_URL, and does not begin with a digit.",
            field=field,
        )
    if _TAKEN.fullmatch(name):
        raise Invalid(
            f"{name} is not given to a project: it decides what is loaded or where a connection leads, or belongs to the portal. "
            "Have env.py read another name.",
            field=field,
        )


def _check_variables(variables: object, *, delivered: str) -> None:
    field = "extra_environment"
    if not isinstance(variables, dict) or not all(isinstance(text, str) for pair in variables.items() for text in pair):
        raise Invalid("The extra environment maps names to texts, one NAME=value per line.", field=field)
    if len(variables) > MOST_VARIABLES:
        raise Invalid(f"A project has at most {MOST_VARIABLES} extra variables.", field=field)
    for name, value in variables.items():
        _check_variable(name, field=field)
        if name == delivered:
            raise Invalid(f"{name} already delivers the URL. Remove it here.", field=field)
        if _SECRET_NAME.search(name):
            raise Invalid(
                f"{name} is named like a secret, and these values are shown to everybody and kept in the audit. Have env.py read "
                "it from a file on the worker, or put it into the target's URL reference.",
                field=field,
            )
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise Invalid(f"{name} is one line of at most {LONGEST_VALUE:,} printable characters.", field=field)
        if holds_a_password(value):
            raise Invalid(
                f"The value of {name} looks like a URL with a password. These values are shown to everybody: "
                "put secrets in the target's URL reference.",
                field=field,
            )


def _check_identifier(name: str, *, field: str, what: str, required: bool) -> None:
    if not name and not required:
        return
    if not name.strip() or name != name.strip() or len(name.encode()) > LONGEST_IDENTIFIER_BYTES:
        raise Invalid(
            f"The {what} has a name of 1 to {LONGEST_IDENTIFIER_BYTES} bytes without spaces around it.", field=field
        )
    if any(mark in name for mark in '."'):
        raise Invalid(f"The {what} is named without dots and quotes; the schema has a field of its own.", field=field)
