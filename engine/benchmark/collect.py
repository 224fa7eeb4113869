"""What is kept of every case: numbers only, so that a long list of cases takes constant memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.benchmark.records import ArmResult, Cell, MethodResult, SanityResult
from engine.benchmark.summary import Sample, cell, ratio_cell
from engine.benchmark.verdict import judge, order, refusal
from engine.explainers import EXPLAINERS
from engine.metrics.catalogue import METRICS
from engine.metrics.randomisation import SanityCheck
from engine.records import Case, Explanation, Score

FAITHFULNESS = ("deletion", "insertion", "sufficiency", "comprehensiveness")
LOCALISATION = (
    "pointing_game",
    "energy_pointing_game",
    "energy_ratio",
    "attention_lesion_overlap",
    "equal_area_iou",
    "relevance_rank_accuracy",
    "roc_auc",
)
COMPLEXITY = ("sparseness", "entropy")
STABILITY = ("noise_sensitivity", "shift_sensitivity", "intensity_sensitivity")
OUT_OF_SIGHT = "The model saw no part of the lesion."
NO_MAP = "The method gave no map that could be tested."
NO_PASS = "No case could be measured."

Place = tuple[str, str]
"""Image (modality) and metric."""


@dataclass(frozen=True)
class Tested:
    """What is kept of one `SanityCheck`, without its maps; fields as there."""

    verdict: str
    reason: str
    threshold: float
    strength: float | None
    chance: float | None


@dataclass
class _Found:
    """The numbers of one method."""

    samples: dict[Place, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    checks: list[Tested] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


class Collector:
    """The numbers of one arm.

    Args:
        id, title: Of the arm. methods: Registry names. seed: Seed of the intervals.
    """

    def __init__(self, id: str, title: str, methods: Sequence[str], seed: int) -> None:
        self._id, self._title, self._seed = id, title, seed
        self._found = {name: _Found() for name in methods}
        self._images: dict[str, None] = {}
        self._failed: Counter[str] = Counter()
        self._shared: list[float] = []
        self._right: list[bool] = []
        self._probabilities: list[float] = []
        self.cases = 0

    def failed(self, reason: str) -> None:
        """A case, or a part of it, could not be measured."""
        self._failed[reason] += 1

    def answered(self, seconds: float, right: bool | None, probability: float | None) -> None:
        """The model's answer to one more case, and the time of the shared pass, s."""
        self.cases += 1
        self._shared.append(seconds)
        if right is not None and probability is not None:
            self._right.append(right)
            self._probabilities.append(probability)

    def refused(self, method: str, reason: str) -> None:
        """A method could not be served."""
        self._found[method].refused[reason] += 1

    def measured(
        self, case: Case, first: int, explanation: Explanation, scores: Sequence[Score], right: bool
    ) -> None:
        """The scores of one method's maps of one case; `first` is the image with the lesion."""
        found = self._found[explanation.method]
        if EXPLAINERS[explanation.method].streams > len(case.images):
            found.refused[explanation.maps[0].reason] += 1
            return
        found.seconds.append(explanation.seconds)
        for heat in explanation.maps:
            image = case.images[heat.image].modality.value
            given = {each.metric: each for each in scores if each.image == heat.image}
            expected = (*(LOCALISATION if heat.image == first else ()), *FAITHFULNESS, *COMPLEXITY)
            for metric in expected:
                missing = OUT_OF_SIGHT if heat.localised else heat.reason
                sample = _sample(given.get(metric), right, missing)
                found.samples[image, metric].append(sample)
            self._images.setdefault(image)

    def steady(self, image: str, method: str, scores: Sequence[Score] | None, right: bool) -> None:
        """The stability of one method on one case; None where it has no map."""
        given = {score.metric: score for score in scores or ()}
        for metric in STABILITY:
            sample = _sample(given.get(metric), right, NO_MAP)
            self._found[method].samples[image, metric].append(sample)

    def destroyed(self, image: str, method: str, check: SanityCheck | None, right: bool) -> None:
        """The randomisation of one method on one case; None where it has no map."""
        found = self._found[method]
        sample = _sample(None if check is None else check.score, right, NO_MAP)
        found.samples[image, "randomisation"].append(sample)
        if check is not None:
            kept = Tested(check.verdict, check.reason, check.threshold, sample.value, check.chance)
            found.checks.append(kept)

    def result(self) -> ArmResult:
        """Everything so far, methods best first."""
        images = tuple(self._images)
        first = images[0] if images else ""
        results = [self._method(name, first) for name in self._found]
        return ArmResult(
            id=self._id,
            title=self._title,
            images=images,
            cases=self.cases,
            right=sum(self._right) if self._right else None,
            probability=float(np.mean(self._probabilities)) if self._probabilities else None,
            failed=dict(self._failed),
            seconds=_median(self._shared),
            methods=tuple(sorted(results, key=lambda each: order(each, first))),
        )

    def _method(self, name: str, first: str) -> MethodResult:
        method, found = EXPLAINERS[name], self._found[name]
        cells, checked = self._cells(found.samples), sanity_result(found.checks)
        reason = ""
        if not found.seconds:
            reason = found.refused.most_common(1)[0][0] if found.refused else NO_PASS
        verdict = judge(first, cells, checked, blind=method.class_blind)
        return MethodResult(
            method=name,
            title=method.title,
            summary=method.summary,
            limits=method.limits,
            family=method.family,
            class_blind=method.class_blind,
            slow=method.slow,
            cases=len(found.seconds),
            seconds=_median(found.seconds),
            refused=reason,
            cells=cells,
            sanity=checked,
            verdict=refusal(reason) if reason else verdict,
        )

    def _cells(self, samples: Mapping[Place, Sequence[Sample]]) -> tuple[Cell, ...]:
        rank = {name: position for position, name in enumerate(METRICS)}
        cells = []
        for image, metric in sorted(
            samples, key=lambda p: (list(self._images).index(p[0]), rank[p[1]])
        ):
            own = samples[image, metric]
            if metric == "energy_ratio":
                shares = samples[image, "energy_pointing_game"]
                cells.append(ratio_cell(image, shares, own, self._seed))
            else:
                cells.append(cell(metric, image, own, self._seed))
        return tuple(cells)


def sanity_result(checks: Sequence[Tested]) -> SanityResult | None:
    """The checks of one method on several cases as one; None without any.

    The strength is the mean over cases; where the destroyed model leaves no map it is 0.
    """
    if not checks:
        return None
    threshold = checks[0].threshold
    chances = [check.chance for check in checks if check.chance is not None]
    chance = float(np.mean(chances)) if chances else None
    apt = [check for check in checks if check.verdict != "not applicable"]
    if not apt:
        reason = Counter(check.reason for check in checks).most_common(1)[0][0]
        return SanityResult("not applicable", None, chance, threshold, len(checks), reason)
    strength = float(np.mean([check.strength or 0.0 for check in apt]))
    fails = strength >= threshold
    text = (
        f"All weights destroyed, the map is alike by {strength:.2f} (rank correlation, sign "
        f"ignored); a method fails from {threshold:g}."
    )
    return SanityResult("fails" if fails else "passes", strength, chance, threshold, len(apt), text)


def _sample(score: Score | None, right: bool, missing: str) -> Sample:
    if score is None:
        return Sample(None, None, missing, right)
    return Sample(score.value, score.chance, score.note, right)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
