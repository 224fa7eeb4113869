"""How far each map of a case can be trusted: measured scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import EmptyMask, EngineError, IncompatibleExplainer
from engine.explainers import EXPLAINERS, Explainer
from engine.metrics import complexity, faithfulness, localisation
from engine.metrics.base import scored
from engine.metrics.baselines import named_fill
from engine.metrics.catalogue import MOOT
from engine.metrics.stability import FACTORS, SHIFTS, stability_scores
from engine.models import System
from engine.models.base import Prepared
from engine.probe import Probe
from engine.progress import Progress
from engine.records import BoolArray, Case, Explanation, FloatArray, Score, Spacing
from engine.trace import ClassTarget, Trace, capture, enlarged
from engine.workflow import class_index

BASELINE = "blur"
STEPS = 24
CHANCE_DRAWS = 4
IMMATERIAL = 0.05
"""Change of the probability, the whole image being replaced, below which faithfulness cannot tell
one map from another: the model decides by something else."""
LITERATURE_SIDE = 224
"""Side of the images for which the pointing game's 15 pixels are meant."""
TOLERANCE_MM = 5.0


@dataclass(frozen=True)
class Session:
    """A case at hand: prepared, with its class settled and the model as a function of its images.

    Args:
        system: The model. prepared: The case as tensors. target: The class that is asked about.
        probes: By stream, the model as a function of that image.
    """

    system: System
    prepared: Prepared
    target: ClassTarget
    probes: Mapping[str, Probe]

    @property
    def stream(self) -> str:
        """The first image the model reads."""
        return next(iter(self.prepared.views))

    @property
    def probe(self) -> Probe:
        """The model as a function of the first image."""
        return self.probes[self.stream]

    def trace(self, image: Tensor, methods: Sequence[Explainer]) -> Trace:
        """One pass over a changed first image, read for these methods."""
        name = self.prepared.spans[self.stream].input or self.stream
        trace, _ = capture(
            self.system.subject(self.prepared),
            {**self.prepared.inputs, name: image},
            self.target,
            kinds=frozenset().union(*(m.needs for m in methods), {"readout"}),
            gradients=any(m.gradients for m in methods),
            progress=self.probe.progress,
        )
        return trace


def begin(
    system: System,
    case: Case,
    target: str | None,
    frames: Mapping[int, int] | None = None,
    progress: Progress | None = None,
) -> Session:
    """Prepare a case and settle its class.

    Raises:
        UnknownName: No such class. UnsupportedImage: The case has no image that is read.
    """
    prepared = system.prepare(case, frames)
    index = None if target is None else class_index(system.card, target)
    classes = None if index is None else torch.tensor([index], device=system.device)
    goal = ClassTarget(classes, system.logits)
    trace, output = capture(
        system.subject(prepared),
        prepared.inputs,
        goal,
        kinds=frozenset(),
        gradients=False,
        progress=progress,
    )
    probes = {stream: trace.probe(stream) for stream in prepared.views}
    return Session(system, prepared, goal.settled(output), probes)


def measure(
    system: System,
    case: Case,
    explanations: Sequence[Explanation],
    target: str | None,
    *,
    frames: Mapping[int, int] | None = None,
    truth: BoolArray | None = None,
    baseline: str = BASELINE,
    progress: Progress | None = None,
) -> dict[str, tuple[Score, ...]]:
    """Faithfulness, localisation and complexity of every map.

    Args:
        system: The model that was explained. case: The case. explanations: Its maps.
        target: Class by name or number; the leading one when None.
        frames: Frame read by image position.
        truth: Lesion on the first image the model reads, (H, W) bool; the case's own truth when
            None. Localisation is measured only where there is one.
        baseline: What stands in the place of removed pixels: "blur", "mean", "black" or
            "inpainting".
        progress: Told of every evaluation of the model.

    Returns:
        By method: its scores, each naming its image. A map without localised evidence gets scores
        without a number.

    Raises:
        UnknownName: No such class or baseline.
        IncompatibleExplainer: The maps explain a region, or another class.
    """
    session = begin(system, case, _asked(system, explanations, target), frames, progress)
    found: dict[str, tuple[Score, ...]] = {explanation.method: () for explanation in explanations}
    known = truth if truth is not None else None if case.truth is None else case.truth.mask
    session.probe.progress.expect(_evaluations(session, explanations))
    for stream, view in session.prepared.views.items():
        image, place = case.images[view.image], view.placement
        marked = known if stream == session.stream else None
        if marked is not None and marked.shape != place.source:
            marked = None
        bench = _Bench(session.probes[stream], baseline)
        for explanation in explanations:
            heat = next((h for h in explanation.maps if h.image == view.image), None)
            if heat is None:
                continue
            scores = _absent(heat.reason)
            if heat.localised:
                canvas = place.to_canvas(heat.values, float(heat.values.min()))
                scores = [*bench.faithfulness(canvas)]
                if marked is not None:
                    scores += localised(heat.values, marked, place.seen, image.spacing)
                scores += [complexity.sparseness(canvas), complexity.entropy(canvas)]
            told = tuple(replace(score, image=view.image) for score in scores)
            found[explanation.method] += told
    return found


