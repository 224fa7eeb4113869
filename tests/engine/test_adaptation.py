"""The parts of test-time adaptation against oracles and their own invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from engine.adaptation import METHODS, AdaptationRefused, CausalTTA, choose_tensors
from engine.adaptation.adapter import OPTIMISERS
from engine.adaptation.constraint import FISHER_SCALE, Constraint, fisher_diagonal
from engine.adaptation.guards import (
    EntropyFloor,
    Finite,
    HistogramDrift,
    SourceSensitivity,
    Step,
    chance_divergence,
    divergence,
)
from engine.adaptation.intervals import paired_shares
from engine.adaptation.objectives import (
    collapse_level,
    confidence_weights,
    entropy,
    margin,
    redundancy_limit,
    reliable,
)
from engine.adaptation.standing import laid_down
from engine.errors import UnknownName
from engine.models import BreastCancerDiagnosisModel

Arrays = dict[str, np.ndarray]
NETS = ("bn", "ln")


def fixture_net(arrays: Arrays, kind: str) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4)]
    if kind == "bn":
        layers = [
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4),
        ]  # fmt: skip
    network = nn.Sequential(*layers).double()
    prefix = f"{kind}_init."
    state = {k[len(prefix) :]: torch.tensor(v) for k, v in arrays.items() if k.startswith(prefix)}
    missing, unknown = network.load_state_dict(state, strict=False)
    assert set(missing) <= {"1.num_batches_tracked"} and not unknown
    return network.eval()


def close(got: torch.Tensor, wanted: np.ndarray, tolerance: float = 1e-9) -> bool:
    difference = np.abs(got.detach().numpy() - wanted)
    return bool((difference <= tolerance * np.maximum(1, np.abs(wanted))).all())


def plain_tta(network: nn.Module, **more: object) -> CausalTTA:
    given = {
        "lr": 0.05, "entropy_weight": 1.0, "method": "tent", "constraint": "none", "momentum": 0.0,
    }  # fmt: skip
    return CausalTTA(network, **{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("kind", NETS)
def test_tent_is_the_reference(oracle, kind, optimiser):
    arrays = oracle("models/tta")
    network, x = fixture_net(arrays, kind), torch.tensor(arrays[f"{kind}_x"])
    assert close(network(x), arrays[f"{kind}_source_logits"])
    name = f"{kind}_{optimiser}"
    tta = plain_tta(network, lr=float(arrays[f"{name}_lr"]), optimiser=optimiser)
    assert close(tta.predict(x), arrays[f"{name}_logits_step0"])
    seen = [tta.step(x).entropy for _ in range(3)]
    seen.append(float(entropy(tta.predict(x)).mean()))
    assert np.allclose(seen, arrays[f"{name}_entropy"], rtol=0, atol=1e-9)
    assert np.all(np.diff(seen) < 0)
    assert close(tta.predict(x), arrays[f"{name}_final_logits"])
    assert close(network[1].weight, arrays[f"{name}_weight_final"])
    assert close(network[1].bias, arrays[f"{name}_bias_final"])


def test_eata_selects_and_weighs_as_defined(oracle):
    arrays = oracle("models/tta")
    logits = torch.tensor(arrays["eata_logits"])
    level = margin(4)
    assert math.isclose(level, float(arrays["eata_e0"]), rel_tol=1e-12)
    assert close(entropy(logits), arrays["eata_entropy"])
    kept = reliable(logits, level)
    assert np.array_equal(kept.numpy(), arrays["eata_mask"])
    assert close(confidence_weights(entropy(logits), level), arrays["eata_coeff"])
    outcome = METHODS["eata"]().backward(lambda: logits.clone().requires_grad_(), [])
    assert math.isclose(float(outcome.loss), float(arrays["eata_loss_kept"]), rel_tol=1e-9)


def test_eata_leaves_out_what_says_nothing_new():
    eata = METHODS["eata"]()
    sure = torch.tensor([[9.0, 0, 0, 0]]).repeat(8, 1)
    first = eata.backward(lambda: sure.clone().requires_grad_(), [])
    again = eata.backward(lambda: sure.clone().requires_grad_(), [])
    other = eata.backward(lambda: sure.roll(1, 1).requires_grad_(), [])
    assert [int(each.kept.sum()) for each in (first, again, other)] == [8, 0, 8]
    eata.forget()
    assert eata.backward(lambda: sure.clone().requires_grad_(), []).kept.all()


def test_thresholds_scale_with_the_number_of_classes():
    assert math.isclose(collapse_level(1000), 0.2) and math.isclose(redundancy_limit(1000), 0.05)
    assert math.isclose(collapse_level(4), 0.2 * math.log(4) / math.log(1000))
    assert 1 / math.sqrt(4) < redundancy_limit(4) < 1  # an even mean leaves nobody out


def test_entropy_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(entropy(logits), torch.tensor([0.0, math.log(3)]))
    assert entropy(logits.bfloat16()).dtype == torch.float32


def vit(depth: int) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=16, patch_size=8, embed_dim=12, depth=depth, num_heads=2, num_classes=3
    )


def breast(**more: object) -> BreastCancerDiagnosisModel:
    torch.manual_seed(0)
    given = {
        "img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 5, "num_heads": 2,
        "cross_heads": 2, "projection_dim": 4, "adapter_dim": 2, "modality_dropout": 0.5,
    }  # fmt: skip
    return BreastCancerDiagnosisModel(**{**given, **more})


@pytest.mark.parametrize(("depth", "blocks"), [(12, 9), (6, 3), (4, 1), (3, 1), (1, 1)])
def test_last_three_blocks_and_final_norm_stay(depth, blocks):
    names = set(choose_tensors(vit(depth)))
    wanted = {
        f"blocks.{n}.norm{m}.{part}"
        for n in range(blocks) for m in (1, 2) for part in ("weight", "bias")
    }  # fmt: skip
    assert names == wanted


def test_breast_network_adapts_its_trunk_and_adapters_when_asked():
    norms = set(choose_tensors(breast()))
    assert {name.split(".")[2] for name in norms} == {"0", "1"}
    assert all(name.startswith("encoder.blocks.") and ".norm" in name for name in norms)
    more = set(choose_tensors(breast(), adapters=True, modalities=("mammography",))) - norms
    assert more and all(".mammography." in name and ".adapter" in name for name in more)
    assert len(choose_tensors(breast(), keep_last=1)) == 4 * 4


def test_other_networks_adapt_every_norm_and_those_without_are_refused(oracle):
    arrays = oracle("models/tta")
    assert set(choose_tensors(fixture_net(arrays, "bn"))) == {"1.weight", "1.bias"}
    with pytest.raises(AdaptationRefused, match="no normalisation layer"):
        choose_tensors(nn.Sequential(nn.Linear(3, 2)))


def images(count: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("constraint", ["l2", "none"])
def test_only_listed_tensors_change_and_reset_is_exact(method, constraint):
    network = breast(dropout=0.3).train()
    for parameter in network.encoder.cls_token, network.mammo_gate:
        parameter.requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    wanted = {k: p.requires_grad for k, p in network.named_parameters()}
    modes = [module.training for module in network.modules()]
    with torch.no_grad():  # sure answers, so that every method learns
        last = [m for m in network.classification.modules() if isinstance(m, nn.Linear)][-1]
        last.weight.mul_(30)
        before |= {k: v.clone() for k, v in network.state_dict().items() if "classif" in k}
    tta = CausalTTA(network, 1e-2, 1.0, method=method, constraint=constraint, guards=[])
    losses = tta.adapt([images()], num_steps=3)
    assert len(losses) == 3 and tta.kept > 0
    state = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], state[name])}
    assert changed == set(tta.tensors)
    assert {k: p.requires_grad for k, p in network.named_parameters()} == wanted
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    tta.reset()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert tta.steps == tta.seen == 0 and tta.adapt([images()], num_steps=3) == losses


def test_evaluation_mode_during_a_step():
    network, seen = breast(dropout=0.5).train(), []
    network.register_forward_hook(
        lambda module, args, out: seen.append(any(m.training for m in module.modules()))
    )
    first = [plain_tta(network, lr=1e-9, guards=[]).step(images()).entropy for _ in range(2)]
    assert seen == [False, False] and first[0] == first[1]
    assert network.training


def test_mode_comes_back_after_an_error():
    network = breast().train()
    network.encoder.cls_token.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), laid_down(network, choose_tensors(network)):
        raise ZeroDivisionError
    assert all(module.training for module in network.modules())
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == [
        "encoder.cls_token"
    ]


def test_batch_norm_statistics_are_neither_read_nor_changed(oracle):
    arrays = oracle("models/tta")
    network, x = fixture_net(arrays, "bn"), torch.tensor(arrays["bn_x"])
    before = {k: v.clone() for k, v in network.named_buffers()}
    plain_tta(network).adapt([x], num_steps=2)
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())
    served = plain_tta(fixture_net(arrays, "bn"), batch_statistics=False)
    assert close(served.predict(x), arrays["bn_source_logits"])


class Recorder(nn.Module):
    """Passes what it is called with to a list."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)
        self.called: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def forward(self, *args, **named):
        self.called.append((args, named))
        x = args[0] if args else named["x"]
        return {"classification": self.head(self.norm(x))}


