"""Networks that we did not write: each is read by itself, left as it was, or refused in words."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from engine import ExplainabilityToolkit
from engine.anatomy import IMAGE
from engine.errors import IncompatibleExplainer, ShapeMismatch
from engine.explainers import EXPLAINERS
from engine.listening import AttentionMode
from engine.records import Case
from engine.toolkit import as_image
from engine.trace import ClassTarget, capture
from engine.workflow import predict

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 5}
GRADIENTS = ("rollout", "gradient_rollout", "attention_gradcam", "relevance", "gradcam", "hirescam")


def small_vit(name: str = "vit_tiny_patch16_224", size: int = 64, **changes) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, img_size=size, **{**SMALL, **changes}).eval()


TRANSFORMERS = {
    "plain": (lambda: small_vit(), (64, 64), (4, 4)),
    "oblong": (lambda: small_vit(size=(64, 96)), (64, 96), (4, 6)),
    "any size": (lambda: small_vit(dynamic_img_size=True), (80, 48), (5, 3)),
    "distilled": (lambda: small_vit("deit_tiny_distilled_patch16_224"), (64, 64), (4, 4)),
    "registers": (lambda: small_vit("vit_small_patch14_reg4_dinov2", 56), (56, 56), (4, 4)),
    "mean": (lambda: small_vit(class_token=False, global_pool="avg"), (64, 64), (4, 4)),
    "attention pooling": (
        lambda: small_vit("vit_base_patch16_siglip_224", class_token=False), (64, 64), (4, 4),
    ),
    "beit": (lambda: small_vit("beit_base_patch16_224"), (64, 64), (4, 4)),
    "rotary": (lambda: small_vit("eva02_tiny_patch14_224", 56), (56, 56), (4, 4)),
    "hybrid": (
        lambda: timm.create_model("vit_tiny_r_s16_p8_224", img_size=128, num_classes=5).eval(),
        (128, 128), (4, 4),
    ),
    "torchvision": (
        lambda: TorchvisionViT(64, 16, 3, 3, 48, 96, num_classes=5).eval(), (64, 64), (4, 4),
    ),
}  # fmt: skip


def images(size: tuple[int, int], count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_serve_attention_methods(name):
    make, size, grid = TRANSFORMERS[name]
    network, x = make(), images(size)
    if name == "torchvision":
        nn.init.normal_(network.heads.head.weight, std=0.1)
    toolkit = ExplainabilityToolkit(network)
    before = network(x)
    found = toolkit.explain_all(x, GRADIENTS, [1, 3], raw=True)
    for method, answer in found.items():
        assert not isinstance(answer, str), (method, answer)
        assert answer.values.shape == (2, *grid)
        assert np.isfinite(answer.values).all()
    assert torch.equal(network(x), before)
    alone = toolkit.explain(x[1:], "relevance", 3, raw=True).values
    assert np.allclose(found["relevance"].values[1:], alone, rtol=1e-3, atol=1e-9)


CONVOLUTIONAL = {
    "resnet18": "layer4",
    "convnext_atto": "stages.3",
    "efficientnet_lite0": "blocks.6",
    "swin_tiny_patch4_window7_224": "layers.3.blocks.1.norm2",
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_networks_without_attention_serve_class_activation_and_say_why_not_more(name):
    torch.manual_seed(0)
    size = 224 if "swin" in name else 96
    network = timm.create_model(name, num_classes=5).eval()
    toolkit, x = ExplainabilityToolkit(network), images((size, size), 1)
    found = toolkit.explain_all(x, ("gradcam", "layercam", "eigencam", "saliency", "relevance"))
    assert toolkit.system.anatomy.features == CONVOLUTIONAL[name]
    for method in ("gradcam", "layercam", "eigencam"):
        assert not isinstance(found[method], str), found[method]
        assert found[method].values.shape == (1, size, size)
        assert found[method].maps[0].grid == (size // 32, size // 32)
    if "swin" not in name:
        assert "attention" in found["relevance"]
        with pytest.raises(IncompatibleExplainer, match="Gradient-weighted relevance"):
            toolkit.explain(x, "relevance")


def windowed(size: tuple[int, int] = (64, 64)) -> nn.Module:
    torch.manual_seed(0)
    made = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=size, window_size=4, embed_dim=16,
        depths=(2, 2), num_heads=(2, 4), num_classes=5,
    )  # fmt: skip
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return made.eval()


@pytest.mark.parametrize("size", [(64, 64), (56, 72)])
def test_windows_are_joined_as_the_whole_matrix_would_be(size):
    """Each window's matrix is laid into one over all places; layers multiply; merging averages."""
    network, x = windowed(size), images(size, 1)
    toolkit = ExplainabilityToolkit(network)
    trace, _ = capture(
        toolkit.system.read_at(x), {IMAGE: x}, ClassTarget(torch.tensor([2])),
        kinds=frozenset({"attention"}),
    )  # fmt: skip
    readings = trace.read("windowed", IMAGE)
    assert [r.windows.shift for r in readings][1] == (2, 2)
    flow, relevance, grid = None, None, readings[0].windows.grid
    for reading in readings:
        here = reading.windows.grid
        if here != grid:
            merge = np.zeros((here[0] * here[1], grid[0] * grid[1]))
            for row, column in np.ndindex(*grid):
                merge[row // 2 * here[1] + column // 2, row * grid[1] + column] = 0.25
            flow, relevance, grid = merge @ flow, merge @ relevance, here
        mean = whole_matrix(reading, reading.values.mean(1).double().numpy())
        both = (reading.values * reading.gradients).clamp_min(0).mean(1).double().numpy()
        step = mean + np.eye(len(mean))
        step = step / step.sum(1, keepdims=True)
        keep = np.eye(len(mean)) + whole_matrix(reading, both)
        flow = step if flow is None else step @ flow
        relevance = keep if relevance is None else keep @ relevance
    first = readings[0].windows.grid
    got = toolkit.explain(x, "rollout", 2, raw=True).values[0]
    assert np.allclose(got, flow.mean(0).reshape(first), rtol=1e-3)
    explained = toolkit.explain(x, "relevance", 2, raw=True)
    assert "no published one" in explained.settings["windows"]
    assert "windows" not in toolkit.explain(x, "gradcam", 2).settings
    got = explained.values[0]
    offset = float((relevance.mean(0).reshape(first) - got).mean())
    assert np.allclose(got + offset, relevance.mean(0).reshape(first), rtol=1e-4)


def whole_matrix(reading, fused: np.ndarray) -> np.ndarray:
    """The matrix over all places that windows (n, w, w) amount to, built place by place."""
    (height, width), (down, across) = reading.windows.grid, reading.windows.size
    up, left = reading.windows.shift
    whole = np.zeros((height * width, height * width))
    columns = -(-width // across)
    owners: dict[int, list[tuple[int, int]]] = {}
    for row, column in np.ndindex(height, width):
        r, c = (row - up) % height, (column - left) % width
        window = r // down * columns + c // across
        place = r % down * across + c % across
        owners.setdefault(window, []).append((place, row * width + column))
    for window, members in owners.items():
        for i, query in members:
            for j, key in members:
                whole[query, key] = fused[window, i, j]
    return whole


@pytest.mark.parametrize("name", ["cait_xxs24_224", "xcit_nano_12_p16_224", "pvt_v2_b0"])
def test_attention_that_is_no_map_of_regions_is_refused(name):
    network = timm.create_model(name, num_classes=5).eval()
    toolkit, x = ExplainabilityToolkit(network), images((224, 224), 1)
    found = toolkit.explain_all(x, ("rollout", "gradcam", "input_x_gradient"))
    assert isinstance(found["rollout"], str) and "attention" in found["rollout"].lower()
    assert not isinstance(found["gradcam"], str), found["gradcam"]
    assert not isinstance(found["input_x_gradient"], str)


def test_the_model_is_left_as_it_was():
    network = small_vit().train()
    network.blocks[0].requires_grad_(False)
    frozen = [p.requires_grad for p in network.parameters()]
    state = copy.deepcopy(network.state_dict())
    ExplainabilityToolkit(network).explain_all(images((64, 64)), GRADIENTS)
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()] == frozen
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())
    assert all(block.attn.fused_attn for block in network.blocks)
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_nothing_is_left_behind_when_the_pass_fails():
    network = small_vit()

    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken head")

    network.head = Broken()
    with pytest.raises(RuntimeError, match="broken head"):
        ExplainabilityToolkit(network, classes=("a",)).explain(images((64, 64)), "gradcam")
    assert not any(m._forward_hooks for m in network.modules())
    assert all(p.requires_grad for p in network.parameters())


