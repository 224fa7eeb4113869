"""Start from a timm ViT, whose blocks become the shared trunk, or from a network of our own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor

from engine.cards import read_card
from engine.errors import ModelUnavailable
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.checkpoint import read_checkpoint, without_prefix
from engine.models.layers.encoder import SharedViTEncoder, TransformerBlock
from engine.models.layers.patches import PatchEmbedding, fit_positions

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HUB = "hf-hub:"
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
BLOCK_PARTS = (
    "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight",
    "attn.proj.bias", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias",
    "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip
SCALES = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}
"""LayerScale, and the layer before it that takes it in."""
OWN = "encoder.cls_position"
"""A tensor that only our own network has."""
NAMING = {
    "classes": ("classification.layers.3.", "mammo_alone.", "patho_alone."),
    "grades": ("grading.layers.3.",),
}
"""Layers whose rows are classes or grades, in their order."""
CHANGING = ("norm_pre.", "patch_embed.norm.")
"""Layers that this trunk has not, and without which the others would say something else."""


@dataclass(frozen=True)
class StartReport:
    """What a network started from.

    Args:
        source: A timm name, a hub id, or "a file"; never a path.
        digest: SHA-256 of the file; empty for a name.
        taken: Names of tensors that were filled.
        random: Names of tensors that stayed as they were initialised.
        unused: Names of tensors of the source that have no place here.
        notes: What was converted, a sentence each.
    """

    source: str
    digest: str
    taken: tuple[str, ...]
    random: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


def start_from(
    network: BreastCancerDiagnosisModel,
    source: str,
    *,
    classes: Sequence[str] = (),
    grades: Sequence[str] = (),
) -> StartReport:
    """Fill the encoder with the weights of a ViT; adapters and heads stay as they are.

    Weights of this kind of network are taken whole, but for tensors of other shape, and for the
    last layers of classes and grades unless the card beside the file (same name, .toml) is of
    these weights and names the same ones in the same order.

    The RGB stem serves pathology as it is and, summed over its channels, mammography. Positions are
    resized to the network's grid. LayerScale is taken into the layer before it, which is exact.

    Args:
        network: Changed in place, only if everything fits.
        source: A timm model name, an "hf-hub:" id, or a path to a file of timm's ViT names
            (.safetensors, .pth, .pt, .bin). Names and ids need the hub, or its local cache.
        classes: Names of the network's classes, by label. grades: Of its grades, lowest first.

    Raises:
        ModelUnavailable: There are no such weights here, or they are of another width, depth, patch
            size, head count (where the source states it) or kind.
    """
    encoder = network.encoder
    tensors, digest, heads = _read(source)
    if OWN in tensors:
        other = _other_names(Path(source), digest, classes, grades)
        return _continued(network, tensors, digest, other)
    first = encoder.blocks[0]
    assert isinstance(first, TransformerBlock)
    ours = first.attn.num_heads
    if heads is not None and heads != ours:
        raise ModelUnavailable(
            f"The starting weights were trained with {heads} attention heads, the network has "
            f"{ours}."
        )
    filled, notes = _converted(tensors, encoder)
    own = encoder.state_dict()
    wrong = [name for name, value in filled.items() if own[name].shape != value.shape]
    if wrong:
        raise ModelUnavailable(
            f"The starting weights do not fit the network: {wrong[0]} has another shape."
        )
    encoder.load_state_dict(own | filled)
    everything = list(network.state_dict())
    taken = [f"encoder.{name}" for name in filled]
    return StartReport(
        "a file" if digest else source,
        digest,
        tuple(taken),
        tuple(name for name in everything if name not in set(taken)),
        tuple(name for name in tensors if not _is_known(name)),
        tuple(notes),
    )


def _continued(
    network: BreastCancerDiagnosisModel,
    tensors: Mapping[str, Tensor],
    digest: str,
    other: Sequence[str],
) -> StartReport:
    """Take over a network of our own: its whole encoder, and what else has the same shape.

    Args:
        other: Kinds of names, of `NAMING`, that are not known to be the same.
    """
    own = {name: v for name, v in network.state_dict().items() if isinstance(v, Tensor)}
    left = tuple(prefix for kind in other for prefix in NAMING[kind])
    fits = {
        name: value
        for name, value in tensors.items()
        if name in own and own[name].shape == value.shape and not name.startswith(left)
    }
    absent = [n for n in own if n.startswith("encoder.") and n not in fits]
    if absent:
        raise ModelUnavailable(
            f"The starting weights are of a network of another size: {absent[0]} does not fit."
        )
    network.load_state_dict(own | fits)
    notes = ["Continued from a network of the same kind."]
    if other:
        said = " and ".join(other)
        notes.append(f"The last layers of {said} stayed random: no card says they are the same.")
    return StartReport(
        "a file",
        digest,
        tuple(fits),
        tuple(name for name in own if name not in fits),
        tuple(name for name in tensors if name not in fits),
        tuple(notes),
    )


def _other_names(
    weights: Path, digest: str, classes: Sequence[str], grades: Sequence[str]
) -> list[str]:
    """Kinds of names that the card beside the weights does not state as given."""
    try:
        card = read_card(weights.with_suffix(".toml"))
    except (ModelUnavailable, OSError):
        return list(NAMING)
    if card.weights_digest != digest:
        return list(NAMING)
    stated = {"classes": card.classes, "grades": card.grades}
    wanted = {"classes": tuple(classes), "grades": tuple(grades)}
    return [kind for kind in NAMING if not wanted[kind] or stated[kind] != wanted[kind]]


def _read(source: str) -> tuple[dict[str, Tensor], str, int | None]:
    """Tensors by timm's names, the digest of a file, and the head count of a named model."""
    if source.endswith(SUFFIXES) or Path(source).is_file():
        found = read_checkpoint(Path(source))
        names = ("patch_embed.", "blocks.", "cls_token", "pos_embed", "norm.")
        return without_prefix(found.tensors, names), found.digest, None
    if not source.startswith(HUB) and not timm.is_model(source.partition(".")[0]):
        raise ModelUnavailable(
            "The starting weights are neither a file that exists nor a model that timm knows."
        )
    try:
        model = timm.create_model(source, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError, ImportError, KeyError):
        raise ModelUnavailable(
            "The starting weights cannot be fetched: the model hub is out of reach, or does not "
            "have them. Give a file instead."
        ) from None
    blocks = getattr(model, "blocks", None)
    heads = None if blocks is None else getattr(getattr(blocks[0], "attn", None), "num_heads", None)
    return dict(model.state_dict()), "", heads


