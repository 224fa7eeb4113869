"""The explanation formulas against arrays of the reference implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.explainers import rules
from engine.explainers.chefer import propagate
from engine.trace import Reading, Span, Trace


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(got.numpy() - expected).max() / np.abs(expected).max())


def class_row(matrix: torch.Tensor) -> torch.Tensor:
    return matrix[:, 0, 1:].reshape(-1, 8, 8)


@pytest.fixture
def layers(oracle) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    arrays = oracle("vit_attention")
    attention, gradient = torch.tensor(arrays["attn"]), torch.tensor(arrays["attn_grad"])
    return list(attention.unbind(1)), list(gradient.unbind(1))


@pytest.mark.parametrize("fusion", rules.FUSIONS)
@pytest.mark.parametrize("ratio", ["0.0", "0.9"])
def test_rollout_equals_vit_explain_with_rows_normalised(oracle, layers, fusion, ratio):
    flow = class_row(rules.rollout(layers[0], fusion, float(ratio)))
    flow = flow / flow.amax((1, 2), keepdim=True)
    expected = oracle("vit_maps")[f"rollout_{fusion}_d{ratio}_rownorm"]
    assert relative_error(flow, expected) < 5e-5


@pytest.mark.parametrize("start", [0, 1])
def test_rollout_equals_the_baseline_of_chefer(oracle, layers, start):
    flow = class_row(rules.rollout(layers[0], start_layer=start))
    assert relative_error(flow, oracle("vit_maps")[f"rollout_chefer_sl{start}"]) < 1e-5


def test_relevance_equals_chefer_2021(oracle, layers):
    steps = [rules.weighted(a, d) for a, d in zip(*layers, strict=True)]
    got = class_row(rules.relevance(steps))
    assert relative_error(got, oracle("vit_maps")["chefer_generic"]) < 1e-4


def test_rollout_rows_stay_distributions(layers):
    flow = rules.rollout(layers[0])
    assert torch.allclose(flow.sum(-1), torch.ones(flow.shape[:2]), atol=1e-5)


def test_row_normalisation_leaves_the_identity_alone():
    eye = torch.eye(5)[None]
    assert torch.equal(rules.row_normalised(eye), eye)


def test_unknown_fusion_is_refused():
    with pytest.raises(ValueError, match="median"):
        rules.fuse_heads(torch.ones(1, 2, 3, 3), "median")


def test_cross_modal_relevance_equals_lxmert(oracle):
    arrays = oracle("cross_attention")
    text, image = "text", "image"

    def reading(block: str, kind: str, stream: str, source: str) -> Reading:
        values, grads = (torch.tensor(arrays[f"lx_{part}/{block}"]) for part in ("attn", "grad"))
        return Reading(kind, stream, source, values, grads)

    readings = [
        reading("lang0", "attention", text, text),
        reading("lang1", "attention", text, text),
        reading("vis0", "attention", image, image),
        reading("vis1", "attention", image, image),
        reading("x0_lang_cross", "cross", text, image),
        reading("x0_vis_cross", "cross", image, text),
        reading("x0_lang_self", "attention", text, text),
        reading("x0_vis_self", "attention", image, image),
        reading("x1_lang_cross", "cross", text, image),
        reading("x1_lang_self", "attention", text, text),
    ]
    spans = {text: Span(0, (2, 3)), image: Span(0, (3, 3))}
    trace = Trace(torch.zeros(1, 2), spans, tuple(readings), lambda inputs: torch.zeros(1), {})
    total = propagate(trace)
    own = total[text, text][0].clone()
    own[0, 0] = 0
    assert relative_error(own, arrays["lx_norm1_R_tt"]) < 1e-4
    assert relative_error(total[text, image][0], arrays["lx_norm1_R_ti"]) < 1e-4
    assert relative_error(total[image, image][0], arrays["lx_norm1_R_ii"]) < 1e-4
    assert relative_error(total[image, text][0], arrays["lx_norm1_R_it"]) < 1e-4


def test_gradcam_on_the_reference_vit(oracle):
    import json

    from timm.models.vision_transformer import VisionTransformer

    model = oracle("vit_model")
    vit = VisionTransformer(**json.loads(str(model["config"])))
    vit.load_state_dict({k[2:]: torch.tensor(v) for k, v in model.items() if k.startswith("w/")})
    vit.eval()
    seen: list[torch.Tensor] = []
    handle = vit.blocks[-1].norm1.register_forward_hook(lambda m, i, out: seen.append(out))
    logits = vit(torch.tensor(model["x"]).requires_grad_())
    handle.remove()
    score = logits.gather(1, torch.tensor(model["target"]).long()[:, None]).sum()
    (slope,) = torch.autograd.grad(score, seen)
    got = rules.gradcam(seen[0][:, 1:].detach(), slope[:, 1:]).reshape(-1, 8, 8)
    assert relative_error(got, oracle("vit_maps")["gradcam_vit_coarse_raw"]) < 1e-4
