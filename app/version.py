"""The version of the program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("lightbox")
except PackageNotFoundError:
    VERSION = "not installed"
