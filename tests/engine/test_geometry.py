"""Registration: a marker in the source is found where it was, within one source pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.geometry import foreground_box, place
from engine.records import Box


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_marker_comes_back_to_its_place(height, width, down, across):
    size = 224
    row, column = int(down * height), int(across * width)
    pixels = np.zeros((height, width), np.float32)
    pixels[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 1
    placement = place((height, width), size)
    back = placement.to_source(placement.to_canvas(pixels))
    weights = back / back.sum()
    truth = pixels / pixels.sum()
    rows, columns = np.mgrid[:height, :width]
    assert abs((weights * rows).sum() - (truth * rows).sum()) < 0.5
    assert abs((weights * columns).sum() - (truth * columns).sum()) < 0.5


def test_a_hot_cell_covers_its_own_part_of_the_crop():
    placement = place((100, 200), 224, (10, 20, 80, 160))
    grid = np.zeros((14, 14), np.float32)
    grid[7, 3] = 1
    heat = placement.to_source(grid)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    scale = 160 / 224
    assert abs(column + 0.5 - (20 + 3.5 * 16 * scale)) <= 1
    assert abs(row + 0.5 - (10 + (7.5 * 16 - 56) * scale)) <= 1
    assert heat[:10].max() == 0 and heat[:, :20].max() == 0


def test_boxes_go_and_come_back():
    placement = place((480, 320), 224, (30, 40, 400, 200))
    box = Box(60, 100, 33, 51)
    back = placement.box_to_source(placement.box_to_canvas(box))
    assert np.allclose([back.x, back.y, back.width, back.height], [60, 100, 33, 51], atol=1e-3)


def test_a_box_outside_is_clipped():
    placement = place((100, 100), 50)
    box = placement.box_to_source(Box(-10, 40, 100, 100))
    assert (box.x, box.y, box.width, box.height) == (0, 80, 100, 20)


def test_breast_is_found_and_air_is_left_out():
    pixels = np.zeros((400, 300), np.float32)
    pixels[100:300, 150:300] = 700
    pixels += np.random.default_rng(0).random(pixels.shape).astype(np.float32)
    top, left, height, width = foreground_box(pixels, margin=0)
    assert abs(top - 100) <= 4 and abs(left - 150) <= 4
    assert abs(height - 200) <= 8 and abs(width - 150) <= 8


def test_an_empty_image_is_kept_whole():
    assert foreground_box(np.zeros((40, 30), np.float32)) == (0, 0, 40, 30)


@pytest.mark.parametrize("source", [(300, 451), (451, 300), (64, 64)])
def test_what_is_said_of_the_padding_never_reaches_the_source(source):
    placement = place(source, 224)
    grid = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    hot = np.where(placement.inside(16), grid, 100).astype(np.float32)
    cold = np.where(placement.inside(16), grid, -100).astype(np.float32)
    assert np.array_equal(placement.to_source(hot), placement.to_source(cold))
    assert placement.to_source(hot).max() <= 1
