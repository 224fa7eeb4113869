"""Heat lands where the evidence is: a marker in the source, through each way of preparing it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.geometry import Placement
from engine.models.crossmodal import mammogram_input, pathology_input
from engine.records import FloatArray, Image, Modality

SIZE = 224


def breast(height: int, width: int, *, right: bool, inverted: bool) -> FloatArray:
    """A bright half disc on air, as on a mammogram; (F, H, W, C)."""
    rows, columns = np.mgrid[:height, :width]
    centre = width if right else 0
    inside = ((rows - height / 2) / (0.42 * height)) ** 2 + (
        (columns - centre) / (0.8 * width)
    ) ** 2 < 1
    pixels = np.where(inside, 900.0, 5.0).astype(np.float32)
    return (-pixels if inverted else pixels)[None, :, :, None]


def centre_of(heat: FloatArray) -> tuple[float, float]:
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    return float((heat * rows).sum() / heat.sum()), float((heat * columns).sum() / heat.sum())


def returned(pixels: FloatArray, plain: FloatArray, placement: Placement) -> tuple[float, float]:
    """Where a change of the input lies in the source."""
    difference = np.abs(pixels - plain).sum(axis=2)
    return centre_of(placement.to_source(difference))


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("shape", [(512, 384), (900, 300), (300, 900), (2294, 1914)])
def test_a_marker_on_a_mammogram_returns_to_its_pixel(
    shape: tuple[int, int], right: bool, inverted: bool
) -> None:
    height, width = shape
    plain = breast(height, width, right=right, inverted=inverted)
    row, column = round(0.55 * height), round((0.6 if right else 0.4) * width)
    reach = max(2, max(shape) // 60)
    marked = plain.copy()
    patch = marked[0, row - reach : row + reach + 1, column - reach : column + reach + 1]
    patch *= 0.5
    images = [
        Image(pixels, Modality.MAMMOGRAPHY, "0" * 64, inverted=inverted)
        for pixels in (plain, marked)
    ]
    (before, placement), (after, again) = (mammogram_input(i, 0, SIZE) for i in images)
    assert placement == again
    found = returned(after, before, placement)
    cell = max(placement.height / placement.inner[0], placement.width / placement.inner[1])
    assert abs(found[0] - row) <= max(1.0, cell / 2)
    assert abs(found[1] - column) <= max(1.0, cell / 2)


@pytest.mark.parametrize("shape", [(256, 256), (200, 500), (700, 460)])
def test_a_marker_on_pathology_returns_to_its_pixel(shape: tuple[int, int]) -> None:
    height, width = shape
    plain = np.full((1, height, width, 3), 200, np.float32)
    marked = plain.copy()
    row, column = height // 3, 2 * width // 3
    marked[0, row - 4 : row + 5, column - 4 : column + 5] = 20
    images = [Image(pixels, Modality.PATHOLOGY, "0" * 64) for pixels in (plain, marked)]
    (before, placement), (after, _) = (pathology_input(image, 0, SIZE) for image in images)
    found = returned(after, before, placement)
    assert abs(found[0] - row) <= 1 and abs(found[1] - column) <= 1


def test_pixels_outside_what_the_model_saw_are_the_coldest() -> None:
    plain = breast(400, 300, right=False, inverted=False)
    _, placement = mammogram_input(Image(plain, Modality.MAMMOGRAPHY, "0" * 64), 0, SIZE)
    grid = np.full((14, 14), 3.0, np.float32)
    grid[6, 6] = 9
    heat = placement.to_source(grid, None)
    assert heat.min() == 3.0
    assert heat[0, -1] == 3.0
    assert placement.to_source(grid)[0, -1] == 0.0
