"""Bring a model: a checkpoint of an architecture that timm knows becomes a card with weights."""

from __future__ import annotations

import difflib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from engine.errors import ModelUnavailable
from engine.models.brought import FEATURES_ONLY, NOTICE, Brought
from engine.models.checkpoint import Checkpoint, read_checkpoint, without_prefix
from engine.models.weights import save_weights
from engine.records import ModelCard

UNKNOWN_TRAINING = "Unknown: whoever brought the model did not state it."
UNCHECKED = "Lightbox has not measured this model: nothing is known of how often it is right."
MAPS = "Heat maps show what the model's answer depends on, not what causes the disease."
BY_ORDER = "The weights were matched by their order, not by their names; compare its answers with \
those where it comes from."
RESIZED = "It reads images at a size that the user chose, perhaps not the one it was trained with."
HEADLESS = "It has no classifier: it can show where it looks, and says nothing of any class."


@dataclass(frozen=True)
class Wish:
    """What the user states of the model.

    Args:
        architecture: Name in timm. classes: Names in the order of the outputs; none for a network
            that gives features only.
        name: Of the card and its files; the architecture's when empty. title: Name for people.
        training_data: What it was trained on.
        size: Side of the images it reads, pixels; the architecture's own when None.
        mean, std: Normalisation of its input, per channel; the architecture's own when empty.
        by_order: Whether tensors are matched by their order where names differ.
    """

    architecture: str
    classes: tuple[str, ...]
    name: str = ""
    title: str = ""
    training_data: str = ""
    size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    by_order: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


def bring(path: Path, wish: Wish, out: Path) -> ModelCard:
    """Write `<name>.toml` and `<name>.safetensors`, which `lightbox explain --model` takes.

    Args:
        path: The checkpoint; see `read_checkpoint`. out: Folder, made where absent.

    Raises:
        ModelUnavailable: The checkpoint cannot be read or does not fit the architecture, timm
            knows no such architecture, or the folder holds a card of this name already.
    """
    name = wish.name or wish.architecture.replace(".", "-")
    if not name or not all(mark.isalnum() or mark in "-_" for mark in name):
        raise ModelUnavailable("A model's name is made of letters, digits, hyphens and underlines.")
    if (out / f"{name}.toml").exists():
        raise ModelUnavailable("There is a model of this name in the folder; choose another name.")
    network = build(wish)
    checkpoint = read_checkpoint(path)
    fit(network, checkpoint, by_order=wish.by_order)
    out.mkdir(parents=True, exist_ok=True)
    found = card(name, wish, checkpoint, "")
    _tried(Brought(found, network, torch.device("cpu")))
    digest = save_weights(network, out / f"{name}.safetensors")
    found = card(name, wish, checkpoint, digest)
    partial = out / f"{name}.toml.partial"
    partial.write_text(card_toml(found), "utf-8")
    partial.replace(out / f"{name}.toml")
    return found


def build(wish: Wish) -> nn.Module:
    """The network of a wish, with random weights.

    Raises:
        ModelUnavailable: timm knows no such architecture, or not of this size.
    """
    if not timm.is_model(wish.architecture):
        near = difflib.get_close_matches(wish.architecture, timm.list_models(), 3, 0.5)
        hint = f" Near: {', '.join(near)}." if near else ""
        raise ModelUnavailable(f"timm knows no architecture of this name.{hint}")
    return Brought.build(_config(wish)).eval()


def _config(wish: Wish) -> dict[str, Any]:
    """The card's `config`."""
    found: dict[str, Any] = {
        "architecture": wish.architecture, "num_classes": len(wish.classes), **wish.arguments,
    }  # fmt: skip
    for key, value in (("size", wish.size), ("mean", list(wish.mean)), ("std", list(wish.std))):
        if value:
            found[key] = value
    return found


def fit(network: nn.Module, checkpoint: Checkpoint, *, by_order: bool = False) -> None:
    """Load a checkpoint's tensors into a network, all of them matching.

    Raises:
        ModelUnavailable: Names or shapes differ; the message counts them and gives three of each.
    """
    wanted = network.state_dict()
    tensors = without_prefix(checkpoint.tensors, wanted)
    tensors = ordered(tensors, wanted) if by_order else converted(tensors, network)
    problem = misfit(tensors, network)
    if problem:
        raise ModelUnavailable(problem)
    network.load_state_dict(tensors, strict=True)


