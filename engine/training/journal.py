"""What a run writes while it goes on: a live stream, a table, and TensorBoard's files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from typing import Any

from engine.runs import RunFolder

METRICS, TENSORBOARD = "metrics.csv", "tensorboard"
Report = Callable[[dict[str, Any]], None]


class Journal:
    """Tells the run's folder, and whoever listens.

    Args:
        folder: The run's folder; None for the processes that keep silent.
        report: Called with each epoch's row.
        every: Steps between two lines of the stream.
    """

    def __init__(self, folder: RunFolder | None, report: Report | None = None, every: int = 1):
        self._folder, self._report, self._every = folder, report, max(1, every)
        self._board: Any = None

    def say(self, event: str, **facts: Any) -> None:
        """One line of the stream."""
        if self._folder is not None:
            self._folder.say(event, **facts)

    def step(self, step: int, facts: Mapping[str, Any]) -> None:
        """A step that was made, counted from 1."""
        if self._folder is None or step % self._every:
            return
        self._folder.say("step", step=step, **facts)
        for name, value in facts.items():
            if name not in ("steps", "epoch", "epochs"):
                self._plot(f"train/{name}", value, step)

    def epoch(self, epoch: int, step: int, row: Mapping[str, Any], best: bool) -> None:
        """An epoch that is over: `train` and `validation` figures in one row."""
        if self._folder is None:
            return
        train, validation = dict(row["train"]), dict(row["validation"])
        self._folder.say(
            "epoch", epoch=epoch, step=step, train=train, validation=validation, best=best
        )
        flat = {"epoch": epoch, **train, **validation}
        self._append({k: v for k, v in flat.items() if isinstance(v, int | float | None)})
        for name, value in validation.items():
            self._plot(f"validation/{name}", value, step)
        if self._report is not None:
            self._report(flat)

    def close(self) -> None:
        """Give TensorBoard's file back."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _plot(self, name: str, value: Any, step: int) -> None:
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        if not usable or not math.isfinite(value) or self._folder is None:
            return
        if self._board is None:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self._folder.path / TENSORBOARD))
        self._board.add_scalar(name, value, step)

    def _append(self, row: dict[str, Any]) -> None:
        """Add a row to the table, in place of rows of this epoch and later ones."""
        assert self._folder is not None
        path = self._folder.path / METRICS
        rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [old for old in csv.DictReader(stream) if int(old["epoch"]) < row["epoch"]]
        names = list(dict.fromkeys(name for one in (*rows, row) for name in one))
        draft = path.with_suffix(".partial")
        with draft.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=names)
            writer.writeheader()
            writer.writerows([*rows, row])
        draft.replace(path)
