"""The audit chain. Rows are written by ``actions.audit`` and by nothing else; the database refuses every change."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from migrations_audit import hashchain


class AuditEvent(models.Model):
    """One line of the chain. The columns beside ``body`` repeat parts of it for filters; ``body`` is what is hashed."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=200, db_index=True)
    action = models.CharField(max_length=60, db_index=True)
    object_kind = models.CharField(max_length=30)
    object_id = models.CharField(max_length=80)
    environment = models.CharField(max_length=40, blank=True, db_index=True)
    target = models.CharField(max_length=200, blank=True, db_index=True)
    body = models.TextField()
    body_digest = models.CharField(max_length=64)
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["seq"]
        indexes = [models.Index(fields=["object_kind", "object_id", "seq"], name="audit_object")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action}"

    @property
    def facts(self) -> dict[str, Any]:
        """The body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    def as_link(self, *, with_body: bool = True) -> hashchain.Link:
        return hashchain.Link(
            self.seq, self.previous_hash, self.body_digest, self.hash, self.body if with_body else None
        )
