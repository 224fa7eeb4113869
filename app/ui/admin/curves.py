"""The curves of a training, read from its stream of events portion by portion."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

POINTS = 320
"""Most points of a drawn curve."""
REMEMBERED = 8
"""Runs whose curves are kept in memory."""
MEASURES = {
    "accuracy": "accuracy",
    "macro_auc": "macro AUC",
    "grade_quadratic_kappa": "grade kappa",
    "box_iou": "box IoU",
    "lesion_dice": "lesion Dice",
}
FACTS = (
    "step", "steps", "epoch", "epochs", "learning_rate", "images_per_second", "skipped",
)  # fmt: skip

Point = tuple[float, float]


class Curves:
    """Losses and measures of one run so far.

    A run that is resumed says the steps after its checkpoint once more; the later word counts.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.now: dict[str, Any] = {}
        self.metrics: Mapping[str, Any] = {}
        self._loss: list[Point] = []
        self._validation: list[tuple[int, float, float]] = []
        self._measures: dict[str, list[Point]] = {}
        self._best: int | None = None

    def add(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take what the run has said since."""
        for event in events:
            kind = event.get("event")
            if kind == "step":
                self._step(event)
            elif kind == "epoch":
                self._epoch(event)
            elif kind == "finished" and isinstance(event.get("metrics"), Mapping):
                self.metrics = event["metrics"]
        self.seen += len(events)

    def value(self) -> dict[str, Any]:
        """Points to be drawn."""
        return {
            "loss": thinned(self._loss),
            "validation": [[step, loss] for _, step, loss in self._validation],
            "measures": self._measures,
            "best": self._best,
        }

    def _step(self, event: Mapping[str, Any]) -> None:
        self.now = {name: event[name] for name in FACTS if event.get(name) is not None}
        step, loss = event.get("step"), event.get("loss")
        if not isinstance(step, int):
            return
        while self._loss and self._loss[-1][0] >= step:
            self._loss.pop()
        if isinstance(loss, int | float):
            self._loss.append((step, float(loss)))

    def _epoch(self, event: Mapping[str, Any]) -> None:
        epoch, found = event.get("epoch"), event.get("validation")
        if not isinstance(epoch, int) or not isinstance(found, Mapping):
            return
        step = event.get("step") or self.now.get("step", epoch)
        self._validation = [each for each in self._validation if each[0] < epoch]
        for points in self._measures.values():
            points[:] = [point for point in points if point[0] < epoch]
        if isinstance(found.get("loss"), int | float):
            self._validation.append((epoch, step, float(found["loss"])))
        for name, title in MEASURES.items():
            if isinstance(found.get(name), int | float):
                self._measures.setdefault(title, []).append((epoch, float(found[name])))
        if event.get("best"):
            self._best = epoch


def thinned(points: Sequence[Point], most: int = POINTS) -> list[Point]:
    """At most `most` points, each the mean of its neighbours, the last one as it is."""
    if len(points) <= most:
        return list(points)
    width = -(-len(points) // (most - 1))
    portions = [points[at : at + width] for at in range(0, len(points), width)]
    made = [(part[len(part) // 2][0], sum(y for _, y in part) / len(part)) for part in portions]
    return [*made[:-1], points[-1]]


class CurveBook:
    """The curves of the runs that were looked at last, so that each event is read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[int, Curves] = OrderedDict()

    def of(self, run: int, events: Callable[[int], Sequence[Mapping[str, Any]]]) -> Curves:
        """The curves of a run; `events` gives those from a number on."""
        with self._lock:
            curves = self._known.setdefault(run, Curves())
            self._known.move_to_end(run)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            curves.add(events(curves.seen))
            return curves
