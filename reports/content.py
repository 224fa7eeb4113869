"""Report and compose: a frozen snapshot of everything that will be printed about one case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from engine.metrics.protocol import QUESTIONS
from engine.records import (
    Case,
    Explanation,
    HeatMap,
    ModelCard,
    Prediction,
    Question,
    Rating,
    Region,
    Score,
    Window,
)
from engine.render import COLOURS
from reports.digest import digest_of
from reports.errors import ReportError

LAYOUT = "2"
"""Raised whenever the pages change for the same content: each look has its own number."""

NO_CARD_BANNER = "Research use only. Not for diagnosis."


@dataclass(frozen=True)
class Provenance:
    """Where and how the numbers were made.

    Args:
        software: Name and version of the program.
        device: Device in words, such as "CPU".
        seed: Seed of the run; None where nothing is drawn.
        operator: Pseudonym of who asked for the report.
        commit: Commit of the program, when known.
    """

    software: str
    device: str = ""
    seed: int | None = None
    operator: str = ""
    commit: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything on the pages, and nothing else.

    Args:
        id: Printed on each page; "LB-" and the start of `digest` unless one was given.
        created: Date and time with zone.
        case: Pseudonymous case, pixels included.
        prediction: What the system said; None when it was not run.
        explanations: Heat maps by method.
        ratings: Answers of readers, by pseudonym.
        questions: Texts and anchors of the questions.
        card: Card of the model.
        provenance: Where and how.
        digest: SHA-256 of the content, hexadecimal, without id and time.
        banner: Intended use, printed on each page.
        windows: Window by position of the image; the image's own where absent.
        colour: Colour map of the overlays.
        opacity: Opacity of the hottest pixel, 0 to 1.
        threshold: Relative heat below which nothing is drawn, 0 to 1.
        status: "draft", "final" or "amended".
        scores: Measured evidence by method.
        sanity: What the sanity check says of a method, one sentence, by method.
    """

    id: str
    created: datetime
    case: Case
    prediction: Prediction | None
    explanations: tuple[Explanation, ...]
    ratings: tuple[Rating, ...]
    questions: tuple[Question, ...]
    card: ModelCard | None
    provenance: Provenance
    digest: str
    banner: str
    windows: Mapping[int, Window] = field(default_factory=dict)
    colour: str = "inferno"
    opacity: float = 0.4
    threshold: float = 0.0
    status: str = "final"
    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    sanity: Mapping[str, str] = field(default_factory=dict)

    def planes(self) -> list[tuple[int, int]]:
        """(image, frame) pairs to draw: every image once, further frames where something lies."""
        marked = [(m.image, m.frame) for e in self.explanations for m in e.maps]
        if self.prediction is not None:
            marked += [(region.image, region.frame) for region in self.prediction.regions]
            marked += list(self.prediction.frames.items())
        seen = {image for image, _ in marked}
        rest = [(i, self.frame(i)) for i in range(len(self.case.images)) if i not in seen]
        return sorted(set(marked + rest))

    def frame(self, image: int) -> int:
        """The frame read by the system, or the middle one."""
        read = {} if self.prediction is None else self.prediction.frames
        return read.get(image, self.case.images[image].frames // 2)

    def maps(self, image: int, frame: int) -> list[tuple[Explanation, HeatMap]]:
        """Heat maps that lie on one plane, with their explanations, in order."""
        return [
            (explanation, heat)
            for explanation in self.explanations
            for heat in explanation.maps
            if (heat.image, heat.frame) == (image, frame)
        ]

    def regions(self, image: int, frame: int) -> list[Region]:
        """Lesions that the system found on one plane."""
        found = () if self.prediction is None else self.prediction.regions
        return [region for region in found if (region.image, region.frame) == (image, frame)]


def compose(
    case: Case,
    prediction: Prediction | None,
    explanations: Iterable[Explanation],
    ratings: Iterable[Rating],
    *,
    created: datetime,
    provenance: Provenance,
    card: ModelCard | None = None,
    questions: Iterable[Question] = QUESTIONS,
    windows: Mapping[int, Window] | None = None,
    colour: str = "inferno",
    opacity: float = 0.4,
    threshold: float = 0.0,
    status: str = "final",
    id: str | None = None,
    scores: Mapping[str, Iterable[Score]] | None = None,
    sanity: Mapping[str, str] | None = None,
) -> Report:
    """Freeze what will be printed, after checking that the parts belong together.

    The digest covers the content and `LAYOUT`, so that a new look of the pages gets a new number.

    Raises:
        ReportError: Parts of different cases or models, a map off its image, or a time without
            zone.
    """
    parts = {
        "case": case,
        "prediction": prediction,
        "explanations": tuple(explanations),
        "ratings": tuple(ratings),
        "questions": tuple(questions),
        "card": card,
        "provenance": provenance,
        "windows": dict(windows or {}),
        "colour": colour,
        "opacity": opacity,
        "threshold": threshold,
        "status": status,
        "scores": {method: tuple(found) for method, found in (scores or {}).items()},
        "sanity": dict(sanity or {}),
        "banner": (card.intended_use.strip() if card else "") or NO_CARD_BANNER,
    }
    digest = digest_of({**parts, "layout": LAYOUT})
    report = Report(id=id or f"RP-{digest[:12]}", created=created, digest=digest, **parts)  # type: ignore[arg-type]
    _check(report)
    return report


def _check(report: Report) -> None:
    if report.created.tzinfo is None:
        raise ReportError("The time of the report needs a time zone.")
    if report.colour not in COLOURS:
        raise ReportError(f"There is no colour map named {report.colour!r}.")
    if not (0 <= report.opacity <= 1 and 0 <= report.threshold <= 1):
        raise ReportError("Opacity and threshold of the heat maps lie between 0 and 1.")
    if any(rating.case != report.case.id for rating in report.ratings):
        raise ReportError("A rating belongs to another case.")
    for explanation in report.explanations:
        _check_origin(report, explanation)
        for heat in explanation.maps:
            _check_place(report.case, heat.image, heat.frame, heat.values.shape)
    if report.prediction is not None:
        for region in report.prediction.regions:
            shape = None if region.mask is None else region.mask.shape
            _check_place(report.case, region.image, region.frame, shape)
        for patch in report.prediction.patches:
            _check_place(report.case, patch.image, 0, None)
        for image, frame in report.prediction.frames.items():
            _check_place(report.case, image, frame, None)


def _check_origin(report: Report, explanation: Explanation) -> None:
    prediction = report.prediction
    if prediction is not None and explanation.weights_digest != prediction.weights_digest:
        raise ReportError("An explanation was made by other weights than the prediction.")


def _check_place(case: Case, image: int, frame: int, shape: tuple[int, ...] | None) -> None:
    if not 0 <= image < len(case.images):
        raise ReportError("A result refers to an image that the case does not have.")
    place = case.images[image]
    if not 0 <= frame < place.frames:
        raise ReportError("A result refers to a frame that the image does not have.")
    if shape is not None and shape != (place.height, place.width):
        raise ReportError("A heat map or a lesion mask differs in size from its image.")
