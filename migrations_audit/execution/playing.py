"""Plays a plan on a copy: there, back, and there again. Each revision that cannot be taken back is met once, and passed by."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from migrations_audit.engine import process, resolve, types
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.rehearsing import copying
from migrations_audit.engine.rehearsing.inspection import Follower
from migrations_audit.engine.rehearsing.types import Copy, Pass, Scratch, Step
from migrations_audit.errors import PortalError
from migrations_audit.execution import commands, places, runner_request
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import Operation

MOST_ROUNDS: Final = 24
LONGEST_S: Final = 900
"""Of all passes together: a rehearsal keeps a worker from others' work."""
_BACK: Final = {Operation.UPGRADE: Operation.ROLLBACK, Operation.ROLLBACK: Operation.UPGRADE}


class Interrupted(PortalError):
    """The rehearsal was ended before it came to its end."""

    code = "interrupted"


class _NotReached(Exception):
    """Where the way back was to begin was not reached on a fresh copy."""


@dataclass(frozen=True)
class Played:
    """``back`` holds, by revision, the step that took it back; ``stuck`` the pass that ended in it without taking it back.

    ``no_way_back`` says why no way back was played at all; ``again`` are the passes in which revisions were applied once more
    after it. ``after`` is the catalog that the plan left, with what env.py did behind its last step.
    """

    there: Pass
    after: Mapping[str, str]
    back: Mapping[str, Step]
    stuck: Mapping[str, Pass]
    no_way_back: str
    again: tuple[Pass, ...] = ()

    @property
    def taken_back(self) -> dict[str, Step]:
        """By revision the way back as it was played, also one that failed."""
        failed = {revision: step for revision, each in self.stuck.items() for step in each.steps if not step.ended}
        return {**failed, **self.back}

    @property
    def applied_again(self) -> dict[str, Step]:
        """By revision its second application, also one that failed."""
        return {step.revision: step for each in self.again for step in each.steps}


