"""The site: settings, URLs and the Celery application. The portal itself is ``migrations_audit``."""

from __future__ import annotations

from opsportal.celery import app as celery_app

__all__ = ["celery_app"]
