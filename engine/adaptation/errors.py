"""The one error of adaptation that is its own."""

from __future__ import annotations

from engine.errors import EngineError


class AdaptationRefused(EngineError):
    """The model or the cases are not such that adaptation could be trusted, or begun at all."""
