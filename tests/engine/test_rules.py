"""The explanation formulas against arrays of the reference implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import UnknownName
from engine.explainers import rules
from engine.explainers.chefer import propagate
from engine.trace import Reading, Span, Trace


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(got.numpy() - expected).max() / np.abs(expected).max())


@pytest.fixture
def layers(oracle) -> list[torch.Tensor]:
    return list(torch.tensor(oracle("vit_attention")["attn"]).unbind(1))


def test_rows_give_the_same_as_whole_matrices(layers):
    size = layers[0].shape[-1]
    eye = torch.eye(size)[None]
    whole = eye
    for layer in layers:
        step = layer.mean(1) + eye
        whole = step / step.sum(-1, keepdim=True) @ whole
    assert torch.allclose(rules.rollout(layers, eye), whole, atol=1e-6)
    steps = [layer.mean(1) for layer in layers]
    assert torch.allclose(rules.relevance(steps, eye), rules.total(steps) - eye, rtol=1e-5)


def test_rollout_rows_stay_distributions(layers):
    flow = rules.rollout(layers, torch.eye(layers[0].shape[-1])[None])
    assert torch.allclose(flow.sum(-1), torch.ones(flow.shape[:2]), atol=1e-5)


def test_row_normalisation_leaves_the_identity_alone():
    eye = torch.eye(5)[None]
    assert torch.equal(rules.row_normalised(eye), eye)


def test_unknown_fusion_is_refused():
    with pytest.raises(UnknownName, match="median"):
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
    trace = Trace(spans, tuple(readings), {}, lambda stream: pytest.fail("nothing is probed"))
    total = propagate(trace)
    own = total[text, text][0].clone()
    own[0, 0] = 0
    assert relative_error(own, arrays["lx_norm1_R_tt"]) < 1e-4
    assert relative_error(total[text, image][0], arrays["lx_norm1_R_ti"]) < 1e-4
    assert relative_error(total[image, image][0], arrays["lx_norm1_R_ii"]) < 1e-4
    assert relative_error(total[image, text][0], arrays["lx_norm1_R_it"]) < 1e-4


def test_encoder_decoder_relevance_equals_detr(oracle):
    arrays = oracle("cross_attention")

    def layer(block: str) -> torch.Tensor:
        values, grads = (torch.tensor(arrays[f"detr_{part}/{block}"]) for part in ("attn", "grad"))
        return rules.weighted(values[None], grads[None])

    names = {key.split("/")[1] for key in arrays if key.startswith("detr_attn/")}
    encoder = [layer(name) for name in sorted(n for n in names if n.startswith("enc"))]
    count = len([n for n in names if n.endswith("_cross")])
    decoder = [(layer(f"dec{k}_self"), layer(f"dec{k}_cross")) for k in range(count)]
    _, across = rules.encoder_decoder(encoder, decoder)
    assert relative_error(across[0, 1], arrays["detr_norm1_R_qi_row1"]) < 1e-4
