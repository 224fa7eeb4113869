"""A case under review: prediction and explanations, computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import NotFound
from app.services.cases import Cases
from app.services.context import Context
from app.services.evidence_about import LESION, canonical, is_usual
from app.services.findings import findings
from app.services.layers import Layer, Scale, layer
from app.store import ExplanationRow
from engine.errors import EngineError
from engine.records import Case, ModelCard, Prediction, Region
from engine.render import contours

METHODS = ("relevance", "cross_modal", "gradcam", "rollout")


@dataclass(frozen=True)
class Review:
    """What the pages show of a case.

    Args:
        case: Pseudonym. target: Class explained; empty where the model could not read the case.
        method: Map shown first; empty where there is none.
        viewer: Value of the viewer. findings: Value of the findings panel.
        weights: Digest of the weights that answered; empty where no model card could be read.
    """

    case: str
    target: str
    method: str
    viewer: dict[str, Any]
    findings: dict[str, Any]
    weights: str = ""


@dataclass(frozen=True)
class Result:
    """A stored prediction with its maps of one target.

    Args:
        rows: Of `METHODS`, in their order. others: Newest of each other method.
    """

    prediction: Prediction
    target: str
    rows: tuple[ExplanationRow, ...]
    refused: dict[str, str]
    others: tuple[ExplanationRow, ...] = ()

    def shown(self, method: str | None) -> tuple[ExplanationRow, ...]:
        """Maps that a page lists: the usual ones, and the one asked for where it is another."""
        return (*self.rows, *(row for row in self.others if row.method == method))


class Reviews:
    """Opens cases."""

    def __init__(self, context: Context, cases: Cases) -> None:
        self._context = context
        self._cases = cases

    @requires(Role.OBSERVER)
    def open(
        self,
        user: User | None,
        case_id: str,
        target: str | None = None,
        method: str | None = None,
    ) -> Review:
        """Everything about a case; runs the model unless its answer is stored already.

        Args:
            case_id: Pseudonym. target: Class to explain; the leading one when None.
            method: Map to show first; one of another method than `METHODS` is shown beside these
                where it is stored.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        who = check(user, Role.OBSERVER)
        context = self._context
        context.require_sight(who, case_id)
        case = context.store.case(case_id)
        context.record(who, "view", case_id)
        card, result, problem = None, None, ""
        try:
            card = context.models.card()
            result = self.result(case, card, target)
        except EngineError as error:
            problem = str(error)
        return self._review(case, card, result, problem, method)

    @requires(Role.OBSERVER)
    def preview(
        self,
        user: User | None,
        case_id: str,
        target: str | None = None,
        method: str | None = None,
    ) -> dict[str, Any]:
        """Value of the viewer as `open` gives it, so far as it is stored; never runs the model.

        The page asks for it while a reader is still choosing, so the trail says "prefetch" and
        keeps "view" for `open`. A case without a stored answer comes without maps.

        Args:
            case_id: Pseudonym. target: Class explained; the leading one when None.
            method: Map to show first.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        who, context = check(user, Role.OBSERVER), self._context
        context.require_sight(who, case_id)
        case = context.store.case(case_id)
        context.record(who, "prefetch", case_id)
        card, stored = None, None
        try:
            card = context.models.card()
            stored = self._stored(case_id, card, canonical(card, target) if target else None)
        except EngineError:  # `open` says why there are no maps
            pass
        return self._review(case, card, stored, "", method).viewer

    def result(self, case: Case, card: ModelCard, target: str | None = None) -> Result:
        """The stored answer of the active model, or a new one.

        Raises:
            EngineError: The model cannot read the case, cannot be loaded, or knows no such target.
        """
        target = canonical(card, target) if target else None
        stored = self._stored(case.id, card, target)
        if stored is not None:
            return stored
        return self._context.models.run(
            lambda system: self._compute(case, card, target, system), card.name
        )

    def _stored(self, case_id: str, card: ModelCard, target: str | None) -> Result | None:
        found = self._context.store.latest_prediction(case_id, card.weights_digest)
        if found is None:
            return None
        prediction = found[1]
        wanted = target or prediction.leading
        rows: dict[str, ExplanationRow] = {}
        others: dict[str, ExplanationRow] = {}
        for row in self._context.store.explanations(case_id, card.weights_digest):
            if row.target == wanted:
                (rows if row.method in METHODS and is_usual(row) else others).setdefault(
                    row.method, row
                )
        if not set(METHODS) <= set(rows):
            return None
        return Result(
            prediction,
            wanted,
            tuple(rows[m] for m in METHODS),
            {},
            tuple(row for name, row in others.items() if name not in METHODS),
        )

    def _compute(self, case: Case, card: ModelCard, target: str | None, system: Any) -> Result:
        from engine.workflow import PREDICTED, explain

        stored = self._stored(case.id, card, target)
        if stored is not None:
            return stored
        analysis = (
            explain(system, case, METHODS, region=PREDICTED)
            if target == LESION
            else explain(system, case, METHODS, target)
        )
        store = self._context.store
        number = store.keep_prediction(case.id, analysis.prediction)
        rows = []
        for explanation in analysis.explanations:
            kept = store.keep_explanation(case.id, number, explanation)
            rows.append(store.explanation_row(kept))
            for n, heat in enumerate(explanation.maps):
                self._range(kept, n, heat.values)
        wanted = target or analysis.prediction.leading
        return Result(analysis.prediction, wanted, tuple(rows), dict(analysis.refused))

    @requires(Role.OBSERVER)
    def heat(self, user: User | None, explanation: str, n: int) -> Layer:
        """One heat map as uint16 codes over its range.

        Args:
            explanation: Number of the explanation, as in its address. n: Which of its maps.

        Raises:
            NotFound: There is no such map, or its case is not the user's.
        """
        who, context = check(user, Role.OBSERVER), self._context
        if not explanation.isascii() or not explanation.isdigit() or len(explanation) > 18:
            raise NotFound("There is no such explanation.")
        explanation_id = int(explanation)
        row = context.store.explanation_row(explanation_id)
        try:
            context.require_sight(who, row.case)
        except NotFound:
            raise NotFound("There is no such explanation.") from None
        found: Layer = context.memory.get(
            ("heat", explanation_id, n),
            lambda: self._heat(explanation_id, n),
            lambda made: len(made.data),
        )
        return found

    def _heat(self, explanation_id: int, n: int) -> Layer:
        values = self._context.store.heat(explanation_id, n)
        low, high = self._range(explanation_id, n, values)
        return layer(Scale((high - low) / 65535 if high > low else 1.0, low).encode(values))

    def _review(
        self,
        case: Case,
        card: ModelCard | None,
        result: Result | None,
        problem: str,
        method: str | None,
    ) -> Review:
        frames = {} if result is None else result.prediction.frames
        viewer: dict[str, Any] = {
            "case": case.id,
            "version": 0,
            "banner": "" if card is None else card.intended_use,
            "images": [
                self._cases.picture(case, n, frames.get(n, image.frames // 2))
                for n, image in enumerate(case.images)
            ],
            "layers": [],
            "regions": [],
            "patches": [],
        }
        weights = "" if card is None else card.weights_digest
        if result is None:
            panel = findings(case, card, None, (), {}, "", problem)
            return Review(case.id, "", "", viewer, panel, weights)
        listed = result.shown(method)
        shown = method if method in {row.method for row in listed} else _first(result.rows)
        viewer["layers"] = [
            entry
            for row in listed
            for entry in self._layers(case, row, visible=row.method == shown)
        ]
        viewer["regions"] = [_region(region) for region in result.prediction.regions]
        viewer["patches"] = [
            {
                "image": patch.image,
                "box": [patch.box.x, patch.box.y, patch.box.width, patch.box.height],
                "label": str(rank),
                "weight": patch.weight,
            }
            for rank, patch in enumerate(result.prediction.patches, 1)
        ]
        panel = findings(
            case, card, result.prediction, listed, result.refused, result.target, problem
        )
        return Review(case.id, result.target, shown, viewer, panel, weights)

    def _layers(self, case: Case, row: ExplanationRow, *, visible: bool) -> list[dict[str, Any]]:
        from engine.explainers import EXPLAINERS

        entries = []
        for n, heat in enumerate(row.maps):
            image = case.images[heat.image]
            low, high = 0.0, 0.0
            if heat.localised:
                low, high = self._range(row.id, n)
            entries.append(
                {
                    "id": f"{row.id}-{n}",
                    "label": EXPLAINERS[row.method].title,
                    "method": row.method,
                    "target": "any class" if row.settings.get("class_blind") else row.target,
                    "image": heat.image,
                    "frame": heat.frame,
                    "url": f"/heat/{row.id}/{n}.raw?v={row.weights_digest[:16]}",
                    "width": image.width,
                    "height": image.height,
                    "min": low,
                    "max": high,
                    "grid": list(heat.grid),
                    "cell_mm": None,
                    "localised": heat.localised,
                    "reason": heat.reason,
                    "visible": visible,
                }
            )
        return entries

    def _range(
        self, explanation_id: int, n: int, values: NDArray[Any] | None = None
    ) -> tuple[float, float]:
        """Smallest and largest value of a stored map."""

        def make() -> tuple[float, float]:
            stored = self._context.store.heat(explanation_id, n) if values is None else values
            return float(stored.min()), float(stored.max())

        found: tuple[float, float] = self._context.memory.get(
            ("range", explanation_id, n), make, lambda made: 64
        )
        return found


def _first(rows: tuple[ExplanationRow, ...]) -> str:
    """The first method with something to show on the first image."""
    speaks = (row.method for row in rows if row.maps and row.maps[0].localised)
    return next(speaks, METHODS[0])


def _region(region: Region) -> dict[str, Any]:
    box = region.box
    outlines = [] if region.mask is None else contours(region.mask)
    score = "" if region.score is None else f" {region.score:.2f}"
    return {
        "image": region.image,
        "frame": region.frame,
        "label": f"Model: lesion{score}",
        "kind": "model",
        "box": None if box is None else [box.x, box.y, box.width, box.height],
        "contours": [np.asarray(outline).round(2).tolist() for outline in outlines],
    }
