"""Who wrote what a plan executes, as far as commits tell it, and of which files nobody can be named."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit import hashchain, listing
from migrations_audit.engine import git, imported, snapshot, types
from migrations_audit.engine.findings import finding
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.git_authors import Author
from migrations_audit.execution import places
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import RunState, Verdict

MOST_NAMED: Final = 10


@dataclass(frozen=True)
class Authorship:
    """Those who cannot approve, with the commit and the file of each, and what is to be told where they are not known."""

    authors: Sequence[Author] = ()
    findings: Sequence[Finding] = ()


def of_plan(run: MigrationRun, scripts: places.Scripts, resolution: types.Resolution) -> Authorship:
    """Whoever wrote the files of the steps, and whoever changed what they share since a run was last verified on the target.

    What they share is env.py, the files that a step imports, and those beside env.py that it imports: not the application,
    whose models env.py imports and everybody writes. Before the first verified run nobody is left out for these.
    """
    contents = snapshot.files(bytes(scripts.snapshot.archive))
    written = {step.path: scripts.history.authors.get(step.path, ()) for step in resolution.steps}
    verified = _last_verified(run)
    changed: dict[str, Sequence[Author]] = {}
    if verified is not None:
        then = {each["path"]: each["sha256"] for each in verified.snapshot.files}
        changed = {
            path: scripts.history.since(path, _commit(verified))
            for path in _shared(scripts, list(written), contents)
            if then.get(path) != hashlib.sha256(contents[path]).hexdigest()
        }
    since = " since a run was last verified here"
    return Authorship(
        [author for found in (written, changed) for authors in found.values() for author in authors],
        [
            *_unknown(run, scripts, [path for path in written if not written[path]], contents, did="written", since=""),
            *_unknown(
                run, scripts, [path for path in changed if not changed[path]], contents, did="changed", since=since
            ),
        ],
    )


def _last_verified(run: MigrationRun) -> Plan | None:
    runs = MigrationRun.objects.filter(
        target=run.target_id, state=RunState.APPLIED.value, verdict=Verdict.VERIFIED.value, plan__isnull=False
    )
    last = runs.select_related("plan__snapshot", "plan__base_observation").order_by("-finished_at").first()
    return last.plan if last is not None else None


def _commit(plan: Plan) -> str:
    """The commit at which the files of a plan were read; that of its snapshot is where they were first seen."""
    found = plan.base_observation.facts.get("commit") or plan.snapshot.commit
    return str(found.get("id", ""))


def _shared(scripts: places.Scripts, steps: Sequence[str], contents: Mapping[str, bytes]) -> list[str]:
    """The files that the steps execute beside their own."""
    told = scripts.configuration
    env = posixpath.normpath(posixpath.join(told.script_location, "env.py"))
    beside = posixpath.dirname(env)
    roots = (".", told.working_directory, *told.prepend_sys_path, beside, posixpath.dirname(beside))
    found = {env} & contents.keys()
    for path in steps:
        found |= imported.files(contents[path], path=path, among=contents, roots=roots)
    of_env = imported.files(contents.get(env, b""), path=env, among=contents, roots=roots)
    found |= {path for path in of_env if not beside or path.startswith(f"{beside}/")}
    return sorted(found - set(steps))


def _unknown(
    run: MigrationRun,
    scripts: places.Scripts,
    paths: Sequence[str],
    contents: Mapping[str, bytes],
    *,
    did: str,
    since: str,
) -> Iterator[Finding]:
    """One finding about these files, in exactly this state: whoever accepts it has asked who wrote them."""
    if not paths:
        return
    digest = hashchain.digest(hashchain.canonical({path: hashlib.sha256(contents[path]).hexdigest() for path in paths}))
    because = (
        f"none of the last {git.DEPTH} commits of {scripts.commit.get('ref', 'its ref')} that could be read changed "
        f"{'it' if len(paths) == 1 else 'them'}"
        if scripts.commit
        else "the project's files come from a folder, which has no commits"
    )
    files = f"{listing.listed(paths, MOST_NAMED)} (file{'s' if len(paths) > 1 else ''} {digest[:12]})"
    sentence = f"Nobody is known to have {did} {files}{since}: {because}. Whoever did can approve this plan."
    yield finding.of("author_unknown", run.target.project.slug, sentence)
