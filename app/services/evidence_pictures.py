"""Tiles as the browser fetches them; each is drawn once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from app.errors import NotFound
from app.services import evidence_tiles as tiles
from app.services.context import Context
from app.services.evidence_about import About
from app.services.evidence_tables import Tables
from app.services.evidence_tiles import Bytes, Look
from app.services.evidence_value import voters
from app.services.layers import Layer, layer
from app.store import EvidenceRow, ExplanationRow
from engine.records import Case, FloatArray, Image
from engine.render import legible, png_bytes


class Pictures:
    """Draws images under maps, all of one size, window and crop."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context, self._tables = context, tables

    def picture(self, case: Case, image: int) -> Layer:
        """An image without heat.

        Raises:
            NotFound: The case has no such image.
        """
        if not 0 <= image < len(case.images):
            raise NotFound("The case has no such image.")
        found = self._context.store.latest_prediction(case.id, self._weights())
        frames = {} if found is None else found[1].frames
        frame = frames.get(image, case.images[image].frames // 2)
        return self._kept(
            ("evidence picture", case.id, image, frame),
            lambda: self._base(case.id, image, frame, case.images[image]),
        )

    def tile(self, row: ExplanationRow, n: int, look: Look) -> Layer:
        """An image under a stored map.

        Raises:
            NotFound: The explanation has no such map.
        """
        if not 0 <= n < len(row.maps):
            raise NotFound("The explanation has no such map.")
        heat = row.maps[n]

        def draw() -> Bytes:
            image = self._context.store.image(row.case, heat.image)
            base = self._base(row.case, heat.image, heat.frame, image)
            if not heat.localised:
                return base
            values = self._values(row, n, image, look)
            signed = bool(row.settings.get("signed"))
            if not look.native and not look.smooth:
                values = legible(np.maximum(values, 0) if signed else values, heat.grid)
            return tiles.heated(base, values, signed=signed, scale=look.scale)

        return self._kept(("evidence tile", row.id, n, look), draw)

    def consensus(
        self, this: About, shown: Mapping[str, ExplanationRow], image: int, look: Look
    ) -> Layer:
        """An image under the mean of all maps, each replaced by its ranks.

        Raises:
            NotFound: The case has no such image, or no map of it.
        """
        from engine.comparison import consensus

        voices = voters(shown, image)

        def draw() -> Bytes:
            heat = consensus(self._tables.smalls(this, shown), image) if voices else None
            if heat is None:
                raise NotFound("There is no map of this image yet.")
            source = this.case.images[image]
            base = self._base(this.case.id, image, heat.frame, source)
            values = tiles.smoothed(heat.values, source, 0 if look.native else look.smooth)
            return tiles.heated(base, values, signed=False, scale=look.scale)

        return self._kept(("evidence consensus", this.case.id, image, voices, look), draw)

    def stage(self, row: EvidenceRow, stage: int, stored: Mapping[str, Any]) -> Layer:
        """An image under a stored map of the test against random weights."""
        from engine.explainers import EXPLAINERS

        def draw() -> Bytes:
            image = self._context.store.image(row.case, stored["image"])
            base = self._base(row.case, stored["image"], stored["frame"], image)
            if not stored["localised"]:
                return base
            grid = np.asarray(stored["grid"], dtype=np.float32)
            values = tiles.shrunken(grid, base.shape[:2])
            signed = EXPLAINERS[row.method].signed
            return tiles.heated(base, values, signed=signed, scale="own")

        return self._kept(("evidence stage", row.id, stage), draw)

    def _values(self, row: ExplanationRow, n: int, image: Image, look: Look) -> FloatArray:
        """A map at tile size, as blocks of its own grid or smoothed."""
        if look.native:
            areas = row.settings.get("areas") or ()
            area = areas[n] if n < len(areas) else None
            values = self._context.store.heat(row.id, n)
            return tiles.cells(values, row.maps[n].grid, area, tiles.tile_size(image))
        return tiles.smoothed(self._tables.small(row, n, image), image, look.smooth)

    def _base(self, case_id: str, position: int, frame: int, image: Image) -> Bytes:
        found: Bytes = self._context.memory.get(
            ("evidence base", case_id, position, frame),
            lambda: tiles.picture(image, frame),
            lambda made: made.nbytes,
        )
        return found

    def _kept(self, key: Hashable, draw: Callable[[], Bytes]) -> Layer:
        found: Layer = self._context.memory.get(
            key, lambda: layer(png_bytes(draw()), "image/png"), lambda made: len(made.data)
        )
        return found

    def _weights(self) -> str:
        return self._context.models.card().weights_digest
