"""Methods that evaluate the model many times: oracles, naive twins and invariants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from engine import probe as probing
from engine.errors import Cancelled, UnknownName
from engine.explainers import integrated_gradients, masks, occlusion, rise, smoothgrad, vit_cx
from engine.explainers.base import EXPLAINERS
from engine.probe import Probe
from engine.progress import Progress
from engine.trace import ClassTarget, Span, Subject, Tap, Trace, capture
from tests.naive import perturbation as naive

Twin = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def relative_error(got: Tensor, expected: np.ndarray | Tensor) -> float:
    expected = torch.as_tensor(expected)
    return float((got - expected).abs().max() / expected.abs().max())


def probe_of(network: nn.Module, image: Tensor, classes: Tensor) -> Probe:
    def pick(scores: Tensor, owners: Tensor) -> Tensor:
        return scores.gather(1, classes[owners][:, None])[:, 0]

    return Probe(
        image,
        torch.linspace(-2.0, -1.0, image.shape[1]),
        network,
        lambda images, owners: network(images),
        pick,
        lambda scores, owners: pick(scores.float().softmax(1), owners),
    )


class Small(nn.Module):
    """Smooth, for any number of channels; `mirrored` makes it blind to left and right."""

    def __init__(self, channels: int = 3, *, mirrored: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.tap = Tap("features")
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, weights in self.named_parameters():
                weights.copy_(0.5 * torch.randn(weights.shape, generator=generator))
                if mirrored and weights.ndim == 4:
                    weights.copy_((weights + weights.flip(-1)) / 2)
                assert name

    def forward(self, images: Tensor) -> Tensor:
        half = nn.functional.avg_pool2d(torch.tanh(self.first(images)), 4)
        features = self.tap(torch.tanh(self.second(half)), "view")
        return self.head(features.square().mean((2, 3)) * 3)


def images(batch: int = 3, channels: int = 3, height: int = 24, width: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(batch, channels, height, width, generator=generator)


CLASSES = torch.tensor([2, 0, 3])


def trace_of(
    network: Small,
    image: Tensor,
    classes: Tensor = CLASSES,
    progress: Progress | None = None,
) -> Trace:
    grid = (image.shape[2] // 4, image.shape[3] // 4)
    black = tuple(torch.linspace(-2.0, -1.0, image.shape[1]).tolist())
    subject = Subject(
        network, lambda given: network(given["view"]), {"view": Span(0, grid, black=black)}
    )
    trace, _ = capture(
        subject, {"view": image}, ClassTarget(classes), kinds=frozenset({"features"}),
        gradients=False, progress=progress,
    )  # fmt: skip
    return trace


METHODS: dict[str, Callable[[Trace], Tensor]] = {
    "integrated_gradients": lambda trace: integrated_gradients.run(
        trace, steps=7, method="gausslegendre", baseline="black"
    )["view"],
    "smoothgrad": lambda trace: smoothgrad.run(trace, samples=5, noise=0.2, seed=4)["view"],
    "occlusion": lambda trace: occlusion.run(trace, window=8, stride=5, baseline="blur")["view"],
    "rise": lambda trace: rise.run(trace, masks=11, cells=5, keep=0.4, coverage="expected", seed=4)[
        "view"
    ],
    "vit_cx": lambda trace: vit_cx.run(trace, threshold=0.05, noise=0.3, seed=4)["view"],
}
each_method = pytest.mark.parametrize("method", METHODS)


def twins(network: Small, row: int) -> tuple[Twin, Twin]:
    """Logit and probability of one image's class, float64."""
    exact = Small(network.first.in_channels).double()
    exact.load_state_dict(network.state_dict())
    index = int(CLASSES[row])
    return (
        lambda image: exact(image[None])[0, index],
        lambda image: exact(image[None]).detach().softmax(1)[0, index],
    )


