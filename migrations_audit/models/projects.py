"""Projects (Alembic script directories) and their targets (databases)."""

from __future__ import annotations

from typing import Any

from django.db import models

from migrations_audit.models.environments import Environment
from migrations_audit.states import UrlDelivery


class Delivery(models.TextChoices):
    SQLALCHEMY_URL = UrlDelivery.SQLALCHEMY_URL.value, "sqlalchemy.url in the configuration"
    ENVIRONMENT = UrlDelivery.ENVIRONMENT.value, "an environment variable"
    X_ARGUMENT = UrlDelivery.X_ARGUMENT.value, "an -x argument"


class Source(models.TextChoices):
    FOLDER = "folder", "a folder on the worker"
    GIT = "git", "a git repository"


class Launcher(models.TextChoices):
    ALEMBIC = "alembic", "Alembic"
    COMMAND = "command", "the project's own command"


class Driver(models.TextChoices):
    PSYCOPG = "postgresql+psycopg", "psycopg 3"
    PSYCOPG2 = "postgresql+psycopg2", "psycopg2"
    ASYNCPG = "postgresql+asyncpg", "asyncpg"
    PG8000 = "postgresql+pg8000", "pg8000"
    PLAIN = "postgresql", "the default of the project's SQLAlchemy"
    MYSQL = "mysql+pymysql", "PyMySQL, for MySQL and MariaDB"
    MARIADB = "mariadb+pymysql", "PyMySQL, for MariaDB alone"
    SQLITE = "sqlite", "SQLite"


BUILT = "uv"
"""The interpreter of a project whose environment a worker builds from the project's requirements."""


class Project(models.Model):
    """One Alembic script directory: where its files are, which interpreter runs it, how it takes its URL."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    folder = models.CharField(
        max_length=500,
        help_text="The folder on the worker that holds the configuration. It lies under a configured root.",
    )
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.FOLDER)
    git_url = models.CharField(
        max_length=500, blank=True, help_text="https:// or ssh:// at a host of PORTAL_GIT_HOSTS; no password in it."
    )
    git_ref = models.CharField(
        max_length=200,
        blank=True,
        help_text="A branch, a tag or a commit. Planning pins it to the commit that it then has.",
    )
    git_key = models.CharField(
        max_length=4_000,
        blank=True,
        help_text="Where the worker finds the private key or token: env:NAME, file:/path or a sealed value.",
    )
    config_path = models.CharField(
        max_length=200, default="alembic.ini", help_text="alembic.ini or pyproject.toml, relative to the folder."
    )
    ini_section = models.CharField(max_length=80, default="alembic")
    interpreter = models.CharField(
        max_length=80, blank=True, help_text="A name from PORTAL_INTERPRETERS; empty for the worker's own Python."
    )
    requirements = models.CharField(
        max_length=200,
        blank=True,
        help_text="A uv.lock or a requirements file with hashes, relative to the folder, "
        "from which a worker builds the interpreter.",
    )
    launcher = models.CharField(max_length=10, choices=Launcher.choices, default=Launcher.ALEMBIC)
    command = models.JSONField(
        default=list,
        blank=True,
        help_text='The project\'s own command, word by word: ["flask", "--app", "shop", "db", "upgrade"].',
    )
    x_arguments = models.JSONField(
        default=list, blank=True, help_text='Further -x arguments, ["tenant=main"]. No secrets: these are shown.'
    )
    url_delivery = models.CharField(max_length=20, choices=Delivery.choices, default=Delivery.SQLALCHEMY_URL)
    url_delivery_name = models.CharField(
        max_length=80, blank=True, help_text="The variable's name or the -x key, e.g. DATABASE_URL."
    )
    driver = models.CharField(max_length=40, choices=Driver.choices, default=Driver.PSYCOPG)
    extra_environment = models.JSONField(
        default=dict,
        blank=True,
        help_text='Further variables for env.py, {"NAME": "value"}. No secrets: these are shown.',
    )
    version_table = models.CharField(max_length=63, default="alembic_version")
    version_table_schema = models.CharField(
        max_length=63, blank=True, help_text="Empty: where the connecting user's search_path puts it."
    )
    settings_version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=(models.Q(url_delivery=Delivery.SQLALCHEMY_URL) & models.Q(url_delivery_name=""))
                | (~models.Q(url_delivery=Delivery.SQLALCHEMY_URL) & ~models.Q(url_delivery_name="")),
                name="url_delivery_has_its_name",
                violation_error_message="Give the variable's name or the -x key for that way of delivery, and only for it.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def shown_git_key(self) -> str:
        """The reference to the repository's key for pages and the audit: a sealed value shows only that it is sealed."""
        return "sealed value" if self.git_key.startswith("sealed:") else self.git_key

    def approved_facts(self) -> dict[str, Any]:
        """What an approval binds of this project's settings."""
        names = (
            "slug source folder git_url git_ref config_path ini_section interpreter requirements launcher command x_arguments "
            "url_delivery url_delivery_name driver extra_environment version_table version_table_schema"
        )
        return {name: getattr(self, name) for name in names.split()}


class TargetQuerySet(models.QuerySet["Target"]):
    def visible_to(self, user_id: int | None) -> TargetQuerySet:
        return self.filter(environment__in=Environment.objects.visible_to(user_id))


class Target(models.Model):
    """One database of one project in one environment."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="targets")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="targets")
    slug = models.SlugField(
        max_length=60, help_text="Names the database within its project and environment, e.g. main."
    )
    url_reference = models.CharField(
        max_length=2_000,
        help_text="Where the worker finds the URL: env:NAME, file:/path, or a sealed value. Never the URL itself.",
    )
    identity = models.JSONField(null=True, blank=True, editable=False)
    marker = models.CharField(max_length=36, blank=True, editable=False)
    enrolled_at = models.DateTimeField(null=True, blank=True, editable=False)
    leftovers_accepted_of = models.PositiveBigIntegerField(
        null=True, blank=True, editable=False, help_text="The last run that was partly applied and then accepted so."
    )
    next_observation_at = models.DateTimeField(null=True, blank=True, editable=False, db_index=True)
    settings_version = models.PositiveIntegerField(default=1, editable=False)

    objects = TargetQuerySet.as_manager()

    class Meta:
        ordering = ["project__name", "environment__position", "slug"]
        constraints = [models.UniqueConstraint(fields=["environment", "project", "slug"], name="one_target")]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.environment.slug}/{self.slug}"

    @property
    def label(self) -> str:
        """The target's name for people and for the audit, e.g. ``marketedge/production/main``."""
        return str(self)

    def told_at(self, other: Target) -> str:
        """Its name for whoever may see ``other``, and perhaps nothing of another environment."""
        return self.label if self.environment_id == other.environment_id else "a database of another environment"

    @property
    def reference_kind(self) -> str:
        """``env``, ``file`` or ``sealed``; never the sealed value."""
        return self.url_reference.partition(":")[0]

    @property
    def shown_reference(self) -> str:
        """The reference for pages and exports: a sealed value shows only that it is sealed."""
        return "sealed value" if self.reference_kind == "sealed" else self.url_reference
