"""What an approval binds of the settings that people can edit, and what of it is another by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.crypto import salted_hmac

from migrations_audit import hashchain, policy
from migrations_audit.judgement import Check
from migrations_audit.models import Plan, Target
from migrations_audit.states import Outcome

_WHAT = {"target": "the target's or the project's settings", "policy": "the environment's policy"}
_VARIABLES = "migrations_audit.queries.bound: the value of a variable"


def parts(target: Target) -> dict[str, str]:
    """The digests of what people can edit: the target with its project, and the environment's policy."""
    return {
        "target": hashchain.digest(hashchain.canonical(_facts(target))),
        "policy": hashchain.digest(hashchain.canonical(target.environment.policy_facts())),
    }


def kept(target: Target) -> dict[str, Any]:
    """The settings as a plan keeps them for ever: of a variable only its value's keyed digest.

    Variables are no place for secrets, but a secret that was put there by mistake must be gone once the project is corrected.
    """
    facts = _facts(target)
    project = dict(facts["project"])
    return {**facts, "project": project, "variables": project.pop("extra_environment")}


def changed(plan: Plan, target: Target) -> str:
    """What is not as it was when the plan was made, in words with both values; empty when everything is."""
    names = _departed(plan, target)
    if not names:
        return ""
    told = differences(plan, target)
    return " and ".join(_WHAT[name] for name in names) + (f" ({told})" if told else "")


def differences(plan: Plan, target: Target) -> str:
    """What of the settings and the policy differs, as text."""
    settings, rules = _of_settings(plan, target), _of_policy(plan, target)
    told = [name if then is None else f"{name}: {then} → {now}" for name, then, now in (*settings, *rules)]
    return "; ".join(told)


def checks(plan: Plan, target: Target) -> list[Check]:
    """A line of evidence for each of the two that is another by now, with what it was and what it is."""
    found = {"target": _of_settings, "policy": _of_policy}
    return [
        Check(_WHAT[name], "as planned for", "another", Outcome.FAILED, tuple(_lines(found[name](plan, target))))
        for name in _departed(plan, target)
    ]


_Difference = tuple[str, str | None, str]
"""A name with both values; where they are kept from people, the name says all."""


def _departed(plan: Plan, target: Target) -> list[str]:
    return [name for name, digest in parts(target).items() if plan.parts.get(name, digest) != digest]


def _lines(differences: Iterator[_Difference]) -> Iterator[str]:
    for name, then, now in differences:
        yield from (f"~ {name}",) if then is None else (f"- {name}: {then}", f"+ {name}: {now}")


def _of_settings(plan: Plan, target: Target) -> Iterator[_Difference]:
    now = kept(target)
    then = plan.settings or now  # a plan of an earlier version does not say
    yield from _differing({"target": then["target"]}, {"target": now["target"]})
    yield from _differing(then["project"], now["project"])
    for name in _unequal(then["variables"], now["variables"]):
        yield f"another value for the variable {name}", None, ""
    if then["reference"] != now["reference"]:
        yield "the reference to the target's URL", None, ""


def _of_policy(plan: Plan, target: Target) -> Iterator[_Difference]:
    return _differing(plan.options, target.environment.policy_facts())


def _facts(target: Target) -> dict[str, Any]:
    """What is bound of target and project. Of a variable a keyed digest: a plain one of a short secret is found by trying.

    What a reference leads to is compared by the worker, all but the password: so a sealed value is one like any other.
    """
    project = target.project.approved_facts()
    variables = {
        name: salted_hmac(_VARIABLES, f"{name}={value}", algorithm="sha256").hexdigest()
        for name, value in project["extra_environment"].items()
    }
    reference = "sealed" if target.reference_kind == "sealed" else target.url_reference
    return {
        "target": target.label,
        "reference": hashchain.digest(reference),
        "project": {**project, "extra_environment": variables},
    }


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[_Difference]:
    for name in _unequal(then, now):
        yield name, _told(name, then.get(name)), _told(name, now.get(name))


def _unequal(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _told(name: str, value: Any) -> str:
    if name == "requirements":
        return policy.said(value or [])
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value in (None, "", {}) else str(value)