@dataclass
class Player:
    """Calls the runner on one copy. ``kept`` is the name of an untouched twin of the copy on the same server."""

    run: MigrationRun
    plan: Plan
    scripts: places.Scripts
    scratch: Scratch
    copy: Copy
    kept: str
    folder: Path
    interpreter: str
    confinement: Confinement
    heartbeat: Heartbeat
    application_name: str
    began: float = field(default_factory=time.monotonic)

    def play(self) -> Played:
        """There, back, there again. Raises Interrupted when nobody waits for it any more."""
        forward = runner_request.resolution(self.plan)
        there, catalog = self._pass(forward, self.copy.catalog.body)
        if not there.came_to_its_end:
            return Played(there, catalog, {}, {}, "The plan itself did not come to its end.")
        after = catalog = dict(copying.catalog_of(self.copy, self.application_name))
        try:
            way = self._way_back(forward)
        except PortalError as error:
            return Played(there, after, {}, {}, error.message)
        played, catalog = self._pass(way, catalog)
        back = {step.revision: step for step in played.steps if step.ended}
        if played.came_to_its_end:
            return Played(there, after, back, {}, "", (self._pass(forward, catalog)[0],))
        if all(step.ended for step in played.steps):
            return Played(there, after, back, {}, played.problem)
        stuck, again = self._around(forward, there, played, back)
        return Played(there, after, back, stuck, "", again)

    def _way_back(self, forward: types.Resolution) -> types.Resolution:
        if len(forward.start) > 1:
            raise resolve.RevisionRefused(
                "several_rows", "The plan starts from several revisions, and a way back to all of them has no name."
            )
        start = forward.start[0] if forward.start else "base"
        way = self._way(_BACK[forward.operation], to=start, current=forward.result)
        if {step.revision for step in way.steps} != {step.revision for step in forward.steps}:
            raise resolve.RevisionRefused("another_way", "The way back passes other revisions than the plan.")
        return way

    def _around(
        self, forward: types.Resolution, there: Pass, played: Pass, back: dict[str, Step]
    ) -> tuple[dict[str, Pass], tuple[Pass, ...]]:
        """Meet those that a failed downgrade hid: go only as far as below it on a fresh copy, and back from there.

        Where later downgrades left something behind that may be the reason, the one that failed is met alone before. Returns
        the passes that ended in a downgrade, by its revision, and those in which revisions were applied again.
        """
        stuck: dict[str, Pass] = {}
        again: list[Pass] = []
        parts: list[tuple[types.Resolution, str]] = []
        made = {step.revision: step.after for step in there.steps}
        ids, reach = [step.revision for step in forward.steps], forward
        for _ in range(MOST_ROUNDS):
            failed = next((step for step in played.steps if not step.ended), None)
            if failed is None:
                break
            stuck[failed.revision] = played
            if played.steps[0] is not failed:
                parts.append((reach, failed.revision))
            hidden = ids[: ids.index(failed.revision)] if failed.revision in ids else []
            if failed.before != made.get(failed.revision, failed.before):
                hidden.append(failed.revision)
            if self._left() <= 0 or not hidden or forward.operation is not Operation.UPGRADE:
                break
            try:
                reach = self._way(Operation.UPGRADE, to=hidden[-1], current=forward.start)
                played, catalog = self._anew(reach, self._way_back(reach))
            except (resolve.RevisionRefused, _NotReached):
                break
            if played.came_to_its_end:
                again.append(self._pass(reach, catalog)[0])
            ended = {step.revision: step for step in played.steps if step.ended}
            back.update(ended)
            stuck = {revision: each for revision, each in stuck.items() if revision not in ended}
        return stuck, (*again, *self._parts_again(parts))

    def _parts_again(self, parts: Sequence[tuple[types.Resolution, str]]) -> Iterator[Pass]:
        """The revisions above each downgrade that failed, once more: taken back on a fresh copy as far as that one, and applied
        again. Last of all, because the grades need the time more."""
        for reach, failed in parts:
            if self._left() <= 0 or reach.operation is not Operation.UPGRADE:
                return
            try:
                way = self._way(Operation.ROLLBACK, to=failed, current=reach.result)
                played, catalog = self._anew(reach, way)
            except (resolve.RevisionRefused, _NotReached):
                continue
            if played.came_to_its_end:
                taken = {step.revision for step in way.steps}
                steps = tuple(step for step in reach.steps if step.revision in taken)
                yield self._pass(replace(reach, start=way.result, steps=steps), catalog)[0]

    def _way(self, operation: Operation, *, to: str, current: tuple[str, ...]) -> types.Resolution:
        return resolve.resolve(self.scripts.graph, operation=operation, requested=to, current=current)

    def _anew(self, reach: types.Resolution, way: types.Resolution) -> tuple[Pass, dict[str, str]]:
        """There and back on a fresh copy. Raises _NotReached."""
        self.copy = copying.renew(self.copy, self.scratch, kept=self.kept)
        reached, catalog = self._pass(reach, self.copy.catalog.body)
        if not reached.came_to_its_end:
            raise _NotReached
        return self._pass(way, catalog)

    def _pass(self, resolution: types.Resolution, catalog: Mapping[str, str]) -> tuple[Pass, dict[str, str]]:
        follower = Follower(catalog, copying.relations(self.copy, self.scratch))
        configuration = self.scripts.configuration
        ended = process.run(
            request=runner_request.rehearsal(
                run=self.run,
                plan=self.plan,
                copy=self.copy,
                resolution=resolution,
                configuration=configuration,
                application_name=self.application_name,
            ),
            interpreter=self.interpreter,
            confinement=self.confinement,
            snapshot=self.folder,
            folder=self.folder / commands.working_directory(self.run.target.project, configuration),
            limits=self._limits(),
            on_event=follower.event,
            on_output=lambda stream, text: None,
            may_go=lambda: self.heartbeat.stop_reason() is None,
            stop=self.heartbeat.stop_reason,
            interrupt=lambda: None,
        )
        if self.heartbeat.stop_reason() is not None:
            raise Interrupted("The rehearsal was ended: its run no longer waits for it, or another worker has it.")
        return follower.finish(*self._problem(ended)), follower.catalog

    def _left(self) -> int:
        """The seconds that this rehearsal may still take."""
        return round(LONGEST_S - (time.monotonic() - self.began))

    def _limits(self) -> types.RunLimits:
        limits = runner_request.limits(self.plan)
        return replace(limits, deadline_s=min(limits.deadline_s, max(1, self._left())))

    def _problem(self, ended: types.RunnerExit) -> tuple[str, str]:
        """A code, and a sentence about how the process ended; both empty when it ended well."""
        if (ended.exit_code, ended.ended_by) == (0, "itself"):
            return "", ""
        if ended.ended_by != "deadline":
            code = "protocol" if ended.ended_by == "protocol" else "runner_ended"
            return code, f"The runner ended with code {ended.exit_code} ({ended.ended_by})."
        if self._left() <= 0:
            return "too_long", f"It took longer than a rehearsal may ({LONGEST_S} s)."
        return "deadline", f"It took longer than the environment's deadline, {self._limits().deadline_s} s."
