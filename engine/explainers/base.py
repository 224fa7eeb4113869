"""The registry of explanation methods, and what each declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from engine.errors import IncompatibleExplainer, UnknownName
from engine.registry import Registry

Maps = dict[str, Tensor]
"""By stream: (B, h, w) on the method's own grid, unnormalised."""

FAMILIES: Mapping[str, str] = {
    "attention": "Attention: where the model looks",
    "relevance": "Relevance: attention that matters to the class",
    "activation": "Class activation: features that raise the class",
    "gradient": "Gradients: pixels to which the class is sensitive",
    "perturbation": "Perturbation: what happens when regions are hidden",
    "cross-modal": "Between inputs: image to image, image to text",
    "parts": "Parts: what was learnt, and from which case",
}
"""Families of methods with their titles, in the order in which they are offered."""

KINDS: Mapping[str, str] = {
    "class": "classes",
    "attention": "attention between regions",
    "cross": "attention between two inputs",
    "features": "a map of features over the image",
    "lrp": "steps through which relevance can be traced",
    "prototypes": "parts learnt from training cases",
    "text": "a clinical text",
}
"""Kinds of readings, in words."""


@dataclass(frozen=True)
class Explainer:
    """One explanation method.

    Args:
        name: Registry name. title: Name for people.
        summary: What the map means, one sentence in plain language.
        limits: What it cannot say, one sentence in plain language.
        family: Key of `FAMILIES`.
        needs: Kinds of readings that it reads; all are required.
        gradients: Whether it needs the backward pass.
        class_blind: True when the map does not depend on the target class.
        signed: True when values below zero speak against the class.
        streams: How many inputs of the case it needs.
        common_scale: True when the maps of all images are in one unit, so that one image can be
            said to matter little next to another.
        slow: True when it runs the model many times.
        version: Raised when the same settings give another map than before, so that stored maps
            are made anew.
        settings: What may be chosen, with defaults; each arrives at `run` as a keyword.
        facts: What else fixes its result.
        run: Trace and settings to maps.
    """

    name: str
    title: str
    summary: str
    limits: str
    family: str
    needs: frozenset[str]
    run: Callable[..., Maps]
    gradients: bool = True
    class_blind: bool = False
    signed: bool = False
    streams: int = 1
    common_scale: bool = False
    slow: bool = False
    version: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wants(self) -> frozenset[str]:
        """Kinds that it reads, and "class" where it asks about one."""
        return self.needs if self.class_blind else self.needs | {"class"}

    def check(self, offered: frozenset[str], lacks: Mapping[str, str] | None = None) -> None:
        """Refuse a model that lacks what the method reads.

        Args:
            offered: Kinds of readings of the model. lacks: Kind to the reason why it is absent.

        Raises:
            IncompatibleExplainer: With the reason.
        """
        missing = sorted(self.wants - offered)
        if not missing:
            return
        reasons = [lacks[kind] for kind in missing if lacks and kind in lacks]
        if reasons:
            raise IncompatibleExplainer(f"{self.title}: {reasons[0]}")
        absent = " and ".join(KINDS.get(kind, kind) for kind in missing)
        raise IncompatibleExplainer(f"{self.title} needs {absent}, which this model has not.")

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, with those given in place of the defaults.

        Raises:
            UnknownName: A setting that the method has not.
        """
        unknown = sorted(set(given) - set(self.settings))
        if unknown:
            known = ", ".join(self.settings) or "none"
            raise UnknownName(f"{self.title} has no setting {unknown[0]!r}. Known: {known}.")
        return {**self.settings, **{name: _listed(name, value) for name, value in given.items()}}


def _listed(name: str, value: Any) -> Any:
    """One layer's name stands for a list of one."""
    return (value,) if name == "layers" and isinstance(value, str) else value


EXPLAINERS: Registry[Explainer] = Registry("explanation method")


def explainer(
    name: str,
    *,
    title: str,
    summary: str,
    limits: str,
    family: str,
    needs: set[str],
    gradients: bool = True,
    class_blind: bool = False,
    signed: bool = False,
    streams: int = 1,
    common_scale: bool = False,
    slow: bool = False,
    version: int = 1,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Maps]], Callable[..., Maps]]:
    """Register a function from `Trace` and settings to maps as a method; see `Explainer`."""
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is no family of explanation methods")

    def keep(run: Callable[..., Maps]) -> Callable[..., Maps]:
        EXPLAINERS.add(
            name,
            Explainer(
                name=name,
                title=title,
                summary=summary,
                limits=limits,
                family=family,
                needs=frozenset(needs),
                run=run,
                gradients=gradients,
                class_blind=class_blind,
                signed=signed,
                streams=streams,
                common_scale=common_scale,
                slow=slow,
                version=version,
                settings=settings or {},
                facts=facts or {},
            ),
        )
        return run

    return keep