def test_frozen_models_and_callers_without_gradients_are_served():
    network, x = small_vit(), images((64, 64))
    wanted = ExplainabilityToolkit(network).explain(x, "relevance", 2, raw=True).values
    network.requires_grad_(False)
    with torch.no_grad():
        still = ExplainabilityToolkit(network).explain(x, "relevance", 2, raw=True).values
    assert np.array_equal(wanted, still)
    with torch.inference_mode():
        again = ExplainabilityToolkit(network).explain(x, "input_x_gradient", 2).values
    assert np.isfinite(again).all() and again.any()


def test_compiled_and_wrapped_models_are_read_inside():
    network, x = small_vit(), images((64, 64))
    wanted = ExplainabilityToolkit(network).explain(x, "relevance", 2).values
    compiled = torch.compile(network, backend="eager")
    assert np.array_equal(ExplainabilityToolkit(compiled).explain(x, "relevance", 2).values, wanted)
    wrapped = nn.DataParallel(network)
    assert np.array_equal(ExplainabilityToolkit(wrapped).explain(x, "relevance", 2).values, wanted)


def test_bfloat16_weights_give_nearly_the_same_map():
    network, x = small_vit(), images((64, 64))
    wanted = ExplainabilityToolkit(network).explain(x, "rollout", 2).values
    half = ExplainabilityToolkit(copy.deepcopy(network).bfloat16()).explain(x, "rollout", 2)
    assert half.values.dtype == np.float32
    assert np.corrcoef(half.values.ravel(), wanted.ravel())[0, 1] > 0.99


