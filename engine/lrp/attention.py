"""How attention is computed under watch: in steps, so that its matrix is part of the graph."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.lrp import rules
from engine.lrp.graph import Course, is_followed, no_rule
from engine.lrp.steps import by_weight, elementwise

FUSED = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
UNUSUAL = ("bias_k", "bias_v", "add_zero_attn", "key_padding_mask", "static_k", "static_v")


def softmax(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Relevance passes; the matrix is remembered, in case it multiplies values."""
    found = elementwise(course, name, func, args, kwargs)
    if found is not NotImplemented:
        course.softmaxes.append(found)
    return found


def matmul(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Two tensors that depend on the image share relevance; a constant matrix is a layer."""
    one, other = (*args, *kwargs.values())[:2]
    if is_followed(one) and is_followed(other) and min(one.ndim, other.ndim) > 1:
        return _product(course, func(one, other), one, other, one)
    if is_followed(one) and other.ndim == 2 and not is_followed(other):
        return by_weight(course, func(one, other), one, other.mT, None)
    if is_followed(one) != is_followed(other) and min(one.ndim, other.ndim) > 1:
        return _by_constant(course, func(one, other), one, other)
    return NotImplemented


def _by_constant(course: Course, value: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """A product with a factor that is the same for every image, such as a learnt query.

    The factor that depends on the image takes all that the two would share.
    """
    followed = one if is_followed(one) else other
    left, right, output = one.detach(), other.detach(), value.detach()

    def rule(relevance: Tensor) -> tuple[Tensor]:
        a, b = rules.wide(left), rules.wide(right)
        halves = rules.through_product(rules.wide(relevance), a, b, rules.wide(output))
        return (halves[0 if followed is one else 1] * 2,)

    return course.switch(rule, value, followed)


def _product(course: Course, value: Tensor, one: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`value` = factor @ other, where `factor` is `one` or a multiple of it."""
    if course.is_softmax(one):
        course.attentions.append(one)
    left, right = factor.detach(), other.detach()

    def rule(relevance: Tensor) -> tuple[Tensor, Tensor]:
        a, b = rules.wide(left), rules.wide(right)
        return rules.through_product(rules.wide(relevance), a, b, a @ b)  # cheaper than kept

    return course.switch(rule, value, one, other)


def einsum(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """The rule of matrix products, for any product of two tensors."""
    equation, *factors = args
    if len(factors) != 2 or not all(is_followed(factor) for factor in factors):
        return NotImplemented
    course.attentions.extend(factor for factor in factors if course.is_softmax(factor))
    known = [factor.detach() for factor in factors]

    def rule(relevance: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            wide = [rules.wide(factor).requires_grad_() for factor in known]
            value = torch.einsum(equation, *wide)
        share = rules.safe_divide(rules.wide(relevance), value.detach()) / 2
        slopes = torch.autograd.grad(value, wide, share)
        return [w.detach() * slope for w, slope in zip(wide, slopes, strict=True)]

    return course.switch(rule, func(*args, **kwargs), *factors)


def fused(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Scaled dot-product attention, as PyTorch documents it; a mask takes no relevance."""
    given = dict(zip(FUSED, args, strict=False)) | kwargs
    query, key, value = (given[name] for name in FUSED[:3])
    if given.get("dropout_p"):
        raise no_rule("dropout")
    if not (is_followed(query) or is_followed(key)) or not is_followed(value):
        return NotImplemented
    if given.get("enable_gqa"):
        times = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(times, -3) for t in (key, value))
    scale = given.get("scale")
    factor = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = _product(course, factor @ key.mT, query, key.mT, factor)
    scores = _masked(course, scores, given.get("attn_mask"), bool(given.get("is_causal")))
    attention = softmax(course, "softmax", torch.softmax, (scores, -1), {})
    return _product(course, attention @ value, attention, value, attention)


def _masked(course: Course, scores: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores
    hidden = mask.dtype == torch.bool
    return course.carry(scores.masked_fill(~mask, -torch.inf) if hidden else scores + mask, scores)


def multi_head(course: Course, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """torch's own multi-head attention, opened; tokens are (N, B, D)."""
    bound = inspect.signature(func).bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    if given["query"].ndim != 3 or any(given[key] not in (None, False) for key in UNUSUAL):
        return NotImplemented
    query, key, value = (
        _projected(course, x, weight, bias).unflatten(-1, (given["num_heads"], -1))
        .permute(1, 2, 0, 3)
        for x, weight, bias in _projections(given)
    )  # fmt: skip
    mask = given["attn_mask"]
    mixed = fused(course, "", None, (query, key, value), {"attn_mask": mask})
    joined = mixed.permute(2, 0, 1, 3).flatten(2)
    out = _projected(course, joined, given["out_proj_weight"], given["out_proj_bias"])
    if not given["need_weights"]:
        return out, None
    weights = course.attentions[-1].detach()
    return out, weights.mean(1) if given["average_attn_weights"] else weights


def _projections(given: Any) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """(tokens, weight, bias) of queries, keys and values."""
    if given["use_separate_proj_weight"]:
        weights = [given[f"{letter}_proj_weight"] for letter in "qkv"]
    else:
        weights = given["in_proj_weight"].chunk(3)
    biases = (None,) * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    inputs = (given["query"], given["key"], given["value"])
    return list(zip(inputs, weights, biases, strict=True))


def _projected(course: Course, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    value = F.linear(x, weight, bias)
    return by_weight(course, value, x, weight, bias) if is_followed(x) else value
