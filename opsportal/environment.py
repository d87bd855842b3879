"""Reading the environment: URLs as people paste them, and a start that refuses unsafe values by name."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured

MODES = ("production", "demo", "test")
SHORTEST_SECRET_KEY = 50
BUILT = "uv"
WORN_OUT_SECRET_KEYS = ("django-insecure-", "changeme", "secret", "insecure")


def database_url(text: str) -> str:
    """The portal's DATABASE_URL with an SQLAlchemy-style scheme (``postgresql+psycopg://``) made plain.

    Raises ImproperlyConfigured for another engine; the value is never repeated.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            "DATABASE_URL must be a PostgreSQL URL, like postgresql://user:password@host:5432/name."
        )
    return f"postgresql://{rest}"


def named_paths(entries: Sequence[str], *, setting: str) -> dict[str, str]:
    """``["name=/path", …]`` as a mapping. Raises ImproperlyConfigured naming the setting."""
    pairs = [entry.partition("=") for entry in entries if entry.strip()]
    if any(not separator or not name.strip() or not path.startswith("/") for name, separator, path in pairs):
        raise ImproperlyConfigured(f"{setting} is a comma-separated list of name=/absolute/path.")
    if any(name.strip() == BUILT for name, _, _ in pairs):
        raise ImproperlyConfigured(f"{setting} cannot name an interpreter {BUILT}: that means one built by a worker.")
    return {name.strip(): path for name, _, path in pairs}


def one_of(text: str, words: Sequence[str], *, setting: str) -> str:
    """``text``, which is one of ``words``. Raises ImproperlyConfigured naming the setting."""
    if text not in words:
        raise ImproperlyConfigured(f"{setting} must be one of {', '.join(words)}.")
    return text


def refuse_unsafe(
    *, mode: str, secret_key: str, debug: bool, allowed_hosts: Sequence[str], sealing_keys: Sequence[str]
) -> None:
    """Stop a production start with an unsafe setting. The message names the setting, never its value."""
    if mode not in MODES:
        raise ImproperlyConfigured(f"PORTAL_MODE must be one of {', '.join(MODES)}.")
    if debug and mode != "test":
        raise ImproperlyConfigured(
            "DEBUG is on. Its error pages show settings; only PORTAL_MODE=test allows it. Unset it."
        )
    if mode != "production":
        return
    if len(secret_key) < SHORTEST_SECRET_KEY or secret_key.lower().startswith(WORN_OUT_SECRET_KEYS):
        raise ImproperlyConfigured(
            f"SECRET_KEY is a default or shorter than {SHORTEST_SECRET_KEY} characters. Set a random one for this portal."
        )
    if not allowed_hosts or "*" in allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the portal's hosts; it is empty or holds *.")
    if not sealing_keys:
        raise ImproperlyConfigured(
            "PORTAL_SEALING_KEYS is empty. Set at least one key; docs/settings.md says how to make it."
        )
