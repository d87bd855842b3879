"""Play the whole story through the portal's own forms and API, and print each step with its evidence.

Exit code 0 only if the verdict is verified, the database itself says so, and the exported audit verifies.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from opsportal.demo.browser import Browser, PageLacks

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = "marketedge/production/main"
PATIENCE_S = 120.0


class StoryBroken(Exception):
    """The story did not go on as it must."""


def say(title: str, *lines: str) -> None:
    print(f"\n● {title}", flush=True)
    for line in lines:
        for part in line.splitlines():
            print(f"    {part}", flush=True)


class Walk:
    """One telling of the story."""

    def __init__(self, base_url: str, data: Path) -> None:
        self._base_url = base_url
        self._data = data
        people = json.loads((data / "signins.json").read_text())
        self._passwords = {item["username"]: item["password"] for item in people}
        token = next(item["token"] for item in people if item.get("token"))
        self._api = httpx.Client(
            base_url=f"{base_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )

    def tell(self) -> bool:
        """Play it. True when everything holds."""
        target = self._look()
        if not target["pending"]:
            say(
                "Production is in sync: an earlier walk upgraded it. It is rolled back to 002 first, through the same gates."
            )
            self._change(target, button="Plan rollback", revision="002", reason="Begin the story again from 002.")
            target = self._look()
        run = self._change(
            target,
            button="Plan upgrade",
            revision="head",
            reason="Endpoints answer 500: relation analytics_modules does not exist. Production lacks 003.",
        )
        verified = bool(run["verdict"] == "verified")
        gate = self._gate()
        return verified and gate and self._export()

    def _person(self, username: str) -> Browser:
        browser = Browser(self._base_url)
        browser.sign_in(username, self._passwords[username])
        return browser

    def _look(self) -> dict[str, Any]:
        """Check now, and what was read."""
        target = next(item for item in self._get("/targets")["items"] if item["label"] == TARGET)
        before = (target["observation"] or {}).get("at", "")
        dana = self._person("dana")
        dana.open(f"/targets/{target['id']}/")
        dana.press("Check now")

        def newer() -> dict[str, Any] | None:
            found = self._get(f"/targets/{target['id']}")
            return found if (found["observation"] or {}).get("at", "") > before else None

        target = self._until(newer, f"a worker to read {TARGET}")
        seen = target["observation"]
        say(
            f"dana (developer) presses Check now on {TARGET}",
            seen["sentence"],
            f"read at {seen['at']} by {seen['reader']}",
            f"identity: {json.dumps(seen['identity'])}",
        )
        target["pending"] = seen["pending"]
        return target

    def _change(self, target: dict[str, Any], *, button: str, revision: str, reason: str) -> dict[str, Any]:
        """Request, decide, run and read back: the same gates for an upgrade and a rollback."""
        dana = self._person("dana")
        self._withdraw_leftovers(dana, target)
        dana.open(f"/targets/{target['id']}/")
        dana.press(button, revision=revision, reason=reason)
        found = re.search(r"/runs/(\d+)/", dana.url)
        if found is None:
            raise StoryBroken(f"{button} led to {dana.url}: {' '.join(dana.messages)}")
        number = int(found[1])
        run = self._until_state(number, "awaiting_approval", "plan_failed")
        if run["state"] == "plan_failed":
            raise StoryBroken(run["sentence"])
        plan = self._get(f"/plans/{run['plan_digest']}")
        say(
            f"dana asks: {button}, {revision} (run {number})",
            f"reason: {reason}",
            f"plan {plan['digest'][:16]}…: {_rows(plan['from_revisions'])} → {_rows(plan['to_revisions'])}",
            *(f"{step['position']}. {step['revision']}  {step['message']}" for step in plan["steps"]),
            *_sql(plan),
        )
        self._rehearsed(dana, number)
        self._cannot_approve_alone(dana, number, run["plan_digest"])
        for name, comment in (("priya", "Read the SQL; only additions."), ("owen", "We need it today.")):
            approver = self._person(name)
            approver.open(f"/runs/{number}/")
            approver.press("Approve", comment=comment)
            say(f"{name} approves plan {run['plan_digest'][:16]}…", comment, self._get(f"/runs/{number}")["sentence"])
        olga = self._person("olga")
        olga.open(f"/runs/{number}/")
        olga.press("Run now", confirm_target=TARGET)
        say(f"olga (operator) types {TARGET} and presses Run now. The live log:")
        self._follow(olga, number)
        return self._ended(number)

    def _rehearsed(self, dana: Browser, number: int) -> None:
        """What a worker saw on a throw-away copy; production demands that it passed."""

        def ended() -> dict[str, Any] | None:
            found = self._get(f"/runs/{number}/rehearsals")
            return found[0] if found and found[0]["state"] == "ended" else None

        rehearsal = self._until(ended, f"the plan of run {number} to be rehearsed")
        say(
            f"A worker rehearses the plan on a copy without data: {rehearsal['outcome'].replace('_', ' ')}",
            rehearsal["sentence"],
            *(
                f"{step['revision']}: {step['grade'] or 'not graded'}. {' '.join(step['reasons'])}"
                for step in rehearsal["steps"]
            ),
            *(entry["sentence"] for entry in rehearsal["impact"].get("forecast", [])[:3]),
        )
        if rehearsal["outcome"] != "passed":
            raise StoryBroken(rehearsal["sentence"])
        if rehearsal["grade"] != "exact":
            runbook = "Tell #marketedge. If endpoints still fail after ten minutes, keep the tables and switch feature flags off."
            dana.open(f"/runs/{number}/")
            dana.press("Write runbook", runbook=runbook)
            say(f"The plan is graded {rehearsal['grade']}, so production asks for a runbook. dana writes it", runbook)

    def _withdraw_leftovers(self, dana: Browser, target: dict[str, Any]) -> None:
        """Take back what an interrupted walk has left open."""
        for run in self._get(f"/runs?target={target['label']}")["items"]:
            if run["requester"] == "dana" and run["state"] in (
                "requested",
                "planning",
                "awaiting_approval",
                "approved",
            ):
                dana.open(f"/runs/{run['number']}/")
                dana.press("Withdraw", comment="Left over from an interrupted walk.")
                say(f"dana withdraws run {run['number']}, left over from an interrupted walk")

    def _cannot_approve_alone(self, dana: Browser, number: int, digest: str) -> None:
        dana.open(f"/runs/{number}/")
        if dana.has("Approve"):
            raise StoryBroken("The page offers the requester to approve.")
        priya = self._person("priya")
        priya.open(f"/runs/{number}/")
        form = priya.form_of("Approve")
        if form is None:
            raise StoryBroken("The page does not let the database administrator approve.")
        answer = dana.post(form.buttons["Approve"].action, digest=digest, comment="My own.")
        given = [item for item in self._get(f"/runs/{number}")["approvals"] if item["person"] == "dana"]
        if given:
            raise StoryBroken("The requester approved the run.")
        say(
            "dana sends the approval by a hand-made POST",
            f"refused with status {answer.status_code}; the audit has the attempt",
        )

    def _follow(self, browser: Browser, number: int) -> None:
        for name, data in browser.events(f"/runs/{number}/events"):
            if name == "log":
                spent = f"  [{data['duration_ms']} ms]" if data.get("duration_ms") is not None else ""
                text = " ".join(str(data["text"]).split())
                print(f"    {data['stream']:>9} │ {text[:150]}{'…' if len(text) > 150 else ''}{spent}", flush=True)

    def _ended(self, number: int) -> dict[str, Any]:
        run = self._until(
            lambda: found if (found := self._get(f"/runs/{number}"))["finished_at"] else None, "the run to end"
        )
        evidence = self._get(f"/runs/{number}/evidence")["items"]
        lines = [
            f"{item['outcome']:>8}  {item['check']}: expected {item['expected']}, observed {item['observed']}"
            for item in evidence
        ]
        details = [line for item in evidence for line in item["detail"][:12]]
        say(f"{run['state']}, {run['verdict']}: {run['sentence']}", *lines, *(f"          {line}" for line in details))
        return run

    def _gate(self) -> bool:
        answer = self._api.get("/gate", params={"target": TARGET, "expect": "head"})
        say("A deploy asks the gate", f"status {answer.status_code}: {answer.text}")
        return answer.status_code == 200

    def _export(self) -> bool:
        aude = self._person("aude")
        aude.open("/audit/")
        answer = aude.download("Export audit (JSON Lines)")
        folder = self._data / "exports"
        folder.mkdir(exist_ok=True)
        path = folder / f"audit-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.jsonl"
        path.write_bytes(answer.content)
        verifier = ROOT / "migrations_audit" / "hashchain.py"
        checked = subprocess.run(
            [sys.executable, "-I", str(verifier), str(path)], capture_output=True, text=True, check=False
        )
        say(
            f"aude (auditor) exports the audit to {path} and verifies it without the portal",
            checked.stdout + checked.stderr,
        )
        return checked.returncode == 0

    def _get(self, path: str) -> Any:
        answer = self._api.get(path)
        if answer.status_code != 200:
            raise StoryBroken(f"GET {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _until_state(self, number: int, *states: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            run: dict[str, Any] = self._get(f"/runs/{number}")
            return run if run["state"] in states else None

        return self._until(there, f"run {number} to be {' or '.join(states)}")

    def _until(self, look: Callable[[], dict[str, Any] | None], what: str) -> dict[str, Any]:
        give_up_at = time.monotonic() + PATIENCE_S
        while (found := look()) is None:
            if time.monotonic() >= give_up_at:
                raise StoryBroken(f"Waited {PATIENCE_S:.0f} s for {what}.")
            time.sleep(0.3)
        return found


def _rows(revisions: list[str]) -> str:
    return ", ".join(revisions) or "base"


def _sql(plan: dict[str, Any]) -> list[str]:
    if not plan["sql"]:
        return [f"no SQL from offline mode: {plan['sql_reason']}"]
    lines = [line for line in plan["sql"].splitlines() if line.strip()]
    return [f"the plan's SQL, {len(lines)} lines:", *(f"  {line}" for line in lines[:14]), "  …"]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="walk")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args(words)
    try:
        holds = Walk(options.base_url, options.data).tell()
    except (StoryBroken, PageLacks, httpx.HTTPError) as error:
        print(f"\nThe story broke: {error}", file=sys.stderr)
        return 1
    say("Verified, and the exported audit verifies." if holds else "It does not hold. See above.")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
