"""Answering with a page of the portal's site, or with the way to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse


class SeeOther(HttpResponseRedirect):
    """After a POST: look there, with a GET."""

    status_code = 303


def show(request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    """Render ``template`` within the site: header, navigation, messages."""
    return render(request, template, {**admin.site.each_context(request), **context}, status=status)


def to_run(number: int) -> SeeOther:
    return SeeOther(reverse("web:run", args=[number]))


def to_target(pk: int) -> SeeOther:
    return SeeOther(reverse("web:target", args=[pk]))


def number(text: str) -> int | None:
    """The number of something from a form; None for anything else, and for what no row can have."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
