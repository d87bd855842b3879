"""One portal a module, in a database of its own: what its worker commits never meets another test."""

from __future__ import annotations

from tests.acceptance.fixtures import portal

__all__ = ["portal"]
