"""Hearing what passes through a network during one pass, without editing it.

Our own networks place `Tap` modules. In other networks attention is heard where it is computed: a
`TorchFunctionMode`, active in one thread for one block, replaces fused attention by the same
computation in steps, so that the attention matrix exists and has a gradient. Feature maps are heard
by forward hooks, which are removed in `finally`.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SOFTMAXES = (torch.Tensor.softmax, torch.softmax, F.softmax)


class Tap(nn.Module):
    """An identity that marks a tensor that may be read.

    Args:
        kind: What passes through: "attention" (B, H, Nq, Nk) post-softmax within a stream, "cross"
            the same between two streams, "readout" the same from one learned query, "features"
            (B, N, D) or (B, K, h, w), or "prototypes" (B, P, h, w), similarity to learned parts.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    @property
    def is_read(self) -> bool:
        """True while a trace listens, so that the model computes attention explicitly."""
        return bool(self._forward_hooks)

    def forward(self, values: Tensor, stream: str = "", source: str = "") -> Tensor:
        """Return `values`; `stream` names the queries' input and `source` the keys' input."""
        return values


@dataclass(frozen=True)
class Windows:
    """How a layer cuts a grid of places into windows.

    Args:
        grid: Rows and columns of places. size: Of a window. shift: By which the grid is rolled up
            and left before it is cut.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int]


@dataclass(frozen=True)
class Heard:
    """One tensor of the running pass, still part of its graph.

    Args:
        kind: As in `Tap`; from foreign networks also "windowed" attention, whose leading dimension
            holds windows, and "reduced" attention, whose keys are fewer than its queries.
        stream: Input of the queries or features. source: Input of the keys.
        values: The tensor. layer: Name of the module that gave it, where it was asked for by name.
        channels_last: Whether a four-dimensional feature map is (B, h, w, K).
        windows: How attention within windows lies on the image, where that is known.
    """

    kind: str
    stream: str
    source: str
    values: Tensor
    layer: str = ""
    channels_last: bool = False
    windows: Windows | None = None


def _in_graph(values: Tensor, gradients: bool) -> Tensor:
    """`values`; where nothing before needs a gradient, the graph begins here."""
    if gradients and not values.requires_grad and values.is_floating_point():
        return values.detach().requires_grad_()
    return values


@contextmanager
def at_taps(network: nn.Module, kinds: frozenset[str], gradients: bool) -> Iterator[list[Heard]]:
    """Collect what passes the taps of one of our networks."""
    heard: list[Heard] = []
    owner = threading.get_ident()

    def hook(tap: Tap, arguments: tuple[Any, ...], values: Tensor) -> Tensor:
        if threading.get_ident() != owner:
            return values
        stream, source = (*arguments[1:], "", "")[:2]
        values = _in_graph(values, gradients)
        heard.append(Heard(tap.kind, stream, source or stream, values))
        return values

    taps = [m for m in network.modules() if isinstance(m, Tap) and m.kind in kinds]
    handles = [tap.register_forward_hook(hook) for tap in taps]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def at_modules(
    modules: Mapping[str, nn.Module],
    stream: str,
    gradients: bool,
    heard: list[Heard],
    channels_last: Callable[[nn.Module, Tensor], bool],
) -> Iterator[None]:
    """Add the outputs of named modules to `heard`, as "features"."""
    owner = threading.get_ident()

    def hearing(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], values: Any) -> Any:
            if threading.get_ident() != owner or not isinstance(values, Tensor):
                return values
            values = _in_graph(values, gradients)
            last = values.ndim == 4 and channels_last(module, values)
            heard.append(Heard("features", stream, stream, values, name, last))
            return values

        return hook

    handles = [module.register_forward_hook(hearing(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class AttentionMode(TorchFunctionMode):
    """Hear every attention computed in this thread; fused attention is computed in steps.

    Args:
        batch: Number of images, which tells windows from images.
        stream: Name given to what is heard. gradients: Whether to begin a graph at the first.
        heard: Grows in the order of the pass.
    """

    def __init__(self, batch: int, stream: str, gradients: bool, heard: list[Heard]) -> None:
        super().__init__()
        self._batch = batch
        self._stream = stream
        self._gradients = gradients
        self._heard = heard
        self._windows: Windows | None = None

    @contextmanager
    def following(self, network: nn.Module) -> Iterator[None]:
        """Note on entering each windowed block how it cuts its input (B, h, w, C)."""
        owner = threading.get_ident()

        def enter(block: Any, arguments: tuple[Any, ...]) -> None:
            x = arguments[0] if arguments else None
            if threading.get_ident() == owner and isinstance(x, Tensor) and x.ndim == 4:
                grid = (int(x.shape[1]), int(x.shape[2]))
                self._windows = Windows(grid, _pair(block.window_size), _pair(block.shift_size))

        def leave(block: Any, arguments: tuple[Any, ...], output: Any) -> None:
            self._windows = None

        blocks = [m for m in network.modules() if hasattr(m, "shift_size") and hasattr(m, "attn")]
        handles = [block.register_forward_pre_hook(enter) for block in blocks]
        handles += [block.register_forward_hook(leave) for block in blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """See `torch.overrides`."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        result = func(*args, **kwargs)
        if func in SOFTMAXES and _over_keys(result, args, kwargs):
            return self._keep(result)
        return result

    def _keep(self, attention: Tensor) -> Tensor:
        attention = _in_graph(attention, self._gradients)
        queries, keys = attention.shape[-2:]
        kind = "attention" if queries == keys else "readout" if queries == 1 else "reduced"
        if len(attention) != self._batch or self._windows is not None:
            kind = "windowed"
        entry = Heard(kind, self._stream, self._stream, attention, windows=self._windows)
        self._heard.append(entry)
        return attention

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The definition of scaled dot-product attention, as PyTorch documents it."""
        if enable_gqa or query.ndim != 4:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale,
                enable_gqa=enable_gqa,
            )  # fmt: skip
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], device=scores.device).tril().bool()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        attention = self._keep(scores.softmax(-1))
        return F.dropout(attention, dropout_p).to(value.dtype) @ value

    def _multi_head(self, func: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """`nn.MultiheadAttention` over (N, B, D) where it is plain; otherwise it is not heard."""
        query, key, value, width, heads, weight, bias, *rest = args
        extra_key, extra_value, add_zero, _, out_weight, out_bias = rest[:6]
        masks = (kwargs.get("attn_mask"), kwargs.get("key_padding_mask"))
        separate = kwargs.get("use_separate_proj_weight", False)
        plain = extra_key is None and extra_value is None and not add_zero and not separate
        if query.ndim != 3 or not plain or any(mask is not None for mask in masks):
            return func(*args, **kwargs)
        length, batch, _ = query.shape
        parts = zip((query, key, value), weight.chunk(3), _thirds(bias), strict=True)
        q, k, v = (
            F.linear(x, w, b).reshape(len(x), batch, heads, width // heads).permute(1, 2, 0, 3)
            for x, w, b in parts
        )
        mixed = self._attend(q, k, v)
        joined = mixed.permute(2, 0, 1, 3).reshape(length, batch, width)
        return F.linear(joined, out_weight, out_bias), None


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _thirds(bias: Tensor | None) -> Sequence[Tensor | None]:
    return (None, None, None) if bias is None else bias.chunk(3)


def _over_keys(result: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a softmax ran over the last of four dimensions, as attention does."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return isinstance(result, Tensor) and result.ndim == 4 and dim in (-1, 3)


_resting: weakref.WeakKeyDictionary[nn.Module, _Rest] = weakref.WeakKeyDictionary()
_resting_lock = threading.Lock()


@dataclass
class _Rest:
    """What to put back when the last user of a network leaves."""

    users: int
    training: list[nn.Module]
    learning: list[nn.Parameter]


@contextmanager
def at_rest(network: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode with frozen parameters; both come back when the last user leaves."""
    with _resting_lock:
        rest = _resting.get(network)
        if rest is None:
            rest = _resting[network] = _Rest(0, *_lay_down(network))
        rest.users += 1
    try:
        yield network
    finally:
        with _resting_lock:
            rest.users -= 1
            if rest.users == 0:
                del _resting[network]
                for parameter in rest.learning:
                    parameter.requires_grad_(True)
                for module in rest.training:
                    module.training = True


def _lay_down(network: nn.Module) -> tuple[list[nn.Module], list[nn.Parameter]]:
    training = [module for module in network.modules() if module.training]
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for module in training:
        module.training = False
    for parameter in learning:
        parameter.requires_grad_(False)
    return training, learning
