"""Boxes by torchvision's numbers, one by one; attention rollout by its definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from engine.explainers.rules import rollout
from engine.metrics.prediction import box_iou as our_iou
from engine.models.layers.losses import box_terms

Oracle = Callable[[str], dict[str, np.ndarray]]


def corners(boxes: Tensor) -> Tensor:
    return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)


def test_boxes_one_by_one(oracle: Oracle) -> None:
    known = oracle("models/losses_box")
    guess = torch.from_numpy(known["pred_xywh"]).double().requires_grad_()
    truth = torch.from_numpy(known["target_xywh"]).double()
    iou = our_iou(known["pred_xywh"], known["target_xywh"])
    np.testing.assert_allclose(iou, known["iou"].ravel(), rtol=2e-5, atol=1e-9)
    assert np.allclose(torch.diagonal(box_iou(corners(guess), corners(truth))).detach(), iou)
    giou = generalized_box_iou_loss(corners(guess), corners(truth))
    np.testing.assert_allclose(giou.detach(), known["giou_loss"], rtol=2e-5, atol=2e-6)
    terms = box_terms(guess, truth)
    distance = (guess - truth).abs().sum(1)
    np.testing.assert_allclose(
        terms.detach(), (5 * distance + 2 * torch.as_tensor(known["giou_loss"])).detach(),
        rtol=2e-5, atol=1e-5,
    )  # fmt: skip
    giou.mean().backward()
    assert guess.grad is not None
    np.testing.assert_allclose(guess.grad, known["giou_loss_mean_grad"], rtol=1e-4, atol=1e-5)
    assert np.abs(known["plain_iou_grad"][1]).sum() == 0 and guess.grad[1].abs().sum() > 0.01


def test_rollout(oracle: Oracle) -> None:
    known = oracle("models/modules")
    layers = [torch.from_numpy(layer) for layer in known["ro_attn"]]
    layers = layers if layers[0].shape[0] == 2 else [layer.transpose(0, 1) for layer in layers]
    tokens = layers[0].shape[-1]
    whole = rollout(layers, torch.eye(tokens, dtype=layers[0].dtype)[None])
    np.testing.assert_allclose(whole, known["rollout"], atol=1e-9)
    np.testing.assert_allclose(whole[:, 0, 1:], known["rollout_cls_to_patch"], atol=1e-9)
