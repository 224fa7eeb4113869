"""Lesions and heat maps as DICOM Segmentation: BINARY for a mask, FRACTIONAL for a map.

A heat map is no probability: FRACTIONAL knows only occupancy and probability, so the relevance
from 0 (smallest value) to 1 (largest) is written under the latter, and the object says in words
what it is.

Source: DICOM PS3.3 A.51 (Segmentation IOD), written with highdicom.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from engine.export.dicom import text, uid, with_meta
from engine.records import BoolArray, Case, Explanation, HeatMap, Image, ModelCard, Region
from engine.render import relative

OWN = "99LIGHTBOX"
"""Scheme of codes that no public scheme has."""
LEVELS = 255
SERIES_LESIONS, SERIES_MAPS = 600, 700
UNDATED = datetime(1970, 1, 1)
"""Stands where the standard asks for a time and none was given, so that equal runs stay equal."""


def lesion_mask(image: Image, region: Region) -> BoolArray:
    """(H, W) bool of a lesion: its mask, else its box filled."""
    if region.mask is not None:
        return region.mask
    inside = np.zeros((image.height, image.width), dtype=bool)
    if region.box is not None:
        box = region.box
        rows = slice(max(0, round(box.y)), max(0, round(box.y + box.height)))
        inside[rows, max(0, round(box.x)) : max(0, round(box.x + box.width))] = True
    return inside


def lesions_segmentation(
    case: Case,
    card: ModelCard,
    source: Dataset,
    place: tuple[int, int],
    regions: Sequence[Region],
    software: str,
    created: datetime = UNDATED,
) -> Dataset:
    """The lesions that the model found on one frame, a segment each, BINARY.

    Args:
        case: The case. card: Card of the model.
        source: The frame, as `source_capture` made it. place: Its image and frame.
        regions: Lesions on it, at least one with a pixel.
        software: Name and version of the program. created: Time to state.
    """
    image = case.images[place[0]]
    masks = [lesion_mask(image, region) for region in regions]
    kept = [mask for mask in masks if mask.any()]
    found = [
        _described(
            n,
            f"Lesion {n}",
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Lesion,
            card,
            uid("lesion", case.id, *map(str, place), str(n), card.weights_digest),
        )
        for n in range(1, len(kept) + 1)
    ]
    key = ("lesions", case.id, image.digest, str(place), card.weights_digest, software)
    return _segmentation(
        source,
        np.stack(kept, axis=-1)[None].astype(np.uint8),
        "BINARY",
        found,
        card,
        key,
        SERIES_LESIONS + place[0],
        f"Lesions found by {card.title or card.name}",
        software,
        created,
    )


def heat_segmentation(
    case: Case,
    card: ModelCard,
    source: Dataset,
    explanation: Explanation,
    heat: HeatMap,
    series: int,
    software: str,
    created: datetime = UNDATED,
) -> Dataset:
    """A heat map as FRACTIONAL segmentation: relevance from 0 to 1, each pixel.

    Args:
        case: The case. card: Card of the model. source: The frame, as `source_capture` made it.
        explanation: The method and target. heat: Which map of it. series: Number from 1.
        software: Name and version of the program. created: Time to state.
    """
    image = case.images[heat.image]
    values = np.clip(relative(heat.values), 0, 1).astype(np.float32)
    key = (
        "heat", case.id, image.digest, f"{heat.image} {heat.frame}", explanation.method,
        explanation.target, explanation.weights_digest, str(series), software,
    )  # fmt: skip
    label = f"Relevance, {explanation.method}: {explanation.target}"
    kind = hd.sr.CodedConcept("RELEVANCE", OWN, "Relevance to a class, relative to the map")
    segment = _described(
        1, text(label, 64), codes.SCT.SpatialAndRelationalConcept, kind, card, uid(*key, "segment")
    )
    words = f"Relative relevance 0 to 1 of method {explanation.method}; not a probability"
    return _segmentation(
        source,
        values[None, :, :, None],
        "FRACTIONAL",
        [segment],
        card,
        key,
        SERIES_MAPS + series,
        words,
        software,
        created,
    )


def _described(
    number: int, label: str, category: Any, kind: Any, card: ModelCard, tracking: str
) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=text(card.name, 64),
            family=codes.DCM.ArtificialIntelligence,
            version=text(card.version, 64),
        ),
        tracking_uid=tracking,
        tracking_id=label,
    )


def _segmentation(
    source: Dataset,
    pixels: np.ndarray,
    kind: str,
    segments: Sequence[SegmentDescription],
    card: ModelCard,
    key: tuple[str, ...],
    series: int,
    words: str,
    software: str,
    created: datetime,
) -> Dataset:
    made = Segmentation(
        source_images=[source],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=uid("seg series", *key),
        series_number=series,
        sop_instance_uid=uid("seg", *key),
        instance_number=1,
        manufacturer="Lightbox",
        manufacturer_model_name=text(card.name, 64),
        software_versions=text(software, 64),
        device_serial_number=text(card.weights_digest, 64),
        fractional_type="PROBABILITY",
        max_fractional_value=LEVELS,
        content_label="LESIONS" if kind == "BINARY" else "RELEVANCE",
        content_description=text(words, 64),
        content_creator_name="Lightbox^",
        omit_empty_frames=False,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    made.SeriesDescription = text(words, 64)
    if "FrameOfReferenceUID" not in source:
        made.PatientOrientation = None
    return settled(made, created, uid("dimensions", *key))


def settled(made: Dataset, created: datetime, dimensions: str = "") -> Dataset:
    """The object with the times that are meant, and no UID drawn by chance.

    Args:
        made: What the library made. created: Time to state.
        dimensions: UID of the dimension organisation; empty where there is none.
    """
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    for name in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if name in made:
            setattr(made, name, date)
    for name in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if name in made:
            setattr(made, name, time)
    for item in made.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = date + time
    if dimensions:
        for item in made.DimensionOrganizationSequence:
            item.DimensionOrganizationUID = dimensions
        for item in made.DimensionIndexSequence:
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = dimensions
    return with_meta(made)
