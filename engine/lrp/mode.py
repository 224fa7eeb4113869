"""Watching one forward pass, then reading it twice: true gradients and relevance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.errors import IncompatibleExplainer
from engine.lrp import attention, steps
from engine.lrp.graph import Course, is_followed, no_rule, not_global, tensors

Handler = Callable[[Course, str, Any, Any, Any], Any]

BEGINNINGS = frozenset(["linear", "conv1d", "conv2d", "conv3d", "embedding"])
MOVES = (
    "__get__ __getitem__ reshape view view_as reshape_as flatten unflatten transpose swapaxes "
    "swapdims permute movedim moveaxis t select narrow slice chunk split tensor_split unbind cat "
    "concat concatenate stack hstack vstack expand expand_as broadcast_to unsqueeze squeeze roll "
    "flip repeat tile repeat_interleave index_select gather take_along_dim where masked_fill pad "
    "amax max maximum requires_grad_ detach adaptive_max_pool1d max_pool2d boolean_dispatch "
    "pixel_shuffle pixel_unshuffle"
)
ELEMENTWISE = (
    "gelu relu relu6 silu mish sigmoid tanh softplus hardswish hardsigmoid leaky_relu elu "
    "log_softmax exp neg __neg__ clamp"
)
HANDLERS: dict[str, Handler] = {
    name: handler
    for names, handler in (
        ([*MOVES.split(), *steps.CASTS], steps.move),
        ([*ELEMENTWISE.split(), *steps.NORMS], steps.elementwise),
        (["dropout", "dropout1d", "dropout2d"], steps.dropout),
        (["linear"], steps.linear),
        (["add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__"], steps.addition),
        (["mul", "multiply", "__mul__", "__rmul__"], steps.multiplication),
        (["div", "divide", "true_divide", "__truediv__", "__div__"], steps.division),
        (["mean", "sum"], steps.reduction),
        (["softmax"], attention.softmax),
        (["matmul", "__matmul__", "bmm"], attention.matmul),
        (["einsum"], attention.einsum),
        (["scaled_dot_product_attention"], attention.fused),
        (["multi_head_attention_forward"], attention.multi_head),
    )
    for name in names
}
IN_PLACE = {
    spelling: plain
    for plain in ("add", "sub", "mul", "div")
    for spelling in (f"{plain}_", f"__i{plain}__")
} | {"__itruediv__": "div"}


@dataclass(frozen=True)
class Layer:
    """What both sweeps say of one attention matrix; each (B, H, N, N), detached.

    Args:
        attention: A, after the softmax.
        gradient: D, derivative of the target's score with respect to A.
        relevance: Relevance of A for the target.
    """

    attention: Tensor
    gradient: Tensor
    relevance: Tensor


class LrpMode(TorchFunctionMode):
    """Watches the forward pass in this thread; afterwards `sweep` reads it.

    The graph begins behind the first linear layer, convolution or embedding of each input, so that
    parameters may be frozen. No module is touched.
    """

    def __init__(self) -> None:
        super().__init__()
        self._course = Course()
        self._replaced: list[Tensor] = []

    @property
    def attentions(self) -> tuple[Tensor, ...]:
        """Post-softmax matrices that multiplied values, (B, H, Nq, Nk), in order, in the graph."""
        return tuple(self._course.attentions)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute what torch would, behind a switch where the image is involved."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = list(tensors((*args, *kwargs.values())))
        if any(old is tensor for old in self._replaced for tensor in given):
            raise no_rule("change in place")
        if not any(is_followed(tensor) for tensor in given):
            return _begun(name, func(*args, **kwargs), args)
        changed = name in IN_PLACE or kwargs.get("inplace")
        name = IN_PLACE.get(name, name)
        if name.endswith("_") and name not in HANDLERS and not name.endswith("__"):
            raise no_rule(name)
        handler = HANDLERS.get(name)
        found = NotImplemented if handler is None else handler(
            self._course, name, func, args, kwargs
        )  # fmt: skip
        if found is NotImplemented:
            found = steps.unknown(self._course, name, func, args, kwargs)
        if changed:  # computed aside; whoever still holds the old tensor must not use it
            self._replaced.append(given[0])
        return found

    def forget(self) -> None:
        """Let go of the pass: the graph holds what was remembered, and what was remembered the
        graph, in a circle that Python's collector cannot see."""
        self._course.softmaxes.clear()
        self._course.attentions.clear()
        self._replaced.clear()

    def sweep(
        self,
        output: Tensor | Mapping[str, Any],
        scores: Callable[[Any], Tensor],
        gradients_at: Sequence[Tensor],
        relevance_at: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """True gradients, then relevances, at tensors of the pass; zeros where none arrives.

        The graph is spent afterwards.

        Args:
            output: What the watched pass returned: logits (B, K), or tensors by name.
            scores: Output to scores (B,). Relevance starts as their derivative with respect to the
                output; for the logit of one class that is the one-hot vector.
            gradients_at, relevance_at: Such as `attentions`.

        Raises:
            IncompatibleExplainer: The scores do not depend on the image, or a step on the way has
                no rule.
        """
        ends, starts = _starts(output, scores, self._course)
        found = []
        for relevance, places in ((False, gradients_at), (True, relevance_at)):
            self._course.relevance = relevance
            arrived = torch.autograd.grad(
                ends, places, starts, retain_graph=not relevance, allow_unused=True
            )
            pairs = zip(arrived, places, strict=True)
            found.append([torch.zeros_like(p.detach()) if a is None else a for a, p in pairs])
        return found[0], found[1]


def _begun(name: str, found: Any, args: Any) -> Any:
    """The output of the first layer of an input becomes the beginning of the graph."""
    first = name in BEGINNINGS and not (args and isinstance(args[0], nn.Parameter))
    if first and not found.requires_grad and torch.is_grad_enabled():
        return found.detach().requires_grad_()
    return found


def _starts(
    output: Tensor | Mapping[str, Any], scores: Callable[[Any], Tensor], course: Course
) -> tuple[list[Tensor], list[Tensor]]:
    """Followed tensors of the output on which the scores depend, and the scores' derivatives."""
    named = {"": output} if isinstance(output, Tensor) else dict(output)
    ends = {name: tensor for name, tensor in named.items() if is_followed(tensor)}
    with torch.enable_grad():
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in ends.items()}
        answer = scores(leaves.get("", {**named, **leaves})) if ends else None
    if answer is None or not answer.requires_grad:
        raise IncompatibleExplainer(
            "Nothing that relevance can follow leads from this image to the class."
        )
    course.images = len(answer)
    slopes = torch.autograd.grad(answer.sum(), list(leaves.values()), allow_unused=True)
    pairs = [(e, s) for e, s in zip(ends.values(), slopes, strict=True) if s is not None]
    return [end for end, _ in pairs], [slope for _, slope in pairs]


