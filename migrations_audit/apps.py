"""Wiring only."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from migrations_audit import checks


class PortalAdminConfig(AdminConfig):
    """Django's admin with our site as the default one."""

    default_site = "migrations_audit.site.PortalSite"


class MigrationsAuditConfig(AppConfig):
    name = "migrations_audit"
    verbose_name = "Opsportal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        checks.refuse_open_seals()
