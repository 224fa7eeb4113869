"""What the breast network is trained on: what is unknown adds nothing, what is known is right."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.ops import sigmoid_focal_loss

from engine.models import BreastCancerDiagnosisModel, compute_bbox_loss
from engine.models.breast_loss import WEIGHTS, consistency_loss, focal_terms, lesion_loss
from engine.models.layers.losses import box_terms, matched_box_losses, matching
from engine.models.weights import save_weights


def network(**options) -> BreastCancerDiagnosisModel:
    torch.manual_seed(0)
    return BreastCancerDiagnosisModel(
        img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=3, cross_heads=3,
        projection_dim=8, **options,
    )  # fmt: skip


def answers(model, count=4, **options):
    generator = torch.Generator().manual_seed(1)
    mammo = torch.randn(count, 1, 16, 16, generator=generator)
    patho = torch.randn(count, 3, 16, 16, generator=generator)
    return model.eval()(mammo, patho, **options)


def test_unknown_classes_are_masked():
    model = network()
    out = answers(model)
    _, parts = model.compute_loss(out, torch.tensor([2, -1, 0, -1]))
    known = F.cross_entropy(out["classification"][[0, 2]], torch.tensor([2, 0]))
    assert torch.allclose(parts["classification"], known)
    alone = [
        F.cross_entropy(out[name][[0, 2]], torch.tensor([2, 0]))
        for name in ("mammo_alone", "patho_alone")
    ]
    assert torch.allclose(parts["alone"], alone[0] + alone[1])


def test_without_any_label_the_loss_is_zero_and_harmless():
    model = network()
    total, parts = model.compute_loss(
        answers(model), torch.full((4,), -1), torch.zeros(4, 4), torch.full((4,), -1),
        has_box=torch.zeros(4, dtype=torch.bool), lesion_masks=torch.zeros(4, 8, 8),
        has_mask=torch.zeros(4, dtype=torch.bool),
    )  # fmt: skip
    assert set(parts) == {"total", "task_weights"}
    assert float(total.detach()) == 0
    total.backward()
    slopes = model.task_weights.log_variances.grad
    assert slopes is None or float(slopes.abs().max()) == 0


def test_extent_of_unknown_cases_is_masked_but_a_normal_breast_counts():
    logits, masks = torch.randn(3, 4, 4), (torch.rand(3, 4, 4) > 0.5).float()
    masks[0] = 0
    known = lesion_loss(logits, masks, torch.tensor([True, True, False]))
    alone = lesion_loss(logits[:2], masks[:2])
    assert known is not None and alone is not None
    assert torch.allclose(known, alone)
    without = lesion_loss(logits[1:2], masks[1:2])
    assert without is not None and not torch.allclose(known, without)
    assert lesion_loss(logits, masks, torch.zeros(3, dtype=torch.bool)) is None


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_terms_equal_torchvision(gamma):
    logits, masks = torch.randn(3, 4, 4).double() * 4, (torch.rand(3, 4, 4) > 0.5).double()
    wanted = sigmoid_focal_loss(logits, masks, alpha=-1, gamma=gamma)
    assert torch.allclose(focal_terms(logits, masks, gamma), wanted, rtol=1e-9, atol=1e-12)
    far = torch.tensor([-500.0, 500.0], requires_grad=True)
    focal_terms(far, torch.tensor([0.0, 1.0]), 0.5).sum().backward()
    assert bool(far.grad.isfinite().all())
    model = network(lesion_focus=2.0)
    out = answers(model)
    _, parts = model.compute_loss(out, lesion_masks=torch.ones(4, 8, 8))
    _, plain = network().compute_loss(out, lesion_masks=torch.ones(4, 8, 8))
    assert float(parts["lesion"].detach()) < float(plain["lesion"].detach())


def test_hidden_pathology_is_left_out_of_alignment_and_of_its_own_classes():
    model = network()
    present = torch.tensor([True, False, True, True])
    out = answers(model, patho_present=present)
    labels = torch.tensor([0, 1, 2, 3])
    features = out["mammo_proj"], out["patho_proj"]
    _, parts = model.compute_loss(out, labels, None, None, None, *features)
    kept = {name: value[present] for name, value in out.items() if name != "patho_present"}
    _, wanted = model.compute_loss(
        kept, labels[present], None, None, None, kept["mammo_proj"], kept["patho_proj"]
    )
    assert torch.allclose(parts["alignment"], wanted["alignment"])
    pathology = F.cross_entropy(out["patho_alone"][present], labels[present])
    mammography = F.cross_entropy(out["mammo_alone"], labels)
    assert torch.allclose(parts["alone"], pathology + mammography)
    one = torch.tensor([False, False, True, False])
    out = answers(model, patho_present=one)
    _, parts = model.compute_loss(out, labels, None, None, None, *features)
    assert "alignment" not in parts


def test_presence_that_is_given_is_taken_as_it_is():
    model = network(modality_dropout=0.9).train()
    mammo, patho = torch.randn(64, 1, 16, 16), torch.randn(64, 3, 16, 16)
    given = torch.ones(64, dtype=torch.bool)
    assert model(mammo, patho, patho_present=given)["patho_present"] is given
    drawn = model(mammo, patho)["patho_present"]
    assert 0 < int(drawn.sum()) < 30
    assert "patho_present" not in network(use_dg=False).train()(mammo, patho)


def test_chance_level_is_reported_beside_the_alignment():
    model = network()
    out = answers(model)
    same = F.normalize(torch.ones(4, 8), dim=1)
    _, parts = model.compute_loss(out, mammo_features=same, patho_features=same)
    assert float(parts["alignment_excess"]) == pytest.approx(0, abs=1e-5)


def test_positives_follow_the_option():
    labels, patients = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 2, 3])
    found = {}
    for kind in ("patient", "label", "both"):
        model = network(positives=kind)
        out = answers(model)
        _, parts = model.compute_loss(
            out, None, None, None, labels, out["mammo_proj"], out["patho_proj"], patients=patients
        )
        found[kind] = float(parts["alignment"].detach())
    assert found["both"] == pytest.approx((found["patient"] + found["label"]) / 2, rel=1e-5)
    assert found["patient"] != pytest.approx(found["label"], rel=1e-3)
    with pytest.raises(ValueError, match="not one of"):
        network(positives="view")


def test_grades_and_classes_that_agree_cost_nothing():
    shares = torch.tensor([[0.4, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]])
    levels = shares[:, 1:] / shares[:, 1:].sum(1, keepdim=True)
    labels, grades = torch.tensor([3, 0]), torch.tensor([2, -1])
    agree = consistency_loss(
        {"classification": shares.log(), "grading": levels.log()}, labels, grades, (1, 2, 3)
    )
    assert agree is not None and float(agree) == pytest.approx(0, abs=1e-6)
    other = torch.tensor([[0.7, 0.2, 0.1], [0.0001, 0.0001, 0.9998]])
    apart = consistency_loss(
        {"classification": shares.log(), "grading": other.log()}, labels, grades, (1, 2, 3)
    )
    wanted = float((other[0] * (other[0] / levels[0]).log()).sum())
    assert apart is not None and float(apart) == pytest.approx(wanted, rel=1e-5)
    few = consistency_loss(
        {"classification": shares.log(), "grading": shares.log()}, labels, grades, (1, 2, 3)
    )
    assert few is None


def test_the_classes_of_the_grades_are_named_in_any_order():
    shares = torch.tensor([[0.4, 0.1, 0.2, 0.3]])
    order = [2, 0, 1]  # the class without a grade comes last
    levels = shares[:, order] / shares[:, order].sum(1, keepdim=True)
    out = answers(network(), 1) | {"classification": shares.log(), "grading": levels.log()}
    known = (torch.tensor([2]), None, torch.tensor([0]))
    _, parts = network(graded_classes=order).compute_loss(out, *known)
    assert float(parts["consistency"]) == pytest.approx(0, abs=1e-6)
    _, usual = network().compute_loss(out, *known)
    assert float(usual["consistency"]) > 0.01
    for graded in ([], [1, 2]):
        _, without = network(graded_classes=graded).compute_loss(out, *known)
        assert "consistency" not in without
    for graded in ([1, 1, 2], [1, 2, 4], [-1, 0, 1]):
        with pytest.raises(ValueError, match="different classes"):
            network(graded_classes=graded)


def test_total_is_the_sum_of_the_weighted_parts_and_weights_can_be_set():
    model = network()
    out = answers(model)
    labels = (torch.tensor([0, 1, 2, 3]), torch.rand(4, 4) / 2, torch.tensor([-1, 0, 1, 2]), None)
    features = (out["mammo_proj"], out["patho_proj"])
    total, parts = model.compute_loss(out, *labels, *features)
    terms = model.weighted_losses(parts)
    assert set(terms) == {
        "classification", "localization", "grading", "alone", "consistency", "alignment"
    }  # fmt: skip
    assert torch.allclose(torch.stack(list(terms.values())).sum(), total)
    for name, weight in WEIGHTS.items():
        assert torch.allclose(terms[name], weight * parts[name])
    heavier, _ = model.compute_loss(out, *labels, *features, weights={"alignment": 1.1})
    assert torch.allclose(heavier, total + parts["alignment"])
    _, fewer = model.compute_loss(out, *labels, *features, weights={"alone": 0, "grading": 0})
    assert "alone" not in fewer and "grading" not in fewer and "classification" in fewer
    for wrong in ({"boxes": 1.0}, {"alone": -1.0}, {"alone": float("nan")}):
        with pytest.raises(ValueError):
            model.compute_loss(out, *labels, weights=wrong)


def test_losses_are_computed_in_full_precision_under_autocast():
    model = network()
    out = answers(model)
    arguments = (
        torch.tensor([0, 1, 2, 3]), torch.rand(4, 4) / 2, torch.tensor([-1, 0, 1, 2]), None,
        out["mammo_proj"], out["patho_proj"],
    )  # fmt: skip
    plain, _ = model.compute_loss(out, *arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = model.compute_loss(out, *arguments)
    assert torch.equal(plain, mixed)


def test_matching_is_the_cheapest_assignment():
    costs = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(2))
    exists = torch.ones(6, 3, dtype=torch.bool)
    for table, partner in zip(costs, matching(costs, exists), strict=True):
        found = sum(float(table[row, column]) for row, column in enumerate(partner) if column >= 0)
        best = min(
            sum(float(table[row, column]) for column, row in enumerate(rows))
            for rows in itertools.permutations(range(4), 3)
        )
        assert found == pytest.approx(best)
        assert sorted(partner.tolist()) == [-1, 0, 1, 2]


def test_only_boxes_that_exist_are_matched():
    partner = matching(torch.rand(2, 3, 2), torch.tensor([[False, True], [False, False]]))
    assert sorted(partner[0].tolist()) == [-1, -1, 1]
    assert partner[1].tolist() == [-1, -1, -1]


def test_several_boxes_cost_nothing_but_doubt_when_they_lie_on_the_lesions():
    targets = torch.tensor([[[0.1, 0.1, 0.2, 0.2], [0.6, 0.5, 0.3, 0.3]], [[0.0] * 4] * 2])
    exists = torch.tensor([[True, True], [False, False]])
    boxes = torch.tensor([[[0.6, 0.5, 0.3, 0.3], [0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.2, 0.2]]] * 2)
    beliefs = torch.tensor([[4.0, -4.0, 4.0], [-4.0, -4.0, -4.0]])
    known = torch.tensor([True, True])
    distance, doubt = matched_box_losses(boxes, beliefs, targets, exists, known)
    assert distance is not None and float(distance) == pytest.approx(0, abs=1e-5)
    assert doubt is not None and float(doubt) == pytest.approx(math.log1p(math.exp(-4)), rel=1e-4)
    with pytest.raises(ValueError, match="cannot be matched"):
        matched_box_losses(boxes[:, :1], beliefs[:, :1], targets, exists, known)


def test_one_predicted_box_is_the_plain_box_loss():
    guess, truth = torch.rand(3, 1, 4) / 2, torch.rand(3, 1, 4) / 2 + 0.01
    exists = torch.tensor([[True], [False], [True]])
    distance, _ = matched_box_losses(guess, torch.zeros(3, 1), truth, exists, exists[:, 0])
    wanted = compute_bbox_loss(guess[:, 0], truth[:, 0], exists[:, 0])
    assert distance is not None and torch.allclose(distance, wanted)
    assert box_terms(guess, truth).shape == (3, 1)


def test_a_network_for_several_lesions_learns_to_find_two():
    model = network(lesions=3, dropout=0.0)
    out = answers(model)
    assert out["boxes"].shape == (4, 3, 4) and out["box_scores"].shape == (4, 3)
    best = out["box_scores"].argmax(1)
    assert torch.equal(out["localization"], out["boxes"][torch.arange(4), best])
    targets = torch.tensor([[[0.1, 0.1, 0.2, 0.2], [0.6, 0.6, 0.3, 0.3]]]).repeat(4, 1, 1)
    exists = torch.tensor([[True, True], [True, True], [True, False], [False, False]])
    known = torch.ones(4, dtype=torch.bool)
    optimiser = torch.optim.Adam(model.localization.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        out = answers(model)
        _, parts = model.compute_loss(out, None, targets, has_box=exists, has_mask=known)
        losses.append(float(parts["localization"].detach()))
        parts["localization"].backward()
        optimiser.step()
    assert losses[-1] < 0.4 * losses[0]
    one = torch.tensor([[0.1, 0.1, 0.2, 0.2]]).repeat(4, 1)
    _, parts = model.compute_loss(out, None, one, has_box=torch.tensor([True] * 3 + [False]))
    assert bool(parts["localization"].isfinite())
    with pytest.raises(ValueError, match="1 to 5"):
        network(lesions=6)


@pytest.mark.parametrize("kind", ["coral", "sord", "oll"])
def test_other_ordinal_heads_train_and_answer(kind):
    model = network(ordinal=kind)
    out = answers(model)
    assert out["grading"].shape == (4, 3)
    assert torch.allclose(out["grading"].exp().sum(1), torch.ones(4), atol=1e-5)
    total, parts = model.compute_loss(
        out, torch.tensor([0, 1, 2, 3]), labels_grade=torch.tensor([-1, 0, 1, 2])
    )
    total.backward()
    assert "grading" in parts
    slopes = [p.grad for p in model.grading.parameters()]
    assert all(slope is not None and float(slope.abs().sum()) > 0 for slope in slopes)


def test_a_queue_fills_in_training_only_and_travels_with_checkpoints_alone(tmp_path):
    model = network(queue=6)
    out = answers(model)
    features = {"mammo_features": out["mammo_proj"], "patho_features": out["patho_proj"]}
    model.compute_loss(out, **features)
    assert model.alignment.queue.written == 0
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    model.train()
    model.compute_loss(out, **features)
    total, parts = model.compute_loss(out, **features)
    total.backward()
    assert model.alignment.queue.written == 8
    assert bool(parts["alignment"].isfinite())
    for _ in range(3):
        averaged.update_parameters(model)
    assert averaged.module.alignment.queue.written == 0
    save_weights(averaged.module, tmp_path / "kept.safetensors")
    assert not any("queue" in name for name in load_file(tmp_path / "kept.safetensors"))
    torch.save({"network": model.state_dict()}, tmp_path / "last.pt")
    stored = torch.load(tmp_path / "last.pt", weights_only=True)
    again = network(queue=6)
    again.load_state_dict(stored["network"])
    pairs = zip(again.alignment.queue.held(), model.alignment.queue.held(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) and again.alignment.queue.written == 8
    again.load_state_dict(network(queue=6).state_dict())
    assert again.alignment.queue.written == 0
    with pytest.raises(RuntimeError):
        network(queue=5).load_state_dict(stored["network"])


def test_a_batch_that_is_not_finite_leaves_the_queue_sound():
    model = network(queue=6).train()
    out = answers(model)
    model.train()
    mammo, patho = out["mammo_proj"].detach().clone(), out["patho_proj"].detach()
    mammo[1, 0], mammo[3, 2] = torch.nan, torch.inf
    model.compute_loss(out, mammo_features=mammo, patho_features=patho)
    assert model.alignment.queue.written == 2
    _, parts = model.compute_loss(
        out, mammo_features=out["mammo_proj"], patho_features=out["patho_proj"]
    )
    assert bool(parts["alignment"].isfinite())


def test_the_training_example_of_the_design_runs():
    torch.manual_seed(0)
    model = BreastCancerDiagnosisModel(
        img_size=32, patch_size=16, embed_dim=24, depth=1, num_heads=3, num_classes=4,
        num_grades=3, use_dg=True, use_interpretability=False,
    )  # fmt: skip
    labels = torch.tensor([0, 1, 2, 3])
    outputs = model(torch.randn(4, 1, 32, 32), torch.randn(4, 3, 32, 32), patho_present=labels >= 0)
    total, parts = model.compute_loss(
        outputs,
        labels_cls=labels,
        labels_bbox=torch.randn(4, 4).clamp(0, 1),
        labels_grade=torch.tensor([0, 1, 2, 1]),
        labels_align=labels,
        mammo_features=outputs["mammo_proj"],
        patho_features=outputs["patho_proj"],
    )
    total.backward()
    for name in ("classification", "localization", "grading", "alignment", "total"):
        assert bool(parts[name].isfinite()) and parts[name].ndim == 0
    assert len(parts["task_weights"]) == 4
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
