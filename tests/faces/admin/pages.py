"""Reading a page of the admin and sending its form back, as a browser without JavaScript does."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

from django.db.models import Model
from django.test import Client
from django.urls import reverse


class _Form(HTMLParser):
    """The fields of a page's forms with the values that a browser would send."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._select = ""
        self._first = ""
        self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "select":
            self._select, self._first = name, "" if "multiple" in given else "?"
            self.fields.setdefault(name, [])
        elif tag == "option" and self._select:
            self._first = given["value"] if self._first == "?" else self._first
            if "selected" in given:
                self.fields[self._select].append(given["value"])
        elif tag == "textarea":
            self._area = name
            self.fields[name] = [""]
        elif tag == "input" and name:
            self._input(name, given.get("type", "text"), given)

    def _input(self, name: str, kind: str, given: dict[str, str]) -> None:
        can_be_ticked = kind in ("checkbox", "radio")
        if kind in ("submit", "search"):
            return
        found = self.fields.setdefault(name, [])
        if not can_be_ticked or "checked" in given:
            found.append(given.get("value", "on" if can_be_ticked else ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            if not self.fields[self._select] and self._first:
                self.fields[self._select] = [self._first]
            self._select = ""
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area][0] += data if self.fields[self._area][0] else data.removeprefix("\n")


def list_url(model: type[Model]) -> str:
    return _url(model, "changelist")


def add_url(model: type[Model]) -> str:
    return _url(model, "add")


def change_url(row: Model) -> str:
    return _url(type(row), "change", row.pk)


def delete_url(row: Model) -> str:
    return _url(type(row), "delete", row.pk)


def _url(model: type[Model], view: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}", args=arguments)


def fields(client: Client, url: str) -> dict[str, list[str]]:
    """What the form at ``url`` would send if nothing were typed."""
    page = client.get(url)
    assert page.status_code == 200, f"{url} answered {page.status_code}"
    parser = _Form()
    parser.feed(page.content.decode())
    return parser.fields


def submit(client: Client, url: str, **typed: Any) -> Any:
    """Open the form, type these values, press Save, and follow the redirect."""
    found = fields(client, url)
    unknown = set(typed) - set(found)
    assert not unknown, f"The form at {url} has no field {', '.join(sorted(unknown))}."
    return client.post(url, found | typed, follow=True)


def text(response: Any) -> str:
    """The page's words, without its markup."""
    plain = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", html.unescape(plain))


def errors(response: Any) -> str:
    """The sentences with which the form was refused."""
    form = response.context["adminform"].form
    return " ".join(sentence for sentences in form.errors.values() for sentence in sentences)
