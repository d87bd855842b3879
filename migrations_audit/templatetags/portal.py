"""How templates show what is known: statuses as shape and word, times, durations, and text from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from migrations_audit.models import Evidence, MigrationRun, Rehearsal, RunStep
from migrations_audit.queries.standing import Standing
from migrations_audit.states import Blocks, Engine, Verdict
from migrations_audit.templatetags.shapes import SHAPES
from migrations_audit.web import differences as difference
from migrations_audit.web import text

register = template.Library()

# kind → (tone, shape). The tone is a colour, so the shape and the word always say the same.
STANDINGS = {
    "in_sync": ("good", "check"),
    "behind": ("warn", "down"),
    "ahead": ("warn", "up"),
    "unknown_revision": ("bad", "question"),
    "several_heads": ("warn", "fork"),
    "not_initialised": ("calm", "dashed"),
    "unreachable": ("bad", "unplugged"),
    "unreadable": ("bad", "locked"),
    "wrong_database": ("bad", "alert"),
    "unreadable_scripts": ("bad", "page"),
    "regressed": ("bad", "rewind"),
    "tables_missing": ("bad", "hole"),
    "never_read": ("dim", "eye"),
    "stale": ("dim", "clock"),
}
RUNS = {
    "requested": ("busy", "hourglass"),
    "planning": ("busy", "hourglass"),
    "plan_failed": ("bad", "cross"),
    "awaiting_approval": ("calm", "people"),
    "rejected": ("dim", "barred"),
    "withdrawn": ("dim", "barred"),
    "expired": ("dim", "clock"),
    "void": ("dim", "barred"),
    "approved": ("calm", "seal"),
    "queued": ("busy", "hourglass"),
    "refused": ("bad", "barred"),
    "running": ("busy", "play"),
    "applied": ("warn", "question"),
    "failed": ("bad", "cross"),
    "error": ("bad", "cross"),
    "cancelled": ("dim", "barred"),
    "outcome_unknown": ("bad", "question"),
    "closed": ("bad", "question"),
}
VERDICTS = {"verified": ("good", "check"), "contradicted": ("bad", "alert")}
OUTCOMES = {
    "passed": ("good", "check"),
    "warning": ("warn", "alert"),
    "failed": ("bad", "cross"),
    "could_not_run": ("bad", "barred"),
}
SHORT_DIFFERENCE = 24
WHOLE_OBJECTS = ("table ", "view ", "materialized view ", "enum ", "function ", "schema ", "extension ")
SEVERITIES = {"error": ("bad", "cross"), "warning": ("warn", "alert"), "notice": ("calm", "info")}
STEPS = {
    "waiting": ("dim", "dashed"),
    "running": ("busy", "play"),
    "ended": ("warn", "clock"),
    "committed": ("good", "check"),
    "failed": ("bad", "cross"),
}
REHEARSALS = {"waiting": ("busy", "hourglass"), "running": ("busy", "play")}
GRADES = {
    "exact": ("good", "check", "exact"),
    "lossy": ("warn", "hole", "lossy"),
    "impossible": ("bad", "barred", "impossible"),
    "untested": ("dim", "question", "not tested"),
    "": ("dim", "question", "not tested"),
}
WEIGHTS: Mapping[int, tuple[str, str, str]] = {
    Blocks.ALL: ("bad", "barred", "blocks all"),
    Blocks.WRITES: ("warn", "locked", "blocks writes"),
    Blocks.UNSEEN: ("dim", "question", "not seen"),
    Blocks.ROWS: ("warn", "locked", "blocks rows"),
    Blocks.NOTHING: ("calm", "check", "blocks none"),
}
MARKS = {"passed": "check", "current": "play", "stopped": "cross", "doubtful": "question", "ahead": "dashed"}
ATTENTION = {
    "outcome_unknown": ("bad", "question"),
    "production_behind": ("warn", "down"),
    "contradicted": ("bad", "alert"),
    "worker_silent": ("bad", "question"),
    "glass_broken": ("bad", "alert"),
    "no_worker": ("bad", "unplugged"),
    "waits_long": ("warn", "clock"),
}
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@register.filter
def visible(value: object) -> str:
    """Text from elsewhere with its invisible characters written out. Escaping stays with the template."""
    return text.visible(str(value))


@register.simple_tag
def icon(shape: str) -> SafeString:
    """A drawn shape. It is decoration: the word stands beside it."""
    return format_html(
        '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.6" '
        'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>',
        SHAPES[shape],
    )


@register.simple_tag
def refused(typed: Mapping[str, str] | str, forms: str, field: str, error: str, hint: str = "") -> SafeString:
    """Marks the field because of which its form was refused, and ties it to the sentence with the id ``error``.

    ``forms`` are the names under which the form is sent; ``typed`` is what was typed, nothing on a page that nobody sent.
    """
    given = typed if isinstance(typed, Mapping) else {}
    is_it = bool(given) and given["form"] in (forms, *forms.split()) and given.get("field") == field
    told = " ".join(filter(None, (hint, error if is_it else "")))
    return format_html(
        "{}{}",
        SafeString(' aria-invalid="true"') if is_it else "",
        format_html(' aria-describedby="{}"', told) if told else "",
    )


@register.simple_tag
def standing_chip(standing: Standing) -> SafeString:
    """The status of a target."""
    return _chip(*STANDINGS[standing.kind], standing.words)


@register.simple_tag
def status_chip(status: str, words: str) -> SafeString:
    """The status of one observation."""
    return _chip(*STANDINGS[status], words)


@register.simple_tag
def count_chip(kind: str, words: str, number: int) -> SafeString:
    """How many targets have a status."""
    return _chip(*STANDINGS[kind], f"{number} {words}")


@register.simple_tag
def run_chip(run: MigrationRun) -> SafeString:
    """The state of a run with its verdict; only a verified run looks good."""
    tone, shape = VERDICTS.get(run.verdict, RUNS[run.state])
    words = run.get_state_display()
    if run.verdict != Verdict.UNVERIFIED.value or run.state == "applied":
        words = f"{words}, {run.get_verdict_display()}"
    chip = _chip(tone, shape, words)
    return chip if run.broke_glass_at is None else chip + _chip("bad", "alert", "without approval")


@register.simple_tag
def outcome_chip(evidence: Evidence) -> SafeString:
    """The outcome of one check."""
    return _chip(*OUTCOMES[evidence.outcome], evidence.get_outcome_display())


@register.simple_tag
def rehearsal_chip(rehearsal: Rehearsal) -> SafeString:
    """Where a rehearsal is, or what came of it."""
    if rehearsal.has_ended:
        return _chip(*OUTCOMES[rehearsal.outcome], rehearsal.get_outcome_display())
    return _chip(*REHEARSALS[rehearsal.state], rehearsal.get_state_display())


@register.simple_tag
def grade_chip(grade: str) -> SafeString:
    """How far a revision can be taken back."""
    return _chip(*GRADES[grade])


@register.simple_tag
def weight_chip(entry: Mapping[str, Any]) -> SafeString:
    """What a lock keeps others from."""
    tone, shape, words = WEIGHTS[entry["weight"][0]]
    return _chip(tone, shape, f"{words}, rewrites" if entry["rewritten"] else words)


@register.simple_tag
def severity_chip(severity: str) -> SafeString:
    """How much a finding weighs. A word that this version does not know looks like a warning."""
    return _chip(*SEVERITIES.get(severity, SEVERITIES["warning"]), severity)


@register.filter
def severity_tone(severity: str) -> str:
    """The tone of a finding."""
    return SEVERITIES.get(severity, SEVERITIES["warning"])[0]


@register.simple_tag
def step_chip(step: RunStep) -> SafeString:
    """The state of one revision of a run."""
    return _chip(*STEPS[step.state], step.get_state_display())


@register.simple_tag
def attention_icon(kind: str) -> SafeString:
    """The shape of one thing that needs attention."""
    tone, shape = ATTENTION.get(kind) or STANDINGS[kind]
    return format_html('<span class="mark {}">{}</span>', tone, icon(shape))


@register.simple_tag
def mark_icon(mark: str) -> SafeString:
    """The shape of one stage."""
    return icon(MARKS[mark])


@register.simple_tag
def ago(when: datetime, now: datetime) -> SafeString:
    """How long ago, with the absolute time at hand. The page's script keeps it counting."""
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>', _machine(when), _absolute(when), _relative(when, now)
    )


