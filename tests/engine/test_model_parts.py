"""Losses, heads and layers of the breast network against oracles and their own invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from engine.errors import ShapeMismatch
from engine.models import (
    AdapterLayer,
    CrossModalAlignment,
    CrossModalAttention,
    GradingHead,
    InterpretabilityModule,
    LocalizationHead,
    SharedViTEncoder,
    TransformerBlock,
    UncertaintyWeightedMultiTaskLoss,
    compute_bbox_loss,
    compute_contrastive_loss,
    compute_ordinal_loss,
)
from engine.models.layers.interpretability import concentration
from engine.models.layers.ordinal import corn_loss, grade_log_probabilities


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values)


def test_corn_loss_and_probabilities(oracle):
    arrays = oracle("models/ordinal")
    logits, labels = tensor(arrays["logits"]), tensor(arrays["labels"]).long()
    assert math.isclose(float(corn_loss(logits, labels)), float(arrays["corn"]), rel_tol=2e-5)
    shares = grade_log_probabilities(logits).exp()
    assert np.allclose(shares.numpy(), arrays["corn_class_probs"], atol=2e-5)


def test_ordinal_loss_of_log_probabilities_is_corn(oracle):
    arrays = oracle("models/ordinal")
    logits, labels = tensor(arrays["logits"]), tensor(arrays["labels"]).long()
    got = compute_ordinal_loss(grade_log_probabilities(logits), labels)
    assert math.isclose(float(got), float(arrays["corn"]), rel_tol=2e-5)


@pytest.mark.parametrize("levels", [3, 5])
def test_ordinal_minimiser_puts_most_mass_on_the_grade(levels):
    for grade in range(levels):
        logits = torch.zeros(1, levels, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.3)
        for _ in range(60):
            optimiser.zero_grad()
            compute_ordinal_loss(logits, torch.tensor([grade])).backward()
            optimiser.step()
        assert int(logits.argmax()) == grade
        assert float(logits.softmax(1)[0, grade].detach()) > 0.8


def test_every_ordinal_error_costs_more_than_the_right_grade():
    for grade in range(4):
        logits = torch.eye(4) * 4
        costs = [
            float(compute_ordinal_loss(logits[guess : guess + 1], torch.tensor([grade])))
            for guess in range(4)
        ]
        wrong = [cost for guess, cost in enumerate(costs) if guess != grade]
        assert min(wrong) > costs[grade] + 0.5


def test_box_loss(oracle):
    arrays = oracle("models/losses_box")
    guess, truth = tensor(arrays["pred_xywh"]), tensor(arrays["target_xywh"])
    got = compute_bbox_loss(guess, truth)
    assert math.isclose(float(got), float(arrays["detr_5l1_2giou"]), rel_tol=2e-5)
    masked = compute_bbox_loss(guess, truth, tensor(arrays["has_box"]).bool())
    assert math.isclose(float(masked), float(arrays["detr_5l1_2giou_masked"]), rel_tol=2e-5)


def test_box_loss_has_a_gradient_for_disjoint_boxes():
    guess = torch.tensor([[0.1, 0.1, 0.1, 0.1]], requires_grad=True)
    compute_bbox_loss(guess, torch.tensor([[0.7, 0.7, 0.1, 0.1]])).backward()
    assert guess.grad is not None and float(guess.grad.abs().sum()) > 0


@pytest.mark.parametrize("tau", ["0.07", "0.5"])
def test_contrastive_losses(oracle, tau):
    arrays = oracle("models/contrastive")
    a, b = tensor(arrays["a"]), tensor(arrays["b"])
    same_patient = compute_contrastive_loss(a, b, temperature=float(tau))
    assert math.isclose(float(same_patient), float(arrays[f"clip_sym_tau{tau}"]), rel_tol=2e-5)
    same_label = compute_contrastive_loss(a, b, tensor(arrays["labels"]), float(tau))
    expected = float(arrays[f"xmodal_supcon_out_tau{tau}"])
    assert math.isclose(float(same_label), expected, rel_tol=2e-5)


def test_contrastive_chance_level_is_the_logarithm_of_the_batch():
    rows = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    assert math.isclose(float(compute_contrastive_loss(rows, rows)), math.log(8), rel_tol=1e-5)


def test_task_weighting(oracle):
    arrays = oracle("models/multitask")
    weigh = UncertaintyWeightedMultiTaskLoss(3)
    weigh.double()
    with torch.no_grad():
        weigh.log_variances.copy_(tensor(arrays["s_log_var"]))
    losses = [torch.tensor(float(v), dtype=torch.float64) for v in arrays["losses"]]
    total, weights = weigh(losses)
    assert math.isclose(float(total.detach()), float(arrays["kendall_cls_total"]), rel_tol=1e-9)
    assert np.allclose(weights, np.exp(-arrays["s_log_var"]))
    kept = [v if keep else None for v, keep in zip(losses, arrays["mask"], strict=True)]
    total, _ = weigh(kept)
    expected = float(arrays["kendall_cls_masked_total"])
    assert math.isclose(float(total.detach()), expected, rel_tol=1e-9)


def test_an_absent_task_gets_no_gradient_and_weights_stay_in_range():
    weigh = UncertaintyWeightedMultiTaskLoss(3)
    total, _ = weigh([torch.tensor(1.0), None, torch.tensor(0.0)])
    total.backward()
    assert weigh.log_variances.grad is not None
    assert float(weigh.log_variances.grad[1]) == 0
    with torch.no_grad():
        weigh.log_variances.fill_(-100)
    weigh.project()
    assert float(weigh.log_variances.detach().min()) == -4


def test_adapter_starts_as_the_identity():
    tokens = torch.randn(2, 5, 16)
    assert torch.equal(AdapterLayer(16)(tokens), tokens)


def test_untrained_adapters_leave_a_timm_vit_unchanged():
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0
    ).eval()
    ours = SharedViTEncoder(32, 8, 3, 24, 2, 3, modality_type="pathology", dropout=0.0).eval()
    weights = {k: v for k, v in vit.state_dict().items() if k.startswith("blocks.")}
    found = ours.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    with torch.no_grad():
        ours.embed["pathology"].proj.load_state_dict(vit.patch_embed.proj.state_dict())
        ours.cls_token.copy_(vit.cls_token)
        ours.cls_position.copy_(vit.pos_embed[:, :1])
        ours.positions.copy_(vit.pos_embed[:, 1:].reshape(1, 4, 4, 24))
        ours.norm.load_state_dict(vit.norm.state_dict())
        pixels = torch.randn(2, 3, 32, 32)
        expected = vit.forward_features(pixels)
        cls, patches = ours(pixels, return_patch_tokens=True)
    assert torch.allclose(cls, expected[:, 0], atol=1e-5)
    assert torch.allclose(patches, expected[:, 1:], atol=1e-5)


def test_encoder_refuses_wrong_channels_and_sides():
    encoder = SharedViTEncoder(32, 8, 1, 24, 1, 3)
    with pytest.raises(ShapeMismatch, match="1 channel"):
        encoder(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ShapeMismatch, match="multiples of the patch size 8"):
        encoder(torch.zeros(1, 1, 30, 32))


def test_encoder_reads_other_sizes():
    encoder = SharedViTEncoder(32, 8, 1, 24, 1, 3).eval()
    _, tokens = encoder(torch.zeros(1, 1, 64, 40), return_patch_tokens=True)
    assert tokens.shape == (1, 40, 24)


def test_parameter_count_of_the_small_size():
    encoder = SharedViTEncoder(
        embed_dim=384, depth=6, num_heads=6, modalities={"mammography": 1, "pathology": 3}
    )
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert round(millions, 2) == 12.90


def test_fused_and_explicit_cross_attention_agree():
    torch.manual_seed(1)
    cross = CrossModalAttention(24, 3).eval()
    queries, context = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    mixed, weights = cross(queries, context)
    handle = cross.tap.register_forward_hook(lambda *call: None)
    explicit = cross.mix(queries, context)
    handle.remove()
    assert torch.allclose(mixed, explicit, atol=1e-6)
    assert weights.shape == (2, 5, 7)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5), atol=1e-6)


def test_random_attention_gives_a_map_that_varies_and_constant_attention_the_flag():
    torch.manual_seed(2)
    module = InterpretabilityModule(32, 4, top_k=3)
    varied = module(torch.randn(2, 16, 32) * 3, torch.randn(2, 9, 32) * 3, 64, 16)
    assert varied["heatmap"].shape == (2, 64, 64)
    assert varied["heatmap_localised"].all()
    assert float(varied["heatmap"].detach().max()) > 0.9
    assert varied["top_indices"].shape == (2, 3)
    assert varied["top_patho_patches"].shape == (2, 3, 32)
    flat = module(torch.zeros(1, 16, 32), torch.randn(1, 9, 32), 64, 16)
    assert not flat["heatmap_localised"].any()
    assert float(flat["heatmap"].detach().abs().max()) == 0


def test_concentration_is_one_for_a_point_and_zero_for_a_uniform_row():
    rows = torch.stack((torch.eye(4)[0], torch.full((4,), 0.25)))[None]
    assert torch.allclose(concentration(rows), torch.tensor([[1.0, 0.0]]), atol=1e-6)


def test_boxes_stay_in_the_image():
    head = LocalizationHead(16, 32)
    with torch.no_grad():
        head.box[-1].bias.copy_(torch.tensor([3.0, 3.0, 3.0, 3.0]))
        boxes = head(torch.randn(6, 9, 16))
    assert bool((boxes >= 0).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all())
    assert head(torch.randn(4, 16)).shape == (4, 4)


def test_grades_are_distributions():
    logs = GradingHead(16, 4)(torch.randn(5, 16) * 30)
    assert torch.allclose(logs.exp().sum(1), torch.ones(5), atol=1e-5)


def test_alignment_gives_unit_rows():
    align = CrossModalAlignment(embed_dim=16, projection_dim=8, temperature=0.2)
    left, right = align(torch.randn(3, 16), torch.randn(3, 16))
    assert torch.allclose(left.norm(dim=1), torch.ones(3), atol=1e-5)
    assert right.shape == (3, 8)
    assert math.isclose(float(align.temperature.detach()), 0.2, rel_tol=1e-5)


def test_block_takes_its_documented_parameters():
    block = TransformerBlock(dim=16, num_heads=4, mlp_ratio=2.0, adapter_dim=4, dropout=0.0)
    assert block(torch.randn(2, 5, 16)).shape == (2, 5, 16)
