"""Sizes, permute branches, MixStyle within the trunk, and half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import ShapeMismatch
from engine.models import AdapterLayer, BreastCancerDiagnosisModel, SharedViTEncoder
from engine.models.layers.permute import PermuteMlp

TABLE = {  # millions: trunk, with permute branches, adapters of one modality, cross-attention
    "small": (12.90, 16.92, 0.89, 0.59),
    "medium": (100.2, 132.33, 7.10, 2.36),
    "large": (354.1, 468.21, 25.23, 4.20),
}
AFFINE = {"small": 14_592, "medium": 56_832, "large": 149_504}


def count(parameters) -> int:
    return sum(p.numel() for p in parameters)


def millions(module: nn.Module) -> float:
    return count(module.parameters()) / 1e6


@pytest.mark.parametrize("size", list(TABLE))
def test_parameter_counts(size):
    with torch.device("meta"):
        plain = BreastCancerDiagnosisModel.sized(size)
        permuted = BreastCancerDiagnosisModel.sized(size, permute_mlp=True)
    trunk, with_permute, adapters, cross = TABLE[size]
    assert millions(plain.encoder) == pytest.approx(trunk, rel=6e-4)
    assert millions(permuted.encoder) == pytest.approx(with_permute, rel=6e-4)
    own = [
        block_adapter["mammography"]
        for block in plain.encoder.blocks
        for block_adapter in (block.adapter1, block.adapter2)
    ]
    assert sum(map(millions, own)) == pytest.approx(adapters, abs=0.006)
    assert millions(plain.patho_cross) == pytest.approx(cross, abs=0.006)
    norms = [m for m in permuted.encoder.modules() if isinstance(m, nn.LayerNorm)]
    assert sum(count(m.parameters()) for m in norms) == AFFINE[size]


def test_a_permute_branch_has_the_stated_count_and_unknown_sizes_are_refused():
    with torch.device("meta"):
        assert count(PermuteMlp(768, (14, 14)).parameters()) == 2_675_904
    with pytest.raises(ValueError, match="not one of"):
        BreastCancerDiagnosisModel.sized("huge")
    small = BreastCancerDiagnosisModel.sized("small", depth=1, img_size=32)
    assert len(small.encoder.blocks) == 1


def test_permute_mlp_equals_vision_permutator(oracle):
    arrays = oracle("models/modules")
    layer = PermuteMlp(8, (4, 4), int(arrays["vip_segments"])).double()
    names = {"reweight.fc1": "reweight.0", "reweight.fc2": "reweight.2"}
    weights = {}
    for name, values in arrays.items():
        if name.startswith("vip."):
            own = name.removeprefix("vip.")
            stem, _, kind = own.rpartition(".")
            weights[f"{names.get(stem, stem)}.{kind}"] = torch.tensor(values)
    layer.load_state_dict(weights)
    got = layer(torch.tensor(arrays["vip_x"])).detach().numpy()
    assert np.allclose(got, arrays["vip_y"], rtol=1e-9, atol=1e-9)


def test_permute_mlp_reads_grids_that_are_not_square():
    layer = PermuteMlp(12, (2, 3), 4)
    assert layer(torch.randn(2, 2, 3, 12)).shape == (2, 2, 3, 12)
    with pytest.raises(ShapeMismatch, match="2 x 3 patches"):
        layer(torch.randn(2, 3, 2, 12))
    with pytest.raises(ValueError, match="segments"):
        PermuteMlp(12, (2, 2), 5)


def test_adapter_equals_its_definition(oracle):
    arrays = oracle("models/modules")
    adapter = AdapterLayer(6, 3).double()
    names = {"down.weight": "ad_w1", "down.bias": "ad_b1", "up.weight": "ad_w2", "up.bias": "ad_b2"}
    adapter.load_state_dict({own: torch.tensor(arrays[name]) for own, name in names.items()})
    got = adapter(torch.tensor(arrays["ad_x"])).detach().numpy()
    assert np.allclose(got, arrays["ad_y"], rtol=1e-9, atol=1e-9)


def test_permute_branches_start_silent_spare_the_class_token_and_mix_positions():
    torch.manual_seed(0)
    options = {"embed_dim": 24, "depth": 2, "num_heads": 3, "dropout": 0.0}
    encoder = SharedViTEncoder(32, 8, 1, **options, permute_mlp=True).eval()
    plain = SharedViTEncoder(32, 8, 1, **options).eval()
    plain.load_state_dict(encoder.state_dict(), strict=False)
    pixels = torch.randn(2, 1, 32, 32)
    assert torch.allclose(encoder(pixels), plain(pixels), atol=1e-6)
    block = encoder.blocks[-1]
    nn.init.normal_(block.permute.proj.weight)
    tokens = torch.randn(1, 17, 24)
    silent = plain.blocks[-1](tokens)
    loud = block(tokens)
    assert torch.allclose(loud[:, 0], silent[:, 0], atol=1e-5)
    assert not torch.allclose(loud[:, 1:], silent[:, 1:], atol=1e-2)
    with pytest.raises(ShapeMismatch, match="permute layers were made for 4 x 4"):
        encoder(torch.randn(1, 1, 40, 40))


def test_mixstyle_mixes_patch_tokens_of_the_first_blocks_in_training_only():
    torch.manual_seed(0)
    encoder = SharedViTEncoder(
        32, 8, 1, embed_dim=24, depth=5, num_heads=3, dropout=0.0, drop_path=0.0,
        mixstyle=1.0, mixstyle_alpha=1.0,
    )  # fmt: skip
    calls = []
    encoder.mixstyle.register_forward_hook(lambda module, given, got: calls.append(given[0].shape))
    pixels = torch.randn(3, 1, 32, 32) * torch.tensor([1.0, 3.0, 0.2]).view(3, 1, 1, 1)
    calm = encoder.eval()(pixels)
    assert not calls
    styled = encoder.train()(pixels)
    assert calls == [(3, 16, 24)] * 3
    assert not torch.allclose(styled, calm, atol=1e-3)
    assert torch.allclose(encoder.eval()(pixels), calm)
    shallow = SharedViTEncoder(32, 8, 1, embed_dim=24, depth=2, num_heads=3, mixstyle=1.0).train()
    calls.clear()
    shallow.mixstyle.register_forward_hook(lambda module, given, got: calls.append(1))
    shallow(pixels)
    assert len(calls) == 1


def test_use_dg_switches_both_of_its_parts():
    options = {"embed_dim": 24, "depth": 1, "num_heads": 3, "cross_heads": 3, "mixstyle": 0.5}
    on = BreastCancerDiagnosisModel(32, 8, **options)
    off = BreastCancerDiagnosisModel(32, 8, use_dg=False, **options)
    assert (on.encoder.mixstyle.p, on.modality_dropout) == (0.5, 0.3)
    assert (off.encoder.mixstyle.p, off.modality_dropout) == (0.0, 0.0)


def test_half_precision_gives_the_same_logits():
    torch.manual_seed(0)
    network = BreastCancerDiagnosisModel(
        64, 16, 96, 4, 6, cross_heads=6, adapter_dim=24, permute_mlp=True
    ).eval()
    with torch.no_grad():
        network.mammo_gate.fill_(0.3)
        network.patho_gate.fill_(0.3)
        images = torch.randn(4, 1, 64, 64), torch.randn(4, 3, 64, 64)
        exact = network(*images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(*images)
    for name in ("classification", "grading_ordinal", "mammo_alone", "patho_alone", "lesion_map"):
        wanted = exact[name]
        difference = float((rough[name].float() - wanted).abs().max() / wanted.abs().max())
        assert difference < 2e-2, name
