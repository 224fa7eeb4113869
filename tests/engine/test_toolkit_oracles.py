"""The public face against arrays of the reference implementations, on whole models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine import ExplainabilityToolkit
from engine.anatomy import IMAGE, study
from engine.trace import ClassTarget, capture
from tests.engine.oracle_models import as_peer, cnn, relative, swin, vit


@pytest.fixture(scope="module")
def plain(oracle):
    """Toolkit, images and targets of the reference ViT."""
    arrays = oracle("vit_model")
    return ExplainabilityToolkit(vit(arrays)), torch.from_numpy(arrays["x"]), arrays["target"]


@pytest.fixture
def maps(oracle):
    return oracle("vit_maps")


def of_peak(values: np.ndarray) -> np.ndarray:
    return values / values.max((1, 2), keepdims=True)


def min_max(values: np.ndarray) -> np.ndarray:
    low = values.min((1, 2), keepdims=True)
    return (values - low) / (values.max((1, 2), keepdims=True) - low)


def test_attention_and_its_gradient_are_those_of_autograd(oracle):
    arrays, wanted = oracle("vit_model"), oracle("vit_attention")
    network, x = vit(arrays), torch.from_numpy(arrays["x"])
    target = ClassTarget(torch.from_numpy(arrays["target"]).long())
    assert network.blocks[0].attn.fused_attn
    trace, output = capture(
        study(network).subject(x), {IMAGE: x}, target, kinds=frozenset({"attention"})
    )
    readings = trace.read("attention", IMAGE)
    assert len(readings) == wanted["attn"].shape[1]
    for layer, reading in enumerate(readings):
        assert relative(reading.values.numpy(), wanted["attn"][:, layer]) < 1e-5
        assert relative(reading.gradients.numpy(), wanted["attn_grad"][:, layer]) < 1e-5
    assert relative(output.numpy(), arrays["logits"]) < 1e-5


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_rollout(plain, maps, fusion, ratio):
    toolkit, x, _ = plain
    got = toolkit.explain(x, "rollout", raw=True, head_fusion=fusion, discard_ratio=ratio).values
    assert relative(of_peak(got), maps[f"rollout_{fusion}_d{ratio}_rownorm"]) < 5e-5


@pytest.mark.parametrize("start", [0, 1])
def test_rollout_from_a_later_layer(plain, maps, start):
    toolkit, x, _ = plain
    got = toolkit.explain(x, "rollout", raw=True, start_layer=start).values
    assert relative(got, maps[f"rollout_chefer_sl{start}"]) < 1e-5


@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_gradient_rollout(plain, maps, ratio):
    toolkit, x, target = plain
    got = toolkit.explain(x, "gradient_rollout", target, raw=True, discard_ratio=ratio).values
    assert relative(of_peak(got), maps[f"gradrollout_d{ratio}_aligned_rownorm"]) < 1e-4


@pytest.mark.parametrize(
    ("method", "key", "scaled", "tolerance"),
    [
        ("raw_attention", "raw_attn_last_mean", None, 1e-5),
        ("relevance", "chefer_generic", None, 1e-4),
        ("attention_gradcam", "chefer_attn_gradcam", min_max, 1e-4),
        ("gradcam", "gradcam_vit_coarse_raw", None, 1e-4),
    ],
)
def test_maps_on_the_patch_grid(plain, maps, method, key, scaled, tolerance):
    toolkit, x, target = plain
    got = toolkit.explain(x, method, target, raw=True).values
    assert relative(got if scaled is None else scaled(got), maps[key]) < tolerance


@pytest.mark.parametrize("start", [0, 1])
def test_lrp(plain, maps, start):
    toolkit, x, target = plain
    got = toolkit.explain(x, "lrp", target, raw=True, start_layer=start).values
    assert relative(got, maps[f"chefer_lrp_transformer_attribution_sl{start}"]) < 5e-3


def test_lrp_in_the_same_pass_changes_no_other_map(plain):
    toolkit, x, target = plain
    methods = ("relevance", "gradcam", "input_x_gradient")
    with_lrp = toolkit.explain_all(x, (*methods, "lrp"), target, raw=True)
    alone = toolkit.explain_all(x, methods, target, raw=True)
    for method in methods:
        assert relative(with_lrp[method].values, alone[method].values) < 1e-5


def test_relevance_in_pixels(plain, maps):
    toolkit, x, target = plain
    got = toolkit.explain(x, "relevance", target).values
    assert got.dtype == np.float32
    assert relative(min_max(got), maps["chefer_generic_up_minmax"]) < 1e-4


@pytest.mark.parametrize(
    ("method", "name", "tolerance"),
    [
        ("gradcam", "gradcam", 1e-4),
        ("gradcam_plus_plus", "gradcampp", 1e-3),
        ("layercam", "layercam", 1e-4),
        ("hirescam", "hirescam", 1e-4),
        ("xgradcam", "xgradcam", 1e-3),
    ],
)
def test_class_activation_maps_of_the_vit(plain, maps, method, name, tolerance):
    toolkit, x, target = plain
    got = as_peer(toolkit.explain(x, method, target, raw=True).values, (64, 64))
    assert relative(got, maps[f"{name}_vit_lastnorm1"]) < tolerance


def test_gradcam_of_two_layers(plain, maps):
    toolkit, x, target = plain
    last = len(toolkit.system.network.blocks) - 1
    layers = (f"blocks.{last - 1}.norm1", f"blocks.{last}.norm1")
    got = toolkit.explain(x, "gradcam", target, raw=True, layers=layers).values
    assert relative(as_peer(got, (64, 64)), maps["gradcam_vit_two_layers"]) < 1e-4


def test_gradcam_behind_the_last_attention_is_refused_not_drawn_as_zeros(plain, maps):
    toolkit, x, target = plain
    assert not maps["gradcam_vit_lastblock_output_ALLZERO"].any()
    last = f"blocks.{len(toolkit.system.network.blocks) - 1}"
    with pytest.raises(Exception, match="No gradient reaches any region at this layer"):
        toolkit.explain(x, "gradcam", target, layers=(last,))


def test_pixel_gradients(plain, maps):
    toolkit, x, target = plain
    found = toolkit.explain_all(x, ("saliency", "input_x_gradient"), target, raw=True)
    wanted = maps["saliency_abs"].max(1)
    assert relative(found["saliency"].values, wanted) < 1e-4
    assert relative(found["input_x_gradient"].values, maps["input_x_gradient"].sum(1)) < 1e-4


@pytest.mark.parametrize("layer", ["relu2", "relu3"])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("gradcam", "gradcam"),
        ("gradcam_plus_plus", "gradcampp"),
        ("layercam", "layercam"),
        ("hirescam", "hirescam"),
    ],
)
def test_class_activation_maps_of_a_network_that_is_not_square(oracle, layer, method, name):
    arrays = oracle("cnn")
    toolkit, x = ExplainabilityToolkit(cnn(arrays)), torch.from_numpy(arrays["x"])
    got = toolkit.explain(x, method, arrays["target"], raw=True, layers=(layer,)).values
    assert relative(as_peer(got, (64, 48)), arrays[f"{name}_{layer}"]) < 1e-4


def test_gradcam_of_layers_on_different_grids(oracle):
    arrays = oracle("cnn")
    toolkit, x = ExplainabilityToolkit(cnn(arrays)), torch.from_numpy(arrays["x"])
    got = toolkit.explain(x, "gradcam", arrays["target"], layers=("relu2", "relu3")).values
    assert relative(min_max(got), arrays["gradcam_relu2_relu3_mean"]) < 1e-4


def test_the_last_map_of_an_unknown_network_is_found_by_itself(oracle):
    arrays = oracle("cnn")
    toolkit, x = ExplainabilityToolkit(cnn(arrays)), torch.from_numpy(arrays["x"])
    found = toolkit.explain(x, "gradcam", arrays["target"], raw=True)
    assert toolkit.system.anatomy.features == "relu3"
    assert relative(found.values, arrays["gradcam_relu3_coarse_raw"]) < 1e-4
    assert toolkit.explain(x, "gradcam", arrays["target"]).values.shape == (2, 64, 48)


@pytest.mark.parametrize("norm", ["norm1", "norm2"])
def test_gradcam_of_swin_in_both_layouts(oracle, norm):
    arrays = oracle("swin")
    network, x = swin(arrays), torch.from_numpy(arrays["x"])
    layer = f"layers.{len(network.layers) - 1}.blocks.{len(network.layers[-1].blocks) - 1}.{norm}"
    got = ExplainabilityToolkit(network).explain(
        x, "gradcam", arrays["target"], raw=True, layers=(layer,)
    )
    assert relative(as_peer(got.values, (64, 64)), arrays[f"gradcam_last_{norm}"]) < 1e-4


def test_attention_within_windows_is_heard_with_its_gradient(oracle):
    arrays = oracle("swin")
    network, x = swin(arrays), torch.from_numpy(arrays["x"])
    target = ClassTarget(torch.from_numpy(arrays["target"]).long())
    kinds = frozenset({"windowed"})
    trace, _ = capture(study(network).subject(x), {IMAGE: x}, target, kinds=kinds)
    readings = trace.read("windowed", IMAGE)
    assert len(readings) == 4
    for layer, reading in enumerate(readings):
        assert relative(reading.values.numpy(), arrays[f"attn_{layer}"]) < 1e-5
        assert relative(reading.gradients.numpy(), arrays[f"attn_grad_{layer}"]) < 1e-5
