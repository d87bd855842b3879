"""The portal is the Django admin: its site stands at the root, our pages and the API beside it."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("migrations_audit.api.urls")),
    path("", include("migrations_audit.web.urls")),
    path("", admin.site.urls),
]