@pytest.mark.parametrize("form", ["tensor", "tuple", "list", "mapping"])
def test_inputs_pass_unchanged(form):
    torch.manual_seed(0)
    network, x, extra = Recorder(), torch.randn(5, 4), torch.arange(5)
    given = {
        "tensor": x, "tuple": (x, None), "list": [x, extra], "mapping": {"x": x, "patho": None},
    }[form]  # fmt: skip
    loss = plain_tta(network).adapt_step(given, source_constraint_weight=0.01)
    assert loss.shape == () and bool(torch.isfinite(loss))
    ((args, named),) = network.called
    whole = list(named.values()) if named else list(args)
    expected = list(given.values()) if form == "mapping" else [given] if form == "tensor" else given
    assert len(whole) == len(expected)
    assert all(a is b for a, b in zip(whole, expected, strict=True))


def test_adapt_cycles_the_loader():
    torch.manual_seed(0)
    network = Recorder()
    loader = DataLoader(TensorDataset(torch.randn(10, 4)), batch_size=4, shuffle=True)
    tta = CausalTTA(network, lr=1e-3, entropy_weight=0.1)
    tta.adapt(loader, num_steps=7)
    assert tta.steps == 7 and tta.seen == 4 + 4 + 2 + 4 + 4 + 2 + 4
    spent = CausalTTA(Recorder())
    assert len(spent.adapt(iter([torch.randn(2, 4)]), num_steps=5)) == 1
    with pytest.raises(AdaptationRefused, match="no case"):
        spent.adapt([], num_steps=1)