@pytest.fixture
def vit(oracle) -> tuple[VisionTransformer, Tensor, Tensor]:
    arrays = oracle("vit_model")
    network = VisionTransformer(**json.loads(str(arrays["config"])))
    weights = {k[2:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("w/")}
    network.load_state_dict(weights)
    return network.eval(), torch.tensor(arrays["x"]), torch.tensor(arrays["target"])


@pytest.fixture
def cnn(oracle) -> tuple[nn.Module, Tensor, Tensor]:
    arrays = oracle("cnn")
    network = nn.Sequential()
    for name, layer in (
        ("conv1", nn.Conv2d(3, 8, 3, padding=1)), ("bn1", nn.BatchNorm2d(8)),
        ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(8, 16, 3, padding=1)), ("bn2", nn.BatchNorm2d(16)),
        ("relu2", nn.ReLU()), ("conv3", nn.Conv2d(16, 16, 3, stride=2, padding=1)),
        ("bn3", nn.BatchNorm2d(16)), ("relu3", nn.ReLU()), ("gap", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()), ("fc", nn.Linear(16, 5)),
    ):  # fmt: skip
        network.add_module(name, layer)
    weights = {k[2:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("w/")}
    network.load_state_dict(weights)
    return network.eval(), torch.tensor(arrays["x"]), torch.tensor(arrays["target"])


@pytest.mark.parametrize(
    ("method", "key", "gap"),
    [
        ("gausslegendre", "ig_gausslegendre50", "f64_ig_gl50_delta"),
        ("riemann_trapezoid", "ig_trapezoid50", "f64_ig_trap50_delta"),
    ],
)
def test_integrated_gradients_equal_captum(oracle, vit, method, key, gap):
    found, missing = integrated_gradients.attributions(probe_of(*vit), method=method)
    assert relative_error(found, oracle("vit_maps")[key]) < 1e-4
    assert np.abs(missing.numpy() - oracle("vit_maps")[gap]).max() < 1e-5


def test_integrated_gradients_equal_captum_on_an_oblong_image(oracle, cnn):
    found, _ = integrated_gradients.attributions(probe_of(*cnn))
    assert relative_error(found, oracle("cnn")["ig_gausslegendre50"]) < 1e-4


@pytest.mark.parametrize(
    ("window", "stride", "key"),
    [(8, 8, "occlusion_patch_logit_drop"), (16, 8, "occlusion_overlap_logit_drop")],
)
def test_occlusion_equals_captum(oracle, vit, window, stride, key):
    drop = occlusion.logit_drop(probe_of(*vit), window=(window, window), stride=(stride, stride))
    assert relative_error(drop, oracle("vit_maps")[key]) < 1e-4


def test_occlusion_equals_captum_on_an_oblong_image(oracle, cnn):
    drop = occlusion.logit_drop(probe_of(*cnn), window=(8, 8), stride=(4, 4))
    assert relative_error(drop, oracle("cnn")["occlusion_8x8_stride4"]) < 1e-4


def test_rise_equals_the_reference_for_each_class(oracle, vit):
    network, image, _ = vit
    arrays = oracle("rise")
    portions = torch.tensor(arrays["masks"]).split(7)
    for index in range(arrays["saliency_all_classes"].shape[1]):
        probe = probe_of(network, image, torch.tensor([index, index]))
        heat = rise.saliency(probe, portions, float(arrays["p1"]))
        assert relative_error(heat, arrays["saliency_all_classes"][:, index]) < 1e-5


def test_one_quiet_sample_of_smoothgrad_is_the_gradient_of_captum(oracle, vit):
    slopes = smoothgrad.mean_gradient(probe_of(*vit), samples=1, noise=0.0)
    assert relative_error(slopes.abs(), oracle("vit_maps")["saliency_abs"]) < 1e-4


@pytest.fixture
def vit_features(vit) -> Tensor:
    network, image, _ = vit
    heard: list[Tensor] = []
    handle = network.blocks[-1].norm1.register_forward_hook(lambda *seen: heard.append(seen[2]))
    with torch.no_grad():
        network(image)
    handle.remove()
    return heard[0][:, 1:].transpose(1, 2).reshape(len(image), -1, 8, 8)


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5])
def test_vit_cx_without_noise_equals_the_reference(oracle, vit, vit_features, threshold):
    arrays = oracle("vitcx")
    groups = [vit_cx.grouped(one, threshold, (64, 64)) for one in vit_features]
    assert [len(group) for group in groups] == arrays[f"vitcx_thr{threshold}_nmasks"].tolist()
    means = masks.stretched(masks.enlarged(groups[0], (64, 64))).mean((1, 2)).sort().values
    key = f"vitcx_thr{threshold}_maskmean_img0_sorted"
    assert relative_error(means, arrays[key]) < 1e-4
    heat = vit_cx.saliency(probe_of(*vit), groups)
    expected = np.nan_to_num(arrays[f"vitcx_thr{threshold}_zeronoise"])
    assert relative_error(heat, expected) < 1e-4
    assert np.array_equal(heat.numpy() == 0, expected == 0)


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5])
def test_vit_cx_with_noise_equals_the_reference(oracle, vit, vit_features, threshold):
    groups, noise = [], []
    for one in vit_features:
        group = vit_cx.grouped(one, threshold, (64, 64))
        distances = naive.cosine_distances(naive.feature_masks(one, (64, 64)))
        firsts = naive.order_of_the_reference(distances, len(group))
        drawn = 0.1 * torch.randn(len(group), 3, 64, 64, generator=torch.Generator().manual_seed(0))
        groups.append(group)
        noise.append(drawn[np.argsort(firsts)])
    heat = vit_cx.saliency(probe_of(*vit), groups, iter(torch.cat(noise)))
    expected = np.nan_to_num(oracle("vitcx")[f"vitcx_thr{threshold}_seed0noise"])
    assert relative_error(heat, expected) < 1e-3


