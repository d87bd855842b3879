"""What an approval binds of the settings that people can edit, and what of it is another by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrations_audit import hashchain, policy
from migrations_audit.models import Plan, Target

_WHAT = {"target": "the target's or the project's settings", "policy": "the environment's policy"}


def parts(target: Target) -> dict[str, str]:
    """The digests of what people can edit: the target with its project, and the environment's policy."""
    return {
        "target": hashchain.digest(hashchain.canonical(_facts(target))),
        "policy": hashchain.digest(hashchain.canonical(target.environment.policy_facts())),
    }


def kept(target: Target) -> dict[str, Any]:
    """The settings as a plan keeps them for ever: of a variable only its value's digest.

    Variables are no place for secrets, but a secret that was put there by mistake must be gone once the project is corrected.
    """
    facts = _facts(target)
    project = dict(facts["project"])
    variables = {name: hashchain.digest(value) for name, value in project.pop("extra_environment").items()}
    return {**facts, "project": project, "variables": variables}


def changed(plan: Plan, target: Target) -> str:
    """What is not as it was when the plan was made, in words with both values; empty when everything is."""
    names = [name for name, digest in parts(target).items() if plan.parts.get(name, digest) != digest]
    if not names:
        return ""
    told = differences(plan, target)
    return " and ".join(_WHAT[name] for name in names) + (f" ({told})" if told else "")


def differences(plan: Plan, target: Target) -> str:
    """What of the settings and the policy differs, as text."""
    now = kept(target)
    then = plan.settings or now  # a plan of an earlier version does not say
    told = [
        *_differing({"target": then["target"]}, {"target": now["target"]}),
        *_differing(then["project"], now["project"]),
        *(f"another value for the variable {name}" for name in _unequal(then["variables"], now["variables"])),
        *_differing(plan.options, target.environment.policy_facts()),
    ]
    if then["reference"] != now["reference"]:
        told.append("the reference to the target's URL")
    return "; ".join(told)


def _facts(target: Target) -> dict[str, Any]:
    return {
        "target": target.label,
        "reference": hashchain.digest(target.url_reference),
        "project": target.project.approved_facts(),
    }


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {_told(name, then.get(name))} → {_told(name, now.get(name))}" for name in _unequal(then, now)]


def _unequal(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _told(name: str, value: Any) -> str:
    if name == "requirements":
        return policy.said(value or [])
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value in (None, "", {}) else str(value)