def test_targets_that_do_not_fit_are_refused():
    toolkit, x = ExplainabilityToolkit(small_vit()), images((64, 64), 3)
    with pytest.raises(ShapeMismatch, match="one target per image"):
        toolkit.explain(x, "gradcam", [1, 2])
    with pytest.raises(ShapeMismatch, match="5 classes"):
        toolkit.explain(x, "gradcam", 5)
    with pytest.raises(ShapeMismatch, match="64 x 64"):
        toolkit.explain(images((96, 96)), "gradcam")
    with pytest.raises(ShapeMismatch, match="3 channel"):
        toolkit.explain(x[:, :1], "gradcam")


def test_the_leading_class_of_each_image_is_the_default():
    network, x = small_vit(), images((64, 64), 3)
    toolkit = ExplainabilityToolkit(network)
    leading = network(x).argmax(1).tolist()
    by_itself = toolkit.explain(x, "gradcam").values
    assert np.array_equal(by_itself, toolkit.explain(x, "gradcam", leading).values)


def test_unknown_settings_are_refused_with_those_that_exist():
    toolkit = ExplainabilityToolkit(small_vit())
    with pytest.raises(Exception, match=r"no setting 'ratio'\. Known: head_fusion, discard_ratio"):
        toolkit.explain(images((64, 64)), "rollout", ratio=0.5)


def test_other_threads_do_not_hear_the_mode():
    import threading

    heard: list = []
    done: list[torch.Tensor] = []

    def elsewhere() -> None:
        q = torch.randn(1, 1, 4, 8)
        done.append(nn.functional.scaled_dot_product_attention(q, q, q))

    with AttentionMode(1, "image", False, heard):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert done and not heard


def test_an_array_and_a_tensor_of_the_same_image_agree():
    network = small_vit()
    toolkit = ExplainabilityToolkit(network)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    from_array = toolkit.explain(pixels, "gradcam", 1).values
    shares = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1))[None] / 255
    from_tensor = toolkit.explain(toolkit.system.normalised(shares), "gradcam", 1).values
    assert from_array.shape == (1, 64, 64)
    assert np.allclose(from_array, from_tensor, atol=1e-5)


def test_small_multiples_of_every_method_are_drawn():
    toolkit = ExplainabilityToolkit(small_vit())
    fast = [n for n, why in toolkit.methods.items() if not why and not EXPLAINERS[n].slow]
    sheet = toolkit.visualize_all(images((64, 64), 1), fast, side=96)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.std() > 10


def test_methods_that_only_ask_need_no_pass_when_the_class_is_given(monkeypatch):
    network, x = small_vit(), images((64, 64), 2)
    toolkit = ExplainabilityToolkit(network)
    calls: list[int] = []
    plain = network.forward
    monkeypatch.setattr(network, "forward", lambda t: (calls.append(len(t)), plain(t))[1])
    by_name = toolkit.explain(x, "occlusion", [1, 3], window=32).values
    assert sum(calls) == 2 * (1 + 4)
    with torch.inference_mode():
        inside = toolkit.explain(x.clone(), "integrated_gradients", [1, 3], steps=3).values
    assert np.isfinite(inside).all() and inside.any()
    assert np.isfinite(by_name).all()
    with pytest.raises(ShapeMismatch, match="5 classes"):
        toolkit.explain(x, "occlusion", 7, window=32)
    with pytest.raises(ShapeMismatch, match="one target per image"):
        toolkit.explain(x, "occlusion", [1], window=32)


