"""Attention, activation and gradient methods against naive twins in float64, and invariants."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

from engine import ExplainabilityToolkit
from engine.anatomy import IMAGE
from engine.explainers import EXPLAINERS
from engine.trace import ClassTarget, capture
from tests.engine.oracle_models import relative
from tests.naive import attention as naive

CAMS = ("gradcam", "gradcam_plus_plus", "xgradcam", "hirescam", "layercam")
FAST = tuple(name for name, method in EXPLAINERS.items() if not method.slow)
QUICK = {
    "rise": {"masks": 12},
    "occlusion": {"window": 16},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"samples": 3},
    "vit_cx": {"noise": 0.0},
}


def network(pool: str) -> nn.Module:
    torch.manual_seed(2)
    made = timm.create_model(
        "vit_tiny_patch16_224", img_size=(48, 64), embed_dim=24, depth=3, num_heads=3,
        num_classes=4, class_token=pool == "token", global_pool=pool,
    )  # fmt: skip
    for parameter in made.parameters():  # attention of fresh networks is nearly even
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.eval()


@pytest.fixture(scope="module", params=["token", "avg"])
def traced(request):
    """Network, images, targets and what one pass of it holds, in float64."""
    model = network(request.param)
    x = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(4))
    toolkit = ExplainabilityToolkit(model)
    kinds = frozenset({"attention", "features", "input"})
    target = ClassTarget(torch.tensor([1, 3]))
    trace, _ = capture(toolkit.system.read_at(x), {IMAGE: x}, target, kinds=kinds)
    readings = trace.read("attention", IMAGE)
    A = [r.values.double().numpy() for r in readings]
    D = [r.gradients.double().numpy() for r in readings]
    features = trace.features(IMAGE)
    readers = [0] if request.param == "token" else list(range(12))
    return toolkit, x, A, D, features, readers


def rows(got: np.ndarray) -> np.ndarray:
    return got.reshape(len(got), -1)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_rollout(traced, fusion, ratio):
    toolkit, x, A, _, _, readers = traced
    got = toolkit.explain(x, "rollout", raw=True, head_fusion=fusion, discard_ratio=ratio).values
    for n in range(2):
        wanted = naive.rollout([a[n] for a in A], readers, 12, fusion, ratio)
        assert relative(rows(got)[n], wanted) < 1e-5


@pytest.mark.parametrize(
    "method", ["gradient_rollout", "relevance", "attention_gradcam", "raw_attention"]
)
def test_attention_methods(traced, method):
    toolkit, x, A, D, _, readers = traced
    got = rows(toolkit.explain(x, method, [1, 3], raw=True).values)
    for n in range(2):
        attention, slopes = [a[n] for a in A], [d[n] for d in D]
        twin = getattr(naive, method)
        arguments = (attention,) if method == "raw_attention" else (attention, slopes)
        wanted = twin(*arguments, readers, 12)
        assert np.abs(got[n] - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-12)


@pytest.mark.parametrize("method", CAMS)
def test_class_activation_methods(traced, method):
    toolkit, x, _, _, features, _ = traced
    got = toolkit.explain(x, method, [1, 3], raw=True).values
    for n in range(2):
        a, g = features.values[n].double().numpy(), features.gradients[n].double().numpy()
        wanted = naive.cam(method, a, g)
        assert np.abs(got[n] - wanted).max() <= 2e-4 * max(np.abs(wanted).max(), 1e-12)


def test_eigencam(traced):
    toolkit, x, _, _, features, _ = traced
    got = toolkit.explain(x, "eigencam", raw=True).values
    for n in range(2):
        assert relative(got[n], naive.eigencam(features.values[n].double().numpy())) < 1e-4


def test_gradients_are_those_of_finite_differences(traced):
    toolkit, x, *_ = traced
    double = copy.deepcopy(toolkit.system.network).double()
    got = toolkit.explain(x, "input_x_gradient", [1, 3], raw=True).values
    places = [(5, 9), (30, 40), (47, 63)]
    for row, column in places:
        total = np.zeros(2)
        for channel in range(3):
            step = torch.zeros(1, 3, 48, 64, dtype=torch.float64)
            step[0, channel, row, column] = 1e-5
            with torch.no_grad():
                up, down = double(x.double() + step), double(x.double() - step)
            slope = ((up - down) / 2e-5).numpy()[[0, 1], [1, 3]]
            total += slope * x[:, channel, row, column].numpy()
        assert np.allclose(got[:, row, column], total, rtol=1e-3, atol=1e-6)


def test_a_model_that_ignores_the_image_gets_no_class_map():
    model = network("token")
    nn.init.zeros_(model.head.weight)
    toolkit = ExplainabilityToolkit(model)
    x = torch.randn(1, 3, 48, 64)
    for name, method in EXPLAINERS.items():
        if toolkit.methods[name] or method.class_blind or method.streams > 1:
            continue
        found = toolkit.explain_all(x, (name,), 1, settings={name: QUICK.get(name, {})})[name]
        if isinstance(found, str):
            assert "gradient" in found.lower() or "leads from" in found, (name, found)
        elif name == "rise":  # says where the constant answer was seen: everywhere alike
            assert np.ptp(found.values) < 0.5 * np.abs(found.values).max()
        elif name == "vit_cx":
            assert not found.maps[0].localised or np.ptp(found.values) <= found.values.max()
        else:
            assert np.abs(found.values).max() < 1e-6 or not found.maps[0].localised, name


def test_a_mirrored_image_gets_a_mirrored_map():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ).eval()  # fmt: skip
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = (layer.weight.data + layer.weight.data.flip(-1)) / 2
    toolkit = ExplainabilityToolkit(model)
    x = torch.randn(1, 3, 32, 32)
    for name in (*CAMS, "eigencam", "saliency", "input_x_gradient", "occlusion"):
        settings = QUICK.get(name, {})
        plain = toolkit.explain(x, name, 1, raw=True, **settings).values
        mirrored = toolkit.explain(x.flip(-1), name, 1, raw=True, **settings).values
        assert np.allclose(plain[..., ::-1], mirrored, atol=1e-5 * np.abs(plain).max()), name


@pytest.mark.parametrize("method", ["rise", "smoothgrad", "vit_cx", "occlusion"])
def test_the_same_seed_gives_the_same_map(method):
    toolkit = ExplainabilityToolkit(network("token"))
    x = torch.randn(1, 3, 48, 64)
    settings = QUICK.get(method, {}) | ({"noise": 0.1} if method == "vit_cx" else {})
    state = torch.get_rng_state()
    first = toolkit.explain(x, method, 1, **settings).values
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(first, toolkit.explain(x, method, 1, **settings).values)


def test_one_pass_for_all_gives_what_one_pass_each_gives():
    toolkit = ExplainabilityToolkit(network("token"))
    x = torch.randn(2, 3, 48, 64)
    names = [n for n in FAST if not toolkit.methods[n] and EXPLAINERS[n].streams == 1]
    together = toolkit.explain_all(x, names, [0, 2], raw=True)
    for name in names:
        alone = toolkit.explain(x, name, [0, 2], raw=True).values
        shared = together[name]
        assert not isinstance(shared, str)
        assert np.allclose(shared.values, alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max()), name
