"""Grey values of DICOM: modality rescale, padding, and windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut

from engine.io.privacy import window_explanation
from engine.records import Window

_BAD_VALUE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
LUT_REPLACED = "The lookup table of the file is replaced by a computed window."


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """Finite numbers of an element; empty when it is absent or not numeric."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, (bytes, str)):
            return ()
        values = tuple(float(v) for v in value) if np.iterable(value) else (float(value),)
    except _BAD_VALUE:
        return ()
    return values if all(math.isfinite(v) for v in values) else ()


def group(dataset: Any, name: str, frame: int = 0) -> Any | None:
    """First item of a functional group: that of the frame, or the one all frames share."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for item in (*per_frame[frame : frame + 1], *shared[:1]):
        inner = item.get(name)
        if inner:
            return inner[0]
    return None


def rescale(dataset: Any, frame: int = 0) -> tuple[float, float]:
    """Slope and intercept of a frame; (1, 0) when none is stated, or the slope is zero."""
    place = group(dataset, "PixelValueTransformationSequence", frame) or dataset
    slope, intercept = numbers(place, "RescaleSlope"), numbers(place, "RescaleIntercept")
    if not slope or slope[0] == 0:
        return 1.0, 0.0
    return slope[0], intercept[0] if intercept else 0.0


def in_units(stored: NDArray[Any], dataset: Any) -> NDArray[np.float32]:
    """Stored grey values in the unit of the modality, (F, H, W, 1) float32."""
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    values = stored.astype(np.float32)
    own = "PerFrameFunctionalGroupsSequence" in dataset
    for part in range(stored.shape[0]) if own else (slice(None),):
        slope, intercept = rescale(dataset, part if isinstance(part, int) else 0)
        if (slope, intercept) != (1.0, 0.0):
            values[part] = stored[part] * np.float64(slope) + intercept
    return values


def padding(dataset: Any) -> float | None:
    """Padding value in the unit of the modality, as float32 holds it; None when not stated."""
    stated = numbers(dataset, "PixelPaddingValue")
    if not stated or dataset.get("ModalityLUTSequence"):
        return None
    value = stated[0]
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        span = 1 << int(dataset.BitsAllocated)
        value = value - span if value >= span / 2 else value
    slope, intercept = rescale(dataset)
    return float(np.float32(value * slope + intercept))


def windows(dataset: Any) -> tuple[tuple[Window, ...], dict[str, str]]:
    """Windows stated by the file, in its order, and facts about those that were left out."""
    place = group(dataset, "FrameVOILUTSequence") or dataset
    centres, widths = numbers(place, "WindowCenter"), numbers(place, "WindowWidth")
    function = str(place.get("VOILUTFunction") or "LINEAR").strip().upper()
    function = function if function in _FUNCTIONS else "LINEAR"
    texts = _texts(place)
    found = []
    for index, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if width <= 0:
            continue
        kind = "LINEAR_EXACT" if function == "LINEAR" and width < 1 else function
        text = texts[index] if index < len(texts) else ""
        found.append(Window(centre, width, kind, window_explanation(text)))  # type: ignore[arg-type]
    left_out = not found and bool(place.get("VOILUTSequence"))
    return tuple(found), ({"window": LUT_REPLACED} if left_out else {})


def _texts(place: Any) -> list[str]:
    value = place.get("WindowCenterWidthExplanation")
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(text) for text in value]
