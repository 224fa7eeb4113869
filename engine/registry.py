"""Registry: a read-only mapping from names to parts, filled by one decorator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from engine.errors import UnknownName

Part = TypeVar("Part")
Registered = TypeVar("Registered")


class Registry(Mapping[str, Part]):
    """Parts by name, in order of registration.

    Args:
        kind: What the parts are, in the singular; used in messages.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[str, Part] = {}

    def add(self, name: str, part: Part) -> Part:
        """Store a part and return it.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._parts:
            raise ValueError(f"{self._kind} {name!r} is registered twice")
        self._parts[name] = part
        return part

    def register(self, name: str) -> Callable[[Part], Part]:
        """Return a decorator that stores what it decorates under `name`."""
        return lambda part: self.add(name, part)

    def __getitem__(self, name: str) -> Part:
        try:
            return self._parts[name]
        except KeyError:
            known = ", ".join(sorted(self._parts)) or "none"
            raise UnknownName(f"There is no {self._kind} named {name!r}. Known: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def import_siblings(package: str, path: list[str]) -> None:
    """Import every module of a package, so that a new file is enough to register a part."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
