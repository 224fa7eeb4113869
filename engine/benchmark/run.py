"""The measuring itself: cases come one by one, and only numbers are kept of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from engine.benchmark.collect import Collector
from engine.benchmark.records import Benchmark
from engine.errors import Cancelled, EngineError, UnknownName
from engine.evidence import measure, stability
from engine.explainers import EXPLAINERS
from engine.models import System
from engine.records import Case, Modality
from engine.sanity import sanity
from engine.workflow import explain

Told = Callable[[int, str], None]
"""Called with the number of the case and what is being done; raising `Cancelled` ends it all."""


@dataclass(frozen=True)
class Arm:
    """One way to show a case to the model; `keep` gives None for a case that does not suit."""

    title: str
    keep: Callable[[Case], Case | None]


def _alone(case: Case) -> Case | None:
    index = case.index(Modality.MAMMOGRAPHY)
    return None if index is None else replace(case, images=(case.images[index],))


def _both(case: Case) -> Case | None:
    return None if case.index(Modality.PATHOLOGY) is None else case


ARMS: Mapping[str, Arm] = {
    "mammogram": Arm("Mammogram alone", _alone),
    "pathology": Arm("With pathology", _both),
}


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        arms: Keys of `ARMS`.
        slow: Whether methods that run the model many times are measured.
        slow_cases: On how many of the cases.
        sanity_cases: Cases on which the weights are destroyed.
        stability_cases: Cases whose images are changed a little.
        slow_checks: Cases on which slow methods take part in these two.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    slow: bool = True
    slow_cases: int = 10
    sanity_cases: int = 4
    stability_cases: int = 4
    slow_checks: int = 1


def benchmark(
    system: System,
    cases: Iterable[Case],
    methods: Sequence[str] | None = None,
    plan: Plan | None = None,
    *,
    seed: int = 0,
    source: str = "Cases of known truth.",
    command: str = "",
    progress: Told | None = None,
) -> Benchmark:
    """Measure every method on every case with a known lesion.

    What is explained is the true class, whether or not the model names it; where the model has no
    such class, its leading one. A case without a lesion is counted and left out, since no heat can
    lie where nothing is.

    Args:
        system: The model. cases: One after the other; none is kept.
        methods: Registry names; all when None. plan: How much is measured.
        seed: Of intervals, noise and randomised weights: with it, all numbers but times return.
        source: Where the cases come from. command: What to type to obtain it again.
        progress: Told of each step.

    Raises:
        UnknownName: No such method or arm. Cancelled: `progress` asked to stop.
    """
    plan = plan or Plan()
    wanted = [EXPLAINERS[name] for name in dict.fromkeys(methods or EXPLAINERS)]
    unknown = [arm for arm in plan.arms if arm not in ARMS]
    if unknown:
        raise UnknownName(f"There is no arm {unknown[0]!r}. Known: {', '.join(ARMS)}.")
    names = [method.name for method in wanted if plan.slow or not method.slow]
    arms = {arm: Collector(arm, ARMS[arm].title, names, seed) for arm in plan.arms}
    labels: Counter[str] = Counter()
    excluded = 0
    for case in cases:
        truth = case.truth
        if truth is None or truth.mask is None or not truth.mask.any():
            excluded += 1
            continue
        labels[truth.label] += 1
        for arm, collector in arms.items():
            kept = ARMS[arm].keep(case)
            if kept is not None:
                one = _One(system, collector, plan, names, seed, progress, labels.total())
                one.measure(kept, truth.label)
    card = system.card
    return Benchmark(
        model=card.name,
        title=card.title,
        system=card.system,
        model_version=card.version,
        weights_digest=card.weights_digest,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        device=str(system.device.type),
        cases=source,
        seed=seed,
        labels=dict(sorted(labels.items())),
        excluded=excluded,
        settings={**asdict(plan), "arms": list(plan.arms)},
        arms=tuple(collector.result() for collector in arms.values()),
        command=command,
    )


@dataclass(frozen=True)
class _One:
    """One case in one arm; `number` counts the cases with a lesion from 1."""

    system: System
    collector: Collector
    plan: Plan
    names: Sequence[str]
    seed: int
    progress: Told | None
    number: int

    def measure(self, case: Case, label: str) -> None:
        """Explain the case by all methods and keep their numbers; what fails is counted."""
        try:
            self._scores(case, label if label in self.system.card.classes else None)
        except Cancelled:
            raise
        except EngineError as error:
            self.collector.failed(str(error))

    def _scores(self, case: Case, target: str | None) -> None:
        self._tell("maps")
        chosen = self._chosen(self.plan.slow_cases)
        analysis = explain(self.system, case, chosen, target)
        prediction = analysis.prediction
        right = None if target is None else prediction.leading == target
        share = None if target is None else prediction.probabilities[target]
        self._tell("scores")
        scores = measure(self.system, case, analysis.explanations, target)
        self.collector.answered(prediction.seconds, right, share)
        for method, reason in analysis.refused.items():
            self.collector.refused(method, reason)
        first = case.index(Modality.MAMMOGRAPHY) or 0
        for explanation in analysis.explanations:
            found = scores[explanation.method]
            self.collector.measured(case, first, explanation, found, bool(right))
        able = [
            each.method
            for each in analysis.explanations
            if EXPLAINERS[each.method].streams <= len(case.images)
        ]
        self._checks(case, able, target, case.images[first].modality.value, bool(right))

    def _checks(
        self, case: Case, able: Sequence[str], target: str | None, image: str, right: bool
    ) -> None:
        tested = [name for name in able if name in self._chosen(self.plan.slow_checks)]
        if self.number <= self.plan.stability_cases:
            self._tell("stability")
            steady = stability(self.system, case, tested, target, seed=self.seed)
            for name in tested:
                self.collector.steady(image, name, steady.get(name), right)
        if self.number <= self.plan.sanity_cases:
            self._tell("random weights")
            checks = sanity(self.system, case, tested, target, seed=self.seed).checks
            for name in tested:
                self.collector.destroyed(image, name, checks.get(name), right)

    def _chosen(self, slow_cases: int) -> list[str]:
        """Methods that take part in this case, given the number of cases for slow ones."""
        return [
            name for name in self.names if self.number <= slow_cases or not EXPLAINERS[name].slow
        ]

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.number, what)
