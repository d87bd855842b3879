"""The registry and the records in Django's admin. Forms translate input and make one call to an action; records are read-only."""

from __future__ import annotations

from django.contrib import admin

from migrations_audit.admin import audit, environments, findings, people, projects, records, runs, tokens, windows

__all__ = ["audit", "environments", "findings", "people", "projects", "records", "runs", "tokens", "windows"]

# A bulk delete would go past the actions and their audit; each list below also offers no action at all.
admin.site.disable_action("delete_selected")
