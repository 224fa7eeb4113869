"""The folder of one long computation: what it says while it goes on, and what is asked of it.

The computation runs in a process of its own; whoever watches reads `events.jsonl`, and asks by a
word in `control`. Nothing else passes between the two.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from engine.errors import Cancelled, Paused

EVENTS, CONTROL, LOG = "events.jsonl", "control", "log.txt"
PAUSE, CANCEL = "pause", "cancel"
PAUSED_CODE, CANCELLED_CODE = 75, 76
"""Exit codes of a computation that rests, and of one that was ended."""
UNREAD: Mapping[str, Any] = MappingProxyType({"event": ""})
"""What stands for a line that was torn when a process was killed in its midst."""


class RunFolder:
    """A computation's folder, made when it does not exist.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def say(self, event: str, **facts: Any) -> None:
        """Add one line to the stream; numbers that are not finite become null."""
        said = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = json.dumps(_finite({**said, **facts}), ensure_ascii=False, default=_simple)
        with (self.path / EVENTS).open("ab+") as stream:
            torn = b"" if _ends_whole(stream) else b"\n"  # a process was killed in mid-line
            stream.write(torn + line.encode("utf-8") + b"\n")

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """What was said, from the line of this number on; a line half written is left for later.

        A line that cannot be read counts too, as `UNREAD`, so that `after` may be the number of
        events known so far.
        """
        try:
            with (self.path / EVENTS).open("rb") as stream:
                lines = list(islice(stream, after, None))
        except FileNotFoundError:
            return []
        return [_parsed(line) for line in lines if line.endswith(b"\n")]

    def ask(self, word: str) -> None:
        """Ask the computation to `PAUSE` or to `CANCEL`."""
        draft = self.path / f".{CONTROL}"
        draft.write_text(word, "utf-8")
        draft.replace(self.path / CONTROL)

    def clear(self) -> None:
        """Forget what was asked; done when the computation starts."""
        (self.path / CONTROL).unlink(missing_ok=True)

    def wanted(self) -> str:
        """What is asked now: `PAUSE`, `CANCEL`, or nothing."""
        try:
            return (self.path / CONTROL).read_text("utf-8").strip()
        except OSError:
            return ""

    def obey(self) -> None:
        """Do what is asked.

        Raises:
            Paused: The computation shall rest. Cancelled: It shall end.
        """
        word = self.wanted()
        if word == PAUSE:
            raise Paused("The computation was paused.")
        if word == CANCEL:
            raise Cancelled("The computation was cancelled.")

    def log_tail(self, lines: int = 40, most: int = 64 * 1024) -> str:
        """The end of what the process printed."""
        try:
            with (self.path / LOG).open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - most))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def _ends_whole(stream: BinaryIO) -> bool:
    """Whether a file is empty, or ends with a whole line."""
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else dict(UNREAD)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _simple(value: Any) -> Any:
    """Numbers and arrays of NumPy and torch as JSON knows them."""
    return _finite(value.tolist())
