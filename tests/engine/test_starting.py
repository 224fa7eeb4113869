"""Weights of timm's vision transformers as a start, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from engine.adaptation.candidate import card_toml
from engine.errors import ModelUnavailable
from engine.models import BreastCancerDiagnosisModel
from engine.models.starting import start_from
from engine.models.weights import sha256_of
from engine.records import ModelCard

SHAPE = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def network(**options) -> BreastCancerDiagnosisModel:
    torch.manual_seed(1)
    return BreastCancerDiagnosisModel(**(SHAPE | {"cross_heads": 3} | options)).eval()


def vit(**options) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**(SHAPE | {"num_classes": 0} | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def stored(model: torch.nn.Module, folder, name="start.safetensors") -> str:
    path = folder / name
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return str(path)


VARIANTS = {
    "plain": {},
    "layer scale": {"init_values": 0.7},
    "no bias of the queries": {"qkv_bias": False},
    "positions of patches only": {"no_embed_class": True},
}


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_with_silent_adapters_the_answers_are_those_of_timm(tmp_path, variant):
    model, ours = vit(**VARIANTS[variant]), network()
    report = start_from(ours, stored(model, tmp_path))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model.forward_features(pixels)
        cls, patches = ours.encoder(pixels, True, modality="pathology")
        grey = torch.randn(2, 1, 32, 32)
        summed = model.forward_features(grey.expand(-1, 3, -1, -1))
        read, _ = ours.encoder(grey, True, modality="mammography")
    assert torch.allclose(cls, wanted[:, 0], atol=1e-5)
    assert torch.allclose(patches, wanted[:, 1:], atol=1e-5)
    assert torch.allclose(read, summed[:, 0], atol=1e-5)
    assert report.source == "a file" and len(report.digest) == 64
    assert "encoder.blocks.1.mlp.fc2.weight" in report.taken
    assert "encoder.positions" in report.taken
    assert all("encoder" not in name or "adapter" in name or "modality_token" in name
               for name in report.random)  # fmt: skip
    assert not report.unused
    assert any("mammography has 1 of 3 channels" in note for note in report.notes)


def test_positions_are_resized_and_wrappers_taken_off(tmp_path):
    model, ours = vit(), network(img_size=48)
    wrapped = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "start.pth")
    report = start_from(ours, str(tmp_path / "start.pth"))
    assert any("from 4 x 4 to 6 x 6" in note for note in report.notes)
    corner = model.pos_embed[0, 1]
    assert torch.allclose(ours.encoder.positions[0, 0, 0], corner, atol=0.3)
    assert ours.encoder.positions.shape == (1, 6, 6, 24)


def test_a_convolutional_stem_stays_random_and_a_head_is_unused(tmp_path):
    ours = network(stem="convolutional")
    report = start_from(ours, stored(vit(num_classes=5), tmp_path))
    assert sum("stayed random" in note for note in report.notes) == 2
    assert any(name.startswith("encoder.embed.") for name in report.random)
    assert set(report.unused) == {"head.weight", "head.bias"}


def test_a_grey_stem_is_spread_over_the_colours(tmp_path):
    model, ours = vit(in_chans=1), network()
    start_from(ours, stored(model, tmp_path))
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        wanted = model.forward_features(grey)[:, 0]
        colour = ours.encoder(grey.expand(-1, 3, -1, -1), modality="pathology")
        plain = ours.encoder(grey, modality="mammography")
    assert torch.allclose(colour, wanted, atol=1e-5)
    assert torch.allclose(plain, wanted, atol=1e-5)


WRONG = {
    "3 blocks": {"depth": 3},
    "48 as width": {"embed_dim": 48},
    "16 pixels as patch side": {"patch_size": 16},
    "2 channels": {"in_chans": 2},
    "another shape": {"mlp_ratio": 2.0},
    "k_norm": {"qk_norm": True},
    "norm_pre": {"pre_norm": True},
}


@pytest.mark.parametrize("said", list(WRONG))
def test_weights_of_another_shape_are_refused_and_nothing_changes(tmp_path, said):
    ours = network()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ModelUnavailable, match=said) as refusal:
        start_from(ours, stored(vit(**WRONG[said]), tmp_path))
    assert str(tmp_path) not in str(refusal.value)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_other_networks_and_absent_files_are_refused(tmp_path):
    ours = network()
    with pytest.raises(ModelUnavailable, match="not those of a vision transformer"):
        start_from(ours, stored(torch.nn.Linear(2, 2), tmp_path))
    with pytest.raises(ModelUnavailable, match="no checkpoint at the place"):
        start_from(ours, str(tmp_path / "absent.safetensors"))
    with pytest.raises(ModelUnavailable, match="neither a file that exists nor"):
        start_from(ours, "vit_of_nobody")


def test_a_name_of_timm_is_fetched_and_its_heads_are_checked(monkeypatch):
    model = vit()
    asked = {}

    def create(name, **options):
        asked.update(options, name=name)
        return model

    monkeypatch.setattr(timm, "create_model", create)
    ours = network()
    report = start_from(ours, "vit_tiny_patch16_224")
    assert asked["pretrained"] is True and asked["name"] == "vit_tiny_patch16_224"
    assert report.source == "vit_tiny_patch16_224" and report.digest == ""
    weight = ours.encoder.blocks[0].attn.qkv.weight
    assert torch.equal(weight, model.blocks[0].attn.qkv.weight)
    with pytest.raises(ModelUnavailable, match="3 attention heads, the network has 6"):
        start_from(network(num_heads=6), "hf-hub:somebody/something")


def test_a_hub_out_of_reach_is_said_in_one_sentence(monkeypatch):
    def create(name, **options):
        raise OSError("Name or service not known: hub.example")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ModelUnavailable, match="out of reach") as refusal:
        start_from(network(), "vit_tiny_patch16_224")
    assert "hub.example" not in str(refusal.value)


HEADS = {"classification.layers.3", "mammo_alone", "patho_alone"}
NAMES, LEVELS = ("Normal", "Benign", "In situ", "Invasive"), ("Benign", "In situ", "Invasive")


def carded(path: str, **other: object) -> None:
    """A card beside the weights."""
    card = ModelCard(
        name="start", system="crossmodal", version="1", title="", intended_use="",
        training_data="", limits=(), classes=NAMES, grades=LEVELS, metrics={}, config={},
        facts={}, weights="start.safetensors", weights_digest=sha256_of(Path(path)),
    )  # fmt: skip
    Path(path).with_suffix(".toml").write_text(card_toml(replace(card, **other)), "utf-8")


@pytest.mark.parametrize(
    ("card", "random"),
    [
        (None, HEADS | {"grading.layers.3"}),
        ({}, set()),
        ({"classes": NAMES[::-1]}, HEADS),
        ({"grades": LEVELS[::-1]}, {"grading.layers.3"}),
        ({"weights_digest": "0" * 64}, HEADS | {"grading.layers.3"}),
    ],
)
def test_heads_are_taken_only_where_a_card_names_the_same_classes(tmp_path, card, random):
    before, ours = network(), network()
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(1)
    path = stored(before, tmp_path)
    if card is not None:
        carded(path, **card)
    report = start_from(ours, path, classes=NAMES, grades=LEVELS)
    assert {name.rpartition(".")[0] for name in report.random} == random
    assert any("stayed random" in note for note in report.notes) is bool(random)
    old, new = before.state_dict(), ours.state_dict()
    assert all(torch.equal(new[n], old[n]) is (n not in report.random) for n in old)


def test_heads_are_not_taken_for_classes_that_nobody_named(tmp_path):
    path = stored(network(), tmp_path)
    carded(path)
    random = {name.rpartition(".")[0] for name in start_from(network(), path).random}
    assert random == HEADS | {"grading.layers.3"}


def test_what_a_queue_held_is_not_taken_over(tmp_path):
    before, ours = network(queue=4), network(queue=4)
    before.alignment.queue.put(*(torch.rand(2, 256) for _ in "ab"), torch.zeros(2, 2).long())
    torch.save({"network": before.state_dict()}, tmp_path / "last.pt")
    report = start_from(ours, str(tmp_path / "last.pt"))
    assert ours.alignment.queue.written == 0
    assert not any("queue" in name for name in report.taken)
    assert torch.equal(ours.encoder.positions, before.encoder.positions)


def test_a_network_of_our_own_is_continued(tmp_path):
    before = network(num_classes=4)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    ours = network(num_classes=3, queue=4)
    report = start_from(ours, stored(before, tmp_path))
    old, new = before.state_dict(), ours.state_dict()
    assert all(torch.equal(new[name], old[name]) for name in report.taken)
    assert {name.rpartition(".")[0] for name in report.random} == HEADS | {"grading.layers.3"}
    with pytest.raises(ModelUnavailable, match="another size"):
        start_from(network(depth=3), stored(before, tmp_path))
