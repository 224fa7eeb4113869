"""One rank of a group: the loss and gradients of its share of a batch, for `test_shards`.

Run as `python two_processes.py RANK RANKS MEETING OUTPUT`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from engine.models import BreastCancerDiagnosisModel
from engine.models.layers.invariance import invariance_penalty
from engine.models.layers.shards import average_gradients, gathered, mean_of
from engine.training.pcgrad import backward_with_pcgrad

COUNT = 6
SHARES = (slice(0, 4), slice(4, 6))
Results = dict[str, Any]


def network(**options: Any) -> BreastCancerDiagnosisModel:
    torch.manual_seed(0)
    model = BreastCancerDiagnosisModel(
        img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=3, cross_heads=3,
        projection_dim=8, dropout=0.0, positives="both", **options,
    )  # fmt: skip
    with torch.no_grad():
        model.mammo_gate.fill_(0.5)
        model.patho_gate.fill_(0.5)
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


def batch() -> dict[str, torch.Tensor]:
    """Six cases; the last two have neither box nor grade nor known extent."""
    generator = torch.Generator().manual_seed(1)
    return {
        "mammo": torch.randn(COUNT, 1, 16, 16, generator=generator),
        "patho": torch.randn(COUNT, 3, 16, 16, generator=generator),
        "present": torch.tensor([True, True, False, True, True, True]),
        "label": torch.tensor([3, 0, 1, 3, -1, 2]),
        "grade": torch.tensor([2, -1, 0, 2, -1, -1]),
        "box": torch.rand(COUNT, 4, generator=generator) / 2,
        "has_box": torch.tensor([True, False, True, True, False, False]),
        "mask": (torch.rand(COUNT, 8, 8, generator=generator) > 0.7).float(),
        "has_mask": torch.tensor([True, True, True, False, False, False]),
        "patient": torch.tensor([5, 6, 7, 8, 5, 9]),
        "site": torch.tensor([0, 0, 1, 1, 0, 1]),
    }


def loss_of(model: BreastCancerDiagnosisModel, part: dict[str, torch.Tensor]) -> Any:
    outputs = model(part["mammo"], part["patho"], patho_present=part["present"])
    total, parts = model.compute_loss(
        outputs, part["label"], part["box"], part["grade"], part["label"],
        outputs["mammo_proj"], outputs["patho_proj"], has_box=part["has_box"],
        lesion_masks=part["mask"], has_mask=part["has_mask"], patients=part["patient"],
    )  # fmt: skip
    penalties = [
        invariance_penalty(kind, outputs["classification"], part["label"], part["site"])
        for kind in ("irm", "vrex")
    ]
    return total + torch.stack(penalties).sum(), parts


def results(share: slice) -> Results:
    """What this share of the batch gives; everything where there is one process."""
    part = {name: values[share] for name, values in batch().items()}
    found: Results = {}
    for name, options in (("one", {}), ("several", {"lesions": 3})):
        model = network(**options)
        total, parts = loss_of(model, part)
        total.backward()
        average_gradients(model.parameters())
        found[name] = {
            "total": float(total.detach()),
            "parts": {k: float(v.detach()) for k, v in parts.items() if k != "task_weights"},
            "gradients": {k: p.grad for k, p in model.named_parameters()},
        }
    model = network()
    total, parts = loss_of(model, part)
    encoder = list(model.encoder.parameters())
    rest = [p for p in model.parameters() if all(p is not e for e in encoder)]
    generator = torch.Generator().manual_seed(3)
    backward_with_pcgrad(model.weighted_losses(parts), encoder, rest, generator)
    found["mended"] = {k: p.grad for k, p in model.named_parameters()}
    found["gathered"] = gathered(part["present"]), gathered(part["patient"])
    found["nothing"] = mean_of(part["box"], torch.zeros_like(part["box"], dtype=torch.bool)) is None
    return found


def main(rank: int, ranks: int, meeting: str, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    found = results(SHARES[rank])
    torch.save(found, Path(output))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
