"""LiteMedSAM: our network against naive twins, verified weights only, and boxes on real lesions."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ModelUnavailable, UnsupportedImage
from engine.models import promptable
from engine.models.layers.boxprompt import MaskDecoder, PromptEncoder, _Attention, _TwoWayBlock
from engine.models.layers.tinyvit import ChannelNorm, TinyViT, _Block, _WindowAttention
from engine.models.promptable import LiteMedSAM, load_segmenter, tensors_digest
from engine.models.weights import sha256_of
from engine.records import Box
from tests.conftest import need

SMALL = 64


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def random_state() -> dict[str, torch.Tensor]:
    """A file's worth of random tensors, with parts that the product does not use."""
    torch.manual_seed(2)
    state = dict(LiteMedSAM().state_dict())
    state["prompt_encoder.not_a_point_embed.weight"] = torch.zeros(1, 256)
    state["mask_decoder.iou_prediction_head.layers.0.bias"] = torch.zeros(256)
    return state


@pytest.fixture
def published(random_state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(random_state, path)
    return path


# The network


def test_window_attention_equals_a_naive_twin() -> None:
    torch.manual_seed(0)
    window, heads, width = 3, 2, 8
    module = _WindowAttention(width, heads, window).double()
    torch.nn.init.normal_(module.attention_biases)
    tokens = torch.randn(2, window**2, width, dtype=torch.float64)
    made = module(tokens)
    each = width // heads
    for sample in range(2):
        parts = module.qkv(module.norm(tokens[sample]))
        rows = []
        for n in range(window**2):
            heads_out = []
            for head in range(heads):
                block = parts[:, head * 3 * each : (head + 1) * 3 * each]
                query, key, value = block[:, :each], block[:, each : 2 * each], block[:, 2 * each :]
                scores = []
                for m in range(window**2):
                    down, across = abs(n // 3 - m // 3), abs(n % 3 - m % 3)
                    bias = module.attention_biases[head, down * window + across]
                    scores.append(query[n] @ key[m] / math.sqrt(each) + bias)
                heads_out.append(torch.softmax(torch.stack(scores), 0) @ value)
            rows.append(module.proj(torch.cat(heads_out)))
        torch.testing.assert_close(made[sample], torch.stack(rows), rtol=1e-9, atol=1e-10)


def test_windows_do_not_see_one_another() -> None:
    torch.manual_seed(0)
    block = _Block(8, 2, 4).eval()
    grid = torch.randn(1, 8, 8, 8)
    changed = grid.clone()
    changed[..., 6:, 6:] += torch.randn(1, 8, 2, 2)
    moved = (block._attended(grid.movedim(1, -1)) - block._attended(changed.movedim(1, -1))).abs()
    assert moved[:, 4:, 4:].amax() > 1e-4
    assert moved[:, :4].amax() == 0 and moved[:, :, :4].amax() == 0


def test_features_have_a_quarter_of_the_side() -> None:
    with torch.no_grad():
        features = TinyViT().eval()(torch.rand(1, 3, 32, 48))
    assert features.shape == (1, 256, 8, 12)
    torch.testing.assert_close(features.mean(1), torch.zeros(1, 8, 12), atol=1e-5, rtol=0)


def test_channel_norm_is_over_channels() -> None:
    values = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    made = ChannelNorm(6).double()(values)
    centred = values - values.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(made, expected)


def test_a_corner_and_the_cell_under_it_share_their_place() -> None:
    torch.manual_seed(0)
    encoder = PromptEncoder(16)
    box = torch.tensor([[3.5, 7.5, 11.5, 15.5]])  # centres of cells 0 1, and 2 3, of 4 x 4
    tokens, grid = encoder(box, 16), encoder.grid(4, 4)
    for corner, (row, column) in enumerate(((2, 1), (4, 3))):
        place = tokens[0, corner] - encoder.point_embeddings[2 + corner].weight[0]
        x, y = (box[0, 2 * corner] + 0.5) / 16, (box[0, 2 * corner + 1] + 0.5) / 16
        assert (float(x), float(y)) == (column / 4, row / 4)
        angles = 2 * math.pi * (2 * torch.stack([x, y]) - 1)
        angles = angles @ encoder.pe_layer.positional_encoding_gaussian_matrix
        torch.testing.assert_close(place, torch.cat([angles.sin(), angles.cos()]))
    centre = torch.tensor([[(1 + 0.5) / 4, (2 + 0.5) / 4]])
    torch.testing.assert_close(grid[0, :, 2, 1], encoder.pe_layer(centre)[0])


def test_attention_equals_a_naive_twin() -> None:
    torch.manual_seed(0)
    module = _Attention(8, 4, 2).double()
    query, key = (torch.randn(1, n, 8, dtype=torch.float64) for n in (3, 5))
    value = torch.randn(1, 5, 8, dtype=torch.float64)
    q, k, v = module.q_proj(query)[0], module.k_proj(key)[0], module.v_proj(value)[0]
    parts = []
    for at in (slice(0, 2), slice(2, 4)):
        parts.append(torch.softmax(q[:, at] @ k[:, at].T / math.sqrt(2), dim=-1) @ v[:, at])
    expected = module.out_proj(torch.cat(parts, dim=-1))
    torch.testing.assert_close(module(query, key, value)[0], expected)


def test_only_the_first_block_leaves_out_the_prompt() -> None:
    torch.manual_seed(0)
    first, later = (_TwoWayBlock(16, 4, first=is_first).eval() for is_first in (True, False))
    later.load_state_dict(first.state_dict())
    tokens, image = torch.randn(1, 3, 16), torch.randn(1, 9, 16)
    nothing = torch.zeros_like(tokens), torch.zeros_like(image)
    assert not torch.allclose(first(tokens, image, *nothing)[0], later(tokens, image, *nothing)[0])
    own = first.norm1(first.self_attn(tokens, tokens, tokens))
    seen = first.norm2(own + first.cross_attn_token_to_image(own, image, image))
    torch.testing.assert_close(
        first(tokens, image, *nothing)[0], first.norm3(seen + first.mlp(seen))
    )


def test_each_box_of_a_batch_gets_its_own_mask() -> None:
    torch.manual_seed(0)
    decoder, encoder = MaskDecoder(32, 4).eval(), PromptEncoder(32)
    features, places = torch.randn(1, 32, 4, 4), encoder.grid(4, 4)
    boxes = torch.tensor([[0.0, 0, 5, 5], [8, 8, 15, 15]])
    with torch.no_grad():
        both = decoder(features.expand(2, -1, -1, -1), places, encoder(boxes, 16))
        alone = torch.cat([decoder(features, places, encoder(box[None], 16)) for box in boxes])
    assert both.shape == (2, 16, 16)
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(both[0], both[1])


# From a box to a region


def test_a_region_has_the_size_of_the_picture_and_ignores_its_brightness(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promptable, "SIDE", SMALL)
    segmenter = load_segmenter(published, device="cpu", files={sha256_of(published)})
    picture = np.random.default_rng(0).integers(20, 120, (50, 90, 3)).astype(np.uint8)
    found = segmenter.region(picture, Box(10, 5, 30, 30))
    assert found.shape == (50, 90) and found.dtype == bool
    assert np.array_equal(found, segmenter.region(picture, Box(10, 5, 30, 30)))
    brighter = (picture * 2).astype(np.uint8)
    assert np.mean(found != segmenter.region(brighter, Box(10, 5, 30, 30))) < 0.02
    with pytest.raises(UnsupportedImage):
        segmenter.region(np.zeros((0, 4, 3), np.uint8), Box(0, 0, 1, 1))


def test_a_flat_picture_is_no_reason_to_fail(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promptable, "SIDE", SMALL)
    segmenter = load_segmenter(published, device="cpu", files={sha256_of(published)})
    found = segmenter.region(np.full((8, 8, 3), 7, np.uint8), Box(2, 2, 3, 3))
    assert found.shape == (8, 8)


# Weights


def test_only_known_weights_are_loaded(published: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ModelUnavailable, match="not where the settings say"):
            load_segmenter(wrong)
    with pytest.raises(ModelUnavailable, match="not the known ones") as refused:
        load_segmenter(published)
    assert str(tmp_path) not in str(refused.value)


def test_the_same_tensors_are_known_as_safetensors(
    random_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(random_state, path)
    digest = tensors_digest(random_state)
    loaded = load_segmenter(path, device="cpu", tensors={digest})
    name, value = "mask_decoder.iou_token.weight", random_state["mask_decoder.iou_token.weight"]
    assert torch.equal(loaded._network.state_dict()[name], value)
    with pytest.raises(ModelUnavailable, match="not the known ones"):
        load_segmenter(path)
    save_file(random_state | {name: value + 1e-3}, path)
    with pytest.raises(ModelUnavailable, match="not the known ones"):
        load_segmenter(path, tensors={digest})
    path.write_bytes(b"damaged")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_segmenter(path)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_never_run(tmp_path: Path) -> None:
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(_Trap(sprung), protocol=2))
    for files in (promptable.KNOWN_FILES, {sha256_of(path)}):
        with pytest.raises(ModelUnavailable):
            load_segmenter(path, files=files)
    assert not sprung.exists()


def test_weights_with_a_missing_tensor_are_refused(
    random_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({k: v for k, v in random_state.items() if "iou_token" not in k}, path)
    with pytest.raises(ModelUnavailable, match="do not fit"):
        load_segmenter(path, files={sha256_of(path)})


@pytest.mark.real_data
def test_on_real_lesions_the_outline_is_better_than_the_box_on_average(real_data: Path) -> None:
    import nibabel

    path = Path(os.environ.get("LIGHTBOX_MEDSAM", ""))
    need("medsam", path.is_file(), "LIGHTBOX_MEDSAM names no weights of LiteMedSAM")
    segmenter, found = load_segmenter(path, device="cpu"), []
    for folder in sorted((real_data / "brain_mri").glob("*_crop"))[1:]:  # masks by experts
        flair = nibabel.load(next(folder.glob("*_flair.nii.gz"))).get_fdata()
        mask = np.asarray(nibabel.load(next(folder.glob("*_seg.nii.gz"))).dataobj) > 0
        at = int(mask.sum((0, 1)).argmax())
        plane, lesion = flair[:, :, at], mask[:, :, at]
        low, high = np.percentile(plane[plane != plane.min()], [0.5, 99.5])
        grey = (255 * np.clip((plane - low) / (high - low), 0, 1)).astype(np.uint8)
        rows, columns = np.nonzero(lesion)
        top, left = int(rows.min()), int(columns.min())
        box = Box(left, top, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        outline = segmenter.region(np.repeat(grey[:, :, None], 3, axis=2), box)
        filled = np.zeros_like(lesion)
        filled[top : rows.max() + 1, left : columns.max() + 1] = True
        found.append((_dice(outline, lesion), _dice(filled, lesion)))
    outlines, boxes = np.mean(found, axis=0)
    assert len(found) >= 2
    assert outlines > 0.85 > boxes


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
