"""The short public face: any model, any method, in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.anatomy import IMAGE, bare
from engine.errors import EngineError, IncompatibleExplainer, ShapeMismatch
from engine.explainers import EXPLAINERS, Explainer, windows
from engine.models import System
from engine.models.brought import Brought
from engine.progress import Progress
from engine.records import Case, Explanation, HeatMap, Image, Modality, Window
from engine.render import display, gallery, legible, overlay
from engine.trace import (
    ClassTarget,
    RegionTarget,
    Target,
    Trace,
    capture,
    enlarged,
    untraced,
)
from engine.workflow import class_index, flatness, load_system
from engine.workflow import explain as explain_case

Pictures = Case | Image | NDArray[Any] | Tensor
Classes = int | str | Sequence[int | str] | NDArray[np.integer[Any]] | Tensor | None


class ExplainabilityToolkit:
    """Explains what a model says of an image.

    Args:
        model: A Lightbox system, the name of a model card, or any network that takes (B, C, H, W)
            and returns logits (B, K): timm's and torchvision's are read by themselves.
        classes: Names of a network's classes.
        layer: Name of the module whose output class activation maps are made of, where the
            default is not wanted.

    Raises:
        UnknownName: There is no card of this name. ModelUnavailable: Its weights cannot be used.
    """

    def __init__(
        self,
        model: nn.Module | System | str,
        *,
        classes: Sequence[str] = (),
        layer: str | None = None,
    ) -> None:
        if isinstance(model, str):
            self.system: System = load_system(model)
        elif isinstance(model, System):
            self.system = model
        else:
            self.system = Brought.of(model, classes, layer=layer)

    @property
    def methods(self) -> Mapping[str, str]:
        """Names of all methods, each with the reason why this model cannot serve it, or ""."""
        found = {}
        for name, method in EXPLAINERS.items():
            try:
                method.check(self.system.offers, self.system.lacks)
                found[name] = ""
            except EngineError as error:
                found[name] = str(error)
        return found

    def explain(
        self,
        x: Pictures,
        method: str,
        target: Classes = None,
        *,
        raw: bool = False,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Explanation:
        """One method's map or maps.

        Args:
            x: A case; an image, as a record or as an array (H, W) or (H, W, 3) with values 0 to
                255; or a normalised tensor (B, C, H, W).
            method: Registry name.
            target: Class by number or name, one for all images or one per image; the leading
                class of each when None.
            raw: Whether to give the method's own grid, before it is enlarged.
            progress: Told of every evaluation of the model.
            settings: See the method; `EXPLAINERS[method].settings` holds the defaults.

        Returns:
            `values` holds the maps, (B, H, W) float32 in image pixels, unnormalised; (B, h, w) on
            the method's own grid when `raw`.

        Raises:
            UnknownName: No such method, class or setting.
            IncompatibleExplainer: The model cannot serve the method; the message says why.
            ShapeMismatch: The tensor does not fit the model, or the targets do not fit the tensor.
        """
        found = self.explain_all(
            x, (method,), target, raw=raw, progress=progress, settings={method: settings}
        )
        refusal = found[method]
        if isinstance(refusal, str):
            raise IncompatibleExplainer(refusal)
        return refusal

    def explain_all(
        self,
        x: Pictures,
        methods: Sequence[str] | None = None,
        target: Classes = None,
        *,
        raw: bool = False,
        progress: Progress | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Explanation | str]:
        """Several methods from one shared pass.

        Args:
            x, target, raw, progress: See `explain`.
            methods: Registry names; all methods when None.
            settings: By method.

        Returns:
            By method: its explanation, or the reason why it could not be served.
        """
        chosen = tuple(EXPLAINERS) if methods is None else tuple(methods)
        if isinstance(x, Tensor):
            return self._of_tensor(x, chosen, target, raw, progress, settings or {})
        case = _as_case(x)
        if target is not None and not isinstance(target, int | str):
            raise ShapeMismatch("A case has one target.")
        names = self.system.card.classes
        wanted = target if isinstance(target, str) else None
        if isinstance(target, int):
            if not 0 <= target < len(names):
                raise ShapeMismatch(f"The model has {len(names)} classes, counted from 0.")
            wanted = names[target]
        analysis = explain_case(
            self.system, case, chosen, wanted, settings=settings, progress=progress, raw=raw
        )
        made = {explanation.method: explanation for explanation in analysis.explanations}
        return {name: made.get(name) or analysis.refused[name] for name in chosen}

    @torch.inference_mode(False)
    def _of_tensor(
        self,
        x: Tensor,
        names: Sequence[str],
        target: Classes,
        raw: bool,
        progress: Progress | None,
        settings: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Explanation | str]:
        system = self.system
        if not isinstance(system, Brought):
            raise ShapeMismatch("This system reads cases, since it needs more than one tensor.")
        if x.ndim != 4 or len(x) == 0:
            raise ShapeMismatch(f"A tensor of images is (B, C, H, W); this is {tuple(x.shape)}.")
        chosen = {name: EXPLAINERS[name].chosen(settings.get(name, {})) for name in names}
        x = x.detach().to(system.device, torch.float32)
        x = x.clone() if x.is_inference() else x
        layers = tuple(
            dict.fromkeys(layer for found in chosen.values() for layer in found.get("layers") or ())
        )
        able = [EXPLAINERS[name] for name in names if EXPLAINERS[name].wants <= system.offers]
        able = [method for method in able if method.streams == 1]
        goal = self._target(target, len(x))
        kinds = frozenset().union(*(method.needs for method in able))
        gradients = any(method.gradients for method in able)
        subject = system.read_at(x, layers)
        settled = None if gradients or kinds - {"input"} else self._known(goal, len(x))
        if settled is not None:
            trace = untraced(subject, {IMAGE: x}, settled, progress)
        else:
            trace, output = capture(
                subject, {IMAGE: x}, goal, kinds=kinds, gradients=gradients, progress=progress
            )
            goal = goal.settled(output)
        spoken = self._spoken(settled or goal)
        return {
            name: self._one(EXPLAINERS[name], chosen[name], trace, x, spoken, raw) for name in names
        }

    def _one(
        self,
        method: Explainer,
        settings: Mapping[str, Any],
        trace: Trace,
        x: Tensor,
        target: str,
        raw: bool,
    ) -> Explanation | str:
        try:
            method.check(self.system.offers, self.system.lacks)
            if method.streams > 1:
                return f"{method.title} needs two images that the model relates to each other."
            grid = method.run(trace, **settings)[IMAGE].float()
        except EngineError as error:
            return str(error)
        size = (x.shape[2], x.shape[3])
        values = grid if raw else enlarged(grid, size)
        shape = (int(grid.shape[1]), int(grid.shape[2]))
        maps = tuple(
            HeatMap(n, 0, heat, shape, not why, why)
            for n, heat in enumerate(values.cpu().numpy().astype(np.float32))
            for why in (flatness(heat),)
        )
        facts = {
            **method.facts, **settings, "class_blind": method.class_blind, "signed": method.signed,
            "version": method.version, **windows.facts(trace, method.needs),
        }  # fmt: skip
        card = self.system.card
        return Explanation(method.name, target, maps, facts, card.name, card.weights_digest)

    def _known(self, target: Target, count: int) -> ClassTarget | None:
        """A class target that needs no pass to be settled; None where one is needed."""
        if not isinstance(target, ClassTarget) or target.classes is None:
            return None
        stated = getattr(bare(self.system.network), "num_classes", None)
        if not isinstance(stated, int) or stated < 1:
            return None
        likely = torch.zeros(count, stated)
        found = ClassTarget(target.classes).settled(likely)
        return ClassTarget(found.classes, self.system.logits)

    def _target(self, target: Classes, count: int) -> Target:
        if target is None:
            return ClassTarget(None, self.system.logits)
        if isinstance(target, RegionTarget):
            return target
        if isinstance(target, Tensor | np.ndarray):
            target = target.tolist()
        several = isinstance(target, Sequence) and not isinstance(target, str)
        each = list(target) if several else [target] * count  # type: ignore[arg-type]
        classes = torch.tensor([self._number(one) for one in each], dtype=torch.long)
        return ClassTarget(classes.to(self.system.device), self.system.logits)

    def _number(self, target: Any) -> int:
        if not isinstance(target, str):
            return int(target)
        return class_index(self.system.card, target)

    def _spoken(self, target: Target) -> str:
        if not isinstance(target, ClassTarget) or target.classes is None:
            return "region"
        names = self.system.card.classes
        numbers = dict.fromkeys(int(n) for n in target.classes)
        return ", ".join(names[n] if n < len(names) else f"class {n}" for n in numbers)

    def visualize_all(
        self,
        x: Pictures,
        methods: Sequence[str] | None = None,
        target: Classes = None,
        *,
        slow: bool = True,
        side: int = 224,
    ) -> NDArray[np.uint8]:
        """Small multiples: the image, then one overlay per method, all at one size.

        Args:
            x: As in `explain`; of a batch, the first image is drawn.
            methods: Registry names; all that the model can serve when None.
            target: See `explain`. slow: Whether methods that run the model many times take part.
            side: Longer side of each picture, pixels.

        Returns:
            (H, W, 3) uint8. Each overlay has its own colour scale, from its smallest value (or
            from zero, where values below it speak against the class) to its largest.
        """
        able = [name for name, why in self.methods.items() if not why]
        names = [n for n in (methods or able) if slow or not EXPLAINERS[n].slow]
        found = self.explain_all(x[:1] if isinstance(x, Tensor) else x, names, target)
        picture = self._picture(x)
        panels = [("Image", picture)]
        for name, answer in found.items():
            if isinstance(answer, str) or not answer.maps[0].localised:
                why = answer if isinstance(answer, str) else answer.maps[0].reason
                panels.append((f"{EXPLAINERS[name].title}: {why}", picture // 3))
                continue
            values = answer.maps[0].values
            heat = values.clip(min=0) if EXPLAINERS[name].signed else values
            shown = legible(heat, answer.maps[0].grid)
            panels.append((EXPLAINERS[name].title, overlay(picture, shown)))
        return gallery(panels, side)

    def _picture(self, x: Pictures) -> NDArray[np.uint8]:
        if isinstance(x, Tensor):
            low, high = x[0].min(), x[0].max()
            scaled = ((x[0] - low) / (high - low).clamp_min(1e-6) * 255).byte().cpu().numpy()
            return np.broadcast_to(scaled, (3, *scaled.shape[1:])).transpose(1, 2, 0).copy()
        case = _as_case(x)
        view = next(iter(self.system.prepare(case).views.values()))
        return display(case.images[view.image], view.frame)


def _as_case(x: Case | Image | NDArray[Any]) -> Case:
    """A case around one image."""
    if isinstance(x, Case):
        return x
    image = x if isinstance(x, Image) else as_image(np.asarray(x))
    return Case("image", (image,))


def as_image(pixels: NDArray[Any]) -> Image:
    """An array as an image.

    Raises:
        ShapeMismatch: Neither (H, W) nor (H, W, 3), or not finite.
    """
    values = pixels.astype(np.float32)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not np.isfinite(values).all():
        raise ShapeMismatch(
            "An image is an array (H, W) or (H, W, 3) of finite numbers; this one has shape "
            f"{tuple(pixels.shape)}."
        )
    low, high = float(values.min()), float(values.max())
    windows = () if values.shape[2] == 3 else (Window((low + high) / 2, max(high - low, 1.0)),)
    found = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return Image(values[None], Modality.UNKNOWN, found, windows=windows)
