"""What is minimised on unlabelled cases: the entropy of the answers, by TENT, EATA or SAR.

Each objective leaves gradients on the tensors that are adapted; the step itself is the adapter's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.registry import Registry

MARGIN = 0.4
"""Entropy above which a case is not learnt from, as a share of ln C."""

REFERENCE_CLASSES = 1000
"""Classes of the data on which the thresholds of the papers were tuned (ImageNet)."""

RHO = 0.05
COLLAPSE = 0.2
REDUNDANCY = 0.05
MOMENTUM = 0.9


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predicted distribution, nats; (B, C) to (B,)."""
    logs = F.log_softmax(logits if logits.dtype.itemsize >= 4 else logits.float(), dim=1)
    return -(logs.exp() * logs).sum(1)


def margin(classes: int) -> float:
    """E0 = 0.4 ln C, nats."""
    return MARGIN * math.log(classes)


def collapse_level(classes: int) -> float:
    """e_m = 0.2 ln C / ln 1000, nats: mean entropy under which answers have collapsed."""
    return COLLAPSE * math.log(classes) / math.log(REFERENCE_CLASSES)


def redundancy_limit(classes: int) -> float:
    """Cosine from which a case says nothing new: 0.05 at 1000 classes, scaled to C.

    A sure answer and an even mean have cosine 1 / sqrt(C), so that 0.05, tuned where that is 0.03,
    would leave out every case of a problem with four classes, where it is 0.5.
    """
    return min(1.0, REDUNDANCY * math.sqrt(REFERENCE_CLASSES / classes))


def reliable(logits: Tensor, level: float) -> Tensor:
    """Cases whose entropy is under `level`, (B,) bool."""
    return entropy(logits.detach()) < level


def confidence_weights(entropies: Tensor, level: float) -> Tensor:
    """EATA's exp(E0 - H) of cases that are kept, (B,); detached."""
    return torch.exp(level - entropies.detach())


@dataclass(frozen=True)
class Outcome:
    """One pass over a batch.

    Args:
        loss: Scalar, detached; zero where no case was kept.
        logits: (B, C) before the step, detached.
        kept: (B,) bool, cases that were learnt from.
        collapsed: Whether the objective asks for the source weights back.
    """

    loss: Tensor
    logits: Tensor
    kept: Tensor
    collapsed: bool = False


class Objective(ABC):
    """What is minimised.

    Args:
        level: Entropy margin E0, nats; 0.4 ln C when None.
        weight: Factor on the loss.
    """

    title = ""

    def __init__(self, level: float | None = None, weight: float = 1.0) -> None:
        self.level = level
        self.weight = weight

    @abstractmethod
    def backward(self, forward: Callable[[], Tensor], tensors: Sequence[Tensor]) -> Outcome:
        """Run the network and leave gradients on `tensors`; none where no case is kept."""

    @abstractmethod
    def forget(self) -> None:
        """Drop what was remembered of earlier batches."""

    def _level(self, logits: Tensor) -> float:
        return margin(logits.shape[1]) if self.level is None else self.level

    def _descend(self, losses: Tensor, kept: Tensor) -> Tensor:
        """Gradient of the weighted mean loss over kept cases; the loss, detached."""
        if not bool(kept.any()):
            return losses.new_zeros(())
        loss = self.weight * losses[kept].mean()
        loss.backward()
        return loss.detach()


METHODS: Registry[type[Objective]] = Registry("adaptation method")


