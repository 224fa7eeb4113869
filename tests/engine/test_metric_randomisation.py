"""The cascade of randomised weights: what it reaches, that it is undone, what it tells apart."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from scipy.ndimage import gaussian_gradient_magnitude
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from engine.errors import Cancelled, ShapeMismatch, UnknownName
from engine.metrics.cascade import cascade, heads, randomised
from engine.metrics.randomisation import THRESHOLD, Verdict, sanity_check, sanity_checks
from engine.metrics.similarity import spearman
from engine.models.breast import BreastCancerDiagnosisModel
from engine.progress import Progress
from tests.engine.test_metric_stability import gradient_of, oracle_cnn

Oracle = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny arrays lose more than they gain by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=5,
        init_values=0.1, reg_tokens=2,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def cnn(oracle: Oracle) -> nn.Sequential:
    return oracle_cnn(oracle("cnn"))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_bits(network: nn.Module, before: dict[str, Tensor]) -> bool:
    now = network.state_dict()
    return now.keys() == before.keys() and all(
        torch.equal(now[k].view(torch.uint8), v.view(torch.uint8))
        if v.ndim
        else torch.equal(now[k], v)
        for k, v in before.items()
    )


@pytest.mark.parametrize("error", [None, ValueError, Cancelled, KeyboardInterrupt])
def test_weights_return_to_the_bit(
    vit: VisionTransformer, error: type[BaseException] | None
) -> None:
    vit.norm.weight.data[0] = float("nan")
    before, names = state(vit), cascade(vit)
    if error is None:
        with randomised(vit, names):
            assert not same_bits(vit, before)
    else:
        with pytest.raises(error), randomised(vit, names):
            assert not same_bits(vit, before)
            raise error
    assert same_bits(vit, before)


def test_running_statistics_return_too(cnn: nn.Sequential) -> None:
    before = state(cnn)
    with randomised(cnn, ["bn2"]):
        assert float(cnn.bn2.running_var.std()) == 0.0
        assert torch.equal(cnn.bn1.running_var, before["bn1.running_var"])
    assert same_bits(cnn, before)


def test_every_tensor_is_reached_with_a_draw_of_its_own(vit: VisionTransformer) -> None:
    before = state(vit)
    with randomised(vit, cascade(vit)):
        now = state(vit)
    for name, tensor in now.items():
        assert not torch.isclose(tensor, before[name]).all(), name
        assert float(tensor.std()) == pytest.approx(float(before[name].std()), rel=0.5), name
    keys = [f"blocks.{i}.attn.qkv.weight" for i in range(3)]
    for first, second in pairwise(keys):
        a, b = (now[k] / before[k].std() for k in (first, second))
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.1
    assert {"cls_token", "reg_token", "pos_embed"} <= now.keys()


def test_draws_depend_on_seed_and_name_alone(vit: VisionTransformer) -> None:
    def head(layers: list[str], seed: int) -> Tensor:
        torch.rand(3)
        with randomised(vit, layers, seed):
            return vit.head.weight.detach().clone()

    first = head(["head"], 1)
    assert torch.equal(first, head(["blocks.0", "head"], 1))
    assert not torch.equal(first, head(["head"], 2))
    random_state = torch.get_rng_state()
    with randomised(vit, ["head"], 1):
        assert torch.equal(torch.get_rng_state(), random_state)


def test_frozen_and_half_precision_networks(vit: VisionTransformer) -> None:
    network = vit.requires_grad_(False).to(torch.bfloat16)
    before = state(network)
    with randomised(network, cascade(network)):
        assert network.head.weight.dtype == torch.bfloat16
        assert not torch.equal(network.head.weight, before["head.weight"])
        assert not network.head.weight.requires_grad
    assert same_bits(network, before)


def test_unknown_parts_are_refused(vit: VisionTransformer) -> None:
    before = state(vit)
    with pytest.raises(UnknownName, match="no part named 'block'"), randomised(vit, ["block"]):
        pass
    assert same_bits(vit, before)


def test_the_order_of_a_transformer(vit: VisionTransformer) -> None:
    names = cascade(vit)
    assert names[:5] == ("head", "norm", "blocks.2", "blocks.1", "blocks.0")
    assert set(names[5:]) == {"patch_embed", "pos_embed", "reg_token", "cls_token"}
    assert heads(vit) == {"head", "norm"}


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("swin_tiny_patch4_window7_224", "layers.3.blocks.1", "patch_embed"),
        ("convnext_atto", "stages.3.blocks.1", "stem"),
        ("resnet18", "layer4.1", "conv1"),
    ],
)
def test_the_order_of_other_networks(name: str, first: str, last: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    names = cascade(network)
    blocks = [part for part in names if part not in heads(network)]
    assert blocks[0] == first and names[-1] == last
    assert names[0] in ("head", "fc")
    owned = [k for k, _ in network.named_parameters()]
    for parameter in owned:
        holders = [n for n in names if parameter == n or parameter.startswith(f"{n}.")]
        assert len(holders) == 1, parameter


def test_wrappers_are_seen_through(vit: VisionTransformer) -> None:
    wrapped = nn.Sequential()
    wrapped.add_module("module", vit)
    assert cascade(wrapped) == tuple(f"module.{name}" for name in cascade(vit))


def test_the_breast_network_is_destroyed_whole() -> None:
    network = BreastCancerDiagnosisModel(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, cross_heads=2
    ).eval()
    names = cascade(network)
    blocks = [name for name in names if name.startswith("encoder.blocks.")]
    assert blocks == ["encoder.blocks.1", "encoder.blocks.0"]
    assert names.index("classification") < names.index("encoder.blocks.1")
    assert "classification" in heads(network) and not set(blocks) & heads(network)
    before, image = state(network), torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        trained = network(image)["classification"]
        with randomised(network, names):
            destroyed = network(image)["classification"]
        again = network(image)["classification"]
    assert bool(destroyed.isfinite().all()) and not torch.allclose(trained, destroyed)
    assert torch.equal(trained, again) and same_bits(network, before)


def test_correlations_match_the_reference(oracle: Oracle, cnn: nn.Sequential) -> None:
    """The reference's own way of destroying weights, our way of comparing maps."""
    stored, model = oracle("metrics"), oracle("cnn")
    image, target = torch.from_numpy(model["x"]), torch.from_numpy(model["target"])
    explain = gradient_of(cnn, target)
    original = explain(image).numpy()
    layers = stored["mprt_top_down_layers"].tolist()
    for layer, expected in zip(layers, stored["f64_mprt_top_down_spearman"], strict=True):
        if layer != "original":
            with torch.random.fork_rng():
                torch.manual_seed(43)
                cnn.get_submodule(layer).reset_parameters()
        maps = explain(image).numpy().reshape(2, 1, -1)
        pairs = zip(original.reshape(2, 1, -1), maps, strict=True)
        got = [spearman(a, b) for a, b in pairs]
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def cnn_maps(network: nn.Module, model: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    image, target = torch.from_numpy(model["x"]), torch.from_numpy(model["target"])
    explain = gradient_of(network, target)
    return lambda: list(explain(image).sum(1).numpy())


def test_a_gradient_map_passes(oracle: Oracle, cnn: nn.Sequential) -> None:
    before, done = state(cnn), []
    progress = Progress(lambda *counts: done.append(counts))
    check = sanity_check(cnn_maps(cnn, oracle("cnn")), cnn, progress=progress)

    assert same_bits(cnn, before)
    assert check.verdict is Verdict.PASSES
    assert [result.stage for result in check.stages] == list(cascade(cnn))
    assert done[-1] == (10, 10)
    last = check.stages[-1]
    assert last.randomised == 7 and len(last.maps) == 2
    assert [result.draws for result in check.stages] == [1] * 6 + [3]
    for value in last.likeness:
        assert value is not None and -1.0 <= value <= 1.0
    assert check.chance is not None and 0.0 < check.chance < THRESHOLD
    assert check.score.value is not None and check.score.value < THRESHOLD
    assert (check.score.metric, check.score.better, check.score.n) == ("randomisation", "lower", 6)


def test_an_edge_detector_fails(oracle: Oracle, cnn: nn.Sequential) -> None:
    image = oracle("cnn")["x"].mean(1)
    edges = [gaussian_gradient_magnitude(picture, 2.0) for picture in image]
    check = sanity_check(lambda: edges, cnn, draws=2)
    assert check.verdict is Verdict.FAILS
    assert check.score.value == check.score.chance == pytest.approx(1.0)
    assert check.stages[0].likeness.structure == pytest.approx(1.0)
    assert "hardly depends" in check.reason


def rollout_of(network: VisionTransformer, image: Tensor) -> Callable[[], list[np.ndarray]]:
    """Attention of the last block: blind to the class."""

    def explain() -> list[np.ndarray]:
        with torch.no_grad():
            tokens = network._pos_embed(network.patch_embed(image))
            for block in network.blocks[:-1]:
                tokens = block(tokens)
            attention = network.blocks[-1].attn
            q, k = attention.qkv(network.blocks[-1].norm1(tokens)).chunk(3, -1)[:2]
            weights = (q @ k.transpose(1, 2) * attention.scale).softmax(-1)
        return list(weights[:, 0, 3:].view(-1, 4, 4).numpy())

    return explain


def test_a_class_blind_method_is_not_judged_by_the_head(vit: VisionTransformer) -> None:
    explain = rollout_of(vit, torch.randn(2, 3, 32, 32))
    seeing = sanity_check(explain, vit, draws=1)
    blind = sanity_check(explain, vit, class_blind=True, draws=1)
    assert [r.applicable for r in blind.stages[:3]] == [False, False, True]
    assert all(result.applicable for result in seeing.stages)
    assert blind.stages[0].likeness.correlation == pytest.approx(1.0)
    assert blind.stages[0].likeness.structure is None and blind.stages[0].likeness.edges is None
    head = sanity_check(explain, vit, layers=["head"], class_blind=True)
    assert head.verdict is Verdict.NOT_APPLICABLE
    assert sanity_check(explain, vit, layers=["head"]).verdict is Verdict.FAILS


def test_flat_maps(cnn: nn.Sequential) -> None:
    flat = [np.zeros((20, 20))]
    assert sanity_check(lambda: flat, cnn).verdict is Verdict.NOT_APPLICABLE
    trained = cnn.fc.weight.detach().clone()
    ramp = [np.arange(400.0).reshape(20, 20)]
    for lost in (flat, [np.full((20, 20), np.nan)]):
        left = [ramp, lost]
        check = sanity_check(lambda: left[not torch.equal(cnn.fc.weight, trained)], cnn)  # noqa: B023
        assert check.verdict is Verdict.PASSES and check.score.value is None
        assert check.stages[-1].likeness.structure is None
        assert "no map is left" in check.reason


def test_fewer_comparisons_keep_both_ends(oracle: Oracle, cnn: nn.Sequential) -> None:
    explain = cnn_maps(cnn, oracle("cnn"))
    full = sanity_check(explain, cnn, draws=1)
    short = sanity_check(explain, cnn, limit=3, draws=1)
    assert [r.randomised for r in short.stages] == [1, 4, 7]
    assert short.score.value == full.score.value
    assert sanity_check(explain, cnn, limit=2, draws=1, seed=1).score.value != full.score.value


def test_few_comparisons_begin_after_the_heads(vit: VisionTransformer) -> None:
    explain = rollout_of(vit, torch.randn(1, 3, 32, 32))
    check = sanity_check(explain, vit, limit=4, draws=1)
    assert [r.randomised for r in check.stages] == [1, 2, 6, 9]
    assert check.stages[1].stage == "norm"


def test_the_last_likeness_is_the_mean_of_the_draws(oracle: Oracle, cnn: nn.Sequential) -> None:
    explain = cnn_maps(cnn, oracle("cnn"))
    together = sanity_check(explain, cnn, layers=["fc", "conv3"], seed=5, draws=2).stages[-1]
    alone = [
        sanity_check(explain, cnn, layers=["fc", "conv3"], seed=seed, draws=1).stages[-1]
        for seed in (5, 6)
    ]
    assert together.likeness.correlation == pytest.approx(
        np.mean([a.likeness.correlation for a in alone])
    )
    assert together.likeness.structure == pytest.approx(
        np.mean([a.likeness.structure for a in alone])
    )
    strengths = [a.likeness.strength for a in alone]
    assert together.likeness.strength == pytest.approx(np.mean(strengths))
    assert together.draws == 2


def test_a_cold_border_is_not_taken_for_likeness(oracle: Oracle, cnn: nn.Sequential) -> None:
    inner = cnn_maps(cnn, oracle("cnn"))
    seen = np.zeros((164, 148), dtype=bool)
    seen[50:114, 50:98] = True

    def explain() -> list[np.ndarray]:
        return [np.pad(heat, 50, constant_values=heat.min()) for heat in inner()]

    blind = sanity_check(explain, cnn, layers=["fc", "conv1"], draws=1)
    fair = sanity_check(explain, cnn, layers=["fc", "conv1"], draws=1, seen=[seen, seen])
    bare = sanity_check(inner, cnn, layers=["fc", "conv1"], draws=1)
    assert fair.stages[-1].likeness.correlation == pytest.approx(
        bare.stages[-1].likeness.correlation
    )
    assert blind.stages[-1].likeness.correlation > fair.stages[-1].likeness.correlation + 0.2
    with pytest.raises(ShapeMismatch):
        sanity_check(inner, cnn, layers=["fc"], seen=[seen, seen])


def test_a_check_that_breaks_leaves_no_trace(cnn: nn.Sequential) -> None:
    before, calls = state(cnn), []

    def explain() -> list[np.ndarray]:
        calls.append(1)
        if len(calls) == 4:
            raise ValueError("broken")
        return [np.arange(400.0).reshape(20, 20)]

    with pytest.raises(ValueError, match="broken"):
        sanity_check(explain, cnn)
    assert len(calls) == 4 and same_bits(cnn, before)
    with pytest.raises(ShapeMismatch, match="no map"):
        sanity_check(lambda: [], cnn)
    with pytest.raises(UnknownName, match="no part"):
        sanity_check(lambda: [np.eye(4)], nn.ReLU())
    assert same_bits(cnn, before)


def test_a_copy_can_be_checked_instead(cnn: nn.Sequential, oracle: Oracle) -> None:
    other, model = copy.deepcopy(cnn), oracle("cnn")
    first = sanity_check(cnn_maps(cnn, model), cnn, limit=2, draws=1)
    assert sanity_check(cnn_maps(other, model), other, limit=2, draws=1).score == first.score


def test_a_map_turned_inside_out_is_still_the_same_map(cnn: nn.Sequential) -> None:
    trained = cnn.fc.weight.detach().clone()
    ramp = np.arange(400.0).reshape(20, 20)
    check = sanity_check(
        lambda: [ramp if torch.equal(cnn.fc.weight, trained) else -ramp], cnn, draws=2
    )
    assert check.stages[-1].likeness.correlation == pytest.approx(-1.0)
    assert check.verdict is Verdict.FAILS


def test_methods_that_share_a_pass_get_the_same_verdicts(
    oracle: Oracle, cnn: nn.Sequential
) -> None:
    gradient, calls = cnn_maps(cnn, oracle("cnn")), []
    ramp = [np.arange(400.0).reshape(20, 20)]

    def explain() -> dict[str, list[np.ndarray]]:
        calls.append(1)
        return {"gradient": gradient(), "ramp": ramp}

    together = sanity_checks(explain, cnn, limit=3, draws=2)
    assert len(calls) == 5 and list(together) == ["gradient", "ramp"]
    alone = sanity_check(gradient, cnn, limit=3, draws=2)
    assert together["gradient"].score == alone.score
    assert together["gradient"].stages[1].correlation == alone.stages[1].likeness.correlation
    assert together["ramp"].verdict is Verdict.FAILS
