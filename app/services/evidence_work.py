"""The computations behind the evidence: what is missing is computed once, and kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.services.context import Context
from app.services.evidence_about import About, about, latest, settings_of
from app.services.evidence_tiles import small_grid
from app.store import ExplanationRow
from engine.errors import EmptyMask, IncompatibleExplainer
from engine.progress import Progress
from engine.records import Explanation, HeatMap, Score

if TYPE_CHECKING:
    from engine.models import System
    from engine.workflow import Analysis

Wanted = Mapping[str, Mapping[str, Any]]
"""Method to all its settings."""

REMEMBERED = 512
NOTHING_TO_COMPARE = "The method gives no map of the first image that could be compared."
PASS_MS = 1000
"""Weight of one shared pass in the progress of a job, milliseconds."""


class Workshop:
    """Computes explanations and findings about them, unless they are stored already."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = Lock()
        self._refused: OrderedDict[tuple[str, str, str], dict[str, str]] = OrderedDict()

    def rows(self, this: About) -> list[ExplanationRow]:
        """Stored explanations of the target by the active model, newest first."""
        found = self._context.store.explanations(this.case.id, this.card.weights_digest)
        return [row for row in found if row.target == this.target]

    def refused(self, this: About) -> dict[str, str]:
        """Method to the reason why it cannot serve this case and target, so far as is known."""
        with self._lock:
            return dict(self._refused.get(_place(this), {}))

    def complete(self, this: About, wanted: Wanted | None = None) -> About:
        """Compute what is missing of some methods, in one shared pass, while somebody waits.

        Args:
            this: What to explain. wanted: Methods; all that are quick, as they are, when None.

        Returns:
            The same with the prediction, and with the leading class as target if none was named.

        Raises:
            EngineError: The model cannot read the case, or a method cannot use its settings.
        """
        asked = quick() if wanted is None else wanted
        if this.number is not None and not self._missing(this, asked) and self._is_known(this):
            return this
        return self._context.models.run(
            lambda system: self._complete(system, this, asked), this.card.name
        )

    def _complete(self, system: System, this: About, wanted: Wanted) -> About:
        from engine.workflow import explain

        this = self._renewed(this)
        self._check_slow(system, this)
        todo = {name: wanted[name] for name in self._missing(this, wanted)}
        if not todo:
            return this
        try:
            analysis = explain(
                system,
                this.case,
                tuple(todo),
                this.asked,
                region=this.region,
                settings=todo,
            )
        except (EmptyMask, IncompatibleExplainer) as error:  # it is the target that is refused
            self._refuse(this, dict.fromkeys(_all_methods(), str(error)))
            return this
        this, _ = self._keep(this, analysis)
        self._check_slow(system, this)  # now that the leading class is known
        usual = {n: r for n, r in analysis.refused.items() if wanted[n] == _defaults(n)}
        self._refuse(this, usual)
        for name, reason in analysis.refused.items():
            if name not in usual:
                raise IncompatibleExplainer(reason)
        return this

    def explain(
        self, this: About, method: str, settings: Mapping[str, Any], progress: Progress
    ) -> int:
        """One slow method in the background; the number of its stored explanation.

        Raises:
            IncompatibleExplainer: It cannot serve the case. Cancelled: Somebody stopped it.
        """
        from engine.explainers import EXPLAINERS
        from engine.workflow import explain

        def work(system: System) -> int:
            found = latest(self.rows(this), EXPLAINERS[method], settings)
            if found is not None:
                return found.id
            analysis = explain(
                system,
                this.case,
                (method,),
                this.asked,
                region=this.region,
                settings={method: settings},
                progress=progress,
            )
            if method in analysis.refused:
                raise IncompatibleExplainer(analysis.refused[method])
            return self._keep(self._renewed(this), analysis)[1][0]

        return self._context.models.run(work, this.card.name, background=True)

    def measure(self, this: About, rows: Sequence[ExplanationRow], progress: Progress) -> None:
        """Score stored maps, and keep the scores."""
        from engine.evidence import measure
        from engine.explainers import EXPLAINERS

        explanations = [self.explanation(row) for row in rows]
        found = self._context.models.run(
            lambda system: measure(system, this.case, explanations, this.asked, progress=progress),
            this.card.name,
            background=True,
        )
        for row in rows:
            settings = settings_of(row, EXPLAINERS[row.method])
            self._found(this, "scores", row.method, settings, _scores(found.get(row.method, ())))

    def stability(self, this: About, methods: Sequence[str], progress: Progress) -> None:
        """Score how far maps change with small changes of the image, and keep the scores."""
        from engine.evidence import stability

        def work(names: Sequence[str], part: Progress) -> None:
            found = self._context.models.run(
                lambda system: stability(system, this.case, names, this.asked, progress=part),
                this.card.name,
                background=True,
            )
            for name in names:
                content = _scores(found.get(name, ()))
                self._found(this, "stability", name, _defaults(name), content)

        self._in_parts(this, methods, progress, work)

    def sanity(self, this: About, methods: Sequence[str], progress: Progress) -> None:
        """Destroy the weights of a copy of the model part by part, and keep how maps change."""
        from engine.sanity import sanity

        def work(names: Sequence[str], part: Progress) -> None:
            made = self._context.models.run(
                lambda system: sanity(system, this.case, names, this.asked, progress=part),
                this.card.name,
                background=True,
            )
            for name in names:
                verdict, text = made.verdicts.get(name, ("not applicable", NOTHING_TO_COMPARE))
                content = {
                    "stages": list(made.stages),
                    "verdict": str(verdict),
                    "text": text,
                    "spearman": [finite(v) for v in made.spearman.get(name, ())],
                    "maps": [_stored_map(heat) for heat in made.maps.get(name, ())],
                    **_scores([made.checks[name].score] if name in made.checks else []),
                }
                self._found(this, "sanity", name, _defaults(name), content)

        self._in_parts(this, methods, progress, work)

    def explanation(self, row: ExplanationRow) -> Explanation:
        """A stored explanation whose values stay in their files until they are read."""
        store = self._context.store
        maps = tuple(
            HeatMap(m.image, m.frame, store.heat(row.id, n), m.grid, m.localised, m.reason)
            for n, m in enumerate(row.maps)
        )
        return Explanation(
            row.method,
            row.target,
            maps,
            row.settings,
            row.model,
            row.weights_digest,
            row.seconds,
        )

    def _in_parts(
        self,
        this: About,
        methods: Sequence[str],
        progress: Progress,
        work: Callable[[Sequence[str], Progress], None],
    ) -> None:
        """Quick methods share their passes; each slow one is a part, and kept when it is done."""
        from engine.explainers import EXPLAINERS

        seconds = {row.method: row.seconds for row in reversed(self.rows(this))}
        fast = [name for name in methods if not EXPLAINERS[name].slow]
        groups = ([fast] if fast else []) + [[n] for n in methods if EXPLAINERS[n].slow]
        weights = [
            PASS_MS + round(1000 * sum(seconds.get(name, 1.0) for name in group))
            for group in groups
        ]
        progress.expect(sum(weights))
        for group, weight in zip(groups, weights, strict=True):
            part, finish = portion(progress, weight)
            work(group, part)
            finish()

    def _missing(self, this: About, wanted: Wanted) -> list[str]:
        """Methods that are neither stored with these settings nor refused."""
        from engine.explainers import EXPLAINERS

        rows, refused = self.rows(this), self.refused(this)
        return [
            name
            for name, chosen in wanted.items()
            if latest(rows, EXPLAINERS[name], chosen) is None
            and not (name in refused and chosen == _defaults(name))
        ]

    def _renewed(self, this: About) -> About:
        """The same with what was stored meanwhile."""
        return about(self._context, this.case, this.card, this.target)

    def _keep(self, this: About, analysis: Analysis) -> tuple[About, list[int]]:
        store, prediction = self._context.store, this.prediction or analysis.prediction
        number = this.number
        if number is None:
            number = store.keep_prediction(this.case.id, prediction)
        kept = [store.keep_explanation(this.case.id, number, e) for e in analysis.explanations]
        target = this.target or prediction.leading
        return replace(this, number=number, prediction=prediction, target=target), kept

    def _found(
        self,
        this: About,
        kind: str,
        method: str,
        settings: Mapping[str, Any],
        content: Mapping[str, Any],
    ) -> None:
        self._context.store.keep_evidence(
            this.case.id,
            weights_digest=this.card.weights_digest,
            target=this.target,
            kind=kind,
            method=method,
            key=this.key(kind, method, settings),
            content=content,
        )

    def _is_known(self, this: About) -> bool:
        with self._lock:
            return _place(this) in self._refused

    def _check_slow(self, system: System, this: About) -> None:
        """Remember which slow methods the model cannot serve; quick ones are simply tried."""
        from engine.explainers import EXPLAINERS

        reasons = {}
        for method in EXPLAINERS.values():
            if method.slow:
                try:
                    method.check(system.offers | {"text"}, system.lacks)
                except IncompatibleExplainer as error:
                    reasons[method.name] = str(error)
        self._refuse(this, reasons)

    def _refuse(self, this: About, reasons: Mapping[str, str]) -> None:
        with self._lock:
            self._refused.setdefault(_place(this), {}).update(reasons)
            while len(self._refused) > REMEMBERED:
                self._refused.popitem(last=False)


