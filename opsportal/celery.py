"""The Celery application. PostgreSQL rows are the truth; a message is only a wake-up."""

from __future__ import annotations

import os

from celery import Celery

from opsportal import listening, transport

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")

transport.install()
app = Celery("opsportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["migrations_audit"])
app.steps["consumer"].add(listening.Listening)
