"""What a step minimises: the weighted tasks, and a penalty on what differs between sites."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from engine.datasets.augment import Examples
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.layers.invariance import invariance_penalty
from engine.training.recipes import Recipe


class Objective(nn.Module):
    """A network together with its loss, so that one call does both on every process.

    Args:
        network: What is trained. recipe: Says how.
    """

    def __init__(self, network: BreastCancerDiagnosisModel, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self._kind = recipe.objective.generalisation
        self._penalty = recipe.objective.penalty
        self._anneal = recipe.objective.anneal_steps
        named = recipe.objective
        self._weights = {
            "alignment": named.alignment, "alone": named.alone, "consistency": named.consistency,
        }  # fmt: skip

    def forward(
        self,
        step: int,
        mammo: Tensor,
        patho: Tensor,
        has_patho: Tensor,
        label: Tensor,
        grade: Tensor,
        box: Tensor,
        has_box: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        site: Tensor,
        patient: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch, over all processes, and its parts, which are scalars.

        Args:
            step: Steps made before this one. Others: Fields of `Examples`.
        """
        network = self.network
        outputs = network(mammo, network.normalise_pathology(patho), patho_present=has_patho)
        total, parts = network.compute_loss(
            outputs,
            label,
            box,
            grade,
            label,
            outputs["mammo_proj"],
            outputs["patho_proj"],
            has_box=has_box,
            lesion_masks=mask,
            has_mask=has_mask,
            patients=patient,
            weights=self._weights,
        )
        found = {k: v for k, v in parts.items() if isinstance(v, Tensor) and v.ndim == 0}
        if self._kind != "none":
            logits = outputs["classification"].float()
            penalty = invariance_penalty(self._kind, logits, label, site)
            found["penalty"] = penalty
            total = total + self._factor(step) * penalty
            found["total"] = total
        return total, found

    def losses(self, parts: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Each part as it enters the total of a step, for methods that look at tasks one by one."""
        found = self.network.weighted_losses(parts, self._weights)
        if "penalty" in parts:
            found["penalty"] = self._factor(step) * parts["penalty"]
        return found

    def _factor(self, step: int) -> float:
        """Weight of the penalty: 1 until the annealing is over."""
        return 1.0 if step < self._anneal else self._penalty


def fields_of(examples: Examples, has_patho: Tensor) -> dict[str, Any]:
    """Arguments of `Objective`, with the pathology that is shown in this step."""
    return {
        "mammo": examples.mammo,
        "patho": examples.patho,
        "has_patho": has_patho,
        "label": examples.label,
        "grade": examples.grade,
        "box": examples.box,
        "has_box": examples.has_box,
        "mask": examples.mask,
        "has_mask": examples.has_mask,
        "site": examples.site,
        "patient": examples.patient,
    }
