"""Started as ``python -I FOLDER`` by ``migrations_audit.engine.children`` with four numbers.

They are the descriptors of request, events and lifeline, and the supervisor's process id, or 0 in a process namespace of its own,
whose first process is then its parent.
"""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    run = import_module("opsportal_runner.run")
    del sys.path[0]  # this folder, which Python put there: the project finds its own modules and no other
    run.main()
