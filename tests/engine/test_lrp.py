"""Relevance propagation: against the paper's code, a naive twin, and what no model may notice."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer
from engine.lrp import Layer, LrpMode, propagate, transformer_attribution
from engine.lrp import rules as lrp_rules
from engine.models.breast import BreastCancerDiagnosisModel
from engine.workflow import explain
from tests.engine.small_system import small_case, small_system
from tests.naive import lrp as naive

VisionTransformer = timm.models.vision_transformer.VisionTransformer
SMALL = {
    "img_size": 64,
    "patch_size": 16,
    "depth": 3,
    "embed_dim": 48,
    "num_heads": 3,
    "num_classes": 5,
}


def relative(got: Tensor, expected: np.ndarray | Tensor) -> float:
    wanted = torch.as_tensor(expected)
    return float((got - wanted).abs().max() / wanted.abs().max())


def of_class(classes: Tensor):
    return lambda logits: logits.gather(1, classes[:, None])[:, 0]


def stacked(layers: list[Layer], what: str) -> Tensor:
    return torch.stack([getattr(layer, what) for layer in layers], 1)


def attribution(layers: list[Layer], start: int = 0) -> Tensor:
    gradients, relevances = zip(*((la.gradient, la.relevance) for la in layers), strict=True)
    return transformer_attribution(gradients, relevances, start)


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, so that no zero initialisation hides a path; frozen."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(noise, alpha=0.05)
    return network.eval().requires_grad_(False)


def pixels(count: int = 2, side: int = 64, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, side, side, generator=generator, dtype=torch.float64)


def run(network: nn.Module, x: Tensor) -> list[Layer]:
    return propagate(lambda: network(x), of_class(torch.arange(len(x)) % 3))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def reference(oracle):
    """The stored network, its images and its targets."""
    arrays = oracle("vit_model")
    network = VisionTransformer(**json.loads(str(arrays["config"])))
    weights = {k[2:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("w/")}
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    return network, torch.tensor(arrays["x"]), torch.tensor(arrays["target"])


@pytest.mark.parametrize("fused", [True, False])
def test_one_graph_gives_true_gradients_and_the_relevance_of_the_paper(oracle, reference, fused):
    network, x, target = reference
    for block in network.blocks:
        block.attn.fused_attn = fused
    layers = propagate(lambda: network(x), of_class(target))
    expected = oracle("vit_attention")
    assert relative(stacked(layers, "attention"), expected["attn"]) < 1e-5
    assert relative(stacked(layers, "gradient"), expected["attn_grad"]) < 1e-5
    cam = oracle("vit_lrp_internals")["lrp_attn_cam"]
    assert relative(stacked(layers, "relevance"), cam) < 5e-3


@pytest.mark.parametrize("start", [0, 1])
def test_attribution_equals_the_code_of_the_paper(oracle, reference, start):
    network, x, target = reference
    flow = attribution(propagate(lambda: network(x), of_class(target)), start)
    expected = oracle("vit_maps")[f"chefer_lrp_transformer_attribution_sl{start}"]
    assert relative(flow[:, 0, 1:].reshape(-1, 8, 8), expected) < 5e-3


def test_attribution_equals_the_naive_twin():
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    network = settled(VisionTransformer(**sizes, num_classes=4, init_values=0.5)).double()
    x, target = pixels(1, 16), 2
    with torch.no_grad():
        tokens = network._pos_embed(network.patch_embed(x))[0].numpy()
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    twin = naive.Vit(weights, heads=2, depth=2)
    layers = propagate(lambda: network(x), of_class(torch.tensor([target])))
    for layer, expected in zip(layers, naive.relevances(twin, tokens, target), strict=True):
        assert relative(layer.relevance[0], expected) < 1e-8
    assert relative(attribution(layers)[0], naive.attribution(twin, tokens, target)) < 1e-6


def test_nothing_is_left_in_the_network(reference):
    network, x, target = reference
    with torch.no_grad():
        before = network(x)
    propagate(lambda: network(x), of_class(target))
    modules = list(network.modules())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in modules)
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    with torch.no_grad():
        assert torch.equal(network(x), before)


FOUND = {
    "class token": lambda: VisionTransformer(**SMALL),
    "mean": lambda: VisionTransformer(**SMALL, class_token=False, global_pool="avg"),
    "attention pooling": lambda: VisionTransformer(**SMALL, class_token=False, global_pool="map"),
    "registers": lambda: VisionTransformer(
        **SMALL, reg_tokens=4, init_values=0.1, no_embed_class=True
    ),
    "gated": lambda: VisionTransformer(**SMALL, mlp_layer=timm.layers.SwiGLUPacked, qk_norm=True),
    "distilled": lambda: timm.models.deit.VisionTransformerDistilled(**SMALL),
    "rotary": lambda: timm.models.eva.Eva(**SMALL, use_rot_pos_emb=True),
    "position bias": lambda: timm.models.beit.Beit(**SMALL, use_rel_pos_bias=True),
    "torch attention": lambda: torchvision.models.VisionTransformer(
        64, 16, 3, 3, 48, 96, num_classes=5
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_a_batch_equals_its_images_one_by_one(kind):
    network, x = settled(FOUND[kind]().double()), pixels()
    together = run(network, x)
    assert len(together) == 3
    for image in range(len(x)):
        alone = propagate(
            lambda image=image: network(x[image : image + 1]), of_class(torch.tensor([image]))
        )
        for one, all_ in zip(alone, together, strict=True):
            assert float(one.relevance.abs().max()) > 0
            assert relative(all_.relevance[image], one.relevance[0]) < 1e-5
            assert relative(all_.gradient[image], one.gradient[0]) < 1e-5
    assert bool(attribution(together).isfinite().all())


@pytest.mark.parametrize("kind", FOUND)
def test_watching_changes_no_logit(kind):
    network, x = settled(FOUND[kind]().double()), pixels()
    with torch.no_grad():
        plain = network(x)
    with LrpMode():
        watched = network(x)
    assert torch.allclose(watched.detach(), plain, rtol=1e-9, atol=1e-9)


class Residual(nn.Module):
    """Attention followed by a step that is to be refused, or not."""

    def __init__(self, step, every: int = 1) -> None:
        super().__init__()
        self.step, self.every = step, every
        self.embed, self.head = nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(len(x), 1, -1, 48))
        keys = x[:, :, :: self.every]
        x = nn.functional.scaled_dot_product_attention(x, keys, keys)[:, 0]
        return self.head(self.step(x).mean(1))


class Explicit(nn.Module):
    """Attention as users write it, in the ways that torch allows."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        self.embed, self.qkv = nn.Linear(48, 24), nn.Linear(24, 72)
        self.fc, self.head = nn.Linear(24, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(len(x), 16, 48))
        q, k, v = self.qkv(x).reshape(len(x), 16, 3, 2, 12).permute(2, 0, 3, 1, 4)
        if self.spelling == "einsum":
            a = (torch.einsum("bhid,bhjd->bhij", q, k) / 12**0.5).softmax(-1)
            o = torch.einsum("bhij,bhjd->bhid", nn.functional.dropout(a, 0.5, self.training), v)
        elif self.spelling == "fused":
            o = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = torch.matmul(q, k.transpose(-1, -2)) * 12**-0.5
            wide = torch.float32 if self.spelling == "cast" else None
            a = torch.softmax(scores, dim=-1, dtype=wide)
            o = a.to(v.dtype) @ v
        o = o.transpose(1, 2).flatten(2)
        if self.spelling == "in place":
            x += o
            x += nn.functional.relu(self.fc(x), inplace=True)
        else:
            x = x + o
            x = torch.add(x, nn.functional.relu(self.fc(x)))
        return self.head(x.mean(1))


