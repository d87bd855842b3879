"""A supervisor in a process of its own, for tests that kill it. Reads the request as JSON from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from migrations_audit.engine import protocol
from migrations_audit.states import UrlDelivery
from tests.engine import running


def main() -> None:
    folder, started = map(Path, sys.argv[1:3])
    data = json.load(sys.stdin)
    del data["memory_bytes"]
    data["connection"] = protocol.Connection(**data["connection"])
    data["expected"] = protocol.Expected(**data["expected"])
    data["url_delivery"] = UrlDelivery(data["url_delivery"])

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            started.write_text(str(event["pid"]))

    running.run(protocol.RunnerRequest(**data), folder, on_event=[note])


if __name__ == "__main__":
    main()
