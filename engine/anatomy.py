"""Where a network that we did not write may be read: layers, grids, prefix tokens, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer, ShapeMismatch
from engine.listening import AttentionMode, Heard, at_modules, at_rest
from engine.trace import Inputs, Span, Subject

IMAGE = "image"
"""The one stream of a network that takes one image."""

WINDOWED = (
    "This model attends within windows, which this method cannot join into one map of the image."
)
OVER_CHANNELS = "This model attends over channels or mixes its heads after the softmax, so that \
its attention is no map from region to region."
NO_ATTENTION = "This model computes no attention between regions of the image."
SCRIPTED = "A scripted model cannot be read inside; give the model it was made from."


@dataclass(frozen=True)
class Anatomy:
    """How one network is read.

    Args:
        network: The network itself, freed of compilation and of parallel wrappers.
        grid_of: Height and width of an input to rows and columns of patches.
        prefix: Tokens before the first patch. readers: See `Span`.
        features: Name of the module whose output is the feature map.
        lacks: Kind of reading to the reason why the network does not offer it.
        mean, std: Normalisation of the input, per channel.
        size: Height and width that the network takes; None for any.
        channels: Channels of its input.
    """

    network: nn.Module
    grid_of: Callable[[int, int], tuple[int, int]]
    prefix: int
    readers: tuple[int, ...]
    features: str
    lacks: Mapping[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None
    channels: int

    @property
    def offers(self) -> frozenset[str]:
        """Kinds of readings that the network offers."""
        return frozenset({"attention", "class", "features", "input", "lrp"}) - set(self.lacks)

    def subject(self, image: Tensor, layers: Sequence[str] = ()) -> Subject:
        """The network as explanation methods meet it, for images of this size.

        Args:
            image: (B, C, H, W). layers: Modules whose output is read; the default one when empty.

        Raises:
            IncompatibleExplainer: The network has no module of such a name.
            ShapeMismatch: The network takes images of another size or number of channels.
        """
        self._check(image)
        usual = (self.features,) if self.features else ()
        modules = {name: self.module(name) for name in dict.fromkeys((*usual, *layers))}
        black = tuple(-m / s for m, s in zip(self.mean, self.std, strict=True))
        height, width = image.shape[-2:]
        grid = self.grid_of(height, width)
        first = next(self.network.parameters(), image)
        dtype = first.dtype if first.is_floating_point() else image.dtype
        span = Span(self.prefix, grid, IMAGE, self.readers, (), black, self.features)

        @contextmanager
        def listen(kinds: frozenset[str], gradients: bool) -> Iterator[list[Heard]]:
            heard: list[Heard] = []
            with ExitStack() as stack:
                if "features" in kinds:
                    hooks = at_modules(modules, IMAGE, gradients, heard, self._channels_last)
                    stack.enter_context(hooks)
                if kinds & {"attention", "windowed"}:
                    mode = AttentionMode(len(image), IMAGE, gradients, heard)
                    stack.enter_context(mode.following(self.network))
                    stack.enter_context(mode)
                yield heard
            heard[:] = [entry for entry in heard if self._wanted(entry, kinds, grid)]

        def run(inputs: Inputs) -> Any:
            given = inputs[IMAGE]
            assert given is not None
            return self.network.forward(given.to(dtype))

        return Subject(self.network, run, {IMAGE: span}, listen)

    def module(self, name: str) -> nn.Module:
        """A module by its dotted name.

        Raises:
            IncompatibleExplainer: There is none.
        """
        try:
            return self.network.get_submodule(name)
        except AttributeError:
            raise IncompatibleExplainer(f"The model has no layer named {name!r}.") from None

    def _wanted(self, entry: Heard, kinds: frozenset[str], grid: tuple[int, int]) -> bool:
        """Only attention over all tokens of the image counts as such."""
        if entry.kind in ("attention", "readout"):
            tokens = grid[0] * grid[1]
            whole = entry.values.shape[-1] in (tokens + self.prefix, tokens)
            return whole and "attention" in kinds
        if entry.kind == "windowed" and entry.windows is not None and "attention" in kinds:
            return True
        return entry.kind in kinds

    def _channels_last(self, module: nn.Module, values: Tensor) -> bool:
        if isinstance(module, nn.LayerNorm) and type(module).__name__ != "LayerNorm2d":
            return tuple(module.normalized_shape) == (values.shape[-1],)
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            return False
        return getattr(self.network, "output_fmt", "NCHW") == "NHWC"

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.channels:
            raise ShapeMismatch(
                f"The model takes images of {self.channels} channel(s), (B, {self.channels}, H, W)"
                f"; the tensor has shape {tuple(image.shape)}."
            )
        if self.size is not None and tuple(image.shape[-2:]) != self.size:
            raise ShapeMismatch(
                f"The model takes images of {self.size[0]} x {self.size[1]} pixels, not "
                f"{image.shape[-2]} x {image.shape[-1]}. Build it with `img_size` or "
                "`dynamic_img_size=True` for other sizes, or give an image, which is fitted."
            )


def bare(model: nn.Module) -> nn.Module:
    """The network inside compilation and parallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(inner, nn.Module):
            model = inner
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        else:
            return model


