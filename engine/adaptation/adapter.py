"""Norm-adapter test-time adaptation of any classifier, in place, with the way back kept open."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.adaptation.choose import KEEP_LAST, choose_tensors
from engine.adaptation.constraint import Constraint
from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.guards import EntropyFloor, Finite, Guard, Step, leading
from engine.adaptation.objectives import METHODS, entropy
from engine.adaptation.standing import laid_down
from engine.errors import UnknownName

OPTIMISERS = ("sgd", "adam")
SOURCE_WEIGHT = 0.01


class CausalTTA:
    """Test-time adaptation of normalisation layers to unlabelled cases.

    The name is the client's. Nothing causal is identified or estimated here: this is norm-adapter
    test-time adaptation. Scale and shift of normalisation layers (see `choose_tensors`) follow the
    entropy of the answers, all else stays, and a penalty ties them to the source.

    The model is changed in place. During a step it is in evaluation mode; afterwards mode and
    `requires_grad` of every part are as before. A copy of the source tensors is kept.

    Args:
        model: A trained network that returns logits (B, C), or a mapping with "classification".
        lr: Learning rate; 1e-3 suits a vision transformer with SGD.
        entropy_weight: Factor on the objective.
        method: Of `METHODS`: "eata", "tent" or "sar".
        constraint: "fisher", "l2" or "none". Without `fisher` the first becomes the second.
        fisher: Diagonal Fisher information by tensor name; see `fisher_diagonal`.
        optimiser: "sgd" or "adam". momentum: Of SGD.
        keep_last, adapters, modalities: As in `choose_tensors`.
        guards: Watch every step and may roll back; entropy and finiteness when None.
        batch_statistics: Whether batch normalisation uses the batch at hand while adapting and in
            `predict`, as TENT does; False uses the source's, as when the model is served.

    Attributes:
        tensors: What may change, by name. rolled_back: Why a guard put the source back, or empty.
        steps, skipped, recoveries: Steps taken, skipped, and returns to the source by SAR.
        seen, kept: Cases looked at and learnt from.

    Raises:
        UnknownName: No such method, constraint or optimiser.
        AdaptationRefused: The model has nothing to adapt.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1e-4,
        entropy_weight: float = 0.1,
        *,
        method: Literal["eata", "tent", "sar"] | str = "eata",
        constraint: Literal["fisher", "l2", "none"] | str = "fisher",
        fisher: Mapping[str, Tensor] | None = None,
        optimiser: Literal["sgd", "adam"] | str = "sgd",
        momentum: float = 0.9,
        keep_last: int = KEEP_LAST,
        adapters: bool = False,
        modalities: Collection[str] | None = None,
        guards: Sequence[Guard] | None = None,
        batch_statistics: bool = True,
    ) -> None:
        self.model = model
        self.tensors = choose_tensors(
            model, keep_last=keep_last, adapters=adapters, modalities=modalities
        )
        self._source = {name: t.detach().clone() for name, t in self.tensors.items()}
        self._objective = METHODS[method](weight=entropy_weight)
        self._constraint = Constraint(constraint, self._source, fisher)
        self._optimiser = _optimiser(optimiser, list(self.tensors.values()), lr, momentum)
        self._guards = [EntropyFloor(), Finite()] if guards is None else list(guards)
        self._batch_statistics = batch_statistics
        self._is_fresh = True
        self._forget()

    @property
    def constraint(self) -> str:
        """The constraint at work: "l2" where "fisher" was wished without Fisher information."""
        return self._constraint.kind

    def adapt(
        self,
        loader: Iterable[Any],
        num_steps: int = 100,
        source_constraint_weight: float = SOURCE_WEIGHT,
    ) -> list[float]:
        """Take `num_steps` steps over the batches, from the start again when they run out.

        Args:
            loader: Batches, each what `adapt_step` takes; shuffle them, since a stream of cases of
                one kind leads astray.
            num_steps: Steps, >= 1. source_constraint_weight: See `adapt_step`.

        Returns:
            Loss of each step; fewer where a guard rolled back (see `rolled_back`). After a
            roll-back it starts afresh, from the source.

        Raises:
            AdaptationRefused: There is no batch.
        """
        losses: list[float] = []
        while len(losses) < num_steps:
            before = len(losses)
            for batch in loader:
                losses.append(self.step(batch, source_constraint_weight).loss)
                if self.rolled_back or len(losses) >= num_steps:
                    return losses
            if len(losses) == before:
                if not losses:
                    raise AdaptationRefused("There is no case to adapt to.")
                return losses  # an iterator that is spent
        return losses

    def adapt_step(self, x: Any, source_constraint_weight: float = SOURCE_WEIGHT) -> Tensor:
        """One step on one batch.

        Args:
            x: A tensor, a tuple or list (positional inputs) or a mapping (named inputs) of the
                network, passed on unchanged.
            source_constraint_weight: Strength of the tie to the source; 0.01 is 0.01 in the L2
                form and EATA's 2000 in the Fisher form.

        Returns:
            Loss, a scalar; zero where no case was sure enough, not finite where it was skipped.
        """
        return torch.tensor(self.step(x, source_constraint_weight).loss)

    def step(self, x: Any, source_constraint_weight: float = SOURCE_WEIGHT) -> Step:
        """As `adapt_step`, telling more; guards may have put the source back afterwards."""
        if not self._is_fresh:
            self._start_guards()
            self._forget()
        with laid_down(self.model, self.tensors, batch_statistics=self._batch_statistics):
            step = self._descend(x, source_constraint_weight)
        self.seen += len(step.predicted)
        self.kept += step.kept
        self.skipped += step.skipped
        self.steps += 1
        for guard in self._guards:
            reason = guard.watch(step)
            if reason:
                self.roll_back(reason)
                break
        return step

    def predict(self, x: Any) -> Tensor:
        """Class logits (B, C) of a batch by the network as it is now, without a step."""
        alone = laid_down(self.model, self.tensors, batch_statistics=self._batch_statistics)
        with alone, torch.no_grad():
            return class_logits(_call(self.model, x))

    def reset(self) -> None:
        """Put the source tensors back bit by bit, and forget all steps."""
        self._restore()
        self._start_guards()
        self._forget()

    def roll_back(self, reason: str) -> None:
        """Put the source tensors back, and remember why; a further step starts afresh."""
        self._restore()
        self.rolled_back = reason
        self._is_fresh = False

    def _descend(self, x: Any, weight: float) -> Step:
        tensors = list(self.tensors.values())
        outcome = self._objective.backward(lambda: class_logits(_call(self.model, x)), tensors)
        loss, kept = outcome.loss, bool(outcome.kept.any())
        penalty = self._constraint(self.tensors, weight) if kept else None
        if penalty is not None:
            penalty.backward()
            loss = loss + penalty.detach()
        mean = float(entropy(outcome.logits).mean())
        sound = bool(torch.isfinite(loss)) and math.isfinite(mean) and _are_finite(tensors)
        if kept and sound:
            self._optimiser.step()
        if outcome.collapsed:
            self._restore()
            self.recoveries += 1
        return Step(
            float(loss), mean, leading(outcome.logits), outcome.logits.shape[1],
            int(outcome.kept.sum()), not sound,
        )  # fmt: skip

    def _restore(self) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(self._source[name])
        self._optimiser.state.clear()
        self._objective.forget()

    def _start_guards(self) -> None:
        for guard in self._guards:
            guard.forget()
        self._is_fresh = True

    def _forget(self) -> None:
        self.rolled_back = ""
        self.steps = self.skipped = self.recoveries = 0
        self.seen = self.kept = 0


def class_logits(output: Any) -> Tensor:
    """Class logits (B, C) in what a network returned.

    Raises:
        AdaptationRefused: There are none.
    """
    found = output.get("classification") if isinstance(output, Mapping) else output
    if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] < 2:
        raise AdaptationRefused("This model gives no class probabilities that could be adapted.")
    return found


def _call(model: nn.Module, x: Any) -> Any:
    if isinstance(x, Mapping):
        return model(**x)
    if isinstance(x, tuple | list):
        return model(*x)
    return model(x)


def _optimiser(
    name: str, tensors: list[nn.Parameter], rate: float, momentum: float
) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(tensors, rate, momentum=momentum)
    if name == "adam":
        return torch.optim.Adam(tensors, rate, betas=(0.9, 0.999))
    raise UnknownName(f"There is no optimiser {name!r}. Known: {', '.join(OPTIMISERS)}.")


def _are_finite(tensors: list[nn.Parameter]) -> bool:
    return all(bool(torch.isfinite(t.grad).all()) for t in tensors if t.grad is not None)
