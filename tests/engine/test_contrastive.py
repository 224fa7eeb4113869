"""Alignment: published losses, what counts as a positive pair, and the queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.models import compute_contrastive_loss
from engine.models.layers.alignment import CrossModalAlignment, FeatureQueue, supcon


@pytest.fixture
def arrays(oracle):
    return oracle("models/contrastive")


def rows(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


@pytest.mark.parametrize("tau", ["0.07", "0.2"])
@pytest.mark.parametrize("anchors", ["all", "one"])
@pytest.mark.parametrize("kind", ["sup", "simclr"])
def test_supcon(arrays, tau, anchors, kind):
    features = torch.tensor(arrays["features"]).requires_grad_()
    labels = torch.tensor(arrays["labels"]) if kind == "sup" else None
    loss = supcon(features, labels, float(tau), anchors=anchors)
    name = f"supcon_{anchors}_{kind}_tau{tau}"
    assert math.isclose(float(loss.detach()), float(arrays[name]), rel_tol=1e-9)
    (slope,) = torch.autograd.grad(loss, features)
    assert np.allclose(slope.numpy(), arrays[f"{name}_grad"], rtol=1e-8, atol=1e-8)


def test_supcon_with_another_base_temperature(arrays):
    features, labels = torch.tensor(arrays["features"]), torch.tensor(arrays["labels"])
    loss = supcon(features, labels, 0.2, base_temperature=0.07)
    assert math.isclose(float(loss), float(arrays["supcon_all_sup_tau0.2_base0.07"]), rel_tol=1e-9)
    with pytest.raises(ValueError, match="neither"):
        supcon(features, labels, anchors="some")


@pytest.mark.parametrize("tau", ["0.07", "0.5"])
def test_gradients_of_the_cross_modal_losses(arrays, tau):
    a, b = (torch.tensor(arrays[name]).requires_grad_() for name in "ab")
    loss = compute_contrastive_loss(a, b, temperature=float(tau))
    for name, slope in zip("ab", torch.autograd.grad(loss, (a, b)), strict=True):
        assert np.allclose(slope.numpy(), arrays[f"clip_sym_tau{tau}_grad_{name}"], atol=1e-8)
    loss = compute_contrastive_loss(a, b, torch.tensor(arrays["labels"]), float(tau))
    (slope,) = torch.autograd.grad(loss, a)
    assert np.allclose(slope.numpy(), arrays[f"xmodal_supcon_out_tau{tau}_grad_a"], atol=1e-8)


def test_gradient_of_the_learned_temperature(arrays):
    align = CrossModalAlignment(4, 1.0, 2).double()
    with torch.no_grad():
        align.logit_scale.copy_(torch.tensor(arrays["clip_logit_scale"]))
    a, b = torch.tensor(arrays["a"]), torch.tensor(arrays["b"])
    loss = compute_contrastive_loss(a, b, temperature=align.temperature)
    loss.backward()
    assert math.isclose(float(loss.detach()), float(arrays["clip_logit_scale_loss"]), rel_tol=1e-9)
    slope = float(align.logit_scale.grad)
    assert math.isclose(slope, float(arrays["clip_logit_scale_grad"]), rel_tol=1e-8)


def test_pairs_of_one_patient_are_positives():
    a, b = rows(4), rows(4, seed=1)
    own = compute_contrastive_loss(a, b)
    apart = compute_contrastive_loss(a, b, patients=torch.tensor([1, 2, 3, 4]))
    assert torch.allclose(own, apart)
    grouped = compute_contrastive_loss(a, b, patients=torch.tensor([1, 1, 2, 2]))
    as_labels = compute_contrastive_loss(a, b, torch.tensor([7, 7, 3, 3]))
    assert torch.allclose(grouped, as_labels)
    assert not torch.allclose(own, grouped)


def test_both_is_the_mean_of_the_two_objectives():
    a, b = rows(4), rows(4, seed=1)
    labels, patients = torch.tensor([0, 0, 0, 1]), torch.tensor([4, 4, 5, 6])
    one = compute_contrastive_loss(a, b, labels, patients=patients, positives="label")
    other = compute_contrastive_loss(a, b, labels, patients=patients, positives="patient")
    both = compute_contrastive_loss(a, b, labels, patients=patients, positives="both")
    assert torch.allclose(both, (one + other) / 2)
    with pytest.raises(ValueError, match="need labels"):
        compute_contrastive_loss(a, b, positives="label")
    with pytest.raises(ValueError, match="not one of"):
        compute_contrastive_loss(a, b, positives="view")


def test_unknown_labels_are_positives_of_themselves_alone():
    a, b = rows(3), rows(3, seed=1)
    unknown = compute_contrastive_loss(a, b, torch.tensor([-1, -1, 2]))
    assert torch.allclose(unknown, compute_contrastive_loss(a, b))


def test_the_queue_holds_the_last_pairs_in_order():
    queue = FeatureQueue(5, 6)
    assert [len(part) for part in queue.held()] == [0, 0, 0]
    batches = [rows(2, seed=n) for n in range(4)]
    for n, batch in enumerate(batches):
        queue.put(batch, -batch, torch.full((2, 2), n))
    mammo, patho, groups = queue.held()
    assert sorted(groups[:, 0].tolist()) == [1, 2, 2, 3, 3]
    held = {tuple(row) for row in mammo.tolist()}
    assert held == {tuple(row) for row in torch.cat(batches)[3:].tolist()}
    assert torch.equal(patho, -mammo)
    again = FeatureQueue(5, 6)
    again.load_state_dict(queue.state_dict())
    assert torch.equal(again.held()[0], mammo)
    assert not list(queue.parameters()) and not list(queue.buffers())
    assert queue.double().held()[0].dtype == torch.float64


def test_the_queue_takes_in_only_what_is_finite():
    queue = FeatureQueue(3, 6)
    good, bad = rows(6), rows(6)
    bad[1, 2], bad[4, 0] = torch.nan, torch.inf
    queue.put(good, bad, torch.arange(6)[:, None].expand(6, 2))
    assert queue.written == 3
    assert sorted(queue.held()[2][:, 0].tolist()) == [2, 3, 5]
    assert all(bool(part.isfinite().all()) for part in queue.held())
    queue.put(torch.full((2, 6), torch.nan), good[:2], torch.zeros(2, 2).long())
    assert queue.written == 3


def test_a_queue_adds_candidates_and_raises_the_chance_level():
    same = F.normalize(torch.ones(4, 6), dim=1)
    queue = FeatureQueue(12, 6)
    queue.put(same.repeat(3, 1), same.repeat(3, 1), torch.full((12, 2), 9))
    loss = compute_contrastive_loss(same, same, queue=queue)
    assert math.isclose(float(loss), math.log(16), rel_tol=1e-5)
    a, b = rows(4), rows(4, seed=1)
    queue.put(b.repeat(3, 1), a.repeat(3, 1), torch.full((12, 2), 9))
    known = compute_contrastive_loss(a, b, torch.full((4,), 9), queue=queue)
    scores = a @ torch.cat((b, queue.held()[1])).T / 0.07
    back = b @ torch.cat((a, queue.held()[0])).T / 0.07
    wanted = -(scores.log_softmax(1).mean() + back.log_softmax(1).mean()) / 2
    assert math.isclose(float(known), float(wanted), rel_tol=1e-5)