@pytest.mark.parametrize("size", [(24, 20), (31, 17), (6, 5), (64, 48)])
def test_similarity_at_low_resolution_is_that_of_the_enlarged_masks(size):
    features = torch.randn(9, 6, 5, generator=torch.Generator().manual_seed(5)).double()
    low, high = vit_cx.ranges(features, size)
    whole = torch.nn.functional.interpolate(features[None], size, mode="bilinear")[0].flatten(1)
    assert torch.allclose(low, whole.amin(1), rtol=0, atol=1e-12)
    assert torch.allclose(high, whole.amax(1), rtol=0, atol=1e-12)
    found = 1 - vit_cx.similarity(features, low, high, size).numpy()
    expected = naive.cosine_distances(naive.feature_masks(features, size))
    assert np.abs(found - expected).max() < 1e-12


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.05, 0.1, 0.3, 2.0])
def test_clusters_are_those_of_merging_one_by_one(threshold):
    features = torch.randn(24, 4, 4, generator=torch.Generator().manual_seed(6))
    distances = naive.cosine_distances(naive.feature_masks(features, (16, 16)))
    labels = vit_cx.clusters(distances, threshold)
    groups = [np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)]
    assert groups == naive.complete_linkage(distances, threshold)


def test_groups_at_exactly_the_threshold_stay_apart():
    distances = np.array([[0.0, 0.25], [0.25, 0.0]])
    assert vit_cx.clusters(distances, 0.25).tolist() == [0, 1]
    assert vit_cx.clusters(distances, 0.2500001).tolist() == [0, 0]