def test_works_without_gradients_around():
    torch.manual_seed(0)
    network, x = Recorder(), torch.randn(6, 4)
    tta = plain_tta(network, lr=0.5)
    with torch.no_grad():
        tta.adapt([x], num_steps=3)
    assert float(entropy(tta.predict(x)).mean()) < tta.adapt([x], num_steps=1)[0] + 1e-6
    assert not torch.equal(network.norm.weight, torch.ones(4))


def distance(tta: CausalTTA) -> float:
    return sum(float(((t.detach() - tta._source[n]) ** 2).sum()) for n, t in tta.tensors.items())


def test_constraint_holds_the_source():
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(2)) * 3
    moved = []
    for weight in (0.0, 0.1, 1.0):
        torch.manual_seed(0)
        tta = plain_tta(Recorder(), constraint="l2")
        tta.adapt([x], 20, source_constraint_weight=weight)
        moved.append(distance(tta))
    assert moved[0] > moved[1] > moved[2] > 0


def test_constraint_values():
    source = {"a": torch.zeros(2)}
    tensors = {"a": torch.tensor([1.0, 2.0])}
    fisher = {"a": torch.tensor([3.0, 0.5])}
    found = Constraint("fisher", source, fisher)(tensors, 0.01)
    assert found is not None and math.isclose(float(found), 2000 * 5.0, rel_tol=1e-6)
    assert math.isclose(0.01 * FISHER_SCALE, 2000)
    plain = Constraint("l2", source)(tensors, 0.01)
    assert plain is not None and math.isclose(float(plain), 0.05, rel_tol=1e-6)
    assert Constraint("fisher", source).kind == "l2"
    assert Constraint("none", source)(tensors, 1.0) is None
    with pytest.raises(UnknownName, match="fisher, l2, none"):
        Constraint("dropout", source)


def test_fisher_of_a_linear_layer_has_its_closed_form():
    torch.manual_seed(0)
    layer = nn.Linear(3, 4).double()
    x = torch.randn(5, 1, 3, dtype=torch.float64)
    found = fisher_diagonal(layer, x.unbind(0), dict(layer.named_parameters()))
    shares = layer(x[:, 0]).softmax(1).detach()
    slope = shares - nn.functional.one_hot(shares.argmax(1), 4)
    assert torch.allclose(found["bias"], (slope**2).mean(0))
    assert torch.allclose(found["weight"], ((slope[:, :, None] * x) ** 2).mean(0))


