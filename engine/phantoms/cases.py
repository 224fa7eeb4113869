"""A phantom examination: a mammogram and a histology field of one class, with its truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingMetadata
from engine.phantoms.classes import GRADES, LABELS, check_label, check_seed, check_sides
from engine.phantoms.mammography import Mammogram, mammogram
from engine.phantoms.pathology import PIXEL_MM, histology
from engine.phantoms.site import Site, drawn_site
from engine.records import Case, FloatArray, Image, Modality, Spacing, Truth, Window

SOURCE = "phantom generator"


def phantom_case(
    seed: int,
    label: str | None = None,
    *,
    height: int = 512,
    width: int = 384,
    tile: int = 256,
    site: Site | None = None,
) -> Case:
    """Draw an examination whose truth is known exactly.

    The two pictures draw from streams of their own, so that a change of one leaves the other.

    Args:
        seed: Whole number >= 0; the same seed gives the same bits.
        label: A name of `LABELS`; None draws one, evenly.
        height: Rows of the mammogram, 128 to 4096.
        width: Columns of the mammogram, 128 to 4096.
        tile: Rows and columns of the histology field, 128 to 4096.
        site: Hospital; None draws one of `SITES`, with jitter.

    Raises:
        UnknownName: no class has this name.
        LimitExceeded: the seed is negative, or a side is out of range.
    """
    check_sides(height, width, tile)
    choices, breast_stream, slide_stream = np.random.default_rng(check_seed(seed)).spawn(3)
    drawn = LABELS[int(choices.integers(len(LABELS)))]
    chosen = drawn if label is None else check_label(label)
    place = drawn_site(choices) if site is None else site
    seen = mammogram(breast_stream, chosen, height=height, width=width, site=place)
    field = histology(slide_stream, chosen, size=tile, site=place)
    truth = Truth(
        label=chosen,
        grade=GRADES[chosen],
        box=seen.box,
        mask=seen.mask if seen.box else None,
        source=f"{SOURCE}, seed {seed}",
    )
    images = (_mammography(seen, place), _pathology(field, place))
    return Case(id=f"PH-{seed:08d}", images=images, truth=truth)


def write_case(case: Case, folder: Path) -> None:
    """Write a phantom examination as files that any viewer opens.

    Makes the folder, and in it `mammography.png` (16-bit grey), `pathology.png` (8-bit RGB),
    `truth.json`, and `lesion.png` (8-bit, 0 or 255) where there is a lesion.

    Raises:
        MissingMetadata: the case states no truth, or lacks one of the two pictures.
    """
    mammography = _pixels(case, Modality.MAMMOGRAPHY)
    pathology = _pixels(case, Modality.PATHOLOGY)
    truth = case.truth
    if truth is None:
        raise MissingMetadata("The case states no truth, so it cannot be written as a phantom.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_png(folder / "mammography.png", mammography[..., 0].astype(np.uint16))
    _write_png(folder / "pathology.png", pathology.astype(np.uint8))
    lesion = folder / "lesion.png"
    if truth.mask is None:
        lesion.unlink(missing_ok=True)
    else:
        _write_png(lesion, truth.mask.astype(np.uint8) * 255)
    (folder / "truth.json").write_text(_truth_json(truth), encoding="utf-8")


def _truth_json(truth: Truth) -> str:
    box = truth.box
    stated = {
        "label": truth.label,
        "grade": truth.grade,
        "box": None if box is None else [int(v) for v in (box.x, box.y, box.width, box.height)],
        "source": truth.source,
    }
    return json.dumps(stated, indent=2) + "\n"


def _mammography(seen: Mammogram, site: Site) -> Image:
    low, high = (float(v) for v in np.percentile(seen.pixels[seen.inside], (1.0, 99.5)))
    window = Window(
        centre=(low + high) / 2.0,
        width=max(high - low, 1.0),
        explanation="breast without air, 1st to 99.5th percentile",
    )
    return Image(
        pixels=seen.pixels[None, ..., None],
        modality=Modality.MAMMOGRAPHY,
        digest=_digest(seen.pixels),
        spacing=Spacing(seen.row_mm, seen.row_mm, source=SOURCE),
        windows=(window,),
        laterality=seen.laterality,
        view=seen.view,
        bits=12,
        facts={"format": SOURCE, "site": site.name},
    )


def _pathology(field: FloatArray, site: Site) -> Image:
    return Image(
        pixels=field[None],
        modality=Modality.PATHOLOGY,
        digest=_digest(field),
        spacing=Spacing(PIXEL_MM, PIXEL_MM, source=SOURCE),
        bits=8,
        facts={"format": SOURCE, "site": site.name},
    )


def _digest(pixels: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _pixels(case: Case, modality: Modality) -> FloatArray:
    index = case.index(modality)
    if index is None:
        raise MissingMetadata(f"The case has no {modality.value} image to write.")
    return case.images[index].pixels[0]


def _write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6))