def test_constant_channels_are_no_masks():
    varied = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(7))
    flat = torch.full((2, 4, 4), 3.0)
    alone = vit_cx.grouped(varied, 0.1, (16, 16))
    assert torch.equal(vit_cx.grouped(torch.cat([flat, varied]), 0.1, (16, 16)), alone)
    assert vit_cx.grouped(flat, 0.1, (16, 16)).shape == (0, 4, 4)
    network, image = Small(), images(1, 3, 16, 16)
    probe = probe_of(network, image, CLASSES[:1])
    empty = vit_cx.saliency(probe, [vit_cx.grouped(flat, 0.1, (16, 16))])
    assert torch.equal(empty, torch.zeros(1, 16, 16))


def test_masks_of_rise_equal_the_twin():
    grids, shifts = masks.random_cells(6, 5, 0.4, seed=1)
    found = masks.random_masks(grids, shifts, (24, 19))
    for grid, shift, mask in zip(grids, shifts, found, strict=True):
        assert relative_error(mask, naive.rise_mask(grid, shift, (24, 19))) < 1e-6


def test_masks_of_rise_keep_the_stated_share():
    grids, shifts = masks.random_cells(4000, 7, 0.3, seed=2)
    found = masks.random_masks(grids, shifts, (14, 14))
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert float((found.mean(0) - 0.3).abs().max()) < 0.04
    assert float((found.mean() - 0.3).abs()) < 0.004


def test_every_method_equals_its_naive_twin():
    network, given = Small(), images()
    trace = trace_of(network, given)
    found = {name: method(trace) for name, method in METHODS.items()}
    black = torch.linspace(-2.0, -1.0, 3).double()[:, None, None].expand(given.shape[1:])
    cover = masks.filled(trace.probe("view"), "blur", blur=4.0).double()
    grids, shifts = masks.random_cells(11, 5, 0.4, seed=4)
    views = [naive.rise_mask(*pair, (24, 20)) for pair in zip(grids, shifts, strict=True)]
    for row, image in enumerate(given.double()):
        logit, share = twins(network, row)
        generator = torch.Generator().manual_seed(4)
        draws = [torch.randn(image.shape, generator=generator).double() for _ in range(200)]
        noise = [0.3 * draw for draw in draws]
        features = trace.features("view").values[row]
        expected = {
            "integrated_gradients": naive.integrated_gradients(logit, image, black, 7).sum(0),
            "smoothgrad": naive.mean_gradient(logit, image, draws[:5], 0.2).abs().sum(0),
            "occlusion": naive.occlusion(logit, image, cover[row], (8, 8), (5, 5)),
            "rise": naive.rise(share, image, torch.stack(views), 0.4),
            "vit_cx": naive.vit_cx(share, image, features, 0.05, noise),
        }
        for name, heat in expected.items():
            assert relative_error(found[name][row].double(), heat.detach()) < 2e-5, name


@each_method
def test_the_portion_changes_nothing(method, monkeypatch):
    trace = trace_of(Small(), images())
    found = []
    for at_once in (1, 2, 7, 400):
        monkeypatch.setitem(probing.PIXELS_AT_ONCE, "cpu", at_once * 24 * 20)
        found.append(METHODS[method](trace))
    for other in found[:-1]:
        assert relative_error(other, found[-1]) < 2e-6


@each_method
def test_an_image_does_not_see_its_neighbours(method):
    network, given = Small(), images()
    together = METHODS[method](trace_of(network, given))
    alone = METHODS[method](trace_of(network, given[2:], CLASSES[2:]))
    assert relative_error(alone, together[2:]) < 2e-6


@each_method
@pytest.mark.parametrize("at_once", [2, 8])
def test_no_more_images_at_once_than_a_portion_and_all_are_announced(method, at_once, monkeypatch):
    monkeypatch.setitem(probing.PIXELS_AT_ONCE, "cpu", at_once * 24 * 20)
    trace = trace_of(Small(), images())
    portions: list[int] = []
    probe = trace.probe("view")
    handle = probe.network.register_forward_hook(lambda *seen: portions.append(len(seen[2])))
    METHODS[method](trace)
    handle.remove()
    assert max(portions) <= at_once
    assert sum(portions) == probe.progress.done == probe.progress.expected