def test_sar_steps_by_the_gradient_uphill():
    torch.manual_seed(0)
    layer = nn.Linear(3, 4).double()
    with torch.no_grad():
        layer.weight.mul_(20)
    x = torch.randn(6, 3, dtype=torch.float64)
    tensors = list(layer.parameters())
    before = [t.detach().clone() for t in tensors]
    outcome = METHODS["sar"](rho=0.05).backward(lambda: layer(x), tensors)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))
    got = [t.grad.clone() for t in tensors]
    kept = entropy(layer(x)) < margin(4)
    first = torch.autograd.grad(entropy(layer(x))[kept].mean(), tensors)
    norm = math.sqrt(sum(float((g**2).sum()) for g in first))
    with torch.no_grad():
        for tensor, grad in zip(tensors, first, strict=True):
            tensor.add_(0.05 / norm * grad)
    again = entropy(layer(x))
    sure = kept & (again < margin(4))
    wanted = torch.autograd.grad(again[sure].mean(), tensors)
    assert bool(sure.any()) and torch.equal(outcome.kept, sure)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(got, wanted, strict=True))


def test_sar_goes_back_to_the_source_when_it_collapses():
    torch.manual_seed(0)
    network = Recorder()
    with torch.no_grad():
        network.head.weight.mul_(60)
    x = torch.randn(8, 4)
    tta = CausalTTA(network, 0.1, 1.0, method="sar", constraint="none", guards=[])
    before = network.norm.weight.detach().clone()
    for _ in range(40):
        tta.step(x)
        if tta.recoveries:
            break
    assert tta.recoveries == 1 and torch.equal(network.norm.weight, before)


def test_unsure_cases_leave_all_as_it_is():
    torch.manual_seed(0)
    network = Recorder()
    with torch.no_grad():
        network.head.weight.mul_(1e-3)
        network.head.bias.zero_()
    for method in ("eata", "sar"):
        tta = CausalTTA(network, 1.0, 1.0, method=method)
        assert tta.adapt([torch.randn(6, 4)], num_steps=2) == [0.0, 0.0]
        assert tta.kept == 0 and torch.equal(network.norm.weight, torch.ones(4))


def test_a_step_that_is_not_finite_is_skipped_then_rolled_back():
    torch.manual_seed(0)
    network, good = Recorder(), torch.randn(6, 4)
    bad = torch.full((6, 4), math.nan)
    tta = plain_tta(network, guards=[Finite(3)])
    tta.adapt([good], num_steps=2)
    moved = network.norm.weight.detach().clone()
    assert not math.isfinite(float(tta.adapt_step(bad)))
    assert tta.skipped == 1 and torch.equal(network.norm.weight, moved)
    assert tta.step(good).skipped is False and not tta.rolled_back
    assert len(tta.adapt([bad], num_steps=9)) == 3
    assert "no finite number" in tta.rolled_back
    assert torch.equal(network.norm.weight, torch.ones(4))


def step(entropies: float = 1.0, predicted: object = (), skipped: bool = False) -> Step:
    return Step(0.0, entropies, np.array(predicted, dtype=np.int64), 4, 1, skipped)


def test_entropy_floor_follows_the_moving_mean():
    guard = EntropyFloor()
    assert guard.watch(step(0.5)) == ""
    reasons = [guard.watch(step(0.0)) for _ in range(30)]
    first = next(n for n, reason in enumerate(reasons, 1) if reason)
    assert guard.limit == pytest.approx(collapse_level(4)) == pytest.approx(0.0401, abs=1e-4)
    assert first == math.ceil(math.log(collapse_level(4) / 0.5) / math.log(0.9))
    sure = EntropyFloor()
    assert sure.watch(step(0.02)) == "" and sure.limit == 0.01


def test_histogram_guard_waits_for_enough_cases():
    guard = HistogramDrift([0.25] * 4, ("Normal", "Benign", "In situ", "Invasive"), least=64)
    one = step(predicted=[3] * 32)
    assert guard.watch(one) == "" and "Invasive" in guard.watch(one)
    assert guard.value == pytest.approx(math.log(4), abs=0.01)
    even = HistogramDrift([0.25] * 4)
    assert [even.watch(step(predicted=[0, 1, 2, 3] * 8)) for _ in range(4)] == [""] * 4
    guard.forget()
    assert guard.watch(one) == ""


