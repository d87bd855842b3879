"""The Celery application. PostgreSQL rows are the truth; a message is only a wake-up."""

from __future__ import annotations

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from opsportal import listening

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")

# By name, so that only a process that talks to the broker loads it.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "opsportal.transport:Transport"))
app = Celery("opsportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["migrations_audit"])
app.steps["consumer"].add(listening.Listening)