def converted(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Tensors under timm's names, where timm knows how other code bases name and shape them.

    Raises:
        ModelUnavailable: timm's conversion does not understand them.
    """
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        found = convert(dict(tensors), network)
    except (KeyError, ValueError, RuntimeError, AttributeError, IndexError, TypeError):
        raise ModelUnavailable(
            "The checkpoint belongs to another architecture: its tensors could not be converted."
        ) from None
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def ordered(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the network's names, matched by their order.

    Raises:
        ModelUnavailable: There are more or fewer, or one differs in shape or in kind, which is the
            last word of its name.
    """
    if len(tensors) != len(wanted):
        raise ModelUnavailable(
            f"The checkpoint holds {len(tensors)} tensors and the architecture {len(wanted)}, so "
            "they cannot be matched by their order."
        )
    for position, ((name, value), (own, slot)) in enumerate(
        zip(tensors.items(), wanted.items(), strict=True), 1
    ):
        alike = name.rpartition(".")[2] == own.rpartition(".")[2] and value.shape == slot.shape
        if not alike:
            raise ModelUnavailable(
                f"Tensor {position} of the checkpoint, {_shown([name])}, is not of the shape and "
                f"kind of {own}, so they cannot be matched by their order."
            )
    return dict(zip(wanted, tensors.values(), strict=True))


def misfit(tensors: Mapping[str, Tensor], network: nn.Module) -> str:
    """Why tensors do not fit a network, in words; empty where they do."""
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    reshaped = [n for n in wanted if n in tensors and tensors[n].shape != wanted[n].shape]
    if not (missing or unexpected or reshaped):
        return ""
    head = _head(network)
    strange = {*missing, *unexpected, *reshaped}
    outputs = {n: tensors[n] for n in reshaped if n in head}
    if outputs and strange == set(outputs):
        count = next(iter(outputs.values())).shape[0]
        return f"The checkpoint's classifier has {count} classes; state as many."
    if missing and strange == set(missing) and set(missing) <= head:
        return (
            "The checkpoint holds no classifier, only features: bring it with no classes "
            "(--num-classes 0) to see where it looks."
        )
    parts = ["The checkpoint does not fit the architecture."]
    if missing:
        parts.append(f"{len(missing)} tensor(s) are missing, such as {_shown(missing)}.")
    if unexpected:
        parts.append(f"{len(unexpected)} are not of this network, such as {_shown(unexpected)}.")
    if reshaped:
        parts.append(f"{len(reshaped)} have another shape: {_shapes(reshaped, tensors, wanted)}.")
    if missing and len(tensors) == len(wanted):
        parts.append("The number of tensors agrees: they may be matched by order (--by-order).")
    return " ".join(parts)


def _head(network: nn.Module) -> set[str]:
    """Names of the classifier's tensors."""
    facts = getattr(network, "pretrained_cfg", None) or {}
    stated = facts.get("classifier") or ()
    modules = (stated,) if isinstance(stated, str) else tuple(stated)
    return {n for n in network.state_dict() if n.rpartition(".")[0] in modules}


def _shown(names: Sequence[str]) -> str:
    """Three names, without what would steer a terminal."""
    return ", ".join("".join(m if m.isprintable() else "?" for m in n)[:60] for n in names[:3])


def _shapes(
    names: Sequence[str], tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> str:
    return ", ".join(
        f"{name} is {tuple(tensors[name].shape)} and should be {tuple(wanted[name].shape)}"
        for name in names[:3]
    )


@torch.no_grad()
def _tried(system: Brought) -> None:
    """Run the network once on grey.

    Raises:
        ModelUnavailable: It gives values that are not numbers.
    """
    side = system.side
    grey = system.normalised(torch.full((1, 3, side, side), 0.5))
    output = system.network.eval()(grey)
    if not isinstance(output, Tensor) or not bool(torch.isfinite(output).all()):
        raise ModelUnavailable("With these weights the network gives values that are not numbers.")


def card(name: str, wish: Wish, checkpoint: Checkpoint, digest: str) -> ModelCard:
    """The card of a brought model, which claims nothing that the user did not state."""
    limits = [UNCHECKED, MAPS]
    if wish.by_order:
        limits.append(BY_ORDER)
    if wish.size:
        limits.append(RESIZED)
    if not wish.classes:
        limits.append(HEADLESS)
    facts = {
        "checkpoint_digest": checkpoint.digest,
        "tensors": len(checkpoint.tensors),
        "matched": "by order" if wish.by_order else "by name",
        "timm": timm.__version__,
    }
    if checkpoint.container:
        facts["taken_from"] = checkpoint.container
    return ModelCard(
        name=name, system="timm", version=checkpoint.digest[:12],
        title=wish.title or f"{wish.architecture}, brought by a user", intended_use=NOTICE,
        training_data=wish.training_data or UNKNOWN_TRAINING, limits=tuple(limits),
        classes=distinct(wish.classes) or (FEATURES_ONLY,), grades=(), config=_config(wish),
        metrics={}, facts=facts, weights=f"{name}.safetensors", weights_digest=digest,
    )  # fmt: skip


def distinct(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names, where one occurs twice with its number behind it (ImageNet has two cranes)."""
    counts = Counter(name.casefold() for name in classes)
    return tuple(
        name if counts[name.casefold()] == 1 else f"{name} ({number})"
        for number, name in enumerate(classes)
    )


def card_toml(card: ModelCard) -> str:
    """A model card as TOML, which `engine.cards.read_card` reads back."""
    values = asdict(card)
    tables = {key: values.pop(key) for key in ("config", "facts", "metrics")}
    values.pop("name")
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    for key, table in tables.items():
        lines += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A plain value; TOML reads JSON's strings, numbers, truth values and arrays."""
    return json.dumps(list(value) if isinstance(value, tuple) else value).replace("\x7f", "\\u007f")
