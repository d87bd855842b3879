"""Snapshots of script files, and plans: what would run, frozen."""

from __future__ import annotations

from typing import Any

from django.db import models

from migrations_audit.models.evidence import Observation
from migrations_audit.models.projects import Project, Target
from migrations_audit.states import Operation


class OperationChoice(models.TextChoices):
    UPGRADE = Operation.UPGRADE.value, "Upgrade"
    ROLLBACK = Operation.ROLLBACK.value, "Rollback"
    ADOPT = Operation.ADOPT.value, "Adopt"


class Snapshot(models.Model):
    """The frozen script files of a project, by digest. Immutable, and the only thing that a runner executes."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64)
    archive = models.BinaryField()
    files = models.JSONField()
    graph = models.JSONField(help_text="The revisions, heads and problems, read from the files without executing them.")
    commit = models.JSONField(
        default=dict,
        help_text="For a git source: the commit's id, author, time and subject, and the ref that led to it.",
    )
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]
        constraints = [models.UniqueConstraint(fields=["project", "digest"], name="one_snapshot")]

    def __str__(self) -> str:
        return f"{self.project.slug} {self.digest[:12]}"


class Plan(models.Model):
    """What would run: from, to, steps, SQL, and the digest that approvals bind. Immutable.

    ``body`` is the canonical text over which ``digest`` was taken; ``parts`` holds one digest for each thing whose change
    voids an approval: scripts, sql, steps, start, identity, connection, worker, interpreter, target, policy.
    """

    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="plans")
    operation = models.CharField(max_length=10, choices=OperationChoice.choices)
    requested = models.CharField(max_length=100)
    from_revisions = models.JSONField()
    to_revisions = models.JSONField(help_text="The exact rows that the version table must hold afterwards.")
    destination = models.JSONField(help_text="What Alembic is asked for: full ids, or base.")
    steps = models.JSONField()
    sql = models.TextField(blank=True)
    sql_reason = models.TextField(blank=True, help_text="Why there is no SQL from offline mode.")
    findings = models.JSONField(default=list)
    options = models.JSONField()
    settings = models.JSONField(
        default=dict,
        help_text="Of the target and its project, as ``parts`` binds them; a reference and variables only by digests.",
    )
    authors = models.JSONField(
        default=list, help_text="Who wrote the files of its steps: commit, author, e-mail address and path of each."
    )
    identity = models.JSONField()
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="plans")
    base_observation = models.ForeignKey(Observation, on_delete=models.PROTECT, related_name="plans")
    parts = models.JSONField()
    body = models.TextField()
    digest = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.target}: {self.span}"

    @property
    def span(self) -> str:
        """From → to, in full revision ids."""
        return f"{_rows(self.from_revisions)} → {_rows(self.to_revisions)}"

    @property
    def is_transactional(self) -> bool:
        return all(step["transactional"] for step in self.steps)

    def step_for(self, revision: str) -> dict[str, Any] | None:
        return next((step for step in self.steps if step["revision"] == revision), None)


def _rows(revisions: list[str]) -> str:
    return ", ".join(revisions) if revisions else "base"
