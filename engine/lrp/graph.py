"""One graph that two sweeps can follow: switches between true gradients and relevance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer

Rule = Callable[[Tensor], Sequence[Tensor | None]]
"""Relevance of a value to the relevance of each of its operands."""


@dataclass
class Course:
    """State of one watched pass.

    Args:
        relevance: What a sweep carries at present: relevance, or gradients.
        images: Images B of the pass, known once a sweep begins.
        softmaxes: Outputs of softmax so far.
        attentions: Those that multiplied values, in order.
    """

    relevance: bool = False
    images: int = 0
    softmaxes: list[Tensor] = field(default_factory=list)
    attentions: list[Tensor] = field(default_factory=list)

    def switch(self, rule: Rule, value: Tensor, *operands: Tensor) -> Tensor:
        """`value`, from which relevance goes to the operands by the rule."""
        found: Tensor = _Switch.apply(self, rule, value, *operands)
        return found

    def carry(self, value: Tensor, x: Tensor) -> Tensor:
        """`value`, made from `x` and constants only: relevance passes whole."""
        shape = x.shape
        return self.switch(lambda relevance: (relevance.sum_to_size(shape),), value, x)

    def is_softmax(self, item: Any) -> bool:
        """Whether this very tensor came out of a softmax."""
        return any(item is known for known in self.softmaxes)


class _Switch(torch.autograd.Function):
    """Passes `value` on; back, a gradient enters its own graph and relevance obeys the rule."""

    @staticmethod
    def forward(ctx: Any, course: Course, rule: Rule, value: Tensor, *operands: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.course, ctx.rule, ctx.count = course, rule, len(operands)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor | None) -> Any:
        arriving = incoming[0]
        if arriving is None or not ctx.course.relevance:
            return None, None, arriving, *(None,) * ctx.count
        rule, ctx.rule = ctx.rule, None  # relevance comes once; what the rule holds is freed
        with torch.autocast(arriving.device.type, enabled=False):
            return None, None, None, *rule(arriving)


def tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments of a function, in lists and tuples too."""
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, (tuple, list)):
            yield from tensors(argument)


def is_followed(item: Any) -> bool:
    """Whether a tensor depends on the image: it is in the graph and no parameter."""
    return isinstance(item, Tensor) and item.requires_grad and not isinstance(item, nn.Parameter)


def argument(args: Sequence[Any], kwargs: Any, place: int, name: str, default: Any = None) -> Any:
    """One argument of a call, however it was passed."""
    return args[place] if len(args) > place else kwargs.get(name, default)


def no_rule(step: str) -> IncompatibleExplainer:
    """What to raise where relevance arrives and no rule is known."""
    return IncompatibleExplainer(
        f"Relevance cannot be followed through this model: no rule is known for its step {step!r}."
    )


def not_global() -> IncompatibleExplainer:
    """What to raise where tokens do not all attend to one another."""
    return IncompatibleExplainer(
        "Relevance cannot be followed: this model attends within windows or to a thinned image, "
        "not from every patch to every other."
    )
