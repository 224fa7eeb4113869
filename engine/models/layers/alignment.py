"""Cross-modal alignment: projections, contrastive losses and a queue of earlier features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POSITIVES = ("patient", "label", "both")


class CrossModalAlignment(nn.Module):
    """Project both modalities into one unit sphere.

    Args:
        embed_dim: Width D of the features. temperature: Initial tau; learnt as exp(-logit_scale).
        projection_dim: Width of the sphere. queue: Earlier pairs kept as negatives; 0 for none.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        temperature: float = 0.07,
        projection_dim: int = 256,
        queue: int = 0,
    ) -> None:
        super().__init__()
        self.mammo = _projection(embed_dim, projection_dim)
        self.patho = _projection(embed_dim, projection_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.queue = FeatureQueue(queue, projection_dim) if queue else None

    @property
    def temperature(self) -> Tensor:
        """Current tau, at least 0.01."""
        return 1 / self.logit_scale.exp().clamp(max=100)

    def forward(self, z_mammo: Tensor, z_patho: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) twice to unit rows (B, projection_dim) twice."""
        return F.normalize(self.mammo(z_mammo), dim=-1), F.normalize(self.patho(z_patho), dim=-1)


def _projection(embed_dim: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, projection_dim)
    )


class FeatureQueue(nn.Module):
    """The last pairs of features, first in, first out: more negatives than a batch holds.

    What it holds is of patients. So it is neither parameter nor buffer: a moving average and
    exported weights leave it out, and only a checkpoint of a queue in use carries it.

    Args:
        size: Pairs kept. width: Of the features.

    Attributes:
        written: Pairs ever taken in.

    Source:
        He et al. (MoCo), CVPR 2020; without its momentum encoder, so that old entries are somewhat
        stale.
    """

    mammo: Tensor
    patho: Tensor
    groups: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.mammo = torch.zeros(size, width)
        self.patho = torch.zeros(size, width)
        self.groups = torch.full((size, 2), -1, dtype=torch.long)
        self.written = 0

    def get_extra_state(self) -> dict[str, Any]:
        """All that it holds, for a checkpoint: tensors and a number."""
        return {
            "mammo": self.mammo, "patho": self.patho, "groups": self.groups,
            "written": self.written,
        }  # fmt: skip

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take in what `get_extra_state` gave.

        Raises:
            RuntimeError: It is of another size.
        """
        for name in ("mammo", "patho", "groups"):
            getattr(self, name).copy_(state[name])
        self.written = int(state["written"])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.written:
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *more: Any, **named: Any
    ) -> None:
        """Weights without a queue, or with one of an older kind, leave it empty."""
        found = state_dict.get(f"{prefix}_extra_state")
        self.written = 0
        if found is not None:
            self.set_extra_state(found)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FeatureQueue:
        super()._apply(fn, recurse)
        self.mammo, self.patho, self.groups = fn(self.mammo), fn(self.patho), fn(self.groups)
        return self

    def held(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features (Q, D) twice, and label and patient (Q, 2) of each, copied."""
        kept = min(self.written, self.size)
        return self.mammo[:kept].clone(), self.patho[:kept].clone(), self.groups[:kept].clone()

    @torch.no_grad()
    def put(self, mammo: Tensor, patho: Tensor, groups: Tensor) -> None:
        """Take in (B, D), (B, D) and (B, 2), over the oldest; pairs that are not finite are not."""
        sound = (mammo.isfinite() & patho.isfinite()).all(1)
        mammo, patho, groups = (each[sound][-self.size :] for each in (mammo, patho, groups))
        places = (self.written + torch.arange(len(mammo), device=mammo.device)) % self.size
        self.mammo[places] = mammo.detach().to(self.mammo.dtype)
        self.patho[places] = patho.detach().to(self.patho.dtype)
        self.groups[places] = groups
        self.written += len(mammo)


def compute_contrastive_loss(
    mammo_features: Tensor,
    patho_features: Tensor,
    labels: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    *,
    patients: Tensor | None = None,
    positives: str | None = None,
    queue: FeatureQueue | None = None,
) -> Tensor:
    """Symmetric cross-modal InfoNCE; chance level is ln B (ln(B + Q) with a queue of Q).

    With several positives this is the "out" form: the mean of log-softmax over the positives. An
    unknown label or patient (negative) is the positive of its own row alone.

    Args:
        mammo_features, patho_features: Unit rows, (B, D).
        labels: (B,) int. temperature: tau > 0.
        patients: (B,) int; each row a patient of its own when None.
        positives: Pairs that belong together: of one "patient", of one "label", or "both", the mean
            of the two objectives. "label" when None and labels are given, else "patient".
        queue: Earlier pairs, as further candidates; left as it is.

    Returns:
        Scalar.

    Source:
        Radford et al. (CLIP), ICML 2021; Khosla et al., NeurIPS 2020, eq. 2.
    """
    wanted = positives or ("patient" if labels is None else "label")
    if wanted not in POSITIVES:
        raise ValueError(f"positives {wanted!r} is not one of {POSITIVES}")
    if wanted != "patient" and labels is None:
        raise ValueError(f"positives {wanted!r} need labels")
    held = None if queue is None else queue.held()
    groups = {"label": labels, "patient": patients}
    total = mammo_features.new_zeros(())
    names = ("patient", "label") if wanted == "both" else (wanted,)
    for name in names:
        old = None if held is None else held[2][:, 0 if name == "label" else 1]
        same = _belonging(len(mammo_features), groups[name], old, mammo_features.device)
        ahead = _one_way(mammo_features, patho_features, held and held[1], same, temperature)
        back = _one_way(patho_features, mammo_features, held and held[0], same, temperature)
        total = total + (ahead + back) / 2
    return total / len(names)


def _belonging(
    count: int, groups: Tensor | None, old: Tensor | None, device: torch.device
) -> Tensor:
    """Which candidates belong to a row, (B, B + Q) bool: its own, and known ones of its group."""
    itself = torch.eye(count, count + (0 if old is None else len(old)), device=device).bool()
    if groups is None:
        return itself
    candidates = groups if old is None else torch.cat((groups, old))
    return itself | ((groups[:, None] == candidates) & (groups[:, None] >= 0))


def _one_way(
    rows: Tensor,
    others: Tensor,
    old: Tensor | None,
    same: Tensor,
    temperature: float | Tensor,
) -> Tensor:
    candidates = others if old is None else torch.cat((others, old.to(others.dtype)))
    logs = (rows @ candidates.T / temperature).log_softmax(1)
    return -((logs * same).sum(1) / same.sum(1)).mean()


def supcon(
    features: Tensor,
    labels: Tensor | None = None,
    temperature: float = 0.07,
    *,
    anchors: str = "all",
    base_temperature: float | None = None,
) -> Tensor:
    """Supervised contrastive loss within a stack of views; without labels, SimCLR.

    Args:
        features: Unit rows, (B, V, D). labels: (B,) int.
        anchors: "all" views, or the first "one" of each sample.
        base_temperature: The loss is multiplied by temperature over it; 1 when None.

    Returns:
        Scalar. Anchors without a positive add 0, yet count in the mean.

    Source:
        Khosla et al., NeurIPS 2020, eq. 2 ("out").
    """
    if anchors not in ("all", "one"):
        raise ValueError(f"anchors {anchors!r} is neither 'all' nor 'one'")
    samples, views = features.shape[:2]
    rows = features.transpose(0, 1).flatten(0, 1)
    groups = (torch.arange(samples, device=rows.device) if labels is None else labels).repeat(views)
    count = len(rows) if anchors == "all" else samples
    itself = torch.eye(count, len(rows), device=rows.device).bool()
    scores = (rows[:count] @ rows.T / temperature).masked_fill(itself, -torch.inf)
    logs = scores.log_softmax(1).masked_fill(itself, 0)
    same = (groups[:count, None] == groups) & ~itself
    each = -(logs * same).sum(1) / same.sum(1).clamp_min(1)
    return each.mean() * (1.0 if base_temperature is None else temperature / base_temperature)
