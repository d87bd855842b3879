"""Domain tests run on PostgreSQL with the triggers in force."""

from __future__ import annotations
