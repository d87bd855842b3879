"""A supervisor in a process of its own, for tests that kill it, give it secrets, or give it another account.

Reads the request as JSON from standard input and writes what came of it as JSON to standard output.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from migrations_audit.engine import isolation, protocol
from migrations_audit.states import Isolation, UrlDelivery
from opsportal import hiding
from tests.engine import confined, running


def main() -> None:
    folder, started = map(Path, sys.argv[1:3])
    level = sys.argv[3] if len(sys.argv) > 3 else Isolation.NONE.value
    data = json.load(sys.stdin)
    del data["memory_bytes"], data["processes"]
    data["connection"] = protocol.Connection(**data["connection"])
    data["expected"] = protocol.Expected(**data["expected"])
    data["url_delivery"] = UrlDelivery(data["url_delivery"])
    hiding.hide_from_same_account()
    try:
        confinement = isolation.choose(confined.wish(level), interpreter=sys.executable)
    except isolation.IsolationMissing as error:
        json.dump({"missing": error.message}, sys.stdout)
        return

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            started.write_text(str(event["pid"]))

    outcome = running.run(
        protocol.RunnerRequest(**data),
        folder,
        interpreter=sys.executable,
        confinement=confinement,
        on_event=[note],
    )
    json.dump({"events": outcome.events, "printed": outcome.printed, "exit": asdict(outcome.exit)}, sys.stdout)


if __name__ == "__main__":
    main()
