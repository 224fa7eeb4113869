"""What a reader's screen is told of one reading: nothing of case, method, arm, truth or others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from app.errors import NotFound
from app.services.cases import Cases
from app.services.context import Context
from app.services.layers import Layer, Scale, layer
from app.services.reading_submit import Size
from app.store import ExplanationRow, ReadingInfo
from app.store.study_rows import OutputInfo
from app.store.study_standing import StudyInfo
from engine.metrics.protocol import QUESTIONS
from engine.records import Case
from engine.study.records import Arm, ArmKind, StudyQuestion

MAPS = (ArmKind.EXPLANATION, ArmKind.DECOY)
ABOUT_MAPS = frozenset(question.id for question in QUESTIONS[:3])
ABOUT_PREDICTIONS = frozenset(question.id for question in QUESTIONS[3:])
NO_IMAGE = "This reading has no such image."
NO_MAP = "There is no map on this image."
TOP = 65535


class Items:
    """Builds what is shown of a reading.

    Every map comes as 0 to 1 over its own range, on no grid but its pixels and without the name of
    what it explains: range, grid and target could tell which method drew it. Neither the regions
    that a model found nor its patches are shown.
    """

    def __init__(self, context: Context, cases: Cases) -> None:
        self._context = context
        self._cases = cases

    def questions(self, study: StudyInfo, reading: ReadingInfo) -> list[StudyQuestion]:
        """Questions that a reading asks.

        The protocol's questions on the heat map are asked where there is one, and its question on
        trust where there is a prediction. Where that leaves nothing, trust is asked all the same,
        and where there is no such question either, everything is.
        """
        if reading.is_closing:
            return [q for q in study.protocol.questions if not q.per_case]
        mine = [q for q in study.protocol.questions if q.per_case]
        kind = study.protocol.arm(reading.arm).kind
        about_maps = frozenset[str]() if kind in MAPS else ABOUT_MAPS
        about_predictions = ABOUT_PREDICTIONS if kind is ArmKind.IMAGE else frozenset[str]()
        for left_out in (about_maps | about_predictions, about_maps):
            asked = [q for q in mine if q.id not in left_out]
            if asked:
                return asked
        return mine

    def viewer(self, study: StudyInfo, reading: ReadingInfo) -> dict[str, Any]:
        """Value of the viewer."""
        case = self._context.case(reading.case)
        output = self._output(study, reading)
        frames = self._frames(case, output)
        return {
            "case": reading.token,
            "version": 0,
            "banner": "",
            "images": [
                self._picture(case, n, reading.token, frames[n]) for n in range(len(frames))
            ],
            "layers": self._layers(case, study, reading, output),
            "regions": [],
            "patches": [],
        }

    def prediction(self, study: StudyInfo, reading: ReadingInfo) -> dict[str, Any] | None:
        """Class and, where the design says so, probability; None where the arm shows neither."""
        if self._arm(study, reading).kind is ArmKind.IMAGE:
            return None
        output = self._output(study, reading)
        if output is None:
            return None
        shown = study.design.show_prediction_score
        return {"class": output.leading, "probability": output.confidence if shown else None}

    def sizes(self, reading: ReadingInfo) -> list[Size]:
        """Sizes of the images on the screen."""
        if reading.is_closing:
            return []
        case = self._context.case(reading.case)
        return [(image.width, image.height, image.frames) for image in case.images]

    def image(self, reading: ReadingInfo, n: int, frame: int) -> Layer:
        """Pixels of one frame.

        Raises:
            NotFound: There is no such image or frame.
        """
        if reading.is_closing:
            raise NotFound(NO_IMAGE)
        case = self._context.case(reading.case)
        if not 0 <= n < len(case.images):
            raise NotFound(NO_IMAGE)
        return _salted(self._cases.pixels(reading.case, n, frame), reading.token)

    def heat(self, study: StudyInfo, reading: ReadingInfo, n: int) -> Layer:
        """Codes of the n-th map of a reading, 0 to 65535 over its range.

        Raises:
            NotFound: There is no such map.
        """
        row = None if reading.is_closing else self._row(study, reading)
        if row is None or not 0 <= n < len(row.maps):
            raise NotFound(NO_MAP)
        found: Layer = self._context.memory.get(
            ("reading heat", row.id, n),
            lambda: self._codes(row.id, n),
            lambda made: len(made.data),
        )
        return _salted(found, reading.token)

    def _codes(self, explanation: int, n: int) -> Layer:
        values = self._context.store.heat(explanation, n)
        low, high = float(values.min()), float(values.max())
        return layer(Scale((high - low) / TOP if high > low else 1.0, low).encode(values))

    def _arm(self, study: StudyInfo, reading: ReadingInfo) -> Arm:
        return study.protocol.arm(reading.arm)

    def _output(self, study: StudyInfo, reading: ReadingInfo) -> OutputInfo | None:
        return self._context.store.output(study.id, reading.case, reading.arm)

    def _row(self, study: StudyInfo, reading: ReadingInfo) -> ExplanationRow | None:
        if self._arm(study, reading).kind not in MAPS:
            return None
        output = self._output(study, reading)
        if output is None or output.explanation is None:
            return None
        return self._context.store.explanation_row(output.explanation)

    def _frames(self, case: Case, output: OutputInfo | None) -> list[int]:
        """Frame shown first of each image: that which the model read, where the arm shows it."""
        stated: dict[int, int] = {}
        if output is not None and output.prediction is not None:
            number = output.prediction
            stated = self._context.memory.get(
                ("frames", number),
                lambda: dict(self._context.store.prediction(number).frames),
                lambda made: 64,
            )
        return [stated.get(n, image.frames // 2) for n, image in enumerate(case.images)]

    def _picture(self, case: Case, n: int, token: str, frame: int) -> dict[str, Any]:
        picture = self._cases.picture(case, n, frame)
        return picture | {"url": f"/reading/items/{token}/image/{n}/{{frame}}.raw"}

    def _layers(
        self, case: Case, study: StudyInfo, reading: ReadingInfo, output: OutputInfo | None
    ) -> list[dict[str, Any]]:
        row = None if output is None else self._row(study, reading)
        if row is None:
            return []
        return [
            {
                "id": f"{reading.token}-{n}",
                "label": f"Map {reading.label}".strip(),
                "method": "map",
                "target": "",
                "image": heat.image,
                "frame": heat.frame,
                "url": f"/reading/items/{reading.token}/heat/{n}.raw",
                "width": case.images[heat.image].width,
                "height": case.images[heat.image].height,
                "min": 0.0,
                "max": 1.0 if heat.localised else 0.0,
                "grid": [case.images[heat.image].height, case.images[heat.image].width],
                "cell_mm": None,
                "localised": heat.localised,
                "reason": "" if heat.localised else NO_MAP,
                "visible": True,
            }
            for n, heat in enumerate(row.maps)
        ]


def asked_json(questions: Sequence[StudyQuestion]) -> list[dict[str, Any]]:
    """Questions as the page draws them."""
    return [
        {
            "id": q.id,
            "text": q.text,
            "kind": q.kind.value,
            "help": q.help,
            "low": q.low,
            "high": q.high,
            "anchors": list(q.anchors),
            "choices": list(q.choices),
            "ordered": q.ordered,
            "unit": q.unit,
            "required": q.required,
            "cannot_judge": q.cannot_judge,
            "per_case": q.per_case,
            "group": q.group,
        }
        for q in questions
    ]


def _salted(found: Layer, token: str) -> Layer:
    """The same under an address-bound digest, so that two readers cannot compare digests."""
    etag = hashlib.sha256(f"{token} {found.etag}".encode()).hexdigest()[:32]
    return Layer(found.data, found.media_type, etag)
