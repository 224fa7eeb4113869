"""The words of Lightbox as frozen records: images, cases, predictions, explanations, ratings.

Records hold NumPy arrays and plain values only. They are never edited: a new run is a new
record. Letters of shapes: F frames, H rows, W columns, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class Modality(StrEnum):
    """What kind of picture an image is."""

    MAMMOGRAPHY = "mammography"
    PATHOLOGY = "pathology"
    MRI = "mri"
    CT = "ct"
    ULTRASOUND = "ultrasound"
    RADIOGRAPH = "radiograph"
    MASK = "mask"
    UNKNOWN = "unknown"


class Laterality(StrEnum):
    """Side of the body."""

    LEFT = "L"
    RIGHT = "R"


@dataclass(frozen=True)
class Spacing:
    """Pixel pitch in millimetres, and where it was learnt.

    Args:
        row_mm: Distance between the centres of neighbouring rows (vertical), mm, > 0.
        column_mm: Distance between the centres of neighbouring columns (horizontal), mm, > 0.
        slice_mm: Distance between neighbouring frames, mm, > 0; None for one plane.
        source: Where the pitch comes from, in words, such as "at detector" or "NIfTI header".
    """

    row_mm: float
    column_mm: float
    slice_mm: float | None = None
    source: str = "stated by the file"


@dataclass(frozen=True)
class Window:
    """A grey-level window of DICOM PS3.3 C.11.2.1.2, in stored (rescaled) units."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"
    explanation: str = ""