def study(model: nn.Module, *, layer: str | None = None) -> Anatomy:
    """Find out how a network is read: timm and torchvision models, or any that end in a map.

    Args:
        model: Takes (B, C, H, W), returns logits (B, K) or segmentation logits (B, K, h, w).
        layer: Module whose output is the feature map, where the default is not wanted.
    """
    network = bare(model)
    parts = _torchvision_vit(network) if hasattr(network, "conv_proj") else _vit(network)
    parts = parts or _convolutional(network)
    if layer is not None:
        parts["features"] = layer
    if isinstance(network, torch.jit.ScriptModule):
        parts["lacks"] = dict.fromkeys(("attention", "features", "lrp"), SCRIPTED)
    facts = getattr(network, "pretrained_cfg", None) or {}
    channels = int(getattr(network, "in_chans", 0) or _first_channels(network))
    mean, std = (_statistics(facts, key, channels) for key in ("mean", "std"))
    return Anatomy(network=network, mean=mean, std=std, channels=channels, **parts)


def _vit(network: nn.Module) -> dict[str, Any] | None:
    """timm's plain transformers: one sequence of blocks over one grid of patches."""
    embed, blocks = getattr(network, "patch_embed", None), getattr(network, "blocks", None)
    if embed is None or not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return None
    last = blocks[-1]
    if not (hasattr(last, "norm1") and hasattr(last, "attn") and hasattr(embed, "patch_size")):
        return None
    lacks = {}
    if hasattr(network, "blocks_token_only") or hasattr(network, "cls_attn_blocks"):
        lacks = dict.fromkeys(("attention", "lrp"), OVER_CHANNELS)
    prefix = getattr(network, "num_prefix_tokens", None)
    if prefix is None:
        prefix = 0 if lacks or getattr(network, "cls_token", None) is None else 1
    pooled = getattr(network, "global_pool", "token" if prefix else "avg") or "token"
    readers: tuple[int, ...] = (0,) if pooled == "token" and prefix else ()
    if getattr(network, "head_dist", None) is not None:
        readers = (0, 1)
    fixed = bool(getattr(embed, "strict_img_size", True)) and embed.img_size is not None
    return {
        "grid_of": _patches(embed),
        "prefix": int(prefix),
        "readers": readers,
        "features": f"blocks.{len(blocks) - 1}.norm1",
        "lacks": lacks,
        "size": tuple(embed.img_size) if fixed else None,
    }


