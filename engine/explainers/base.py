"""The registry of explanation methods, and what each declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from engine.errors import IncompatibleExplainer
from engine.registry import Registry
from engine.trace import Trace

Maps = dict[str, Tensor]
"""By stream: (B, h, w) on the token grid, unnormalised."""


@dataclass(frozen=True)
class Explainer:
    """One explanation method.

    Args:
        name: Registry name. title: Name for people. summary: What the map means, one sentence.
        needs: Kinds of taps it reads; all are required.
        gradients: Whether it needs the backward pass.
        class_blind: True when the map does not depend on the target class.
        streams: How many inputs of the case it needs.
        common_scale: True when the maps of all images are in one unit, so that one image can be
            said to matter little next to another.
        settings: Everything that fixes its result.
        run: Trace to maps.
    """

    name: str
    title: str
    summary: str
    needs: frozenset[str]
    run: Callable[[Trace], Maps]
    gradients: bool = True
    class_blind: bool = False
    streams: int = 1
    common_scale: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def check(self, offered: frozenset[str]) -> None:
        """Refuse a model that lacks what the method reads.

        Raises:
            IncompatibleExplainer: With the reason.
        """
        missing = self.needs - offered
        if missing:
            raise IncompatibleExplainer(
                f"{self.title} reads {' and '.join(sorted(missing))}, which this model has not."
            )


EXPLAINERS: Registry[Explainer] = Registry("explanation method")


def explainer(
    name: str,
    *,
    title: str,
    summary: str,
    needs: set[str],
    gradients: bool = True,
    class_blind: bool = False,
    streams: int = 1,
    common_scale: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Callable[[Callable[[Trace], Maps]], Callable[[Trace], Maps]]:
    """Register a function from `Trace` to maps as an explanation method; see `Explainer`."""

    def keep(run: Callable[[Trace], Maps]) -> Callable[[Trace], Maps]:
        EXPLAINERS.add(
            name,
            Explainer(
                name,
                title,
                summary,
                frozenset(needs),
                run,
                gradients,
                class_blind,
                streams,
                common_scale,
                settings or {},
            ),
        )
        return run

    return keep
