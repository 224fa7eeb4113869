"""What the probe's page is told of images, jobs and regions, and what it may send."""

from __future__ import annotations

from typing import Any

from app.errors import InvalidInput, NotFound
from app.services import probe_tiles as tiles
from app.services.cases import NAMES
from app.services.evidence_about import LESION, canonical
from app.services.jobs import Job
from app.services.probe_mask import box_mask, encode
from engine.records import BoolArray, Box, Case, Image, ModelCard, Prediction

UNREAD = "The model does not read this image, so nothing can be asked about it."


def image_facts(case: Case, n: int, prediction: Prediction) -> dict[str, Any]:
    """One image that may be marked: address, geometry, and what one click can take."""
    image = case.images[n]
    frame = frame_of(prediction, n, image)
    height, width = tiles.size_of(image, tiles.PICTURE_SIDE)
    spacing = image.spacing
    return {
        "image": n,
        "title": NAMES[image.modality],
        "picture": f"/probe/picture/{case.id}/{n}/{frame}.png?v={image.digest[:16]}",
        "width": image.width,
        "height": image.height,
        "shown": [width, height],
        "pitch": None if spacing is None else [spacing.row_mm, spacing.column_mm],
        "unread": "" if n in prediction.frames else UNREAD,
        "regions": _regions(prediction, n, image),
    }


def target_of(card: ModelCard, prediction: Prediction, target: str | None) -> str:
    """A class that is asked about, by name or number.

    The leading one where none is named, or the segmented lesion, which has no probability; the page
    says which class it is.

    Raises:
        UnknownName: The model has no such class.
    """
    named = canonical(card, target) if target else LESION
    return prediction.leading if named == LESION else named


def position_of(case: Case, image: Any) -> int:
    if type(image) is not int or not 0 <= image < len(case.images):
        raise NotFound("The case has no such image.")
    return image


def frame_of(prediction: Prediction, n: int, image: Image) -> int:
    return prediction.frames.get(n, image.frames // 2)


def box_of(stated: Any) -> Box:
    """A box that came from the page."""
    numbers = stated if isinstance(stated, list | tuple) and len(stated) == 4 else ()
    if not numbers or not all(type(n) in (int, float) and abs(n) < 1e9 for n in numbers):
        raise InvalidInput("The box is not complete; please draw it again.")
    return Box(*(float(n) for n in numbers))


def _regions(prediction: Prediction, n: int, image: Image) -> list[dict[str, Any]]:
    """What one click can take: the model's own lesion, and its most relevant patches."""
    found: list[tuple[str, BoolArray]] = []
    for region in prediction.regions:
        if region.image == n and (region.mask is not None or region.box is not None):
            mask = region.mask
            if mask is None and region.box is not None:
                mask = box_mask(region.box, image.height, image.width)
            if mask is not None:
                found.append(("Lesion of the model", mask))
    for rank, patch in enumerate(prediction.patches, 1):
        if patch.image == n:
            found.append((f"Patch {rank}", box_mask(patch.box, image.height, image.width)))
    return [{"label": label, "runs": encode(mask)} for label, mask in found if mask.any()]


def job_facts(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "share": job.share,
        "left_s": job.seconds_left,
        "position": job.position,
        "message": job.message,
    }