@each_method
def test_the_same_seed_gives_the_same_map_and_leaves_other_draws_alone(method):
    trace = trace_of(Small(), images())
    before = torch.get_rng_state()
    first = METHODS[method](trace)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(METHODS[method](trace), first)


def test_another_seed_gives_another_map():
    trace = trace_of(Small(), images())
    other = rise.run(trace, masks=11, cells=5, keep=0.4, coverage="expected", seed=5)["view"]
    assert not torch.allclose(other, METHODS["rise"](trace), rtol=0.01)
    other = smoothgrad.run(trace, samples=5, noise=0.2, seed=5)["view"]
    assert not torch.allclose(other, METHODS["smoothgrad"](trace), rtol=0.01)
    other = vit_cx.run(trace, threshold=0.05, noise=0.3, seed=5)["view"]
    assert not torch.equal(other, METHODS["vit_cx"](trace))


def test_the_actual_coverage_has_the_same_limit_and_less_noise():
    network, given = Small(), images(1)
    trace = trace_of(network, given, CLASSES[:1])

    def heat(coverage: str, count: int, seed: int) -> Tensor:
        settings = {"masks": count, "cells": 5, "keep": 0.4, "coverage": coverage, "seed": seed}
        return rise.run(trace, **settings)["view"]

    limit = heat("expected", 6000, 0)
    assert relative_error(heat("actual", 6000, 0), limit) < 0.05
    errors = {
        kind: sum(float((heat(kind, 60, seed) - limit).square().mean()) for seed in range(1, 9))
        for kind in rise.COVERAGES
    }
    assert errors["actual"] < 0.6 * errors["expected"]


@each_method
@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(method, channels):
    heat = METHODS[method](trace_of(Small(channels), images(2, channels), CLASSES[:2]))
    assert heat.shape == (2, 24, 20) and heat.dtype == torch.float32
    assert torch.isfinite(heat).all() and float(heat.std()) > 0