@dataclass(frozen=True, eq=False)
class Image:
    """One de-identified image.

    Args:
        pixels: (F, H, W, C) float32 in source orientation. C is 1 (after the modality rescale) or
            3 (RGB, 0 to 255). Frames are slices or time points. Finite everywhere.
        modality: What kind of picture it is.
        digest: SHA-256 of the source file, hexadecimal.
        spacing: Pixel pitch, or None when the file does not state it.
        windows: Windows stated by the file, or one computed by the reader; never empty when C is 1.
        inverted: True for MONOCHROME1: the lowest value is drawn white, after windowing.
        laterality: Side, when stated.
        view: View such as "CC" or "MLO", when stated.
        bits: Bits that hold the source values, 1 to 16 (32 for floating point sources).
        affine: (4, 4) float64, voxel (column, row, frame) to patient millimetres in LPS; or None.
        background: Value drawn outside the object where the file states a padding value; or None.
        facts: Short de-identified facts of the source (format, transfer syntax, and so on).
        warnings: Sentences that the reader of the image should see.
    """

    pixels: FloatArray
    modality: Modality
    digest: str
    spacing: Spacing | None = None
    windows: tuple[Window, ...] = ()
    inverted: bool = False
    laterality: Laterality | None = None
    view: str | None = None
    bits: int = 8
    affine: NDArray[np.float64] | None = None
    background: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of slices or time points, >= 1."""
        return int(self.pixels.shape[0])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[2])

    @property
    def is_colour(self) -> bool:
        """True when the image has three channels."""
        return int(self.pixels.shape[3]) == 3


@dataclass(frozen=True)
class Box:
    """An axis-parallel box in source pixels: left edge x, top edge y, width, height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about a case from outside the model (phantom generator, biopsy, expert).

    Args:
        label: Class name.
        grade: Ordinal grade, 0-based; None where the class has none.
        box: Lesion box on the mammogram, source pixels; None where there is none.
        mask: (H, W) bool on the mammogram; None where there is none.
        source: Who or what states it.
    """

    label: str
    grade: int | None = None
    box: Box | None = None
    mask: BoolArray | None = None
    source: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """One pseudonymous examination.

    Args:
        id: Pseudonym; letters, digits and hyphens only.
        images: At least one image.
        note: Clinical text given to a model; empty when there is none.
        truth: What is known from outside the model.
        warnings: Sentences about the case as a whole (mixed patients, missing modality).
    """

    id: str
    images: tuple[Image, ...]
    note: str = ""
    truth: Truth | None = None
    warnings: tuple[str, ...] = ()

    def index(self, modality: Modality) -> int | None:
        """Position of the first image of a modality, or None."""
        return next((i for i, image in enumerate(self.images) if image.modality == modality), None)


@dataclass(frozen=True)
class Grade:
    """An ordinal grade: names from the lowest level up, probabilities, and the level chosen."""

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    level: int

    @property
    def name(self) -> str:
        """Name of the level chosen."""
        return self.names[self.level]


@dataclass(frozen=True, eq=False)
class Region:
    """A lesion on one image of the case: box, mask, or both; source pixels.

    Args:
        image: Position of the image in the case.
        frame: Frame of that image.
        box: Bounding box.
        mask: (H, W) bool.
        score: How sure the system is, 0 to 1.
    """

    image: int
    frame: int = 0
    box: Box | None = None
    mask: BoolArray | None = None
    score: float | None = None


@dataclass(frozen=True)
class Patch:
    """A relevant square of an image: position in source pixels, and its share of the relevance."""

    image: int
    box: Box
    weight: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a system said about a case.

    Args:
        probabilities: Class name to probability; sums to 1.
        grade: Ordinal grade, where the system gives one.
        regions: Lesions found.
        patches: Most relevant pathology patches, best first.
        model: Name of the model card.
        version: Version of the model.
        weights_digest: SHA-256 of the weights, hexadecimal.
        frames: Frame read from each image of the case, by position; absent when not read.
        warnings: Sentences such as "read without pathology".
        seconds: Time taken.
    """

    probabilities: Mapping[str, float]
    model: str
    version: str
    weights_digest: str
    grade: Grade | None = None
    regions: tuple[Region, ...] = ()
    patches: tuple[Patch, ...] = ()
    frames: Mapping[int, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def leading(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Relevance over one image, in its own pixels.

    Args:
        image: Position of the image in the case.
        frame: Frame of that image.
        values: (H, W) float32, unnormalised; larger is more relevant. Pixels that the model did
            not see have the smallest value.
        grid: Rows and columns of the map before it was enlarged.
        localised: False where the map is flat, so that it holds no localised evidence.
        reason: Why there is no localised evidence, in one sentence; empty otherwise.
    """

    image: int
    frame: int
    values: FloatArray
    grid: tuple[int, int]
    localised: bool = True
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """One method's answer to "why this class": a heat map per image.

    Args:
        method: Registry name of the method.
        target: Class name that is explained; class-blind methods say so in `settings`.
        maps: Heat maps.
        settings: Everything needed to compute it again.
        model: Name of the model card.
        weights_digest: SHA-256 of the weights.
        seconds: Time taken.
    """

    method: str
    target: str
    maps: tuple[HeatMap, ...]
    settings: Mapping[str, Any]
    model: str
    weights_digest: str
    seconds: float = 0.0

    @property
    def values(self) -> FloatArray:
        """Maps of one size together, (B, H, W): those of a batch, or of a case's first image."""
        first = self.maps[0].values
        alike = [heat.values for heat in self.maps if heat.values.shape == first.shape]
        return np.stack(alike if len(alike) == len(self.maps) else [first])


@dataclass(frozen=True)
class Score:
    """What one metric says of one map, with all that is needed to read the number.

    Args:
        metric: Registry name of the metric.
        value: The number; None where it is undefined, and then `note` says why.
        unit: Unit in words, such as "share of the heat", "probability" or "mm".
        better: Which direction is better; "neither" for a mere description.
        chance: Value that a map without information is expected to get; None where there is none.
        n: Sample size: how many evaluations, points or draws stand behind the number, >= 0.
        note: Settings that the number depends on (baseline, step, tolerance), or why it is absent.
        image: Position in the case of the image it was measured on; None where it has no one image.
    """

    metric: str
    value: float | None
    unit: str
    better: Literal["higher", "lower", "neither"]
    chance: float | None
    n: int
    note: str = ""
    image: int | None = None


@dataclass(frozen=True)
class ModelCard:
    """What must be known about a model before it is believed.

    Args:
        name: Name of the card.
        system: Registry name of the system that runs it.
        version: Version of the weights.
        title: Name for people.
        intended_use: One sentence, printed on each page and report.
        training_data: What it was trained on.
        limits: Known limits, one sentence each.
        classes: Class names in the order of the logits.
        grades: Grade names, lowest first.
        config: Constructor arguments of the network.
        metrics: Measured figures, by name.
        facts: Seed, steps, recipe and so on.
        weights: File name of the weights beside the card.
        weights_digest: SHA-256 of that file.
    """

    name: str
    system: str
    version: str
    title: str
    intended_use: str
    training_data: str
    limits: tuple[str, ...]
    classes: tuple[str, ...]
    grades: tuple[str, ...]
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    facts: Mapping[str, Any]
    weights: str
    weights_digest: str


class AnswerStatus(StrEnum):
    """Whether a question got a number."""

    ANSWERED = "answered"
    CANNOT_JUDGE = "cannot_judge"


@dataclass(frozen=True)
class Question:
    """A question of the protocol, with an anchor text for each point of its scale."""

    id: str
    text: str
    anchors: tuple[str, ...]


@dataclass(frozen=True)
class Rating:
    """One reader, one case, one question, one answer.

    Args:
        id: Row number; 0 before it is stored.
        case: Pseudonym of the case.
        reader: Pseudonym of the reader.
        question: Id of the question.
        method: Explanation method that was on the screen.
        target: Class that was explained.
        status: Whether there is a number.
        value: 1 to 5, or None when the reader could not judge.
        comment: Free text.
        created: Time, UTC.
        revision: 1 for the first answer, one more for each change.
        weights_digest: Model the answer was given on.
    """

    id: int
    case: str
    reader: str
    question: str
    method: str
    target: str
    status: AnswerStatus
    value: int | None
    comment: str
    created: datetime
    revision: int
    weights_digest: str
