"""Whose turn it is to use the models: people who wait at a page go before background work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, get_ident

PATIENCE = 16


@dataclass(eq=False)
class _Turn:
    """One thread's stay, or its wait for one."""

    thread: int
    background: bool
    begun: Event = field(default_factory=Event)


class Turnstile:
    """A lock for one thread at a time, in two classes; first come, first served within each.

    Background work holds its turn for a long time, but calls `give_way` between its portions, so
    that an interactive call waits for the rest of one portion at most, and for the interactive
    calls before it. A thread that has the turn may enter again; it stays in the class it entered
    with first. Nobody polls: each waiting thread sleeps until it is admitted.

    Args:
        patience: Interactive turns, >= 1, that may pass a waiting background thread before it gets
            one portion; a busy clinic then slows background work down, but never stops it.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, not {patience}")
        self._patience, self._passed = patience, 0
        self._lock = Lock()
        self._holder: _Turn | None = None
        self._people: deque[_Turn] = deque()
        self._work: deque[_Turn] = deque()

    def interactive(self) -> AbstractContextManager[None]:
        """A turn for somebody who waits at a page."""
        return self._turn(background=False)

    def background(self) -> AbstractContextManager[None]:
        """A turn for long work, which calls `give_way` between its portions."""
        return self._turn(background=True)

    def give_way(self) -> None:
        """Let those who wait go first; returns when this thread has the turn again.

        Does nothing where nobody waits, or where the thread has no background turn, so that it may
        be called after any portion. Whoever goes first would meet what a portion leaves on a shared
        model (hooks, changed weights, another mode); nothing of it may be there any more.
        """
        with self._lock:
            turn = self._holder
            if turn is None or turn.thread != get_ident() or not turn.background:
                return
            if not self._people and not self._work:
                return
            turn.begun.clear()
            self._work.append(turn)
            self._holder = None
            self._admit()
        turn.begun.wait()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many threads wait now: interactive, background."""
        with self._lock:
            return len(self._people), len(self._work)

    @contextmanager
    def _turn(self, *, background: bool) -> Iterator[None]:
        held = self._holder  # nobody else makes this thread the holder, or ends that
        if held is not None and held.thread == get_ident():
            yield
            return
        turn = _Turn(get_ident(), background)
        try:
            with self._lock:
                self._line(turn).append(turn)
                self._admit()
            turn.begun.wait()
            yield
        finally:
            self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        """End a stay, or a wait that an interrupt broke off."""
        with self._lock:
            if self._holder is turn:
                self._holder = None
            elif turn in self._line(turn):
                self._line(turn).remove(turn)
            self._admit()

    def _line(self, turn: _Turn) -> deque[_Turn]:
        return self._work if turn.background else self._people

    def _admit(self) -> None:
        """Let the next one in where the place is free; the caller holds the lock."""
        if self._holder is not None or not (self._people or self._work):
            return
        is_due = bool(self._work) and self._passed >= self._patience
        if self._people and not is_due:
            self._passed = self._passed + 1 if self._work else 0
            self._holder = self._people.popleft()
        else:
            self._passed = 0
            self._holder = self._work.popleft()
        self._holder.begun.set()
