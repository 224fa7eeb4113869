"""MixStyle, IRMv1 and V-REx against published implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.models import DomainGeneralization, IRMLoss, MixStyle
from engine.models.layers.invariance import (
    domain_risks,
    invariance_penalty,
    irm_penalty,
    vrex_penalty,
)
from engine.models.layers.mixstyle import mix_styles


@pytest.fixture
def arrays(oracle):
    return oracle("models/domain_generalization")


@pytest.fixture
def domains(arrays):
    """Logits, which take a gradient, and labels of three domains."""
    return [
        (torch.tensor(arrays[f"logits_{n}"]).requires_grad_(), torch.tensor(arrays[f"labels_{n}"]))
        for n in range(3)
    ]


def close(got: torch.Tensor, wanted: np.ndarray, tolerance: float = 1e-9) -> None:
    limit = tolerance * np.maximum(1, np.abs(wanted))
    assert got.shape == wanted.shape
    assert bool((np.abs(got.detach().numpy() - wanted) <= limit).all())


def test_mixed_maps_and_their_gradient(arrays):
    maps = torch.tensor(arrays["ms_x"]).requires_grad_()
    lam, perm = torch.tensor(arrays["ms_lambda"]), torch.tensor(arrays["ms_perm"])
    mixed = mix_styles(maps, lam, perm, float(arrays["ms_eps"]))
    close(mixed, arrays["ms_out"])
    (slope,) = torch.autograd.grad(mixed, maps, torch.tensor(arrays["ms_cot"]))
    close(slope, arrays["ms_grad_x"], 1e-8)


def test_mixed_tokens(arrays):
    lam, perm = torch.tensor(arrays["ms_lambda"]), torch.tensor(arrays["ms_perm"])
    close(mix_styles(torch.tensor(arrays["ms_tokens_x"]), lam, perm), arrays["ms_tokens_out"])


def test_mixstyle_keeps_its_own_style_at_weight_one_and_takes_the_other_at_zero():
    tokens = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    tokens = tokens * torch.tensor([1.0, 5.0]).view(2, 1, 1)
    swap = torch.tensor([1, 0])
    assert torch.allclose(mix_styles(tokens, torch.ones(2), swap), tokens, atol=1e-5)
    taken = mix_styles(tokens, torch.zeros(2), swap)
    assert torch.allclose(taken.std(1), tokens.std(1).flip(0), rtol=1e-3)
    assert torch.allclose(taken.mean(1), tokens.mean(1).flip(0), atol=1e-3)


def test_mixstyle_acts_in_training_only_and_as_often_as_asked():
    maps = torch.randn(4, 3, 5, 5) * torch.arange(1.0, 5).view(4, 1, 1, 1)
    always, never = MixStyle(alpha=1.0, p=1.0), MixStyle(p=0.0)
    assert torch.equal(never(maps), maps)
    assert torch.equal(always.eval()(maps), maps)
    torch.manual_seed(0)
    assert not torch.allclose(always.train()(maps), maps, atol=1e-3)
    half = MixStyle(alpha=1.0, p=0.5)
    changed = sum(not torch.equal(half(maps), maps) for _ in range(200))
    assert 60 < changed < 140


def test_samples_without_an_image_neither_change_nor_lend_their_style():
    maps = torch.randn(4, 3, 5, 5) * torch.arange(1.0, 5).view(4, 1, 1, 1)
    maps[2] = 100.0
    torch.manual_seed(1)
    mixed = MixStyle(alpha=1.0, p=1.0)(maps, torch.tensor([True, True, False, True]))
    assert torch.allclose(mixed[2], maps[2])
    assert float(mixed[[0, 1, 3]].abs().max()) < 50
    assert not torch.allclose(mixed[[0, 1, 3]], maps[[0, 1, 3]], atol=1e-3)


def test_irm_penalties(arrays, domains):
    close(torch.stack([irm_penalty(z, y) for z, y in domains]), arrays["irmv1_full_per_domain"])
    split = torch.stack([irm_penalty(z, y, unbiased=True) for z, y in domains])
    close(split, arrays["irmv1_split_per_domain_f32"], 2e-5)
    binary = irm_penalty(torch.tensor(arrays["bin_logits"]), torch.tensor(arrays["bin_labels"]))
    close(binary, arrays["irmv1_binary"])


def test_gradients_of_the_penalties(arrays, domains):
    logits = [z for z, _ in domains]
    mean = torch.stack([irm_penalty(z, y) for z, y in domains]).mean()
    for n, slope in enumerate(torch.autograd.grad(mean, logits)):
        close(slope, arrays[f"irmv1_full_mean_grad_{n}"], 1e-8)
    variance = vrex_penalty([F.cross_entropy(z, y) for z, y in domains])
    for n, slope in enumerate(torch.autograd.grad(variance, logits)):
        close(slope, arrays[f"vrex_penalty_grad_{n}"], 1e-8)


@pytest.mark.parametrize("weight", [1, 10, 100])
def test_totals(arrays, domains, weight):
    total, penalty = IRMLoss(weight)([z for z, _ in domains], [y for _, y in domains])
    close(total, arrays[f"irm_total_lam{weight}"])
    close(penalty, arrays["irmv1_full_mean"])
    risks = torch.stack([F.cross_entropy(z, y) for z, y in domains])
    close(risks, arrays["risks"])
    close(risks.mean() + weight * vrex_penalty(risks), arrays[f"vrex_total_lam{weight}"])


def test_one_mixed_batch_is_cut_into_its_domains(arrays, domains):
    logits = torch.cat([z.detach() for z, _ in domains])
    labels = torch.cat([y for _, y in domains])
    sites = torch.cat([torch.full((len(y),), 10 - n) for n, (_, y) in enumerate(domains)])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    mixed = logits[order], labels[order], sites[order]
    wanted = arrays["risks"][::-1]
    assert np.allclose([float(r) for r in domain_risks(*mixed)], wanted, rtol=1e-5)
    irm, vrex = (float(invariance_penalty(kind, *mixed)) for kind in ("irm", "vrex"))
    assert math.isclose(irm, float(arrays["irmv1_full_mean"]), rel_tol=2e-5)
    assert math.isclose(vrex, float(arrays["vrex_penalty"]), rel_tol=2e-5)


def test_unknown_labels_are_left_out_of_the_domains():
    logits = torch.randn(4, 3, requires_grad=True)
    labels, sites = torch.tensor([0, 2, -1, -1]), torch.tensor([0, 0, 0, 1])
    risks = domain_risks(logits, labels, sites)
    assert len(risks) == 1
    assert torch.allclose(risks[0], F.cross_entropy(logits[:2], labels[:2]))
    nothing = invariance_penalty("irm", logits, torch.full((4,), -1), sites)
    assert float(nothing.detach()) == 0 and nothing.requires_grad
    with pytest.raises(ValueError, match="not one of"):
        invariance_penalty("mmd", logits, labels, sites)


def test_the_documented_wrapper():
    wrapper = DomainGeneralization(use_mixstyle=True, mixstyle_alpha=0.1, irm_penalty=2.0)
    maps = torch.randn(4, 3, 5, 5)
    assert wrapper.apply_mixstyle(maps).shape == maps.shape
    assert torch.equal(wrapper.eval().apply_mixstyle(maps), maps)
    logits, labels = (
        [torch.randn(4, 3), torch.randn(5, 3)],
        [torch.arange(4) % 3, torch.ones(5).long()],
    )
    total, penalty = wrapper.compute_irm_loss(logits, labels)
    risk = sum(F.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)) / 2
    assert torch.allclose(total, risk + 2 * penalty)