@register.simple_tag
def moment(when: datetime | None, now: datetime) -> SafeString:
    """The absolute time in UTC, and how long ago that is."""
    if when is None:
        return SafeString("—")
    return format_html(
        '<time datetime="{}">{}</time> <span class="quiet">(<time datetime="{}" data-ago>{}</time>)</span>',
        _machine(when),
        _absolute(when),
        _machine(when),
        _relative(when, now),
    )


@register.filter
def clock(when: datetime) -> str:
    """The time of day to the millisecond, UTC."""
    return f"{when.astimezone(UTC):%H:%M:%S}.{when.microsecond // 1000:03d}"


@register.filter
def duration(milliseconds: int | None) -> str:
    """A duration for people."""
    if milliseconds is None:
        return "—"
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1_000
    for unit, length, end in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < end:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


@register.filter
def seconds(value: float) -> str:
    """Seconds for people."""
    return duration(round(value * 1_000))


@register.simple_tag
def revisions(rows: list[str] | None, absent: str = "no version table") -> SafeString:
    """Version rows: each as code; an empty table and an absent one in words."""
    if rows is None:
        return format_html('<span class="quiet">{}</span>', absent)
    if not rows:
        return format_html('<span class="quiet">{}</span>', "base")
    return format_html_join(", ", "<code>{}</code>", ((text.visible(row),) for row in rows))


