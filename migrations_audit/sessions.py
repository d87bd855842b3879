"""Django's sessions in the database, kept under a digest of their key: who reads the table, or a backup of it, cannot sign in."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone


class SessionStore(db.SessionStore):
    """As Django's, but the row's key is not the cookie's."""

    def _get_session_from_db(self) -> Session | None:
        return self._found(self._kept().first())

    async def _aget_session_from_db(self) -> Session | None:
        return self._found(await self._kept().afirst())

    def _kept(self) -> Any:
        return self.model.objects.filter(session_key=row_key(self.session_key or ""), expire_date__gt=timezone.now())

    def _found(self, row: Session | None) -> Session | None:
        if row is None:
            self._session_key: str | None = None
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(row_key(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(row_key(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        return _under_its_digest(super().create_model_instance(data))

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        return _under_its_digest(await super().acreate_model_instance(data))

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            super().delete(row_key(key))

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await super().adelete(row_key(key))


def row_key(session_key: str) -> str:
    """The key of the row of the session that a cookie names."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


def _under_its_digest(row: Any) -> Any:
    row.session_key = row_key(row.session_key)
    return row