@each_method
def test_a_network_in_half_precision_gives_nearly_the_same_map(method):
    network, given = Small(), images()
    exact = METHODS[method](trace_of(network, given))
    half = METHODS[method](trace_of(network.bfloat16(), given.bfloat16()))
    assert half.dtype == torch.float32
    pair = torch.stack([exact.flatten(), half.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.9


@each_method
def test_a_watcher_can_stop_it(method):
    def stop(done: int, expected: int) -> None:
        raise Cancelled("Stopped.")

    trace = trace_of(Small(), images(), progress=Progress(stop))
    with pytest.raises(Cancelled):
        METHODS[method](trace)


@pytest.mark.parametrize("connected", [True, False])
def test_a_constant_model_gets_an_empty_map(connected):
    network = Small()
    with torch.no_grad():
        network.head.weight.zero_()
    trace = trace_of(network, images())
    if not connected:
        network.forward = lambda given: network.head.bias.expand(len(given), -1)
    for method in ("integrated_gradients", "smoothgrad", "occlusion"):
        assert torch.equal(METHODS[method](trace), torch.zeros(3, 24, 20)), method
    share = network.head.bias.detach().softmax(0)[CLASSES]
    grids, shifts = masks.random_cells(11, 5, 0.4, seed=4)
    coverage = masks.random_masks(grids, shifts, (24, 20)).mean(0) / 0.4
    assert relative_error(METHODS["rise"](trace), share[:, None, None] * coverage) < 1e-6
    heat = METHODS["vit_cx"](trace)
    assert float((heat.amax((1, 2)) - heat.amin((1, 2))).max()) < 1e-6


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_mirrored_image_gets_the_mirrored_map(method):
    network, given = Small(mirrored=True), images(width=20)
    settings = {
        "integrated_gradients": {"steps": 9, "method": "gausslegendre", "baseline": "mean"},
        "occlusion": {"window": 4, "stride": 2, "baseline": "blur"},
    }[method]
    run = {"integrated_gradients": integrated_gradients.run, "occlusion": occlusion.run}[method]
    plain = run(trace_of(network, given), **settings)["view"]
    mirrored = run(trace_of(network, given.flip(-1)), **settings)["view"]
    assert relative_error(mirrored.flip(-1), plain) < 1e-4


@pytest.mark.parametrize("baseline", ["mean", "black"])
def test_integrated_gradients_add_up_to_the_rise_of_the_score(baseline):
    network, given = Small(), images()
    probe = probe_of(network, given, CLASSES)
    found, gap = integrated_gradients.attributions(probe, baseline=baseline)
    assert probe.progress.done == probe.progress.expected
    start = masks.filled(probe, baseline).expand_as(given)
    with torch.no_grad():
        rise_of_score = probe.logit(given) - probe.logit(start)
    assert float(rise_of_score.abs().min()) > 0.01
    assert torch.allclose(found.sum((1, 2, 3)), rise_of_score, atol=1e-4)
    assert torch.allclose(gap, found.sum((1, 2, 3)) - rise_of_score, atol=1e-6)


def test_the_window_of_occlusion_is_one_cell_of_the_grid():
    trace = trace_of(Small(), images())
    found = occlusion.run(trace, window=None, stride=None, baseline="mean")["view"]
    probe = trace.probe("view")
    assert torch.equal(found, occlusion.logit_drop(probe, window=(4, 4), stride=(4, 4)))
    blocks = found.unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)
    assert torch.allclose(blocks.amax(3), blocks.amin(3))


def test_fills_are_what_they_say():
    probe = probe_of(Small(), images(), CLASSES)
    assert torch.equal(masks.filled(probe, "mean"), torch.zeros(1, 3, 24, 20))
    assert masks.filled(probe, "black")[0, :, 5, 7].tolist() == [-2.0, -1.5, -1.0]
    blurred = masks.filled(probe, "blur", blur=3.0)
    assert blurred.shape == probe.image.shape
    assert float(blurred.std()) < 0.3 * float(probe.image.std())


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        (integrated_gradients, {"steps": 1}, "2 to 1000 steps"),
        (integrated_gradients, {"method": "simpson"}, "rule is one of"),
        (integrated_gradients, {"baseline": "blur"}, "baseline is one of mean, black,"),
        (smoothgrad, {"samples": 0}, "at least 1 sample"),
        (smoothgrad, {"noise": -0.1}, "noise must not"),
        (occlusion, {"baseline": "white"}, "baseline is one of"),
        (occlusion, {"window": 0}, "window must fit"),
        (occlusion, {"window": 40}, "window must fit"),
        (occlusion, {"window": 4, "stride": 5}, "window must fit"),
        (rise, {"masks": 0}, "at least 1 mask"),
        (rise, {"keep": 0.0}, "share of cells"),
        (rise, {"coverage": "none"}, "coverage is one of"),
        (vit_cx, {"threshold": -1.0}, "threshold must not"),
        (vit_cx, {"noise": -1.0}, "noise must not"),
    ],
)
def test_settings_out_of_range_are_refused(method, settings, sentence):
    name = method.__name__.rsplit(".", 1)[-1]
    with pytest.raises(UnknownName, match=sentence):
        method.run(trace_of(Small(), images()), **EXPLAINERS[name].chosen(settings))


def test_what_the_methods_declare():
    for name in METHODS:
        declared = EXPLAINERS[name]
        assert declared.slow and not declared.gradients and not declared.class_blind
        assert declared.signed == (name in {"integrated_gradients", "occlusion"})
        heat = declared.run(
            trace_of(Small(), images()), **declared.chosen({"masks": 9} if name == "rise" else {})
        )["view"]
        assert heat.shape == (3, 24, 20)
        assert declared.signed or float(heat.min()) >= 0
