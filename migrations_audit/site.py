"""The portal's admin site."""

from __future__ import annotations

from django.contrib import admin


class PortalSite(admin.AdminSite):
    site_header = "Opsportal"
    site_title = "Opsportal"
    index_title = "Databases"
