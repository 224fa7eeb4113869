"""How each kind of step is computed under watch: its value by torch, its relevance by a rule.

A handler takes (course, name, func, args, kwargs) and returns NotImplemented where no rule fits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.lrp import rules
from engine.lrp.graph import Course, argument, is_followed, no_rule, not_global, tensors

NORMS = frozenset(["layer_norm", "rms_norm", "group_norm", "batch_norm"])
CASTS = frozenset(
    ["to", "type", "type_as", "float", "double", "half", "bfloat16", "contiguous", "clone"]
)


def unknown(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Compute, and refuse only if relevance arrives here."""

    def refuse(relevance: Tensor) -> tuple[Tensor | None, ...]:
        raise no_rule(name)

    operands = [t for t in tensors((*args, *kwargs.values())) if is_followed(t)]
    found = func(*args, **kwargs)
    if is_followed(found):
        return course.switch(refuse, found, *operands)
    if isinstance(found, (tuple, list)):
        return type(found)(
            course.switch(refuse, item, *operands) if is_followed(item) else item for item in found
        )
    return found


def move(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Elements are moved, not changed: torch's own gradient moves relevance back."""
    found = func(*args, **kwargs)
    if name in CASTS and course.is_softmax(args[0]):
        course.softmaxes.append(found)
    return found


def elementwise(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Activations and norms let relevance pass; a norm none at inputs of exactly 0.

    The latter is the paper's rule for a tensor used twice, x (R1 / x + R2 / x).
    """
    x = argument(args, kwargs, 0, "input")
    if not is_followed(x):
        return NotImplemented
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    value = func(*args, **kwargs)
    if name not in NORMS:
        return course.carry(value, x)
    known = x.detach()
    return course.switch(lambda relevance: (relevance.masked_fill(known == 0, 0),), value, x)


def dropout(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Nothing, in evaluation mode."""
    x = argument(args, kwargs, 0, "input")
    if argument(args, kwargs, 2, "training", True) and argument(args, kwargs, 1, "p", 0.5):
        return NotImplemented
    return x


def linear(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """A layer of weights, by positive contributions."""
    places = enumerate(("input", "weight", "bias"))
    x, weight, bias = (argument(args, kwargs, place, key) for place, key in places)
    if not is_followed(x) or is_followed(weight):
        return NotImplemented
    return by_weight(course, F.linear(x, weight, bias), x, weight, bias)


def by_weight(
    course: Course, value: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """`value` = x W^T + bias under the linear rule; x (..., I), weight (O, I)."""
    known, kernel, output = x.detach(), weight.detach(), value.detach()

    def rule(relevance: Tensor) -> tuple[Tensor]:
        flat, steepness = rules.wide(known).reshape(-1, known.shape[-1]), rules.wide(kernel)
        product = output.reshape(-1, output.shape[-1])
        if product.dtype != flat.dtype:  # of half precision the rounding would pass for relevance
            product = F.linear(flat, steepness)
        elif bias is not None:
            product = product - bias.detach()
        arriving = rules.wide(relevance).reshape(product.shape)
        back = rules.through_linear(arriving, flat, steepness, product)
        return (back.reshape(known.shape),)

    return course.switch(rule, value, x)


def addition(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """A sum of two tensors that depend on the image, as of a residual, or with a constant."""
    one, other = args[0], argument(args, kwargs, 1, "other")
    if kwargs.get("alpha", 1) != 1 or len(args) > 2:
        return NotImplemented
    if name == "__rsub__":
        one, other = other, one
    minus = "sub" in name
    value = one - other if minus else one + other
    if not (is_followed(one) and is_followed(other)):
        return course.carry(value, one if is_followed(one) else other)
    shapes, whole = (one.shape, other.shape), value.shape
    known = one.detach(), -other.detach() if minus else other.detach()

    def rule(relevance: Tensor) -> list[Tensor]:
        if len(relevance) != course.images:  # totals per image need images first
            raise not_global()
        first, second = (rules.wide(term).expand(whole) for term in known)
        parts = rules.through_sum(rules.wide(relevance), first, second, first + second)
        return [part.sum_to_size(shape) for part, shape in zip(parts, shapes, strict=True)]

    return course.switch(rule, value, one, other)


def multiplication(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """A scale passes relevance whole; of two tensors, such as a gate, each takes half."""
    one, other = args[0], argument(args, kwargs, 1, "other")
    value = torch.mul(one, other)
    if not (is_followed(one) and is_followed(other)):
        return course.carry(value, one if is_followed(one) else other)
    shapes = one.shape, other.shape

    def rule(relevance: Tensor) -> list[Tensor]:
        return [(relevance / 2).sum_to_size(shape) for shape in shapes]

    return course.switch(rule, value, one, other)


def division(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """A divisor only scales: all relevance belongs to the numerator."""
    if not is_followed(args[0]) or kwargs.get("rounding_mode"):
        return NotImplemented
    return course.carry(torch.div(*args, **kwargs), args[0])


def reduction(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """A mean or sum is a linear layer of equal positive weights."""
    if not args or not is_followed(args[0]):
        return NotImplemented
    known = args[0].detach()

    def rule(relevance: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            positive = rules.wide(known).clamp_min(0).requires_grad_()
            pooled = func(positive, *args[1:], **kwargs)
        share = rules.safe_divide(rules.wide(relevance), pooled.detach())
        (slope,) = torch.autograd.grad(pooled, positive, share)
        return (positive.detach() * slope,)

    return course.switch(rule, func(*args, **kwargs), args[0])