def _among_patches(attentions: Sequence[Tensor], images: int) -> list[Tensor]:
    """The (B, H, N, N); one query that reads out the rest is passed over."""
    found = [a for a in attentions if a.ndim == 4 and a.shape[-2] > 1]
    if not found:
        raise IncompatibleExplainer(
            "Relevance cannot be followed: this model has no plain attention between patches."
        )
    length = found[0].shape[-1]
    if any(a.shape[0] != images or a.shape[-2:] != (length, length) for a in found):
        raise not_global()
    return found


def propagate(forward: Callable[[], Tensor], target: Callable[[Tensor], Tensor]) -> list[Layer]:
    """Attention, its gradient and its relevance for the target, from one forward pass.

    The caller puts the model into evaluation mode and freezes its parameters; no `.grad` is
    written and no module touched.

    Args:
        forward: Runs the model; logits (B, K). target: Logits (B, K) to scores (B,).

    Returns:
        One layer per attention among all tokens, input side first.

    Raises:
        IncompatibleExplainer: No attention, attention in windows, or a step that has no rule.
    """
    mode = LrpMode()
    try:
        with torch.enable_grad(), mode:
            logits = forward()
        places = _among_patches(mode.attentions, len(logits))
        gradients, relevances = mode.sweep(logits, target, places, places)
    finally:
        mode.forget()
    return [
        Layer(place.detach(), gradient, relevance)
        for place, gradient, relevance in zip(places, gradients, relevances, strict=True)
    ]