def quick() -> dict[str, dict[str, Any]]:
    """Methods that take part in the shared pass, with their settings."""
    from engine.explainers import EXPLAINERS

    return {name: dict(m.settings) for name, m in EXPLAINERS.items() if not m.slow}


def portion(progress: Progress, weight: int) -> tuple[Progress, Callable[[], None]]:
    """A progress of its own that moves a larger one by `weight` in all, and what ends it.

    Whoever computes may learn little by little how much lies ahead; the larger one never goes back.
    """
    reached = 0

    def watch(done: int, expected: int) -> None:
        nonlocal reached
        share = done / expected if part.expected else 0.0
        step = max(0, min(weight, round(weight * share)) - reached)
        reached += step
        progress.advance(step)

    def finish() -> None:
        nonlocal reached
        step, reached = weight - reached, weight
        progress.advance(step)

    part = Progress(watch)
    return part, finish


def finite(value: float | None) -> float | None:
    """A number that JSON can hold."""
    return None if value is None or not math.isfinite(value) else float(value)


def _place(this: About) -> tuple[str, str, str]:
    return this.case.id, this.card.weights_digest, this.target


def _all_methods() -> tuple[str, ...]:
    from engine.explainers import EXPLAINERS

    return tuple(EXPLAINERS)


def _defaults(name: str) -> dict[str, Any]:
    from engine.explainers import EXPLAINERS

    return dict(EXPLAINERS[name].settings)


def _scores(scores: Sequence[Score]) -> dict[str, Any]:
    return {
        "scores": [
            asdict(score) | {"value": finite(score.value), "chance": finite(score.chance)}
            for score in scores
        ]
    }


def _stored_map(heat: HeatMap) -> dict[str, Any]:
    return {
        "image": heat.image,
        "frame": heat.frame,
        "localised": heat.localised,
        "grid": small_grid(heat.values),
    }
