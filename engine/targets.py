"""What is explained: a class, or a class within a region; as scores of a network's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.errors import EmptyMask, ShapeMismatch


def same(output: Any) -> Any:
    """The output itself, for networks that return logits."""
    return output


class Target(Protocol):
    """One question per image of a batch."""

    def settled(self, output: Any) -> Target:
        """The question with everything fixed that the unchanged images decide."""
        ...

    def scores(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """Logits to explain, (N,); `owners` (N,) names the image each row was made from."""
        ...

    def shares(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """The same as probabilities, (N,)."""
        ...


def two_sided(logits: Tensor) -> Tensor:
    """One logit (N, 1) as two, "no" and "yes", whose softmax is the sigmoid; others unchanged."""
    return torch.cat((torch.zeros_like(logits), logits), 1) if logits.shape[1] == 1 else logits


@dataclass(frozen=True)
class ClassTarget:
    """The logit of one class per image; of a single logit, class 1 is yes and class 0 is no.

    Args:
        classes: (B,) int; None for the leading class of each image.
        logits_of: Finds the logits (N, K) in the network's output.
    """

    classes: Tensor | None = None
    logits_of: Callable[[Any], Tensor] = same

    def settled(self, output: Any) -> ClassTarget:
        """See `Target.settled`.

        Raises:
            ShapeMismatch: There is not one class per image, or a class that the model has not.
        """
        logits = self.logits_of(output)
        if logits.ndim != 2:
            raise ShapeMismatch("This model gives no class scores, one row per image.")
        count = max(2, logits.shape[1])
        if self.classes is None:
            return ClassTarget(two_sided(logits.detach()).argmax(1), self.logits_of)
        classes = self.classes.to(logits.device).clone()
        if classes.shape != logits.shape[:1]:
            raise ShapeMismatch(
                f"There must be one target per image: {len(logits)} images came with "
                f"{classes.numel()} targets."
            )
        if len(classes) and not (int(classes.min()) >= 0 and int(classes.max()) < count):
            raise ShapeMismatch(f"The model has {count} classes, counted from 0.")
        return ClassTarget(classes, self.logits_of)

    def scores(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """See `Target.scores`."""
        logits = self.logits_of(output).float()
        if logits.shape[1] == 1:
            logits = torch.cat((-logits, logits), 1)
        return self._of(logits, owners)

    def shares(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """See `Target.shares`; softmax over the classes."""
        return self._of(two_sided(self.logits_of(output).float()).softmax(1), owners)

    def _of(self, values: Tensor, owners: Tensor | None) -> Tensor:
        assert self.classes is not None
        classes = self.classes.to(values.device)
        return values.gather(1, (classes if owners is None else classes[owners])[:, None])[:, 0]


@dataclass(frozen=True)
class RegionTarget:
    """The summed score of a segmentation over a region: Seg-Grad-CAM for every gradient method.

    Args:
        regions: (B, h, w) bool on the grid of the segmentation; None for what the model segments.
        maps_of: Finds the segmentation logits (N, h, w) of the class in the network's output.

    Source:
        Vinogradova, Dibrov and Myers, "Towards Interpretable Semantic Segmentation via
        Gradient-Weighted Class Activation Mapping", AAAI 2020.
    """

    regions: Tensor | None
    maps_of: Callable[[Any], Tensor]

    def settled(self, output: Any) -> RegionTarget:
        """See `Target.settled`.

        Raises:
            EmptyMask: A region has no pixel. ShapeMismatch: It lies on another grid.
        """
        maps = self.maps_of(output).detach()
        regions = maps > 0 if self.regions is None else self.regions.to(maps.device)
        if regions.shape != maps.shape:
            raise ShapeMismatch("The region does not lie on the grid of the segmentation.")
        if not bool(regions.flatten(1).any(1).all()):
            raise EmptyMask("The region to be explained holds no pixel: nothing was segmented.")
        return RegionTarget(regions, self.maps_of)

    def scores(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """See `Target.scores`."""
        regions = self._regions(owners)
        return (self.maps_of(output).float() * regions).flatten(1).sum(1)

    def shares(self, output: Any, owners: Tensor | None = None) -> Tensor:
        """See `Target.shares`; mean probability within the region."""
        regions = self._regions(owners)
        shares = (self.maps_of(output).float().sigmoid() * regions).flatten(1).sum(1)
        return shares / regions.flatten(1).sum(1)

    def _regions(self, owners: Tensor | None) -> Tensor:
        assert self.regions is not None
        chosen = self.regions if owners is None else self.regions[owners]
        return chosen.to(torch.float32)
