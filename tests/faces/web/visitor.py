"""A person's browser without a screen, over Django's test client."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from migrations_audit.models import AuditEvent, MigrationRun, Plan

_TAG = re.compile(r"<[^>]*>")
_BUTTON = re.compile(r"<button(?![^>]*\sdisabled)[^>]*>(.*?)</button>", re.S)


@dataclass(frozen=True)
class Page:
    """One answer. ``words`` is what a person reads; ``source`` is what the browser gets."""

    status: int
    source: str
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self.headers.get("Location", "")

    @property
    def words(self) -> str:
        return _plain(self.source)

    @property
    def buttons(self) -> set[str]:
        """The words on the buttons of the page's own part that can be pressed."""
        main = self.source.partition("<main")[2]
        return {_plain(found) for found in _BUTTON.findall(main)}

    def part(self, region: str) -> str:
        """The words of one region of a run's page."""
        begun = self.source.partition(f'data-region="{region}"')[2]
        return _plain("<" + begun.partition("data-region=")[0])

    def section(self, region: str) -> str:
        """The words of one region that is a section, to its end."""
        return _plain("<" + self.source.partition(f'data-region="{region}"')[2].partition("</section>")[0])


class Visitor:
    """Somebody with a browser; None is nobody in particular."""

    def __init__(self, user: User | None, *, checks_csrf: bool = False) -> None:
        self.client = Client(enforce_csrf_checks=checks_csrf)
        if user is not None:
            self.client.force_login(user)

    def get(self, path: str, **headers: Any) -> Page:
        return _page(self.client.get(path, **headers))

    def post(self, path: str, **values: str) -> Page:
        return _page(self.client.post(path, values))

    def run(self, run: MigrationRun) -> Page:
        return self.get(f"/runs/{run.number}/")

    def press(self, run: MigrationRun, verb: str, **values: str) -> Page:
        """Send the form of one button of a run's page, with the plan that the page showed."""
        confirmed = {"confirm_target": run.target.label} if verb == "start" else {}
        given = {"digest": plan_of(run).digest if run.plan_id else ""} | confirmed | values
        return self.post(f"/runs/{run.number}/{verb}", **given)

    def said(self) -> str:
        """The messages that wait at the top of the next page."""
        words = self.get("/").source.partition("messagelist")[2].partition("</ul>")[0]
        return _plain("<" + words)


VisitorOf = Callable[[str], Visitor]


def events(action: str) -> list[AuditEvent]:
    """The events of this kind, oldest first."""
    return list(AuditEvent.objects.filter(action=action).order_by("seq"))


def plan_of(run: MigrationRun) -> Plan:
    """The plan of a run that has one."""
    assert run.plan is not None
    return run.plan


def _page(response: Any) -> Page:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return Page(response.status_code, body.decode(), response.headers)


def _plain(source: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", source)).split())
