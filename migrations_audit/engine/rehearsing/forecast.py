"""Which locks a plan will take on its target, in words, worst first: what the copy showed, with what the target holds now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from migrations_audit.engine import catalog, lock_modes
from migrations_audit.engine.rehearsing import wording
from migrations_audit.engine.rehearsing.types import Lock, Statement, Step
from migrations_audit.states import Blocks

LONG_S: Final = 60
MOST_PREPARED: Final = 3
_MEANS: Final = {
    Blocks.ALL: "nothing reads or writes it",
    Blocks.WRITES: "nothing writes it",
    Blocks.ROWS: "rows that it changes cannot be written by others",
    Blocks.NOTHING: "reads and writes go on",
}


@dataclass(frozen=True)
class Entry:
    """One lock or one rewrite, as a sentence. ``weight`` orders them: the first is the worst."""

    revision: str
    statement: str
    mode: str
    relation: str
    rewritten: bool
    bytes: int | None
    held_by: int
    sentence: str
    weight: tuple[int, int, int, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast(steps: Sequence[Step], impact: Mapping[str, Any], *, version_table: str = "") -> list[Entry]:
    """The strongest lock of each statement on each relation that was there before, and what is not known.

    A relation whose size the target did not tell is named without one: the lock is known from the copy. That Alembic writes its
    own rows in ``version_table`` is none.
    """
    sizes = {row["name"]: row for row in impact.get("relations", ())}
    entries = []
    for step in steps:
        for statement in step.statements:
            locks = [lock for lock in statement.locks if not _is_own(lock, version_table)]
            entries += _of_statement(step, statement, locks, sizes, impact.get("holders", ()))
    entries += [_not_looked(step, each) for step in steps for each in step.statements if each.unseen][:1]
    return sorted(entries, key=lambda entry: entry.weight, reverse=True)


def _is_own(lock: Lock, version_table: str) -> bool:
    return lock.mode == lock_modes.WRITES and catalog.names(lock.relation)[-1] == version_table


def _of_statement(
    step: Step,
    statement: Statement,
    locks: Sequence[Lock],
    sizes: Mapping[str, Mapping[str, Any]],
    holders: Sequence[Mapping[str, Any]],
) -> list[Entry]:
    strongest: dict[str, str] = {}
    for lock in locks:
        if _blocks(lock.mode) is not None:
            now = strongest.get(lock.relation, lock.mode)
            strongest[lock.relation] = max(now, lock.mode, key=lambda mode: _blocks(mode) or Blocks.NOTHING)
    found = [
        _entry(step, statement, mode, relation, sizes.get(relation, {}), holders)
        for relation, mode in strongest.items()
    ]
    if statement.in_autocommit and not found and not statement.unseen:
        found.append(_unseen(step, statement))
    return found


def _blocks(mode: str) -> Blocks | None:
    """What a lock keeps others from; None for one that holds up nobody but other DDL."""
    if lock_modes.conflict(lock_modes.READS, mode):
        return Blocks.ALL
    if mode in lock_modes.BLOCK_WRITES:
        return Blocks.WRITES
    return {lock_modes.WRITES: Blocks.ROWS, "ShareUpdateExclusiveLock": Blocks.NOTHING}.get(mode)


def _entry(
    step: Step,
    statement: Statement,
    mode: str,
    relation: str,
    size: Mapping[str, Any],
    holders: Sequence[Mapping[str, Any]],
) -> Entry:
    blocks = _blocks(mode) or Blocks.NOTHING
    rewritten = relation in statement.rewrites
    mine = [row for row in holders if row["relation"] == relation and lock_modes.conflict(mode, row["mode"])]
    long = [row for row in mine if (row["transaction_s"] or 0) >= LONG_S]
    words = [f"{mode.removesuffix('Lock')} on {relation} ({_told(size)})"]
    words.append("the table is written anew meanwhile" if rewritten else "")
    words.append(f"{_MEANS[blocks]} until the transaction ends" if blocks else _MEANS[blocks])
    told = ", ".join(filter(None, words))
    return Entry(
        revision=step.revision,
        statement=_short(statement.text),
        mode=mode,
        relation=relation,
        rewritten=rewritten,
        bytes=size.get("bytes"),
        held_by=len(mine),
        sentence=f"{told}.{_held(mode, mine, long)}",
        weight=(blocks, int(rewritten), len(long), size.get("bytes") or 0),
    )


def _unseen(step: Step, statement: Statement) -> Entry:
    concurrent = wording.works_concurrently(statement.text)
    sentence = (
        "Works CONCURRENTLY, outside a transaction: reads and writes go on, it waits for every older transaction, and if it "
        "fails an invalid index stays."
        if concurrent
        else "Runs outside a transaction, so its locks were gone before they could be seen."
    )
    return Entry(
        step.revision,
        _short(statement.text),
        "",
        "",
        False,
        None,
        0,
        sentence,
        (Blocks.NOTHING if concurrent else Blocks.UNSEEN, 0, 0, 0),
    )


def _not_looked(step: Step, statement: Statement) -> Entry:
    """The first statement that was not looked at stands for all that come behind it."""
    sentence = (
        "From here on the locks of single statements are not known: there were too many statements to look at each."
    )
    return Entry(step.revision, _short(statement.text), "", "", False, None, 0, sentence, (Blocks.UNSEEN, 0, 0, 0))


def _held(mode: str, mine: Sequence[Mapping[str, Any]], long: Sequence[Mapping[str, Any]]) -> str:
    """Who holds it in a mode that this one waits for."""
    prepared = [row for row in mine if row.get("gid")]
    told = "".join(
        f" It is held by the {prepared_transaction(row, with_age=True)}." for row in prepared[:MOST_PREPARED]
    )
    if len(prepared) > MOST_PREPARED:
        told += f" {len(prepared) - MOST_PREPARED} more prepared transactions hold it."
    sessions = len(mine) - len(prepared)
    old = len([row for row in long if not row.get("gid")])
    if old:
        verb = "session holds" if old == 1 else "sessions hold"
        behind = f", {others} for this" if (others := behind_it(mode)) else ""
        return f" {old} {verb} it now in a transaction older than a minute: this would wait for that{behind}.{told}"
    if sessions:
        return f" {sessions} session{'s' if sessions > 1 else ''} hold{'' if sessions > 1 else 's'} it now.{told}"
    return told


def prepared_transaction(row: Mapping[str, Any], *, with_age: bool) -> str:
    """One that waits for its second phase, and what ends it."""
    age = f", {_age(row['transaction_s'] or 0)} old" if with_age else ""
    return (
        f"prepared transaction “{row['gid']}” of {row['user']}{age}: only COMMIT PREPARED or ROLLBACK PREPARED ends it"
    )


def _age(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def behind_it(mode: str) -> str:
    """Who waits behind a session that waits for this mode; empty where reads and writes go on."""
    if lock_modes.conflict(mode, lock_modes.READS):
        return "all others"
    return "all that write it" if mode in lock_modes.BLOCK_WRITES else ""


def _told(size: Mapping[str, Any]) -> str:
    unmeasured = size.get("unmeasured", "")
    if size.get("bytes") is None:
        return f"{unmeasured}, {_count(size)}" if unmeasured else "size not told"
    least = "at least " if unmeasured else ""
    told = [f"{least}{_size(size['bytes'])}{_number(' in', size.get('partitions', 0), 'partition')}", _count(size)]
    if size.get("heirs"):
        heirs = _number("and with", size["heirs"], "table")
        told.append(f"{heirs} that inherit from it {_size(size['bytes'] + size['heirs_bytes'])}")
    return ", ".join([*told, *([unmeasured] if unmeasured else [])])


def _number(before: str, count: int, what: str) -> str:
    return f"{before} {count:,} {what}{'' if count == 1 else 's'}" if count else ""


def _count(size: Mapping[str, Any]) -> str:
    if size.get("never_analyzed"):
        return "never analyzed" if not size.get("live") else f"about {size['live']:,} rows"
    rows = int(size["rows"] or 0)
    return f"about {rows:,} row{'' if rows == 1 else 's'}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:160]}…"
