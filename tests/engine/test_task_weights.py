"""Weighting of tasks, and gradients that no longer conflict."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.models import UncertaintyWeightedMultiTaskLoss
from engine.training.pcgrad import backward_with_pcgrad, pcgrad


@pytest.fixture
def arrays(oracle):
    return oracle("models/multitask")


def weighing(arrays, form):
    weigh = UncertaintyWeightedMultiTaskLoss(3, form).double()
    with torch.no_grad():
        weigh.log_variances.copy_(torch.tensor(arrays["s_log_var"]))
    return weigh


FORMS = [
    ("classification", "kendall_cls_total", "kendall_cls_grad_s"),
    ("regression", "kendall_reg_total", "kendall_reg_grad_s"),
    ("bounded", "liebel_total", "liebel_grad_s"),
]


@pytest.mark.parametrize(("form", "total_name", "slope_name"), FORMS)
def test_totals_and_gradients(arrays, form, total_name, slope_name):
    weigh = weighing(arrays, form)
    total, weights = weigh(list(torch.tensor(arrays["losses"])))
    total.backward()
    assert math.isclose(float(total.detach()), float(arrays[total_name]), rel_tol=1e-9)
    assert np.allclose(weigh.log_variances.grad.numpy(), arrays[slope_name], rtol=1e-8)
    scale = 1.0 if form == "classification" else 0.5
    assert np.allclose(weights, scale * np.exp(-arrays["s_log_var"]))


@pytest.mark.parametrize("form", ["classification", "regression"])
def test_stationary_points(arrays, form):
    short = {"classification": "cls", "regression": "reg"}[form]
    weigh = weighing(arrays, form)
    with torch.no_grad():
        found = arrays[f"stationary_sigma2_{short}_form"]
        weigh.log_variances.copy_(torch.tensor(found).log())
    total, _ = weigh(list(torch.tensor(arrays["losses"])))
    total.backward()
    wanted = float(arrays[f"stationary_total_{short}_form"])
    assert math.isclose(float(total.detach()), wanted, rel_tol=1e-9)
    assert float(weigh.log_variances.grad.abs().max()) < 1e-9


def test_the_total_stays_bounded_with_a_loss_of_exactly_zero():
    weigh = UncertaintyWeightedMultiTaskLoss(2)
    optimiser = torch.optim.SGD(weigh.parameters(), lr=1.0)
    for _ in range(50):
        optimiser.zero_grad()
        total, _ = weigh([torch.tensor(0.0), torch.tensor(1.0)])
        total.backward()
        optimiser.step()
        weigh.project()
    assert float(weigh([torch.tensor(0.0), torch.tensor(1.0)])[0].detach()) >= -2
    bounded = UncertaintyWeightedMultiTaskLoss(1, "bounded")
    with torch.no_grad():
        bounded.log_variances.fill_(-50)
    assert float(bounded([torch.tensor(0.0)])[0].detach()) >= 0


def test_unknown_forms_and_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="not one of"):
        UncertaintyWeightedMultiTaskLoss(2, "equal")
    with pytest.raises(ValueError, match="2 tasks were declared"):
        UncertaintyWeightedMultiTaskLoss(2)([torch.tensor(1.0)])


@pytest.mark.parametrize("suffix", ["", "_noconflict"])
def test_pcgrad(arrays, suffix):
    name = "pc_grads" if not suffix else "pc_grads_noconflict"
    rows = torch.tensor(arrays[name])
    tasks = [[row[:3].clone(), row[3:].clone()] for row in rows]
    got = pcgrad(tasks, torch.Generator().manual_seed(0))
    merged = torch.cat([part for part in got if part is not None]).numpy()
    assert np.allclose(merged, arrays[f"pc_merged_mean{suffix}"], rtol=1e-9, atol=1e-12)


def test_pcgrad_where_tasks_reach_different_tensors():
    tasks = [
        [torch.tensor([1.0, 0.0]), None, None],
        [torch.tensor([-1.0, 1.0]), torch.ones(1), None],
    ]
    got = pcgrad(tasks, torch.Generator().manual_seed(0))
    assert got[2] is None
    assert got[1] is not None and got[0] is not None
    assert torch.allclose(got[0], torch.tensor([1 / 3, 2 / 3]))
    assert torch.allclose(got[1], torch.tensor([2 / 3]))


def test_trunk_gradients_are_mended_and_the_rest_summed():
    torch.manual_seed(0)
    trunk = torch.nn.Linear(3, 4)
    heads = torch.nn.ModuleList(torch.nn.Linear(4, 1) for _ in range(3))
    features = trunk(torch.randn(5, 3))
    losses = {str(n): (head(features) * (-1) ** n).mean() for n, head in enumerate(heads)}
    losses["absent"] = torch.zeros(())
    plain = torch.autograd.grad(
        torch.stack(list(losses.values())).sum(), list(heads.parameters()), retain_graph=True
    )
    each = [
        list(torch.autograd.grad(losses[str(n)], list(trunk.parameters()), retain_graph=True))
        for n in range(3)
    ]
    wanted = pcgrad(each, torch.Generator().manual_seed(5))
    backward_with_pcgrad(
        losses, list(trunk.parameters()), list(heads.parameters()),
        torch.Generator().manual_seed(5),
    )  # fmt: skip
    for parameter, gradient in zip(trunk.parameters(), wanted, strict=True):
        assert parameter.grad is not None and gradient is not None
        assert torch.allclose(parameter.grad, gradient)
    for parameter, gradient in zip(heads.parameters(), plain, strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, gradient)
    mended = torch.cat([g.flatten() for g in wanted if g is not None])
    one = torch.cat([g.flatten() for g in each[1]])
    sum_of_all = torch.stack([torch.cat([g.flatten() for g in task]) for task in each]).sum(0)
    assert float(torch.dot(mended, one)) > float(torch.dot(sum_of_all / 3, one))