@METHODS.register("eata")
class Eata(Objective):
    """Sure and non-redundant cases only, surer ones weighing more.

    Args:
        level, weight: As in `Objective`.
        redundancy: Cosine with the moving mean answer from which a case is left out.

    Source:
        Niu et al., "Efficient Test-Time Model Adaptation without Forgetting", ICML 2022; the
        redundancy threshold is scaled to the number of classes, see `redundancy_limit`.
    """

    title = "EATA: sure, non-redundant cases only"

    def __init__(
        self, level: float | None = None, weight: float = 1.0, redundancy: float | None = None
    ) -> None:
        super().__init__(level, weight)
        self.redundancy = redundancy
        self.mean: Tensor | None = None

    def backward(self, forward: Callable[[], Tensor], tensors: Sequence[Tensor]) -> Outcome:
        """See `Objective.backward`."""
        logits = forward()
        level, entropies = self._level(logits), entropy(logits)
        kept = (entropies.detach() < level) & self._is_new(logits.detach())
        loss = self._descend(entropies * confidence_weights(entropies, level), kept)
        if bool(kept.any()):
            self._remember(logits.detach()[kept].softmax(1).mean(0))
        return Outcome(loss, logits.detach(), kept)

    def forget(self) -> None:
        """See `Objective.forget`."""
        self.mean = None

    def _is_new(self, logits: Tensor) -> Tensor:
        if self.mean is None:
            return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        limit = redundancy_limit(logits.shape[1]) if self.redundancy is None else self.redundancy
        return F.cosine_similarity(self.mean[None], logits.softmax(1), dim=1).abs() < limit

    def _remember(self, mean: Tensor) -> None:
        self.mean = mean if self.mean is None else MOMENTUM * self.mean + (1 - MOMENTUM) * mean


@METHODS.register("tent")
class Tent(Objective):
    """Mean entropy of every case: the simplest, and the first to collapse.

    Source:
        Wang et al., "Tent: Fully Test-Time Adaptation by Entropy Minimization", ICLR 2021.
    """

    title = "TENT: mean entropy of all cases"

    def backward(self, forward: Callable[[], Tensor], tensors: Sequence[Tensor]) -> Outcome:
        """See `Objective.backward`."""
        logits = forward()
        kept = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        return Outcome(self._descend(entropy(logits), kept), logits.detach(), kept)

    def forget(self) -> None:
        """See `Objective.forget`; TENT remembers nothing."""


@METHODS.register("sar")
class Sar(Objective):
    """Sure cases only, before and after a step uphill, so that flat minima are found.

    Args:
        level, weight: As in `Objective`.
        rho: Length of the step uphill.

    Source:
        Niu et al., "Towards Stable Test-Time Adaptation in Dynamic Wild World", ICLR 2023; e_m is
        scaled to the number of classes, see `collapse_level`.
    """

    title = "SAR: sure cases, sharpness-aware"

    def __init__(self, level: float | None = None, weight: float = 1.0, rho: float = RHO) -> None:
        super().__init__(level, weight)
        self.rho = rho
        self.moving: float | None = None

    def backward(self, forward: Callable[[], Tensor], tensors: Sequence[Tensor]) -> Outcome:
        """See `Objective.backward`."""
        logits = forward()
        kept = reliable(logits, self._level(logits))
        first = self._descend(entropy(logits), kept)
        if not bool(kept.any()) or not bool(torch.isfinite(first)):
            return Outcome(first, logits.detach(), kept)
        with _uphill(tensors, self.rho):
            again = entropy(forward())
            sure = kept & (again.detach() < self._level(logits))
            loss = self._descend(again, sure)
        collapsed = self._has_collapsed(float(again.detach()[kept].mean()), logits.shape[1])
        return Outcome(loss, logits.detach(), sure, collapsed)

    def forget(self) -> None:
        """See `Objective.forget`."""
        self.moving = None

    def _has_collapsed(self, loss: float, classes: int) -> bool:
        if math.isfinite(loss):
            past = loss if self.moving is None else self.moving
            self.moving = MOMENTUM * past + (1 - MOMENTUM) * loss
        return self.moving is not None and self.moving < collapse_level(classes)


@contextmanager
def _uphill(tensors: Sequence[Tensor], rho: float) -> Iterator[None]:
    """The tensors moved by `rho` along their gradients, which are cleared; then back again."""
    before = [tensor.detach().clone() for tensor in tensors]
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    try:
        with torch.no_grad():
            for tensor, grad in zip(tensors, grads, strict=True):
                tensor.add_(grad * (rho / (norm + 1e-12)))
                tensor.grad = None
        yield
    finally:
        with torch.no_grad():
            for tensor, source in zip(tensors, before, strict=True):
                tensor.copy_(source)
