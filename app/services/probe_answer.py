"""One answer of the probe: what changed in words and numbers, and its pictures."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from app.services import probe_tiles as tiles
from app.services import probe_words as words
from app.services.cases import NAMES
from app.services.layers import Layer
from app.services.probe_results import Answer
from engine.records import Case, FloatArray, HeatMap

if TYPE_CHECKING:
    from app.services.probe import Asked
    from engine.counterfactual import Counterfactual
    from engine.workflow import Analysis

NO_MAP = "It gives no map of this image."


class _Pictures:
    """Pictures of one answer, with their addresses."""

    def __init__(self, answer_id: str) -> None:
        self._id = answer_id
        self.kept: list[Layer] = []

    def add(self, shown: tiles.Bytes) -> str:
        """Keep a picture; its address."""
        self.kept.append(tiles.png(shown))
        return f"/probe/tile/{self._id}/{len(self.kept) - 1}.png"


def make_answer(case: Case, found: Counterfactual, asked: Asked, frame: int) -> Answer:
    """The answer as the page shows it.

    Args:
        case: As it was. found: Before and after. asked: What was removed. frame: Frame read.
    """
    n, handle = asked.image, secrets.token_hex(8)
    pictures = _Pictures(handle)
    window = tiles.window_of(case.images[n], frame)  # of the original, for both
    size = tiles.size_of(case.images[n], tiles.TILE_SIDE, enlarge=True)
    bases = [tiles.picture(each.images[n], frame, window, size) for each in (case, found.case)]
    before, after = found.before.prediction, found.after.prediction
    share = float(asked.mask.mean())
    first, second = before.probabilities[asked.target], after.probabilities[asked.target]
    title = NAMES[case.images[n].modality]
    others = [NAMES[case.images[at].modality] for at in before.frames if at != n]
    value: dict[str, Any] = {
        "id": handle,
        "image": n,
        "title": title,
        "size": [size[1], size[0]],
        "target": asked.target,
        "fill": words.FILLS[asked.fill][0],
        "share": share,
        "share_text": words.share_text(share),
        "sentence": words.effect_text(asked.target, first, second, share, title),
        "turn": words.turn_text(before, after, others),
        "pictures": [pictures.add(tiles.outlined(bases[0], asked.mask)), pictures.add(bases[1])],
        "rows": words.rows(before, after, asked.target),
        "grade": [words.grade_text(before.grade), words.grade_text(after.grade)],
        "methods": [_method(name, found, n, bases, pictures) for name in asked.methods],
    }
    return Answer(handle, case.id, value, tuple(pictures.kept))


def _method(
    name: str,
    found: Counterfactual,
    n: int,
    bases: list[tiles.Bytes],
    pictures: _Pictures,
) -> dict[str, Any]:
    """One method before and after, on one scale; what speaks against the class stays clear."""
    from engine.explainers import EXPLAINERS

    method, analyses = EXPLAINERS[name], (found.before, found.after)
    heats = [_heat(analysis, name, n) for analysis in analyses]
    values = [
        None if heat is None or not heat.localised else _shown(heat, method.signed)
        for heat in heats
    ]
    low, high = tiles.common_range([each for each in values if each is not None])
    return {
        "id": name,
        "title": method.title,
        "blind": method.class_blind,
        "pictures": [
            pictures.add(base if each is None else tiles.heated(base, each, low, high))
            for base, each in zip(bases, values, strict=True)
        ],
        "reasons": [
            analysis.refused.get(name, NO_MAP) if heat is None else heat.reason
            for heat, analysis in zip(heats, analyses, strict=True)
        ],
    }


def _shown(heat: HeatMap, signed: bool) -> FloatArray:
    return np.maximum(heat.values, 0) if signed else heat.values


def _heat(analysis: Analysis, name: str, n: int) -> HeatMap | None:
    maps = (heat for e in analysis.explanations if e.method == name for heat in e.maps)
    return next((heat for heat in maps if heat.image == n), None)
