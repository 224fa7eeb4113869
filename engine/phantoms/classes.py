"""The four classes of the phantoms, in the order of the logits, and the limits of a request."""

from __future__ import annotations

from engine.errors import LimitExceeded, UnknownName

LABELS: tuple[str, ...] = ("Normal", "Benign", "In situ", "Invasive")
GRADES: dict[str, int | None] = {"Normal": None, "Benign": 0, "In situ": 1, "Invasive": 2}

SMALLEST = 128
LARGEST = 4096


def check_label(label: str) -> str:
    """The label itself when it names a class.

    Raises:
        UnknownName: no class has this name.
    """
    if label not in LABELS:
        raise UnknownName(f"There is no phantom class of that name: choose {_listed()}.")
    return label


def check_sides(*sides: int) -> None:
    """Refuse a picture whose sides (pixels) are too small to draw on, or too large to hold.

    Raises:
        LimitExceeded: a side is outside 128 to 4096 pixels.
    """
    if any(not SMALLEST <= side <= LARGEST for side in sides):
        raise LimitExceeded(
            f"A phantom image must measure {SMALLEST} to {LARGEST} pixels along each side."
        )


def check_seed(seed: int) -> int:
    """The seed itself when it can start a generator.

    Raises:
        LimitExceeded: the seed is negative.
    """
    if seed < 0:
        raise LimitExceeded("The seed of a phantom must be a whole number, zero or larger.")
    return seed


def _listed() -> str:
    return ", ".join(LABELS[:-1]) + f" or {LABELS[-1]}"
