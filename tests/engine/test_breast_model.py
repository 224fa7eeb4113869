"""The whole network: outputs, sharing, missing pathology, losses, traces."""

from __future__ import annotations

import pytest
import torch

from engine.errors import IncompatibleExplainer
from engine.models import BreastCancerDiagnosisModel
from engine.trace import ClassTarget, Span, Subject, Tap, capture

SPANS = {"mammography": Span(1, (4, 4)), "pathology": Span(1, (3, 3))}


@pytest.fixture
def network() -> BreastCancerDiagnosisModel:
    torch.manual_seed(0)
    model = BreastCancerDiagnosisModel(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        cross_heads=3,
        projection_dim=8,
    )
    with torch.no_grad():
        model.mammo_gate.fill_(0.5)
        model.patho_gate.fill_(0.5)
    return model.eval()


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 1, 32, 32, generator=generator),
        torch.randn(2, 3, 24, 24, generator=generator),
    )


def test_output_keys_and_shapes(network, images):
    out = network(*images, return_interpretability=True, return_patch_tokens=True)
    shapes = {key: tuple(value.shape) for key, value in out.items()}
    assert shapes["classification"] == (2, 4)
    assert shapes["localization"] == (2, 4)
    assert shapes["grading"] == (2, 3)
    assert shapes["grading_ordinal"] == (2, 2)
    assert shapes["z_mammo"] == shapes["z_patho"] == (2, 24)
    assert shapes["mammo_proj"] == shapes["patho_proj"] == (2, 8)
    assert shapes["heatmap"] == (2, 32, 32)
    assert shapes["top_patho_patches"] == (2, 5, 24)
    assert shapes["top_indices"] == (2, 5)
    assert shapes["attention_weights"] == (2, 16, 9)
    assert shapes["mammo_tokens"] == (2, 16, 24)
    assert shapes["patho_tokens"] == (2, 9, 24)


def test_a_mammogram_alone_is_enough(network, images):
    out = network(images[0], return_interpretability=True)
    assert "z_patho" not in out and "heatmap" not in out
    hidden = network(*images, patho_present=torch.tensor([False, False]))
    assert torch.allclose(out["classification"], hidden["classification"], atol=1e-6)


def test_trunk_is_shared_and_adapters_are_not(network, images):
    network(images[0])["classification"].sum().backward()
    block = network.encoder.blocks[0]
    assert block.attn.qkv.weight.grad is not None
    assert block.adapter1["pathology"].up.weight.grad is None
    assert block.adapter1["mammography"].up.weight.grad is not None
    names = [name for name, _ in network.named_parameters() if "attn.qkv.weight" in name]
    assert len(names) == len(network.encoder.blocks)


def test_two_evaluations_are_identical(network, images):
    first, second = network(*images), network(*images)
    assert torch.equal(first["classification"], second["classification"])


def test_loss_masks_what_is_absent(network, images):
    out = network(*images)
    total, parts = network.compute_loss(
        out,
        torch.tensor([0, 3]),
        torch.rand(2, 4),
        torch.tensor([-1, 2]),
        mammo_features=out["mammo_proj"],
        patho_features=out["patho_proj"],
        has_box=torch.tensor([False, False]),
    )
    assert set(parts) == {
        "classification", "grading", "alone", "consistency", "alignment", "alignment_excess",
        "total", "task_weights",
    }  # fmt: skip
    assert total is parts["total"]
    total.backward()
    slopes = network.task_weights.log_variances.grad
    assert slopes is not None
    assert float(slopes[1]) == 0 and float(slopes[3]) == 0 and float(slopes[0]) != 0


def traced(network, images, **changes):
    inputs = {"mammo_img": images[0], "patho_img": images[1]}
    return capture(
        subject(network),
        inputs,
        ClassTarget(torch.tensor([1, 2]), logits),
        kinds=frozenset({"attention", "cross", "readout", "features"}),
        **changes,
    )


def subject(network):
    return Subject(network, lambda inputs: network(**inputs), SPANS)


def logits(output):
    return output["classification"]


def test_a_trace_reads_every_tap_and_leaves_the_model_as_it_was(network, images):
    network.train()
    plain = network.eval()(*images)["classification"]
    network.train()
    network.encoder.cls_token.requires_grad_(False)
    trace, output = traced(network, images)
    assert network.training
    assert not network.encoder.cls_token.requires_grad
    assert network.encoder.positions.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(m._forward_hooks for m in network.modules() if isinstance(m, Tap))
    assert torch.allclose(output["classification"], plain, atol=1e-5)
    assert len(trace.read("attention", "mammography")) == 2
    assert len(trace.read("attention", "pathology")) == 2
    assert len(trace.read("cross", "mammography", "pathology")) == 1
    assert len(trace.read("features", "pathology")) == 1
    rows = trace.read("attention", "mammography")[0].values.sum(-1)
    assert torch.allclose(rows, torch.ones_like(rows), atol=1e-5)


def test_hooks_go_even_when_the_network_fails(network, images):
    with pytest.raises(Exception, match="channel"):
        traced(network, (images[1], images[1]))
    assert not any(m._forward_hooks for m in network.modules() if isinstance(m, Tap))
    assert next(network.parameters()).requires_grad


def test_attention_gradients_are_those_of_finite_differences(network, images):
    """Raise one attention entry of the cross-attention and watch the logit."""
    network.double()
    images = tuple(image.double() for image in images)
    trace, _ = traced(network, images)
    reading = trace.read("cross", "mammography")[0]
    step = 0.01

    def logit(change: float) -> float:
        def nudged(module, arguments, values):
            changed = values.clone()
            changed[0, 0, 3, 2] += change
            return changed

        handle = network.interpretability.cross.tap.register_forward_hook(nudged)
        with torch.no_grad():
            logits = network(*images)["classification"]
        handle.remove()
        return float(logits[0, 1])

    assert reading.gradients is not None
    slope = (logit(step) - logit(-step)) / (2 * step)
    assert slope == pytest.approx(float(reading.gradients[0, 0, 3, 2]), rel=1e-3, abs=1e-7)


def test_batch_and_single_traces_agree(network, images):
    both, _ = traced(network, images)
    inputs = {"mammo_img": images[0][1:], "patho_img": images[1][1:]}
    alone, _ = capture(
        subject(network),
        inputs,
        ClassTarget(torch.tensor([2]), logits),
        kinds=frozenset({"attention"}),
    )
    first = both.read("attention", "mammography")[0].gradients
    second = alone.read("attention", "mammography")[0].gradients
    assert first is not None and second is not None
    assert torch.allclose(first[1:], second, atol=1e-7)


def test_a_tap_behind_the_decision_is_refused_in_words():
    class Blind(torch.nn.Module):
        """Reads its input, but decides without it."""

        def __init__(self) -> None:
            super().__init__()
            self.tap = Tap("features")

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            self.tap(pixels)
            return torch.zeros(len(pixels), 2)

    with pytest.raises(IncompatibleExplainer, match="leads from this image"):
        blind = Blind()
        capture(
            Subject(blind, lambda inputs: blind(**inputs), {}),
            {"pixels": torch.ones(1, 3)},
            ClassTarget(torch.tensor([0])),
            kinds=frozenset({"features"}),
        )
