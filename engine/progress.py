"""How far a long computation is, and whether it should go on."""

from __future__ import annotations

from collections.abc import Callable

Watcher = Callable[[int, int], None]
"""Called with (done, expected) after each portion; raising `Cancelled` ends the computation."""


class Progress:
    """Counts evaluations of a model and tells a watcher.

    Args:
        watcher: Called after each portion; None for nobody.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self._watcher = watcher
        self.done = 0
        self.expected = 0

    def expect(self, count: int) -> None:
        """Add to the number of evaluations that lie ahead."""
        self.expected += count

    def advance(self, count: int) -> None:
        """Say that `count` evaluations are done.

        Raises:
            Cancelled: The watcher asks to stop.
        """
        self.done += count
        if self._watcher is not None:
            self._watcher(self.done, max(self.expected, self.done))
