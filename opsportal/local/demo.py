"""``dev.py demo``: the whole portal on one machine, from nothing to a page to sign in to, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from opsportal.local import children, process, world

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"
USUAL_PORT = 8000
QUEUES = "portal,observe,target-development,target-staging,target-production"
_WEB_WITHIN = 60.0
_LET_GO_WITHIN = 4.0
_INTERRUPTED = 130


class Interrupted(BaseException):
    """Somebody asked for the end: Ctrl-C, SIGTERM, or the terminal was closed."""


class NoAnswer(process.LaunchFailed):
    """The web process did not answer in time."""

    code = "no_answer"


def main(words: Sequence[str]) -> int:
    """Run the demo and return its exit code."""
    options = _options(words)
    _on_signals(_interrupt)
    begin = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - begin:5.1f} s] {text}", flush=True)

    with contextlib.ExitStack() as running:
        try:
            return Demo(process.own_folder(options.data), tell=tell, running=running).play(options)
        except process.LaunchFailed as error:
            print(error.message, file=sys.stderr)
            return 1
        except Interrupted:
            tell("Stopping before the end …")
            return _INTERRUPTED
        finally:
            _on_signals(signal.SIG_IGN)  # what follows stops everything, is short, and must not be cut


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py demo", allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="folder for servers, keys and logs")
    parser.add_argument("--port", type=int, help="port of the web pages; by default 8000, or a free one")
    parser.add_argument("--walk", action="store_true", help="play the whole story")
    parser.add_argument("--exit", action="store_true", help="stop afterwards; the exit code is the story's")
    return parser.parse_args(words)


def _on_signals(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, action)


def _interrupt(number: int, _: FrameType | None) -> None:
    _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not interrupt the stop
    raise Interrupted(number)


class Demo:
    """One demo in one data folder. ``running`` is closed by the caller and stops all that was started, last first."""

    def __init__(self, data: Path, *, tell: Callable[[str], None], running: contextlib.ExitStack) -> None:
        self._data = data
        self._tell = tell
        self._running = running
        self._world = world.World(data)
        self._children: list[children.Child] = []

    def play(self, options: argparse.Namespace) -> int:
        """Start everything, play the story if asked, and stay until interrupted unless ``--exit``."""
        lock = process.FolderLock(self._data)
        lock.acquire()
        self._running.callback(lock.release)
        self._running.callback(self._world.stop)
        self._world.start(tell=self._tell)
        self._prepare()
        address = self._serve(options.port)
        self._introduce(address)
        code = self._walk(address) if options.walk else 0
        if options.exit:
            return code
        self._tell(f"Serving {address} until Ctrl-C. Logs: {self._data / 'logs'}")
        try:
            while True:
                self._look_after()
                process.pause(0.5)
        except Interrupted:
            self._tell("Stopping …")
            return code

    def _prepare(self) -> None:
        seeding = {"PORTAL_DEMO_TARGET_URL": self._world.target_url}
        self._run("Migrating the portal's own database", "migrate", ["manage.py", "migrate", "--no-input"])
        self._run("Seeding the story", "seed", ["-m", "opsportal.demo.seed"], **seeding)

    def _run(self, title: str, name: str, arguments: list[str], **more: str) -> None:
        self._tell(f"{title} …")
        environment = {**self._world.environment, **more}
        log = self._data / "logs" / f"{name}.log"
        command = [sys.executable, *arguments]
        children.run(name, command, log=log, environment=environment, folder=ROOT, tell=self._tell)

    def _serve(self, asked_port: int | None) -> str:
        """Start web, worker and beat; return the address when the web process answers."""
        worker = ["celery", "-A", "opsportal", "worker", "-Q", QUEUES, "--concurrency", "4"]
        worker += ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        beat = ["celery", "-A", "opsportal", "beat", "-s", str(self._data / "beat-schedule"), "--loglevel", "INFO"]
        beat += ["--pidfile", ""]  # the folder lock already makes sure that there is one beat
        port = self._start_web(asked_port)
        # A worker that is asked to stop finishes its tasks first; when we are killed, its servers are gone and it must not.
        self._start("worker", worker, stop_signals=(signal.SIGTERM, signal.SIGQUIT), orphan_signal=signal.SIGKILL)
        self._start("beat", beat)
        return f"http://{HOST}:{port}/"

    def _start_web(self, asked_port: int | None) -> int:
        kept = self._data / "web-port"
        for _ in range(3):
            port = asked_port or choose_port(kept)
            if not process.is_free(port):
                raise process.LaunchFailed(
                    f"Port {port} is taken. Stop what uses it or choose another one with --port."
                )
            self._tell(f"Starting the web process on port {port} …")
            web = self._start("web", _web_command(port), PORTAL_DB_POOL="1")
            if _answers(web, port):
                process.write_private(kept, f"{port}\n")
                return port
            said = web.said()
            web.stop()
            self._children.remove(web)
            if "address already in use" not in said:
                raise NoAnswer(f"The web process did not answer on port {port}. The end of its log:\n{said}")
        raise NoAnswer(f"Every port that was chosen for the web process was taken by another program. Last: {port}.")

    def _start(
        self,
        name: str,
        arguments: list[str],
        *,
        stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,),
        orphan_signal: signal.Signals = signal.SIGTERM,
        **more: str,
    ) -> children.Child:
        child = children.Child(
            name,
            [sys.executable, "-m", *arguments],
            log=self._data / "logs" / f"{name}.log",
            environment={**self._world.environment, **more},
            folder=ROOT,
            stop_signals=stop_signals,
            orphan_signal=orphan_signal,
        )
        self._running.callback(child.stop)
        self._children.append(child)
        child.start()
        return child

    def _introduce(self, address: str) -> None:
        self._tell(f"The portal answers at {address}")
        signins = json.loads((self._data / "signins.json").read_text())
        widest = max((len(each["role"]) for each in signins), default=0)
        for each in signins:
            print(f"    {each['role']:<{widest}}  {each['username']}  {each['password']}", flush=True)

    def _walk(self, address: str) -> int:
        self._tell("Playing the story …")
        walk = [
            sys.executable,
            "-m",
            "opsportal.demo.walk",
            "--base-url",
            address.rstrip("/"),
            "--data",
            str(self._data),
        ]
        environment = {**self._world.environment, "PORTAL_DEMO_TARGET_URL": self._world.target_url}
        story = children.Child("walk", walk, log=None, environment=environment, folder=ROOT)
        self._running.callback(story.stop)
        story.start()
        while (code := story.exit_code()) is None:
            self._look_after()
            process.pause(0.1)
        self._tell(f"The story ended with exit code {code}.")
        return code

    def _look_after(self) -> None:
        self._world.revive(tell=self._tell)
        for child in self._children:
            child.revive(tell=self._tell)


def _web_command(port: int) -> list[str]:
    command = ["uvicorn", "opsportal.asgi:application", "--host", HOST, "--port", str(port)]
    return [*command, "--timeout-graceful-shutdown", "3", "--no-access-log", "--no-proxy-headers"]


def choose_port(kept: Path) -> int:
    """Return the port of the last start, else the usual one, else any; the first that is free."""
    last = int(kept.read_text()) if kept.exists() else USUAL_PORT
    # The web process of a killed start needs a moment to let go of its port.
    if process.wait_until(lambda: process.is_free(last), within=_LET_GO_WITHIN if kept.exists() else 0.0):
        return last
    return USUAL_PORT if process.is_free(USUAL_PORT) else process.free_port()


def _answers(web: children.Child, port: int) -> bool:
    process.wait_until(lambda: web.exit_code() is not None or _accepts(port), within=_WEB_WITHIN)
    return web.exit_code() is None and _accepts(port)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
