"""Starts the runner in the project's interpreter, follows it, and ends it when it has to end.

Facts about the process only. What the target holds afterwards is read by somebody else, on another connection.
"""

from __future__ import annotations

import math
import os
import re
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from migrations_audit.engine import capture, children, folders, launch, protocol, redaction
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.protocol import RunnerRequest
from migrations_audit.engine.types import RunLimits, RunnerExit
from migrations_audit.errors import Invalid
from migrations_audit.states import Engine

POLL_S: Final = 0.25
GRACE_S: Final = 5.0
INTERRUPT_AGAIN_S: Final = 0.5
TERM_S: Final = 3.0
DRAIN_S: Final = 1.0
DRAIN_READS: Final = 256
CHUNK: Final = 64 * 1024
TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "ssl_ca", "ssl_cert", "ssl_key")

_FORBIDDEN: Final = re.compile(r"PG[A-Z]+|(?:LD|DYLD|OPSPORTAL)_.*|PYTHON.*|PATH|HOME|TMPDIR", re.IGNORECASE)


class ForbiddenVariable(Invalid):
    """A variable of the project may not decide where a connection leads or what the interpreter loads."""

    code = "forbidden_variable"


@dataclass(frozen=True)
class OfflineResult:
    """The SQL that Alembic wrote for a range of revisions, whole; or None and the reason why there is none."""

    sql: str | None
    reason: str


def run(
    *,
    request: RunnerRequest,
    interpreter: str,
    confinement: Confinement,
    snapshot: Path,
    folder: Path,
    limits: RunLimits,
    on_event: Callable[[dict[str, Any]], None],
    on_output: Callable[[str, str], None],
    may_go: Callable[[], bool],
    stop: Callable[[], str | None],
    interrupt: Callable[[], None],
) -> RunnerExit:
    """Execute ``request`` in ``folder``, which lies in the unpacked ``snapshot``, and return how the runner ended.

    The folder above the snapshot belongs to this run alone; where ``confinement`` gives the runner another account, that one is
    let in there.

    ``on_event`` gets each event as a dict, ``on_output`` the stream's name and whole lines; in both the password is masked.
    ``may_go`` is asked for each connection, checked and with the lock held, before the project gets it; it confirms that the
    run is still ours and not cancelled. Before the first yes nothing of the project was sent.
    ``stop`` is asked four times a second and answers None, ``cancel`` or ``lost_lease``. For such a reason, and at the
    deadline, a runner that may not go yet is killed, and so is one that lost its lease. Otherwise ``interrupt``, which cancels
    the run's statements on the server, is called twice a second; after five seconds comes SIGTERM, three later SIGKILL.
    Nothing that the runner started is alive when this returns or raises. An exception of a callback ends the runner and comes
    out of here.

    A runner that a signal ended has the exit code 128 + signal. One that says what it never says, or leaves with code 0
    without its last event, is ``ended_by`` ``protocol``. The runner dies with the thread that calls this.

    Raises CannotStart and ForbiddenVariable.
    """
    for name in (*request.extra_environment, request.url_delivery_name):
        if _FORBIDDEN.fullmatch(name):
            raise ForbiddenVariable(
                f"The project may not set the variable {name}. Remove it from the project's settings."
            )
    with folders.made("run") as home:
        place = _place(request, folder, snapshot, str(home))
        child = children.Child(interpreter=interpreter, confinement=confinement, place=place)
        try:
            return _Supervision(
                child,
                request,
                limits,
                on_event=on_event,
                on_output=on_output,
                may_go=may_go,
                stop=stop,
                interrupt=interrupt,
            ).follow()
        finally:
            child.close()


def offline_sql(
    *,
    request: RunnerRequest,
    interpreter: str,
    confinement: Confinement,
    snapshot: Path,
    folder: Path,
    limits: RunLimits,
) -> OfflineResult:
    """Let Alembic write the SQL of ``request.offline_range`` without any connection. ``request.url`` holds no password.

    Raises what ``run`` raises.
    """
    pieces: list[str] = []
    reasons: list[str] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "sql":
            pieces.append(event["text"])
        elif event["event"] in ("refused", "error"):
            reasons.append(event["message"])

    ended = run(
        request=replace(request, connection=replace(request.connection, password="")),
        interpreter=interpreter,
        confinement=confinement,
        snapshot=snapshot,
        folder=folder,
        limits=limits,
        on_event=on_event,
        on_output=lambda stream, text: None,
        may_go=lambda: False,
        stop=lambda: None,
        interrupt=lambda: None,
    )
    if (ended.exit_code, ended.ended_by) != (0, "itself"):
        reason = reasons[-1] if reasons else f"The runner ended with code {ended.exit_code} ({ended.ended_by})."
        return OfflineResult(sql=None, reason=reason)
    if not pieces:
        return OfflineResult(sql=None, reason="The project wrote no SQL where Alembic expects it.")
    return OfflineResult(sql="".join(pieces), reason="")


def _place(request: RunnerRequest, folder: Path, snapshot: Path, home: str) -> launch.Place:
    """The files of the run. A SQLite target is a file too, and SQLite keeps its journal beside it."""
    connection = request.connection
    given = [connection.parameters.get(name, "") for name in TLS_FILES]
    is_file = connection.engine == Engine.SQLITE and not request.offline_range
    return launch.Place(
        folder=folder,
        snapshot=snapshot,
        home=home,
        tls_files=tuple(filter(os.path.isabs, given)),
        writable=(os.path.dirname(connection.database),) if is_file else (),
    )


