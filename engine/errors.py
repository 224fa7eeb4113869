"""The errors of the engine: each message may be shown to a clinician as it stands.

A message never holds a file name, a path, an identifier or pixel data.
"""


class EngineError(Exception):
    """Something the user can understand and act upon."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class UnreadableFile(EngineError):
    """The file cannot be decoded: truncated, encrypted, empty, or not an image."""


class UnsupportedImage(EngineError):
    """The file is a sound image, but of a kind that the request cannot use."""


class MissingMetadata(EngineError):
    """Spacing, laterality or view is absent and needed."""


class LimitExceeded(EngineError):
    """The input is larger than the limits that protect the machine."""


class ModelUnavailable(EngineError):
    """Weights are absent, or differ from what the model card states."""


class IncompatibleExplainer(EngineError):
    """The model or the case does not offer what the explanation method reads."""


class ShapeMismatch(EngineError):
    """Two arrays that must share a shape do not."""


class EmptyMask(EngineError):
    """An annotation has no pixel, so that the statement asked for would be false."""


class InvalidRecipe(EngineError):
    """A training recipe has an unknown field, or a value out of range."""


class Cancelled(EngineError):
    """Someone stopped a long computation; nothing of it is kept."""


class Paused(EngineError):
    """Someone asked a long computation to rest; it goes on where it was when it is started anew."""


class UnknownName(EngineError, KeyError):
    """A registry has no part of this name."""