def test_divergence_bears_empty_classes():
    assert divergence(np.array([5, 5]), np.array([0.5, 0.5])) == 0
    assert math.isfinite(divergence(np.array([0, 5, 5]), np.array([1.0, 0.0, 0.0])))


def test_few_cases_are_borne_more_divergence():
    rng = np.random.default_rng(1)
    for cases in (8, 16, 200):
        limit = chance_divergence(4, cases)
        drawn = rng.multinomial(cases, [0.25] * 4, size=4000)
        assert np.mean([divergence(row, np.full(4, 0.25)) > limit for row in drawn]) < 0.005
    few = HistogramDrift([0.25] * 4, pool=8)
    assert few.judge(np.array([48, 16, 0, 0])) == "" and few.limit > 1
    assert HistogramDrift([0.25] * 4).judge(np.array([48, 16, 0, 0]))


def test_histogram_limit_is_rarely_met_by_chance():
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(64, [0.25] * 4, size=4000)
    assert max(divergence(row, np.full(4, 0.25)) for row in drawn) < 0.25


def test_sensitivity_guard_bears_one_point():
    values = iter([0.90, 0.891, 0.88])
    guard = SourceSensitivity(lambda: next(values), 0.90, every=2)
    assert [bool(guard.watch(step())) for _ in range(6)] == [False] * 5 + [True]
    assert guard.facts() == {"name": "sensitivity", "value": 0.88, "limit": pytest.approx(0.89)}


def test_guard_rolls_back_in_adapt_and_starts_afresh():
    torch.manual_seed(0)
    network, x = Recorder(), torch.randn(80, 4)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([50.0, 0, 0]))
    tta = plain_tta(network, guards=[HistogramDrift([1 / 3] * 3)])
    assert len(tta.adapt([x], num_steps=10)) == 1
    assert "diverge" in tta.rolled_back and torch.equal(network.norm.weight, torch.ones(4))
    tta.reset()
    assert tta.rolled_back == ""


class Once:
    """A guard that objects to its first step only."""

    name = "once"

    def __init__(self) -> None:
        self.told = False

    def watch(self, step: Step) -> str:
        told, self.told = self.told, True
        return "" if told else "It went astray."

    def forget(self) -> None:
        """Nothing: it objects once in its life."""


def test_what_was_rolled_back_starts_afresh():
    torch.manual_seed(0)
    x = torch.randn(8, 4)
    tta = plain_tta(Recorder(), guards=[Once()])
    assert len(tta.adapt([x], num_steps=5)) == 1 and tta.rolled_back
    assert len(tta.adapt([x], num_steps=5)) == 5 and tta.rolled_back == ""
    assert (tta.steps, tta.seen) == (5, 40)
    assert not torch.equal(tta.model.norm.weight, torch.ones(4))


def test_unknown_names_are_refused():
    for more in ({"method": "cotta"}, {"optimiser": "lion"}, {"constraint": "ewc"}):
        with pytest.raises(UnknownName, match="Known"):
            CausalTTA(Recorder(), **more)


def test_outputs_without_classes_are_refused():
    network = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 1))
    with pytest.raises(AdaptationRefused, match="no class probabilities"):
        CausalTTA(network).adapt_step(torch.randn(2, 4))


def test_paired_intervals_draw_patients():
    before = np.array([True, False] * 50)
    after = np.ones(100, bool)
    found = paired_shares(before, after, np.repeat(np.arange(50), 2))
    assert found["before"]["value"] == found["before"]["low"] == 0.5  # each patient has one of two
    assert found["difference"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    apart = paired_shares(before, before, np.arange(100))
    assert apart["before"]["low"] < 0.45 < 0.55 < apart["before"]["high"]
    assert apart["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_bfloat16_answers_agree_and_stay_finite():
    network = breast(depth=2).eval()
    x = images(4)
    with torch.no_grad():
        whole = network(x)["classification"]
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)["classification"].float()
    assert float((half - whole).abs().max() / whole.abs().max()) < 2e-2
    tta = plain_tta(network, guards=[], constraint="l2")
    with torch.autocast("cpu", torch.bfloat16):
        losses = tta.adapt([x], num_steps=200)
    assert tta.skipped == 0 and all(math.isfinite(loss) for loss in losses)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tta.tensors.values())
