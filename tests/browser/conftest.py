"""A real Chromium on a real portal: uvicorn, a Celery worker, PostgreSQL, Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from playwright.sync_api import Browser, sync_playwright

from opsportal.demo.screenshots import ARGUMENTS
from tests.acceptance.fixtures import portal
from tests.acceptance.portal import Portal

__all__ = ["portal"]


@pytest.fixture(scope="module")
def served(portal: Portal) -> Portal:
    """The portal with its web process."""
    portal.web.start()
    return portal


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    """One browser for the module. Playwright keeps an event loop in this thread, in which Django refuses to work by default."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()
        # While the loop is there Django keeps connections of their own, to the database of this module.
        connections.close_all()