def _patches(embed: Any) -> Callable[[int, int], tuple[int, int]]:
    """Rows and columns of patches of an image, as timm's patch embedding lays them."""

    def grid(height: int, width: int) -> tuple[int, int]:
        known = getattr(embed, "grid_size", None)
        if known and getattr(embed, "img_size", None) == (height, width):
            return int(known[0]), int(known[1])
        if hasattr(embed, "dynamic_feat_size"):
            rows, columns = embed.dynamic_feat_size((height, width))
            return int(rows), int(columns)
        patch = embed.patch_size
        down, across = (patch, patch) if isinstance(patch, int) else patch
        return height // int(down), width // int(across)

    return grid


def _torchvision_vit(network: Any) -> dict[str, Any]:
    patch, size = int(network.patch_size), int(network.image_size)
    count = len(network.encoder.layers)
    return {
        "grid_of": lambda height, width: (height // patch, width // patch),
        "prefix": 1,
        "readers": (0,),
        "features": f"encoder.layers.encoder_layer_{count - 1}.ln_1",
        "lacks": {},
        "size": (size, size),
    }


def _convolutional(network: nn.Module) -> dict[str, Any]:
    """Networks that end in a feature map: convolutional, windowed, or a mix of both."""
    features, size = "", None
    stages = getattr(network, "feature_info", None)
    reduction = 16
    if stages:
        entries = list(stages)
        features, reduction = str(entries[-1]["module"]), int(entries[-1]["reduction"])
    why = NO_ATTENTION
    lacking: tuple[str, ...] = ("attention", "lrp")
    if _last_norm(network):
        why, lacking = WINDOWED, ("lrp",)
        features = _last_norm(network)
    elif _is_windowed(network):
        why = WINDOWED
    elif any("attn" in name for name, _ in network.named_modules()):
        why = OVER_CHANNELS
    embed: Any = getattr(network, "patch_embed", None)
    if getattr(embed, "strict_img_size", False) and getattr(embed, "img_size", None):
        size = tuple(embed.img_size)
    return {
        "grid_of": lambda height, width: (-(-height // reduction), -(-width // reduction)),
        "prefix": 0,
        "readers": (),
        "features": features,
        "lacks": dict.fromkeys(lacking, why),
        "size": size,
    }


def _is_windowed(network: nn.Module) -> bool:
    return any(hasattr(module, "window_size") for module in network.modules())


def _last_norm(network: Any) -> str:
    """Swin's last `norm2`: frgfm/torch-cam#412 found `norm1` to light the background."""
    layers: Any = getattr(network, "layers", None)
    blocks: Any = getattr(layers[-1], "blocks", None) if isinstance(layers, nn.Sequential) else None
    if not blocks or not (hasattr(blocks[-1], "norm2") and hasattr(blocks[-1], "shift_size")):
        return ""
    return f"layers.{len(layers) - 1}.blocks.{len(blocks) - 1}.norm2"


def last_map(anatomy: Anatomy, image: Tensor) -> str:
    """Name of the last module without parts that gives a map over the image, found by a trial run.

    Raises:
        IncompatibleExplainer: No module does.
    """
    found: list[str] = []

    def hearing(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, values: Any) -> None:
            if isinstance(values, Tensor) and values.ndim == 4 and min(values.shape[-2:]) > 1:
                found.append(name)

        return hook

    leaves = {n: m for n, m in anatomy.network.named_modules() if not any(m.children())}
    handles = [module.register_forward_hook(hearing(name)) for name, module in leaves.items()]
    try:
        with torch.no_grad(), at_rest(anatomy.network):
            anatomy.network.forward(image[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise IncompatibleExplainer("The model has no layer that keeps the image's plane.")
    return found[-1]


def _first_channels(network: nn.Module) -> int:
    convolutions = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, None)
    return 3 if first is None else first.in_channels * 1


def _statistics(facts: Any, key: str, channels: int) -> tuple[float, ...]:
    """The model's own normalisation; ImageNet's for three channels where it states none."""
    known = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}[key]
    stated = tuple(float(v) for v in (facts.get(key) or known))
    if len(stated) == channels:
        return stated
    return (sum(stated) / len(stated),) * channels