def _asked(system: System, explanations: Sequence[Explanation], target: str | None) -> str | None:
    """The class that the maps explain, which must be the one that is asked about."""
    told = {e.target for e in explanations if not e.settings.get("class_blind")}
    if not told <= set(system.card.classes) or len(told) > 1:
        raise IncompatibleExplainer("Only maps of one class can be measured together.")
    if target is None:
        return next(iter(told), None)
    named = system.card.classes[class_index(system.card, target)]
    if told and named not in told:
        raise IncompatibleExplainer("The maps explain another class than the one asked about.")
    return named


def _evaluations(session: Session, explanations: Sequence[Explanation]) -> int:
    """How often `measure` will ask the model."""
    each = (STEPS + 1) * 2 + 1 + 2 * len(faithfulness.SHARES)
    total = 0
    for view in session.prepared.views.values():
        heats = [h for e in explanations for h in e.maps if h.image == view.image and h.localised]
        total += 2 + each * (len(heats) + CHANCE_DRAWS if heats else 0)
    return total


def _absent(reason: str) -> list[Score]:
    names = ("deletion", "insertion", "sufficiency", "comprehensiveness", "energy_pointing_game")
    return [scored(name, None, 0, note=reason) for name in names]


class _Bench:
    """Faithfulness on one image, at the resolution of the model's input.

    Chance levels depend on the image alone, so that they are drawn once for all methods.
    """

    def __init__(self, probe: Probe, baseline: str) -> None:
        self._probe = probe
        self._image = probe.image[0]
        self._name = baseline
        self._fill = named_fill(baseline, self._image, probe.black)
        self._owner = torch.zeros(1, dtype=torch.long, device=self._image.device)
        self._chance: dict[str, Score] = {}
        self._caution = self._immaterial()

    def _probability(self, images: Tensor) -> Tensor:
        return self._probe.probability(images, self._owner.expand(len(images)))

    def _immaterial(self) -> str:
        everything = torch.ones_like(self._image[0], dtype=torch.bool)[None, None]
        gone = self._fill(self._image, everything)
        before, after = self._probability(torch.cat((self._image[None], gone))).tolist()
        if abs(before - after) >= IMMATERIAL:
            return ""
        return (
            f" Replacing the whole image changes the probability by {_small(after - before)} only: "
            f"the model decides by something else, or is not moved by this image; {MOOT}."
        )

    def faithfulness(self, canvas: FloatArray) -> tuple[Score, ...]:
        """Deletion, insertion, sufficiency and comprehensiveness of a map on the model's input."""
        image, fill = self._image, self._fill
        heat = torch.from_numpy(np.ascontiguousarray(canvas)).to(image.device)
        draws = 0 if self._chance else CHANCE_DRAWS
        ask = self._probability
        common: dict[str, Any] = {
            "fill_name": self._name, "portion": self._probe.portion, "chance_draws": draws,
        }  # fmt: skip
        deletion, _ = faithfulness.deletion(ask, image, heat, fill, steps=STEPS, **common)
        insertion, _ = faithfulness.insertion(ask, image, heat, fill, steps=STEPS, **common)
        both = faithfulness.erasure(ask, image, heat, fill, **common)
        scores = (deletion, insertion, *both)
        self._chance = self._chance or {score.metric: score for score in scores}
        return tuple(
            replace(
                score,
                chance=self._chance[score.metric].chance,
                note=self._chance[score.metric].note + self._caution,
            )
            for score in scores
        )


