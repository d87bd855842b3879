"""Pictures of the running demo: ``dev.py screenshots`` beside a ``dev.py demo`` that has been walked.

Takes the pages that the README and the docs show, light and dark, wide and narrow, and fails when a page has a console error.
Where no run of the ledger waits for approval, it is asked for: its page shows what an approver sees of a dangerous revision.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from opsportal.demo import ledger_run

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
APPROVAL_HEIGHT = 1900
"""From the request to the locks; the plan beneath it would make the pictures heavy."""
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def chromium() -> str:
    """The browser's program. Raises SystemExit with what to do when there is none."""
    asked = os.environ.get("PORTAL_CHROMIUM")
    found = asked or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("No Chromium was found. Install chromium, or set PORTAL_CHROMIUM to one.")
    return found


class Photographer:
    """Signs in as somebody and takes pictures. ``complaints`` holds what the console said."""

    def __init__(self, browser: Browser, base_url: str, passwords: dict[str, str], folder: Path) -> None:
        self._browser = browser
        self._base_url = base_url
        self._passwords = passwords
        self._folder = folder
        self.complaints: list[str] = []

    @contextmanager
    def person(self, username: str, *, dark: bool = False, narrow: bool = False) -> Iterator[Page]:
        """A signed-in page of that person."""
        context = self._browser.new_context(
            viewport=NARROW if narrow else WIDE,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
        )
        page = context.new_page()
        page.on("console", lambda message: self._complain(page, message.type, message.text))
        page.on("pageerror", lambda error: self._complain(page, "error", str(error)))
        page.goto(f"{self._base_url}/login/?next=/")
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", self._passwords[username])
        page.click("input[type=submit], button[type=submit]")
        page.wait_for_load_state("load")
        yield page
        context.close()

    def take(self, page: Page, path: str, name: str, *, height: int = 0) -> None:
        """Open a page and store a picture of its first screen, or of its first ``height`` pixels, as ``name``.png."""
        page.goto(f"{self._base_url}{path}", wait_until="load")
        if height:
            page.set_viewport_size({"width": page.evaluate("window.innerWidth"), "height": height})
        page.screenshot(path=str(self._folder / f"{name}.png"))
        print(f"{name}.png: {page.title()}", flush=True)

    def _complain(self, page: Page, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(f"{page.url}: {text}")


def pictures(photographer: Photographer, run: str, target: str, *, every: bool) -> None:
    """The two pages of the README, light and dark; with ``every`` all pages, wide and narrow."""
    for dark in (False, True):
        for narrow in (False, True) if every else (False,):
            suffix = ("-dark" if dark else "") + ("-narrow" if narrow else "")
            with photographer.person("owen", dark=dark, narrow=narrow) as page:
                photographer.take(page, "/", f"dashboard{suffix}")
                photographer.take(page, run, f"run{suffix}")
                if every:
                    photographer.take(page, target, f"target{suffix}")
            if every:
                with photographer.person("aude", dark=dark, narrow=narrow) as page:
                    photographer.take(page, "/audit/", f"audit{suffix}")


def approval_pictures(photographer: Photographer, run: str) -> None:
    """What an approver sees before deciding on the ledger's dangerous revision: wide, light and dark, and narrow as a phone."""
    for suffix, dark, narrow in (("", False, False), ("-dark", True, False), ("-narrow", False, True)):
        with photographer.person("priya", dark=dark, narrow=narrow) as page:
            photographer.take(page, run, f"approval{suffix}", height=APPROVAL_HEIGHT)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py screenshots")
    parser.add_argument("--data", type=Path, default=ROOT / ".portal", help="the data folder of the running demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--run", default="/runs/1/", help="the run to show")
    parser.add_argument("--target", default="/targets/3/", help="the target to show")
    parser.add_argument("--every", action="store_true", help="all pages, wide and narrow")
    options = parser.parse_args(words)
    if not (options.data / "web-port").exists():
        print(f"No demo runs in {options.data}. Start `python3 dev.py demo --walk` first.", file=sys.stderr)
        return 1
    base_url = f"http://127.0.0.1:{(options.data / 'web-port').read_text().strip()}"
    signins = json.loads((options.data / "signins.json").read_text())
    passwords = {item["username"]: item["password"] for item in signins}
    token = next(item["token"] for item in signins if item.get("token"))
    try:
        with httpx.Client(
            base_url=f"{base_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        ) as api:
            ledger = ledger_run.waiting(api)
    except ledger_run.NoWaitingRun as error:
        print(error, file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        photographer = Photographer(browser, base_url, passwords, options.out)
        pictures(photographer, options.run, options.target, every=options.every)
        approval_pictures(photographer, f"/runs/{ledger}/")
        browser.close()
    for complaint in photographer.complaints:
        print(f"CONSOLE: {complaint}", file=sys.stderr)
    return 1 if photographer.complaints else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
