"""Tables beside the maps: heat within regions, and how alike the maps of an image are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.context import Context
from app.services.evidence_about import About
from app.services.evidence_tiles import shrunken, tile_size
from app.services.evidence_value import voters
from app.services.evidence_work import Workshop, finite
from app.store import ExplanationRow
from engine.records import Explanation, FloatArray, HeatMap, Image

SMALL = 4096
"""Bytes that a row of a table counts for in the memory."""


class Tables:
    """Computes what compares maps; each part once, since stored maps never change."""

    def __init__(self, context: Context, workshop: Workshop) -> None:
        self._context, self._workshop = context, workshop

    def small(self, row: ExplanationRow, n: int, image: Image) -> FloatArray:
        """One map at the size of a tile of its image, (h, w)."""

        def make() -> FloatArray:
            return shrunken(self._context.store.heat(row.id, n), tile_size(image))

        found: FloatArray = self._context.memory.get(
            ("evidence map", row.id, n), make, lambda made: made.nbytes
        )
        return found

    def smalls(self, this: About, shown: Mapping[str, ExplanationRow]) -> list[Explanation]:
        """The explanations on display, at the size of tiles."""
        return [
            Explanation(
                row.method,
                row.target,
                tuple(
                    HeatMap(
                        m.image,
                        m.frame,
                        self.small(row, n, this.case.images[m.image]),
                        m.grid,
                        m.localised,
                        m.reason,
                    )
                    for n, m in enumerate(row.maps)
                ),
                row.settings,
                row.model,
                row.weights_digest,
                row.seconds,
            )
            for row in shown.values()
        ]

    def regions(self, this: About, shown: Mapping[str, ExplanationRow]) -> list[dict[str, Any]]:
        """Heat inside each known region, region by region."""
        tables: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
        for row in shown.values():
            for entry in self._rows(this, row):
                place = (entry["image"], entry["kind"], entry["label"])
                tables.setdefault(place, []).append(entry["row"])
        return [
            {"image": image, "label": label, "kind": kind, "rows": rows}
            for (image, kind, label), rows in sorted(tables.items(), key=lambda item: item[0])
        ]

    def _rows(self, this: About, row: ExplanationRow) -> list[dict[str, Any]]:
        if this.prediction is None:
            return []
        found: list[dict[str, Any]] = self._context.memory.get(
            ("evidence regions", row.id, this.number),
            lambda: self._make_rows(this, row),
            lambda made: SMALL,
        )
        return found

    def _make_rows(self, this: About, row: ExplanationRow) -> list[dict[str, Any]]:
        from engine.counterfactual import region_table
        from engine.explainers import EXPLAINERS

        table = region_table(this.case, this.prediction, [self._workshop.explanation(row)])
        return [
            {
                "image": heat.image,
                "kind": heat.kind,
                "label": heat.label,
                "row": {
                    "method": heat.method,
                    "title": EXPLAINERS[heat.method].title,
                    "mean": finite(heat.mean),
                    "max": finite(heat.max),
                    "coverage": finite(heat.coverage),
                    "share": finite(heat.share),
                    "text": heat.text,
                },
            }
            for heat in table
        ]

    def agreement(self, this: About, shown: Mapping[str, ExplanationRow]) -> list[dict[str, Any]]:
        """Per image, how alike the maps are."""
        tables: list[dict[str, Any]] = []
        for image in range(len(this.case.images)):
            voices = voters(shown, image)
            if len(voices) > 1:
                found = self._agreement_of(this, shown, image, voices)
                tables += [] if found is None else [found]
        return tables

    def _agreement_of(
        self,
        this: About,
        shown: Mapping[str, ExplanationRow],
        image: int,
        voices: tuple[tuple[int, int], ...],
    ) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._context.memory.get(
            ("evidence agreement", image, voices),
            lambda: self._agreement(this, shown, image),
            lambda made: SMALL,
        )
        return found

    def _agreement(
        self, this: About, shown: Mapping[str, ExplanationRow], image: int
    ) -> dict[str, Any] | None:
        from engine.comparison import agreement
        from engine.explainers import EXPLAINERS

        found = agreement(self.smalls(this, shown), image)
        if found is None:
            return None
        return {
            "image": image,
            "methods": [EXPLAINERS[name].title for name in found.names],
            "rank": _square(found.correlation),
            "iou": _square(found.overlap),
        }


def _square(table: NDArray[np.floating]) -> list[list[float | None]]:
    return [
        [None if (v := finite(cell)) is None else round(v, 4) for cell in row]
        for row in np.asarray(table, dtype=float).tolist()
    ]
