"""How an adaptation is done."""

from __future__ import annotations

from dataclasses import dataclass

from engine.adaptation.choose import KEEP_LAST
from engine.adaptation.constraint import CONSTRAINTS
from engine.adaptation.guards import HISTOGRAM_LIMIT, SENSITIVITY_LIMIT
from engine.adaptation.objectives import METHODS
from engine.errors import InvalidRecipe

DEEP = 12
"""Blocks from which the papers' learning rate is taken."""

DEEP_RATE, SHALLOW_RATE = 1e-3, 0.2


@dataclass(frozen=True)
class AdaptationSettings:
    """How an adaptation is done.

    Args:
        method: Of `METHODS`. learning_rate, momentum: Of SGD. When the rate is None: 1e-3 for
            twelve blocks or more, as the papers use for ViT-B; 0.2 for smaller networks, whose
            gradients at the first blocks are smaller (measured on the demonstration model).
        steps: Steps to take. batch_size: Cases per step, drawn anew in each pass.
        entropy_weight: Factor on the objective.
        constraint: "fisher", "l2" or "none". constraint_weight: 0.01 is the usual strength.
        keep_last: Transformer blocks that stay, counted from the end.
        adapters: Also the adapters of the modalities that the cases have.
        guards: Whether guards may roll back; what they would watch is reported in any case.
        entropy_floor: Moving mean entropy, nats, under which the answers have collapsed; e_m scaled
            to the number of classes when None.
        histogram_limit: Divergence of the classes predicted from the source prior, nats.
        sensitivity_limit: Drop of sensitivity on source cases, as a share.
        check_every: Steps between two looks at the source cases.
        buffer: Labelled source cases that guard, at most. fisher_cases: Of these, for the Fisher
            information.
        positives: Classes whose detection is the sensitivity; those named in situ, invasive or
            malignant when empty, and all but the first where there is none of these.
        seed: Of the order of cases and the choice of source cases.

    Raises:
        InvalidRecipe: A value is out of range.
        UnknownName: No such method.
    """

    method: str = "eata"
    learning_rate: float | None = None
    momentum: float = 0.9
    steps: int = 50
    batch_size: int = 16
    entropy_weight: float = 1.0
    constraint: str = "fisher"
    constraint_weight: float = 0.01
    keep_last: int = KEEP_LAST
    adapters: bool = False
    guards: bool = True
    entropy_floor: float | None = None
    histogram_limit: float = HISTOGRAM_LIMIT
    sensitivity_limit: float = SENSITIVITY_LIMIT
    check_every: int = 10
    buffer: int = 200
    fisher_cases: int = 64
    positives: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        METHODS[self.method]
        if self.constraint not in CONSTRAINTS:
            raise InvalidRecipe(f"The constraint must be one of {', '.join(CONSTRAINTS)}.")
        for name in ("learning_rate", "steps", "batch_size", "check_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidRecipe(f"{_said(name)} must be greater than 0.")
        for name in (
            "momentum", "entropy_weight", "constraint_weight", "keep_last", "histogram_limit",
            "sensitivity_limit", "buffer", "fisher_cases",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise InvalidRecipe(f"{_said(name)} must not be negative.")
        if self.momentum >= 1:
            raise InvalidRecipe("The momentum must be less than 1.")

    def rate(self, depth: int) -> float:
        """The learning rate for a trunk of so many blocks."""
        if self.learning_rate is not None:
            return self.learning_rate
        return DEEP_RATE if depth >= DEEP else SHALLOW_RATE


def _said(name: str) -> str:
    return f"The setting {name.replace('_', ' ')!r}"