def _is_known(name: str) -> bool:
    if name in ("cls_token", "pos_embed", "norm.weight", "norm.bias"):
        return True
    found = BLOCK.fullmatch(name)
    if found:
        return found[2] in BLOCK_PARTS or found[2] in SCALES
    return name in ("patch_embed.proj.weight", "patch_embed.proj.bias")


def _converted(
    tensors: Mapping[str, Tensor], encoder: SharedViTEncoder
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by the encoder's names, and what was done to them."""
    tensors = {
        name: value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    _check(tensors, encoder)
    found = _blocks(tensors)
    if "norm.weight" in tensors:
        found |= {f"norm.{part}": tensors[f"norm.{part}"] for part in ("weight", "bias")}
    stem, notes = _stems(tensors, encoder)
    positions, remark = _positions(tensors, encoder)
    return found | stem | positions, notes + remark


def _check(tensors: Mapping[str, Tensor], encoder: SharedViTEncoder) -> None:
    """Refuse weights of another kind, depth, width or patch size."""
    stem = tensors.get("patch_embed.proj.weight")
    blocks = [found for found in map(BLOCK.fullmatch, tensors) if found]
    if stem is None or stem.ndim != 4 or not blocks:
        raise ModelUnavailable("The starting weights are not those of a vision transformer.")
    strange = [b[2] for b in blocks if b[2] not in BLOCK_PARTS and b[2] not in SCALES]
    strange += [name for name in tensors if name.startswith(CHANGING)]
    if strange:
        raise ModelUnavailable(
            f"The starting weights have layers that this network has not, such as {strange[0]}."
        )
    depth, wanted = 1 + max(int(b[1]) for b in blocks), len(encoder.blocks)
    pairs = [
        ("blocks", depth, wanted),
        ("as width", stem.shape[0], encoder.positions.shape[-1]),
        ("pixels as patch side", stem.shape[-1], encoder.patch_size),
    ]
    for what, theirs, ours in pairs:
        if theirs != ours:
            raise ModelUnavailable(
                f"The starting weights have {theirs} {what}, but the network has {ours}."
            )


def _blocks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The blocks, with LayerScale taken in and absent biases of the queries as zeros."""
    found = {
        name: value
        for name, value in tensors.items()
        if (part := BLOCK.fullmatch(name)) and part[2] in BLOCK_PARTS
    }
    for number in {part[1] for part in map(BLOCK.fullmatch, tensors) if part}:
        for scale, layer in SCALES.items():
            gamma = tensors.get(f"blocks.{number}.{scale}")
            if gamma is not None:
                name = f"blocks.{number}.{layer}"
                found[f"{name}.weight"] = found[f"{name}.weight"] * gamma[:, None]
                found[f"{name}.bias"] = found[f"{name}.bias"] * gamma
        weight = found.get(f"blocks.{number}.attn.qkv.weight")
        if weight is not None:
            found.setdefault(f"blocks.{number}.attn.qkv.bias", torch.zeros(len(weight)))
    return found


def _stems(
    tensors: Mapping[str, Tensor], encoder: SharedViTEncoder
) -> tuple[dict[str, Tensor], list[str]]:
    """The stem for each modality: as it is, summed over channels, or spread over them."""
    weight = tensors["patch_embed.proj.weight"]
    bias = tensors.get("patch_embed.proj.bias", torch.zeros(len(weight)))
    found: dict[str, Tensor] = {}
    notes: list[str] = []
    for name, channels in encoder.channels.items():
        stem = encoder.embed[name]
        if not isinstance(stem, PatchEmbedding) or not isinstance(stem.proj, torch.nn.Conv2d):
            notes.append(f"The stem of {name} is convolutional and stayed random.")
            continue
        found[f"embed.{name}.proj.weight"] = _with_channels(weight, channels)
        found[f"embed.{name}.proj.bias"] = bias
        if weight.shape[1] != channels:
            notes.append(f"The stem of {name} has {channels} of {weight.shape[1]} channels.")
    return found, notes


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    if weight.shape[1] == channels:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    if weight.shape[1] == 1:
        return weight.expand(-1, channels, -1, -1) / channels
    raise ModelUnavailable(
        f"The starting weights read {weight.shape[1]} channels, the network {channels}."
    )


def _positions(
    tensors: Mapping[str, Tensor], encoder: SharedViTEncoder
) -> tuple[dict[str, Tensor], list[str]]:
    """Class token, its position and the grid of positions, resized where it is another."""
    found = {"cls_token": tensors["cls_token"]} if "cls_token" in tensors else {}
    notes: list[str] = []
    table = tensors.get("pos_embed")
    if table is None or table.ndim != 3:
        return found, ["The source has no table of positions; they stayed random."]
    side = math.isqrt(table.shape[1])
    before = table.shape[1] - side * side
    if before and "cls_token" in found:
        found["cls_position"] = table[:, :1]
    elif "cls_token" in found:
        found["cls_position"] = torch.zeros_like(table[:, :1])
    grid = table[:, before:].unflatten(1, (side, side))
    rows, columns = encoder.positions.shape[1:3]
    if (rows, columns) != (side, side):
        notes.append(f"Positions were resized from {side} x {side} to {rows} x {columns}.")
    found["positions"] = fit_positions(grid, (rows, columns))
    return found, notes
