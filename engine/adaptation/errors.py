"""The errors that are adaptation's own."""

from __future__ import annotations

from engine.errors import EngineError


class AdaptationRefused(EngineError):
    """The model or the cases are not such that adaptation could be trusted, or begun at all."""


class NotWritten(EngineError):
    """An adapted model cannot be stored."""
