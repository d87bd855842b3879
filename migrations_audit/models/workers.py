"""Workers as the portal knows them: by their last sign of life."""

from __future__ import annotations

from django.db import models


class Worker(models.Model):
    """One Celery worker and the queues that it consumes."""

    name = models.CharField(max_length=200, primary_key=True)
    queues = models.JSONField(default=list)
    seen_at = models.DateTimeField()
    ending_since_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was asked to end. It finishes what it has and takes nothing new."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