def test_one_methods_layer_changes_no_other_method():
    torch.manual_seed(0)
    toolkit = ExplainabilityToolkit(timm.create_model("resnet18", num_classes=5).eval())
    x = images((64, 64), 1)
    wanted = toolkit.explain(x, "hirescam", 1, raw=True).values
    found = toolkit.explain_all(
        x, ("gradcam", "hirescam"), 1, raw=True, settings={"gradcam": {"layers": "layer2"}}
    )
    assert found["gradcam"].values.shape == (1, 8, 8)
    assert np.array_equal(found["hirescam"].values, wanted)


def test_layers_are_chosen_for_images_too():
    torch.manual_seed(0)
    toolkit = ExplainabilityToolkit(timm.create_model("resnet18", num_classes=5).eval())
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    deep = toolkit.explain(pixels, "layercam", 1, raw=True)
    early = toolkit.explain(pixels, "layercam", 1, raw=True, layers="layer2")
    assert deep.values.shape == (1, 7, 7) and early.values.shape == (1, 28, 28)
    with pytest.raises(IncompatibleExplainer, match="no layer named 'layer9'"):
        toolkit.explain(pixels, "layercam", 1, layers="layer9")


def test_a_single_logit_says_yes_or_no():
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=1).eval()
    toolkit, x = ExplainabilityToolkit(network, classes=("malignant",)), images((64, 64), 1)
    assert toolkit.system.card.classes == ("not malignant", "malignant")
    yes = toolkit.explain(x, "input_x_gradient", 1, raw=True).values
    no = toolkit.explain(x, "input_x_gradient", "not malignant", raw=True).values
    assert np.allclose(yes, -no) and yes.any()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    case = Case("one", (as_image(pixels),))
    said = predict(toolkit.system, case).probabilities
    with torch.no_grad():
        shown = toolkit.system.prepare(case).inputs[IMAGE]
        share = float(network(shown).sigmoid())
    assert said["malignant"] == pytest.approx(share, abs=1e-6)
    assert sum(said.values()) == pytest.approx(1)
    heat = toolkit.explain(x, "rise", 1, masks=8).values
    assert np.ptp(heat) > 0


def test_predicting_changes_no_statistics_of_a_network_in_training():
    network = timm.create_model("resnet18", num_classes=5).train()
    before = network.bn1.running_mean.clone()
    system = ExplainabilityToolkit(network).system
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    predict(system, Case("one", (as_image(pixels),)))
    assert torch.equal(network.bn1.running_mean, before) and network.training


def test_a_number_means_the_same_class_for_images_and_tensors():
    toolkit = ExplainabilityToolkit(small_vit(num_classes=3), classes=("1", "2", "3"))
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    shares = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1))[None] / 255
    x = toolkit.system.normalised(shares)
    assert toolkit.explain(pixels, "gradcam", 1).target == "2"
    assert toolkit.explain(x, "gradcam", 1).target == "2"
    assert toolkit.explain(pixels, "gradcam", "1").target == "1"
    assert toolkit.explain(x, "gradcam", "1").target == "1"


def test_features_that_are_no_numbers_refuse_one_method_and_spare_the_rest():
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=5).eval()
    found = ExplainabilityToolkit(network).explain_all(
        torch.full((1, 3, 64, 64), float("nan")), ("eigencam", "gradcam", "saliency"), 1
    )
    assert "not numbers" in found["eigencam"] and "not numbers" in found["gradcam"]
    assert not isinstance(found["saliency"], str)


def test_images_are_explained_inside_inference_mode():
    toolkit = ExplainabilityToolkit(small_vit())
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    wanted = toolkit.explain(pixels, "integrated_gradients", 1, steps=3).values
    with torch.inference_mode():
        found = toolkit.explain(pixels, "integrated_gradients", 1, steps=3).values
    assert np.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "relevance", "lrp"])
def test_a_first_layer_that_is_not_there_is_refused(method):
    with pytest.raises(Exception, match="first layer must lie in 0 to 2"):
        ExplainabilityToolkit(small_vit()).explain(images((64, 64)), method, 1, start_layer=9)
