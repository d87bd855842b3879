"""What differs from what was approved: in words for the sentence of a run that is void, line by line for its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from migrations_audit import listing
from migrations_audit.actions import plans
from migrations_audit.engine import catalog, snapshot, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.execution import differing, observing
from migrations_audit.judgement import Check, rows_text
from migrations_audit.models import Observation, Plan, Snapshot, Target
from migrations_audit.models.evidence import TITLE
from migrations_audit.states import Outcome

MOST_NAMED: Final = 5
START: Final = "the starting state"


@dataclass(frozen=True)
class Departure:
    """One part of what was approved that is another now."""

    code: str
    sentence: str
    check: Check


def of_scripts(plan: Plan, found: Snapshot) -> Departure | None:
    """The script files, with what of their text differs. Passwords in them are masked."""
    if found.digest == plan.parts["scripts"]:
        return None
    then, now = plan.parts["scripts"][:12], found.digest[:12]
    return Departure(
        code="scripts_changed",
        sentence=f"the script files changed after the plan was approved ({then} then, {now} now): "
        f"{of_files(plan.snapshot, found)}. Request the upgrade again.",
        check=_check("the script files", then, now, _texts(plan, found)),
    )


def of_database(target: Target, plan: Plan, found: types.Identity) -> Departure | None:
    """Which database answers, and whether it is still the same server after a failover."""
    if differences := plans.identity_differences(plan.identity, found.as_dict()):
        told = listing.listed([f"{name}: {then} → {now}" for name, then, now in differences], MOST_NAMED)
        return Departure(
            code="identity_changed",
            sentence=f"{target} is not the database of the plan any more ({told}). Check now, look at its identity, and "
            "request again.",
            check=plans.identity_check(plan.identity, found.as_dict()),
        )
    planned, timeline = plan.identity["timeline"], found.timeline
    if timeline > planned > 0:
        return Departure(
            code="failed_over",
            sentence=f"{target} failed over since the approval (timeline {planned} → {timeline}): plan again.",
            check=_check(plans.IDENTITY, f"timeline {planned}", f"timeline {timeline}"),
        )
    return None


def of_connection(plan: Plan, found: TargetUrl) -> Departure | None:
    """How the target is reached: the parameters of its URL."""
    told = _Settings("the parameters of the target's URL", plan, "connection", dict(found.parameters))
    return Departure(code="connection_changed", sentence=told.sentence, check=told.check) if told.depart else None


def of_worker(plan: Plan, found: Mapping[str, str]) -> Departure | None:
    """What the worker is set to use beside the scripts."""
    told = _Settings("what the worker uses for a run", plan, "worker", found)
    return Departure(code="worker_changed", sentence=told.sentence, check=told.check) if told.depart else None


@dataclass(frozen=True)
class _Settings:
    """Settings that only a worker knows, then and now."""

    what: str
    plan: Plan
    part: str
    now: Mapping[str, str]

    @property
    def depart(self) -> bool:
        digest = plans.settings_digest(self.now)
        return bool(self.plan.parts.get(self.part, digest) != digest)

    @property
    def sentence(self) -> str:
        told = listing.listed([f"{name}: {then} → {now}" for name, then, now in self._differences], MOST_NAMED)
        return f"{self.what} changed after the plan was approved ({told}). Request the upgrade again."

    @property
    def check(self) -> Check:
        lines = [line for name, then, now in self._differences for line in (f"- {name}: {then}", f"+ {name}: {now}")]
        return _check(self.what, "as planned for", "another", lines)

    @property
    def _differences(self) -> list[tuple[str, str, str]]:
        then, now = self.plan.settings[self.part], self.now
        return [
            (name, then.get(name) or "nothing", now.get(name) or "nothing")
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]


def of_start(target: Target, plan: Plan, reading: types.Reading) -> Departure | None:
    """Where the target stands: the version rows and the catalog."""
    rows = reading.revisions or ()
    if plans.start_digest(rows=rows, catalog=reading.catalog.fingerprint) == plan.parts["start"]:
        return None
    then, now = rows_text(plan.from_revisions), rows_text(reading.revisions)
    comparable = observing.is_comparable(plan.base_observation)
    lines = _start_lines(plan, reading, with_catalog=comparable)
    if sorted(rows) != sorted(plan.from_revisions):
        already = (
            " That is where this plan leads; somebody else did it." if sorted(rows) == sorted(plan.to_revisions) else ""
        )
        return Departure(
            code="start_changed",
            sentence=f"{target} was at {then} when this was approved and is at {now} now.{already} Plan again from there.",
            check=_check(START, then, now, lines),
        )
    if not comparable:
        return Departure(
            code="catalog_not_comparable",
            sentence="this version of the portal compares other kinds of objects than the one that made the plan, so that "
            f"nobody can say whether the catalog of {target} changed meanwhile. Plan again.",
            check=_check(START, "a catalog that compares", "other kinds of objects"),
        )
    return Departure(
        code="catalog_changed",
        sentence=f"the revision of {target} is the same, but its catalog changed after the plan was made: "
        f"{of_catalog(plan.base_observation, reading.catalog)}. Plan again.",
        check=_check(START, "the catalog as it was when the plan was made", "another", lines),
    )


def of_sql(approved: str, found: str) -> Departure:
    """The SQL that Alembic makes of the same files."""
    return Departure(
        code="sql_changed",
        sentence="the script files are the same, but Alembic makes other SQL of them than was approved: what they import or "
        "read has changed. Request the upgrade again.",
        check=_check("the SQL", "as approved", "another", differing.bounded(differing.of_texts(approved, found))),
    )


def of_files(approved: Snapshot, found: Snapshot) -> str:
    """Which script files were changed, added or removed."""
    then, now = _digests(approved.files), _digests(found.files)
    changed = [path for path in then.keys() & now.keys() if then[path] != now[path]]
    parts = (
        ("changed", changed),
        ("added", list(now.keys() - then.keys())),
        ("removed", list(then.keys() - now.keys())),
    )
    return "; ".join(f"{word} {listing.listed(sorted(paths), MOST_NAMED)}" for word, paths in parts if paths)


def of_catalog(approved: Observation, found: types.Catalog) -> str:
    """Which objects of the catalog are not as they were when the plan was made."""
    if approved.catalog is None:
        return ""
    return listing.listed(catalog.diff(approved.catalog.body, found), MOST_NAMED)


def _texts(plan: Plan, found: Snapshot) -> tuple[str, ...]:
    try:
        then, now = (snapshot.files(bytes(each.archive)) for each in (plan.snapshot, found))
    except snapshot.SnapshotRefused as error:
        return (f"{TITLE}not compared: {error.message}",)
    return differing.of_files(then, now, first=[step["path"] for step in plan.steps])


def _start_lines(plan: Plan, reading: types.Reading, *, with_catalog: bool) -> tuple[str, ...]:
    then, now = set(plan.from_revisions), set(reading.revisions or ())
    lines = [*(f"- {row}" for row in sorted(then - now)), *(f"+ {row}" for row in sorted(now - then))]
    if lines:
        lines.insert(0, f"{TITLE}version rows")
    before = plan.base_observation.catalog
    changes = catalog.diff(before.body, reading.catalog) if with_catalog and before is not None else ()
    if changes:
        lines += [f"{TITLE}catalog", *catalog.readable(changes)]
    return differing.bounded(lines)


def _check(name: str, expected: str, observed: str, lines: Sequence[str] = ()) -> Check:
    return Check(name, expected, observed, Outcome.FAILED, tuple(lines))


def _digests(files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {each["path"]: each["sha256"] for each in files}
