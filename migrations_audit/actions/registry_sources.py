"""Where a project's scripts and its interpreter come from: what the registry accepts. Each rule raises Invalid with its field."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from migrations_audit import remotes, sealing
from migrations_audit.errors import Invalid
from migrations_audit.models import Project
from migrations_audit.models.projects import BUILT, Source

LONGEST_SEALED_KEY: Final = 2_500  # sealed it must fit into Project.git_key
ONLY_FOR_GIT: Final = "This belongs to a git repository. Leave it empty, or choose that as the source."


def check_source(project: Project) -> None:
    """Raise Invalid unless the folder, the repository, its ref and its key fit the kind of source."""
    if project.source == Source.GIT:
        _check_repository(project)
        return
    for name in ("git_url", "git_ref"):
        if getattr(project, name):
            raise Invalid(ONLY_FOR_GIT, field=name)
    if project.git_key:
        raise Invalid(f"{ONLY_FOR_GIT} A stored key is removed by its own field.", field="git_key")
    _check_folder(project.folder, roots=settings.PORTAL_PROJECT_ROOTS)


def check_interpreter(project: Project) -> None:
    """Raise Invalid unless the interpreter is known and has requirements exactly if it is built from them."""
    if project.interpreter == BUILT:
        _check_requirements(project.requirements)
        return
    if project.requirements:
        raise Invalid(
            "Requirements belong to an interpreter that a worker builds. Leave this empty, or choose that interpreter.",
            field="requirements",
        )
    if project.interpreter and project.interpreter not in settings.PORTAL_INTERPRETERS:
        raise Invalid(
            "PORTAL_INTERPRETERS does not name this interpreter. Leave it empty for the worker's own Python, "
            "or add it to the setting on the portal and on its workers.",
            field="interpreter",
        )


@sensitive_variables()
def check_new_key(key: str) -> None:
    """Raise Invalid unless ``key`` can be sealed as a private key or a token. Nothing of it is repeated."""
    if len(key.encode()) > LONGEST_SEALED_KEY:
        raise Invalid(
            f"The key is longer than {LONGEST_SEALED_KEY:,} bytes, too long to be sealed. Use an ed25519 key, or put it into a "
            "file on the workers and enter file:/path.",
            field="new_git_key",
        )
    if not key.replace("\n", "").isprintable():
        raise Invalid("A key or token has printable characters only.", field="new_git_key")
    if "\n" in key and not key.startswith("-----BEGIN "):
        raise Invalid(
            "A token is one line; a private key begins with -----BEGIN. This is neither.", field="new_git_key"
        )


def check_key_reference(reference: str) -> None:
    """Raise Invalid unless it is ``env:NAME``, ``file:/path`` or a sealed value. A pasted key is not repeated."""
    try:
        sealing.check_reference(reference)
    except Invalid:
        raise Invalid(
            "This is not a reference, and it was not stored. Write env:NAME or file:/absolute/path, or enter the key itself in "
            "“New key or token”: it is sealed there. If it was a key and others saw this page, replace the key.",
            field="git_key",
        ) from None


def _check_repository(project: Project) -> None:
    if not project.git_url:
        raise Invalid("Say where the repository is: https://host/path or ssh://git@host/path.", field="git_url")
    remotes.check_host(remotes.parse(project.git_url), settings.PORTAL_GIT_HOSTS)
    remotes.check_ref(project.git_ref)
    if project.folder.startswith("/"):
        raise Invalid(
            "In a repository the folder is relative to its root, like services/shop, or . for the root itself.",
            field="folder",
        )
    remotes.check_folder(project.folder)
    if project.git_url.startswith("ssh:") and not project.git_key:
        raise Invalid(
            "ssh needs a private key: a reference here, or the key itself in “New key or token”.", field="git_key"
        )


def _check_requirements(path: str) -> None:
    if not path:
        raise Invalid(
            "Name the uv.lock or the requirements file from which the interpreter is built.", field="requirements"
        )
    is_plain = not path.startswith(("/", "-")) and posixpath.normpath(path) == path and ".." not in path.split("/")
    name = posixpath.basename(path)
    if not is_plain or ":" in path or "\\" in path or not (name == "uv.lock" or name.endswith((".txt", ".lock"))):
        raise Invalid(
            "Requirements are a uv.lock, or a file that ends in .txt or .lock, relative to the folder, without . or .. in it.",
            field="requirements",
        )


def _check_folder(folder: str, *, roots: Sequence[str]) -> None:
    if not folder.startswith("/") or folder.startswith("//") or posixpath.normpath(folder) != folder:
        raise Invalid("Give the folder as an absolute path without . , .. or a final /.", field="folder")
    if not roots:
        raise Invalid(
            "PORTAL_PROJECT_ROOTS is empty, so no folder is accepted. Set it on the portal and on its workers.",
            field="folder",
        )
    bases = [posixpath.normpath(root) for root in roots]
    if not any(folder == base or folder.startswith(base.rstrip("/") + "/") for base in bases):
        raise Invalid(f"The folder must lie under one of PORTAL_PROJECT_ROOTS: {', '.join(bases)}.", field="folder")