@pytest.mark.parametrize(
    ("spelling", "rounding"),
    [("einsum", 1e-9), ("matmul", 1e-9), ("in place", 1e-9), ("cast", 1e-4)],
)
def test_the_spelling_of_attention_does_not_matter(spelling, rounding):
    x = pixels(side=16)
    fused, other = Explicit("fused").double(), Explicit(spelling).double()
    other.load_state_dict(fused.state_dict())
    (expected,), (got,) = run(settled(fused), x), run(settled(other), x)
    assert relative(got.relevance, expected.relevance) < rounding
    assert relative(got.gradient, expected.gradient) < rounding


def test_a_mean_is_a_layer_of_equal_weights():
    def weighed(x: Tensor) -> Tensor:
        return (x.transpose(1, 2) @ torch.full((16, 1), 1 / 16, dtype=x.dtype)).transpose(1, 2)

    networks = [settled(Residual(step).double()) for step in (weighed, lambda x: x.mean(1, True))]
    networks[0].load_state_dict(networks[1].state_dict())
    (one,), (other,) = (run(network, pixels(side=16)) for network in networks)
    assert relative(one.relevance, other.relevance) < 1e-9


def stale(x: Tensor) -> Tensor:
    x.add_(x.flip(1))
    return x


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (lambda x: x.cumsum(1), "cumsum"),
        (stale, "change in place"),
        (lambda x: x.clamp_(min=0), "clamp_"),
        (lambda x: (x.transpose(0, 1) + x.transpose(0, 1).flip(0)).transpose(0, 1), "every patch"),
    ],
)
def test_a_step_without_a_rule_is_refused_by_name(step, word):
    network = settled(Residual(step).double())
    with pytest.raises(IncompatibleExplainer, match=word):
        run(network, pixels(side=16))


def test_a_step_that_relevance_does_not_reach_is_not_refused():
    def aside(x: Tensor) -> Tensor:
        x.cumsum(1).amax()
        return x

    network = settled(Residual(aside).double())
    assert len(run(network, pixels(side=16))) == 1


