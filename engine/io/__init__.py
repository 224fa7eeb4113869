"""Readers: files of many formats become de-identified images and cases."""

from engine.io.batch import Outcome, gather, read_case
from engine.io.limits import Limits
from engine.io.readers import read_image

__all__ = ["Limits", "Outcome", "gather", "read_case", "read_image"]
