"""Models that users bring: each checkpoint becomes a card that can be used, or is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from engine.cards import read_card
from engine.errors import ModelUnavailable
from engine.models.bring import Wish, bring, card_toml, distinct
from engine.models.brought import FEATURES_ONLY, NOTICE, Brought
from engine.models.checkpoint import read_checkpoint
from engine.records import Case, Image, Modality
from engine.workflow import explain, load_system

NAME = "vit_tiny_patch16_224"
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3}
torch.set_num_threads(1)  # nets this small only lose by sharing the processor
CLASSES = ("cyst", "mass", "normal")


def network(count: int = 3, size: int = 32, name: str = NAME, **more: object) -> nn.Module:
    torch.manual_seed(4)
    arguments = {**SMALL, "img_size": size, **more}
    return timm.create_model(name, pretrained=False, num_classes=count, **arguments).eval()


def wish(classes: tuple[str, ...] = CLASSES, **changes: object) -> Wish:
    return Wish(
        **{
            "architecture": NAME, "classes": classes, "size": 32, "name": "small",
            "arguments": SMALL, **changes,
        }
    )  # fmt: skip


def case(height: int = 40, width: int = 24) -> Case:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (1, height, width, 3)).astype(np.float32)
    return Case("one", (Image(pixels, Modality.UNKNOWN, "d"),))


def saved(folder: Path, state: object) -> Path:
    path = folder / "checkpoint.pth"
    torch.save(state, path)
    return path


WRAPPINGS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model in a container": lambda state: {"model": {"state_dict": state}, "lr": 0.1},
    "parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled in Lightning": lambda state: {
        "state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_checkpoint_becomes_a_model_with_the_same_answers(wrapping, tmp_path):
    original = network()
    path = saved(tmp_path, WRAPPINGS[wrapping](original.state_dict()))
    card = bring(path, wish(), tmp_path / "models")
    system = load_system(str(tmp_path / "models" / "small.toml"), device="cpu")
    assert system.card == card
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(system.network.eval()(x), original(x))
    said = explain(system, case(), ()).prediction
    assert tuple(said.probabilities) == CLASSES
    assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_safetensors_are_read_whatever_the_name(tmp_path):
    path = tmp_path / "weights.bin"
    save_file({f"module.{k}": v for k, v in network().state_dict().items()}, path)
    assert bring(path, wish(), tmp_path).facts["matched"] == "by name"


def test_the_card_claims_nothing_that_was_not_stated(tmp_path):
    path = saved(tmp_path, {"state_dict": network().state_dict()})
    card = bring(path, wish(), tmp_path)
    assert read_card(tmp_path / "small.toml") == card
    assert card.intended_use == NOTICE
    assert card.training_data.startswith("Unknown")
    assert card.metrics == {}
    assert any("not measured" in limit for limit in card.limits)
    assert card.facts["checkpoint_digest"] == read_checkpoint(path).digest
    assert card.facts["taken_from"] == "state_dict"
    stated = bring(path, wish(name="stated", training_data='Our "own" films.\n'), tmp_path)
    assert read_card(tmp_path / "stated.toml").training_data == stated.training_data
    assert stated.training_data == 'Our "own" films.\n'


def test_normalisation_and_size_are_kept(tmp_path):
    path = saved(tmp_path, network(size=32).state_dict())
    bring(path, wish(size=48, mean=(0.5,), std=(0.25, 0.5, 0.75)), tmp_path)
    system = load_system(str(tmp_path / "small.toml"), device="cpu")
    prepared = system.prepare(case(48, 48))
    image = prepared.inputs["image"]
    assert image.shape == (1, 3, 48, 48)
    original = torch.from_numpy(case(48, 48).images[0].pixels[0].transpose(2, 0, 1) / 255)
    means, stds = torch.tensor([0.5] * 3), torch.tensor([0.25, 0.5, 0.75])
    wanted = (original - means.view(3, 1, 1)) / stds.view(3, 1, 1)
    assert torch.allclose(image[0], wanted, atol=1e-5)
    with pytest.raises(ModelUnavailable, match="3 channel"):
        bring(path, wish(name="two", mean=(0.5, 0.5)), tmp_path)
    with pytest.raises(ModelUnavailable, match="greater than 0"):
        bring(path, wish(name="zero", std=(0.0,)), tmp_path)


def test_a_convolutional_network_reads_the_size_that_is_asked_for(tmp_path):
    original = timm.create_model("efficientnet_lite0", pretrained=False, num_classes=2)
    path = saved(tmp_path, original.state_dict())
    asked = Wish(architecture="efficientnet_lite0", classes=("a", "b"), size=64)
    card = bring(path, asked, tmp_path)
    assert card.name == "efficientnet_lite0"
    system = load_system(str(tmp_path / "efficientnet_lite0.toml"), device="cpu")
    assert system.prepare(case()).inputs["image"].shape[-2:] == (64, 64)


def test_foreign_names_are_converted_where_timm_knows_them(tmp_path):
    name = "vit_small_patch14_reg4_dinov2"
    original = network(3, 28, name)
    state = dict(original.state_dict())
    tokens = state.pop("reg_token")
    first = torch.randn(1, 1, SMALL["embed_dim"])
    foreign = {
        **state, "register_tokens": tokens, "cls_token": state["cls_token"] - first,
        "pos_embed": torch.cat([first, state["pos_embed"]], 1),
        "mask_token": torch.zeros(1, SMALL["embed_dim"]),
    }  # fmt: skip
    bring(saved(tmp_path, foreign), wish(architecture=name, size=28), tmp_path)
    system = load_system(str(tmp_path / "small.toml"), device="cpu")
    x = torch.randn(1, 3, 28, 28)
    assert torch.allclose(system.network.eval()(x), original(x), atol=1e-5)
    assert system.anatomy.prefix == 5


def test_other_names_can_be_matched_by_order_when_the_user_says_so(tmp_path):
    original = network()
    renamed = {
        f"part{n}.{k.rpartition('.')[2]}": v
        for n, (k, v) in enumerate(original.state_dict().items())
    }
    path = saved(tmp_path, renamed)
    with pytest.raises(ModelUnavailable, match="matched by order"):
        bring(path, wish(), tmp_path)
    card = bring(path, wish(by_order=True), tmp_path)
    assert card.facts["matched"] == "by order"
    assert any("order" in limit for limit in card.limits)
    system = load_system(str(tmp_path / "small.toml"), device="cpu")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(system.network.eval()(x), original(x))


def test_order_does_not_hide_another_shape_or_kind(tmp_path):
    state = network().state_dict()
    swapped = dict(state)
    kinds = [k for k in state if k.endswith(("norm.weight", "norm.bias"))]
    renamed = {{kinds[0]: kinds[1], kinds[1]: kinds[0]}.get(k, k): v for k, v in swapped.items()}
    with pytest.raises(ModelUnavailable, match="not of the shape and kind"):
        bring(saved(tmp_path, renamed), wish(by_order=True), tmp_path)
    fewer = dict(list(state.items())[:-1])
    with pytest.raises(ModelUnavailable, match=f"{len(fewer)} tensors and the architecture"):
        bring(saved(tmp_path, fewer), wish(by_order=True), tmp_path)


def test_what_does_not_fit_is_counted_with_examples(tmp_path):
    state = dict(network().state_dict())
    for key in [k for k in state if k.startswith("blocks.1.")]:
        state["layers" + key] = state.pop(key)
    with pytest.raises(ModelUnavailable) as caught:
        bring(saved(tmp_path, state), wish(), tmp_path)
    said = str(caught.value)
    assert said.startswith("The checkpoint does not fit the architecture. 12 tensor(s) are missing")
    assert said.count("blocks.1.") == 6  # three missing, three unexpected
    assert "12 are not of this network" in said
    with pytest.raises(ModelUnavailable, match=r"is \(24,.*should be \(12,"):
        bring(saved(tmp_path, network().state_dict()), wish(arguments={**SMALL, "embed_dim": 12}),
              tmp_path)  # fmt: skip


def test_a_wrong_number_of_classes_is_told(tmp_path):
    path = saved(tmp_path, network(5).state_dict())
    with pytest.raises(ModelUnavailable, match="has 5 classes"):
        bring(path, wish(), tmp_path)
    assert not list(tmp_path.glob("*.toml"))


def test_a_network_without_classifier_shows_where_it_looks_and_explains_no_class(tmp_path):
    path = saved(tmp_path, network(0).state_dict())
    with pytest.raises(ModelUnavailable, match="no classifier"):
        bring(path, wish(), tmp_path)
    card = bring(path, wish(()), tmp_path)
    assert card.classes == (FEATURES_ONLY,)
    system = load_system(str(tmp_path / "small.toml"), device="cpu")
    found = explain(system, case(), ("rollout", "raw_attention", "eigencam", "vit_cx", "saliency"))
    assert [e.method for e in found.explanations] == ["rollout", "raw_attention", "eigencam"]
    for explanation in found.explanations:
        assert explanation.maps[0].values.shape == (40, 24)
    assert all("no class can be explained" in why for why in found.refused.values())
    assert set(found.refused) == {"vit_cx", "saliency"}
    assert (
        "no class can be explained" in explain(system, case(), ("relevance",)).refused["relevance"]
    )


class Secret:
    """Something that is no plain value."""


def test_code_damage_and_absence_are_refused_in_words(tmp_path):
    torch.save({"state_dict": {}, "arguments": Secret()}, tmp_path / "code.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out
        traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
        torch.jit.save(traced, tmp_path / "script.pt")
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    whole = saved(tmp_path, network().state_dict()).read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    save_file({"a": torch.zeros(3)}, tmp_path / "good.safetensors")
    torn = (tmp_path / "good.safetensors").read_bytes()[:-5]
    (tmp_path / "torn.safetensors").write_bytes(torn)
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    reasons = {
        "code.pth": "could run as a program", "script.pt": "could run as a program",
        "text.pth": "damaged", "empty.pth": "damaged", "half.pth": "damaged",
        "torn.safetensors": "damaged", "none.pth": "no tensors", "absent.pth": "no checkpoint at",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(ModelUnavailable, match=reason) as caught:
            bring(tmp_path / name, wish(), tmp_path / "models")
        assert name.partition(".")[0] not in str(caught.value).partition("checkpoint")[0].split()
    assert not (tmp_path / "models").exists()


def test_names_of_architectures_and_cards_are_checked(tmp_path):
    path = saved(tmp_path, network().state_dict())
    with pytest.raises(ModelUnavailable, match=r"Near: .*vit_tiny_patch16_224"):
        bring(path, wish(architecture="vit_tiny_patch16_223"), tmp_path)
    with pytest.raises(ModelUnavailable, match="letters"):
        bring(path, wish(name="../away"), tmp_path)
    bring(path, wish(), tmp_path)
    with pytest.raises(ModelUnavailable, match="choose another name"):
        bring(path, wish(), tmp_path)


def test_weights_that_give_no_numbers_are_refused(tmp_path):
    state = network().state_dict()
    state["head.bias"][0] = torch.nan
    with pytest.raises(ModelUnavailable, match="not numbers"):
        bring(saved(tmp_path, state), wish(), tmp_path)
    assert not list(tmp_path.glob("*.toml"))


def test_classes_of_one_name_are_told_apart():
    assert distinct(("crane", "jay", "Crane")) == ("crane (0)", "jay", "Crane (2)")


def test_cards_survive_toml(tmp_path):
    path = saved(tmp_path, network().state_dict())
    odd = ('"quoted"', "back\\slash", "tür\u007f")
    card = bring(path, wish(odd), tmp_path)
    assert read_card(tmp_path / "small.toml") == card
    assert "\u007f" not in card_toml(card)


def test_a_network_that_keeps_no_map_is_served_by_the_methods_that_need_none():
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    found = explain(Brought.of(flat, ("a", "b")), case(), ("saliency", "gradcam", "rollout"))
    assert [e.method for e in found.explanations] == ["saliency"]
    assert "keeps the image's plane" in found.refused["gradcam"]