REFUSED = {
    "convolutions": lambda: timm.create_model("resnet18", num_classes=5),
    "windows": lambda: timm.models.swin_transformer.SwinTransformer(
        64, 4, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 2), num_classes=5
    ),
    "thinned keys": lambda: Residual(lambda x: x, every=2),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_networks_without_global_attention_are_refused(kind):
    network = settled(REFUSED[kind]())
    with pytest.raises(IncompatibleExplainer, match=r"no plain attention|not from every patch"):
        run(network, pixels().float())


def test_a_constant_network_is_refused():
    network = settled(VisionTransformer(**SMALL))
    with pytest.raises(IncompatibleExplainer, match="Nothing that relevance can follow"):
        propagate(lambda: network(pixels().float()).detach(), lambda logits: logits[:, 0])


def breast() -> nn.Module:
    sizes = {"embed_dim": 48, "depth": 3, "num_heads": 3, "cross_heads": 4, "projection_dim": 8}
    return settled(BreastCancerDiagnosisModel(64, 16, **sizes))


def test_our_network_with_one_modality():
    network, x = breast(), pixels(channels=1).float()
    layers = propagate(lambda: network(x)["classification"], lambda logits: logits[:, 1])
    assert [tuple(layer.attention.shape) for layer in layers] == [(2, 3, 17, 17)] * 3
    assert bool((attribution(layers)[:, 0, 1:] > 0).any())


def test_our_network_with_two_modalities_is_read_by_a_sweep():
    network, x = breast(), pixels().float()
    with LrpMode() as mode:
        output = network(x[:, :1], x)
    places = [a for a in mode.attentions if a.shape[-2:] == (17, 17)]
    gradients, relevances = mode.sweep(
        output, lambda found: found["classification"][:, 1], places, places
    )
    assert len(places) == 6
    assert all(float(found.abs().max()) > 0 for found in (*gradients, *relevances))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_carried(dtype):
    network = settled(VisionTransformer(**SMALL)).to(dtype)
    layers = run(network, pixels().to(dtype))
    assert all(layer.relevance.dtype == dtype for layer in layers)
    assert all(bool(layer.relevance.isfinite().all()) for layer in layers)


def test_linear_relevance_is_kept_where_something_contributes():
    generator = torch.Generator().manual_seed(2)
    x, weight, relevance = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((600, 20), (9, 20), (600, 9))
    )
    back = lrp_rules.through_linear(relevance, x, weight, x @ weight.T)
    given = (x[:, None] * weight).clamp_min(0)
    expected = (given / given.sum(2, keepdim=True) * relevance[:, :, None]).sum(1)
    assert relative(back, expected) < 1e-6
    assert torch.allclose(back.sum(1), relevance.sum(1), rtol=1e-6)


def test_linear_relevance_is_zero_where_nothing_contributes():
    x, weight = torch.tensor([[0.3, 0.1, 0.7]]), torch.tensor([[-0.2, -0.9, -0.1]])
    back = lrp_rules.through_linear(torch.ones(1, 1), x, weight, x @ weight.T)
    assert torch.equal(back, torch.zeros(1, 3))


def test_attribution_of_no_layer_is_refused():
    layer = torch.ones(1, 2, 3, 3)
    with pytest.raises(IncompatibleExplainer):
        transformer_attribution([layer], [layer], start_layer=1)
    with pytest.raises(IncompatibleExplainer):
        transformer_attribution([layer, layer[..., :2, :2]], [layer, layer[..., :2, :2]])


def test_a_learnt_query_gives_all_its_relevance_to_the_image() -> None:
    torch.manual_seed(0)
    query, tokens = torch.rand(1, 2, 1, 6), torch.rand(3, 2, 5, 6)
    x = tokens.requires_grad_()
    with LrpMode() as mode:
        scores = query @ F.relu(x).transpose(-2, -1)
        pooled = scores.softmax(-1) @ F.relu(x)
    gradients, relevance = mode.sweep(pooled, lambda out: out.sum((1, 2, 3)), [scores], [scores])
    assert gradients[0].shape == relevance[0].shape == (3, 2, 1, 5)
    assert bool(relevance[0].isfinite().all()) and bool(relevance[0].any())


@pytest.mark.parametrize("views", [1, 2])
def test_the_breast_system_is_served_with_and_without_pathology(views: int) -> None:
    case = small_case()
    found = explain(small_system(), replace(case, images=case.images[:views]), ("lrp",))
    assert not found.refused
    for heat in found.explanations[0].maps:
        assert heat.values.any() and bool((heat.values >= 0).all())


def test_a_pass_leaves_no_tensor_behind() -> None:
    case, system = small_case(), small_system()

    def count() -> int:
        gc.collect()
        return sum(type(item) is Tensor for item in gc.get_objects())

    explain(system, case, ("lrp",))
    before = count()
    for _ in range(3):
        explain(system, case, ("lrp",))
    assert count() <= before + 3
