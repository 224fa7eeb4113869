"""The four ways to learn a grade, against published implementations and their own promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.models import GradingHead, compute_ordinal_loss
from engine.models.layers.ordinal import (
    ORDINAL,
    CoralLayer,
    coral_terms,
    corn_terms,
    emd_terms,
    grade_log_probabilities,
    oll_terms,
    ordinal_loss,
    sord_terms,
)


@pytest.fixture
def arrays(oracle):
    return oracle("models/ordinal")


@pytest.fixture
def labels(arrays):
    return torch.tensor(arrays["labels"])


def close(got, wanted, tolerance=1e-9):
    assert np.allclose(got.detach().numpy(), wanted, rtol=tolerance, atol=tolerance)


def test_corn(arrays, labels):
    logits = torch.tensor(arrays["logits"]).requires_grad_()
    terms, reached = corn_terms(logits, labels)
    loss = (terms * reached).sum() / reached.sum()
    close(loss, arrays["corn"])
    close(torch.autograd.grad(loss, logits)[0], arrays["corn_grad"], 1e-8)
    shares = grade_log_probabilities(logits).exp()
    close(shares, arrays["corn_class_probs"], 2e-5)
    above = shares.flip(1).cumsum(1).flip(1)[:, 1:]
    assert np.array_equal((above > 0.5).sum(1).numpy(), arrays["corn_labels"])


def test_coral(arrays, labels):
    logits = torch.tensor(arrays["logits"]).requires_grad_()
    loss = coral_terms(logits, labels).mean()
    close(loss, arrays["coral"])
    close(torch.autograd.grad(loss, logits)[0], arrays["coral_grad"], 1e-8)
    weighted = coral_terms(logits, labels, torch.tensor(arrays["importance"])).mean()
    close(weighted, arrays["coral_importance"])


def test_coral_layer(arrays):
    layer = CoralLayer(7, 3).double()
    close(layer.biases, arrays["layer_b_init"])
    with torch.no_grad():
        layer.score.weight.copy_(torch.tensor(arrays["layer_w"]))
    close(layer(torch.tensor(arrays["layer_x"])), arrays["layer_out"])


@pytest.mark.parametrize(("name", "power"), [("sord_abs", 1.0), ("sord_sq", 2.0)])
def test_sord(arrays, labels, name, power):
    logits = torch.tensor(arrays["K_logits"]).requires_grad_()
    loss = sord_terms(logits, labels, power).mean()
    close(loss, arrays[name])
    close(torch.autograd.grad(loss, logits)[0], arrays[f"{name}_grad"], 1e-8)


@pytest.mark.parametrize("power", ["1", "1.5", "2"])
def test_oll(arrays, labels, power):
    loss = oll_terms(torch.tensor(arrays["K_logits"]), labels, float(power)).mean()
    close(loss, arrays[f"oll_a{power}"])


def test_squared_earth_movers_distance(arrays, labels):
    close(emd_terms(torch.tensor(arrays["K_logits"]), labels).mean(), arrays["emd2"])


def test_the_loss_that_rewards_the_farthest_grade_is_none_of_ours(arrays, labels):
    logits = torch.tensor(arrays["K_logits"])
    bad = float(arrays["seed000_bad_loss"])
    ours = [float(f(logits, labels).mean()) for f in (sord_terms, oll_terms, emd_terms)]
    assert all(
        abs(value - bad) > 0.1 for value in (*ours, float(compute_ordinal_loss(logits, labels)))
    )


@pytest.mark.parametrize("kind", ORDINAL)
@pytest.mark.parametrize("levels", [2, 3, 5])
def test_the_minimiser_puts_most_mass_on_the_grade(kind, levels):
    width = levels - 1 if kind in ("corn", "coral") else levels
    grades = torch.arange(levels)
    start = torch.arange(width, 0, -1).float() if kind == "coral" else torch.zeros(width)
    logits = start.repeat(levels, 1).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(80):
        optimiser.zero_grad()
        loss = ordinal_loss(kind, logits, grades)
        assert loss is not None
        loss.backward()
        optimiser.step()
    shares = grade_log_probabilities(logits.detach(), kind).exp()
    assert torch.equal(shares.argmax(1), grades)
    assert torch.allclose(shares.sum(1), torch.ones(levels), atol=1e-5)


@pytest.mark.parametrize("kind", ORDINAL)
def test_heads_give_distributions_and_finite_gradients_far_out(kind):
    torch.manual_seed(0)
    head = GradingHead(16, 4, ordinal=kind)
    features = (torch.randn(5, 16) * 300).requires_grad_()
    logs = head(features)
    assert logs.shape == (5, 4)
    assert torch.allclose(logs.exp().sum(1), torch.ones(5), atol=1e-5)
    loss = ordinal_loss(kind, head.ordinal(features), torch.tensor([0, 1, 2, 3, -1]))
    assert loss is not None
    (loss + logs.mean()).backward()
    assert bool(features.grad.isfinite().all())


@pytest.mark.parametrize("kind", ORDINAL)
def test_cases_without_a_grade_add_nothing(kind):
    torch.manual_seed(1)
    ordinal = GradingHead(8, 3, dropout=0.0, ordinal=kind).ordinal(torch.randn(3, 8))
    some = ordinal_loss(kind, ordinal, torch.tensor([2, -1, 0]))
    kept = ordinal_loss(kind, ordinal[[0, 2]], torch.tensor([2, 0]))
    assert some is not None and kept is not None
    assert torch.allclose(some, kept)
    assert ordinal_loss(kind, ordinal, torch.full((3,), -1)) is None


def test_thresholds_out_of_order_still_give_a_distribution():
    logs = grade_log_probabilities(torch.tensor([[-2.0, 2.0, 0.0]]), "coral")
    assert torch.allclose(logs.exp().sum(), torch.tensor(1.0))
    assert float(logs.exp()[0, 1]) < 1e-6


def test_unknown_kinds_and_single_grades_are_refused():
    with pytest.raises(ValueError, match="not one of"):
        GradingHead(8, 3, ordinal="rank")
    with pytest.raises(ValueError, match="two grades"):
        GradingHead(8, 1)