class _Supervision:
    """One thread, one loop: reads the runner's pipes, asks whether to stop, and sends signals when their time has come."""

    def __init__(
        self,
        child: children.Child,
        request: RunnerRequest,
        limits: RunLimits,
        *,
        on_event: Callable[[dict[str, Any]], None],
        on_output: Callable[[str, str], None],
        may_go: Callable[[], bool],
        stop: Callable[[], str | None],
        interrupt: Callable[[], None],
    ) -> None:
        redactor = redaction.Redactor([request.connection.password, *redaction.secrets_in(request.extra_environment)])
        self._child = child
        self._to_say = request.as_json(limits)
        self._on_event = on_event
        self._may_go = may_go
        self._stop = stop
        self._interrupt = interrupt
        self._lines = protocol.EventLines(redactor.text)
        self._output = capture.Output(
            limit=limits.output_bytes, on_text=lambda stream, text: on_output(stream, redactor.text(text))
        )
        self._ended_by = "itself"
        self._going = False
        self._left_behind = 0
        self._deadline = time.monotonic() + limits.deadline_s
        self._next_poll = 0.0
        self._interrupt_at = math.inf
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(child.request, selectors.EVENT_WRITE, self._write_request)
        self._selector.register(child.events, selectors.EVENT_READ, self._read_events)
        self._selector.register(child.stdout, selectors.EVENT_READ, self._read_stdout)
        self._selector.register(child.stderr, selectors.EVENT_READ, self._read_stderr)

    def follow(self) -> RunnerExit:
        """Run the loop until the runner has ended and its pipes are empty."""
        try:
            while (code := self._child.exit_code()) is None:
                self._decide(time.monotonic())
                self._turn(self._patience())
            leftovers = self._child.kill_leftovers()
            self._drain()
            if leftovers or self._left_behind:
                self._on_event({"event": "leftovers_killed", "count": leftovers or self._left_behind})
            self._output.close()
        finally:
            self._selector.close()
        if code == 0 and self._ended_by == "itself" and not self._lines.finished:
            self._ended_by = "protocol"
        return RunnerExit(
            exit_code=code if code >= 0 else 128 - code,
            signal=max(0, -code),
            ended_by=self._ended_by,
            output_sha256=self._output.sha256,
            output_bytes=self._output.total,
            output_cut=self._output.cut,
        )

    def _decide(self, now: float) -> None:
        while self._due and now >= self._due[0][0]:
            self._interrupt_at = math.inf
            self._due.pop(0)[1]()
        if now >= self._interrupt_at:
            self._interrupt_now()
        if self._ended_by == "itself" and now >= self._next_poll:
            self._next_poll = now + POLL_S
            reason = "deadline" if now >= self._deadline else self._stop()
            if reason:
                # Before it may go there is nothing to tidy up, and after a lost lease nobody may wait for it.
                at_once = reason == "lost_lease" or not self._going
                self._end(reason, grace=0.0 if at_once else GRACE_S, gently=not at_once)

    def _end(self, reason: str, *, grace: float, gently: bool) -> None:
        self._ended_by = reason
        now = time.monotonic()
        if not gently:
            self._child.signal(signal.SIGKILL)
        self._due = [
            (now + grace, partial(self._child.signal, signal.SIGTERM)),
            (now + grace + TERM_S, partial(self._child.signal, signal.SIGKILL)),
        ]
        self._interrupt_now()

    def _interrupt_now(self) -> None:
        """Once, and soon again: the project may begin its next statement in the moment in which this one is cancelled.

        It lasts long when the server is frozen; what was missed meanwhile is not made up for, because the signals are due.
        """
        self._interrupt()
        self._interrupt_at = time.monotonic() + INTERRUPT_AGAIN_S

    def _patience(self) -> float:
        # A closed event pipe tells that the runner is about to end, a moment before it has.
        return POLL_S if self._child.events in self._selector.get_map() else 0.01

    def _turn(self, timeout: float) -> bool:
        """Serve what is ready, and return whether anything was."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _drain(self) -> None:
        """Read what the dead left in the pipes. A process that escaped and still holds one does not keep us."""
        self._may_go, self._to_say = lambda: False, b""
        self._watch_request()
        self._child.close_pipe(self._child.request)
        for _ in range(DRAIN_READS):
            if not self._selector.get_map() or not self._turn(DRAIN_S):
                return

    def _read_events(self) -> None:
        data = self._read(self._child.events)
        if self._ended_by == "protocol":
            return
        try:
            for event in self._lines.feed(data):
                self._on_event(event)
                if event["event"] == "ready":
                    self._answer()
                elif event["event"] == "left_behind":
                    self._left_behind = event["count"]
        except protocol.Malformed:
            self._end("protocol", grace=0.0, gently=True)

    def _read_stdout(self) -> None:
        self._output.feed("stdout", self._read(self._child.stdout))

    def _read_stderr(self) -> None:
        self._output.feed("stderr", self._read(self._child.stderr))

    def _read(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            self._close(descriptor)
        return data

    def _answer(self) -> None:
        """Let the project have its connection, unless this run is to end or is not ours any more."""
        if self._ended_by == "itself" and self._may_go():
            self._going = True
            self._to_say += protocol.GO
            self._write_request()

    def _write_request(self) -> None:
        try:
            self._to_say = self._to_say[os.write(self._child.request, self._to_say) :]
        except BlockingIOError:
            pass
        except OSError:  # it ended before it read all
            self._to_say = b""
        self._watch_request()

    def _watch_request(self) -> None:
        """Ask for the pipe's readiness only while there is something to say: it is ready nearly always."""
        watched = self._child.request in self._selector.get_map()
        if self._to_say and not watched:
            self._selector.register(self._child.request, selectors.EVENT_WRITE, self._write_request)
        elif watched and not self._to_say:
            self._selector.unregister(self._child.request)

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        self._child.close_pipe(descriptor)
