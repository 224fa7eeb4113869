"""Models that we did not train, on real images: every fast method answers, in the right place."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from engine.explainers import EXPLAINERS
from engine.io import gather
from engine.models import System
from engine.models.brought import Brought
from engine.records import Box, Case
from engine.workflow import explain, predict

pytestmark = pytest.mark.real_data

torch.set_num_threads(1)  # nets this small only lose by sharing the processor

IMAGES = {
    "mammogram": "mammography/mias/*.png",
    "mammogram, 16 bit": "mammography/ffdm16/*quarter.png",
    "mammogram, training": "mammography_train/mias512/*.png",
    "histology": "histology/her2st_*.jpg",
    "brain": "brain_mri/BRATS_HG0001_slice/*_flair.nii.gz",
    "lung slice": "patient_slices/covid_patient2/*.png",
    "brain slice": "patient_slices/mri_tcga-du-7294/*.png",
    "CT projection": "dicom/CT_JPEG70.dcm",
    "inverted mammogram": "dicom/mg_cbis_P00820_R-CC_quarter_mono1.dcm",
    "coloured ultrasound": "dicom/examples_ybr_color.dcm",
}
FAST = tuple(name for name, method in EXPLAINERS.items() if not method.slow)
CLASS_BLIND = ("rollout", "raw_attention", "eigencam")


def registers(count: int = 3) -> nn.Module:
    """DINOv2's small architecture with four registers, smaller still."""
    torch.manual_seed(0)
    return timm.create_model(
        "vit_small_patch14_reg4_dinov2", pretrained=False, num_classes=count, img_size=84,
        embed_dim=48, depth=3, num_heads=3, init_values=0.5,
    ).eval()  # fmt: skip


def lite() -> nn.Module:
    """EfficientNet-Lite0 with few classes; normalised by 0.5, as its weights ask."""
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=3).eval()


NETWORKS = {"registers": registers, "lite": lite}


@cache
def system(name: str) -> System:
    return Brought.of(NETWORKS[name](), ("one", "two", "three"))


@cache
def case(folder: Path, pattern: str) -> Case:
    found = sorted(folder.glob(pattern))
    assert found, f"{pattern} finds no file"
    outcome = next(iter(gather([found[0]])))
    assert outcome.case is not None, outcome.problem
    return outcome.case


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_fast_method_answers_in_source_pixels(name, kind, real_data):
    one = case(real_data, IMAGES[kind])
    found = explain(system(name), one, FAST, "two")
    image = one.images[0]
    assert sum(found.prediction.probabilities.values()) == pytest.approx(1, abs=1e-4)
    served = {explanation.method for explanation in found.explanations}
    assert served | set(found.refused) == set(FAST)
    wanted = {n for n in FAST if EXPLAINERS[n].needs <= system(name).offers}
    assert wanted <= served and {"gradcam", "saliency"} <= wanted
    for explanation in found.explanations:
        (heat,) = explanation.maps
        assert heat.values.shape == (image.height, image.width), explanation.method
        assert heat.values.dtype == np.float32
        assert np.isfinite(heat.values).all(), explanation.method
        assert heat.localised == bool(np.ptp(heat.values)), explanation.method
    told = [e.maps[0].localised for e in found.explanations]
    assert 2 * sum(told) >= len(told)  # a random network leaves some clamped maps empty
    assert all(reason.endswith(".") for reason in found.refused.values())


def test_registers_and_class_token_never_reach_the_map(real_data):
    one, read = case(real_data, IMAGES["brain"]), system("registers")
    assert isinstance(read, Brought)
    assert (read.anatomy.prefix, read.anatomy.grid_of(84, 84)) == (5, (6, 6))
    found = explain(read, one, ("rollout", "raw_attention", "relevance"), raw=True)
    assert [e.maps[0].values.shape for e in found.explanations] == [(6, 6)] * 3
    attention = found.explanations[1].maps[0].values
    assert 0 < attention.sum() < 1  # the rest went to the class token and the registers


@pytest.mark.parametrize("kind", ["mammogram", "brain", "CT projection"])
def test_a_headless_network_shows_where_it_looks(kind, real_data):
    one = case(real_data, IMAGES[kind])
    found = explain(Brought.of(registers(0)), one, (*CLASS_BLIND, "saliency"))
    assert tuple(e.method for e in found.explanations) == CLASS_BLIND
    assert "no class can be explained" in found.refused["saliency"]
    for explanation in found.explanations:
        assert explanation.maps[0].values.shape == (one.images[0].height, one.images[0].width)


class Corner(nn.Module):
    """Knows one square of its input only: the evidence's place is known."""

    square = Box(24, 80, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        nn.init.constant_(self.head.weight, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, :, 80:96, 24:40].mean((2, 3)))


@pytest.mark.parametrize("kind", IMAGES)
def test_heat_lies_where_the_evidence_is(kind, real_data):
    one = case(real_data, IMAGES[kind])
    read = Brought.of(Corner(), ("yes", "no"))
    prepared = read.prepare(one)
    placement = prepared.views["image"].placement
    (found,) = explain(read, one, ("saliency",)).explanations
    heat = found.maps[0].values
    box = placement.box_to_source(Corner.square)
    rows, columns = np.indices(heat.shape) + 0.5
    pitch = 1.5 * max(1.0, placement.height / placement.inner[0])
    near = (np.abs(rows - (box.y + box.height / 2)) <= box.height / 2 + pitch) & (
        np.abs(columns - (box.x + box.width / 2)) <= box.width / 2 + pitch
    )
    if box.width == 0 or box.height == 0:  # the square lies on the padding
        assert not found.maps[0].localised
        return
    assert heat[near].max() > 0
    assert not heat[~near].any()


def test_padding_is_black_in_the_networks_own_units(real_data):
    one = case(real_data, IMAGES["CT projection"])
    for name in NETWORKS:
        read = system(name)
        prepared = read.prepare(one)
        view = prepared.views["image"]
        image = prepared.inputs["image"]
        assert image is not None and view.placement.offset[0] > 0
        padding = image[0, :, : view.placement.offset[0]]
        black = torch.tensor(view.span.black).view(3, 1, 1)
        assert torch.allclose(padding, black.expand_as(padding), atol=1e-6)
    assert view.span.black == (-1.0, -1.0, -1.0)


def test_a_prediction_without_explanations_is_the_same(real_data):
    one, read = case(real_data, IMAGES["brain"]), system("lite")
    alone, together = predict(read, one), explain(read, one, ("saliency",)).prediction
    assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-5)