@register.filter
def short(digest: str) -> SafeString:
    """The beginning of a digest, the whole at hand."""
    return format_html('<code class="digest" title="{}">{}</code>', digest, digest[:12])


def _chip(tone: str, shape: str, words: str) -> SafeString:
    return format_html('<span class="chip {}">{}<span>{}</span></span>', tone, icon(shape), text.visible(words))


def _machine(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _absolute(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _relative(when: datetime, now: datetime) -> str:
    seconds = int((now - when).total_seconds())
    size, words = abs(seconds), f"{abs(seconds)} s"
    for length, unit in UNITS:
        if size >= length:
            words = f"{size // length} {unit}"
            break
    return f"{words} ago" if seconds >= 0 else f"in {words}"


@register.filter
def headlines(lines: Sequence[str]) -> list[str]:
    """The lines of a catalog difference that say most: all of a short one, else its whole relations, types and functions."""
    if len(lines) <= SHORT_DIFFERENCE:
        return list(lines)
    return [line for line in lines if line[2:].startswith(WHOLE_OBJECTS)][:SHORT_DIFFERENCE]


@register.filter
def differences(detail: Sequence[str]) -> list[difference.Part]:
    """The detail of a check in parts, each line with its sign."""
    return difference.parts(detail)


@register.filter
def engine(identity: Mapping[str, Any]) -> str:
    """The engine of a stored identity, by the name that people know."""
    return _engine_of(identity).label


@register.filter
def transactional_ddl(identity: Mapping[str, Any]) -> bool:
    """Whether a revision that fails leaves nothing behind in the database of a stored identity."""
    return _engine_of(identity).transactional_ddl


@register.filter
def endpoint(stored: Mapping[str, Any]) -> str:
    """A stored endpoint; a file has no host."""
    where = f"{stored['user']}@{stored['host']}:{stored['port']}/"
    return f"{where if stored['host'] else ''}{stored['database']}"


def _engine_of(identity: Mapping[str, Any]) -> Engine:
    return Engine(identity.get("engine", Engine.POSTGRESQL))