def _small(change: float) -> str:
    return f"{change:+.3f}" if abs(change) >= 0.0005 else "less than 0.001"


def localised(
    values: FloatArray, truth: BoolArray, seen: BoolArray, spacing: Spacing | None
) -> list[Score]:
    """Every score of where the heat lies, in source pixels, within what the model saw.

    Args:
        values: (H, W). truth: Lesion, (H, W) bool. seen: What the model saw, (H, W) bool.
        spacing: Pixel pitch; without it the pointing game's tolerance is in pixels.

    Returns:
        Empty where the model saw no part of the lesion.
    """
    pixels = localisation.TOLERANCE_PIXELS * max(values.shape) / LITERATURE_SIDE
    reach: dict[str, Any] = {"tolerance_pixels": pixels}
    if spacing is not None:
        reach = {"tolerance_mm": TOLERANCE_MM, "spacing": spacing}
    try:
        return [
            localisation.pointing_game(values, truth, seen=seen, **reach),
            localisation.energy_pointing_game(values, truth, seen=seen),
            localisation.energy_ratio(values, truth, seen=seen),
            localisation.attention_lesion_overlap(values, truth, seen=seen),
            localisation.equal_area_iou(values, truth, seen=seen),
            localisation.relevance_rank_accuracy(values, truth, seen=seen),
            localisation.roc_auc(values, truth, seen=seen),
        ]
    except EmptyMask:
        return []


def stability(
    system: System,
    case: Case,
    methods: Sequence[str],
    target: str | None,
    *,
    frames: Mapping[int, int] | None = None,
    draws: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, tuple[Score, ...]]:
    """Largest change of each map under noise, small shifts and brightness of the first image.

    All methods share the pass over each changed image.

    Args:
        system, case, target, frames, progress: See `measure`.
        methods: Registry names; those that the model cannot serve are left out.
        draws: Noises. seed: Seed of the noise.

    Returns:
        By method: its scores.
    """
    session = begin(system, case, target, frames, progress)
    able = [m for m in (EXPLAINERS[name] for name in methods) if serves(system, m, session)]
    maps = SharedMaps(session, able, counted=True)
    session.probe.progress.expect(1 + draws + len(SHIFTS) + len(FACTORS))
    black = session.probe.black[:, None, None]
    found: dict[str, tuple[Score, ...]] = {}
    for method in able:
        try:
            found[method.name] = stability_scores(
                maps.of(method), session.probe.image, draws=draws, seed=seed, black=black
            )
        except IncompatibleExplainer:
            continue
    return found


def serves(system: System, method: Explainer, session: Session) -> bool:
    """Whether the model and the case offer what a method reads."""
    enough = method.streams <= len(session.prepared.views)
    return enough and method.wants <= system.offers


class SharedMaps:
    """Maps of changed images; each image is passed through the model once for all methods."""

    def __init__(
        self, session: Session, methods: Sequence[Explainer], *, counted: bool = False
    ) -> None:
        self._session = session
        self._counted = counted
        self._methods = methods
        self._kept: dict[bytes, dict[str, Tensor]] = {}

    def of(self, method: Explainer) -> Callable[[Tensor], Tensor]:
        """Image (1, C, H, W) to the method's map (1, H, W)."""

        def explain(image: Tensor) -> Tensor:
            grids = self.grids(image)
            if method.name not in grids:
                raise IncompatibleExplainer("The method gave no map of this image.")
            size = (image.shape[-2], image.shape[-1])
            return enlarged(grids[method.name], size)

        return explain

    def grids(self, image: Tensor) -> dict[str, Tensor]:
        """By method, its grid (1, h, w) of an image (1, C, H, W); absent without a map."""
        key = hashlib.sha256(image.detach().cpu().numpy().tobytes()).digest()
        if key not in self._kept:
            trace = self._session.trace(image, self._methods)
            self._kept[key] = dict(self._run(trace))
            if self._counted:
                self._session.probe.progress.advance(1)
        return self._kept[key]

    def _run(self, trace: Trace) -> list[tuple[str, Tensor]]:
        made = []
        for method in self._methods:
            try:
                grids = method.run(trace, **method.settings)
            except EngineError as error:
                if not isinstance(error, IncompatibleExplainer):
                    raise
                continue
            if self._session.stream in grids:
                made.append((method.name, grids[self._session.stream].float()))
        return made
