"""Pictures from records: window formulas, heat over anatomy, outlines, PNG."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, ShapeMismatch, UnknownName, UnsupportedImage
from engine.records import Box, Case, Image, Modality, Spacing, Window
from engine.render import (
    COLOURS,
    blend,
    colour_map,
    contours,
    default_window,
    display,
    draw_box,
    draw_contour,
    overlay,
    png_bytes,
    relative,
    thumbnail,
    weight,
    window_levels,
)


def image_of(values: np.ndarray, **facts: object) -> Image:
    """An image of one frame (H, W) or (H, W, 3)."""
    pixels = np.asarray(values, dtype=np.float32)
    pixels = pixels[None, ..., None] if pixels.ndim == 2 else pixels[None]
    return Image(pixels, Modality.MAMMOGRAPHY, "0" * 64, **facts)


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3) RGB of a PNG file."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def naive_level(x: float, c: float, w: float, function: str) -> float:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, as written, 0 to 255."""
    if function == "SIGMOID":
        return 255 / (1 + np.exp(min(700.0, -4 * (x - c) / w)))
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        return 255.0 if x > c + w / 2 else ((x - c) / w + 0.5) * 255
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 255.0
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048.0, 4096.0), (100.0, 2.0), (-40.0, 400.0)])
def test_window_formulas_of_the_standard(function: str, centre: float, width: float) -> None:
    values = np.linspace(-2000, 5000, 701)[None, :]
    image = image_of(values)
    seen = window_levels(image, window=Window(centre, width, function))
    expected = [naive_level(float(x), centre, width, function) for x in values[0]]
    assert np.abs(seen[0] - np.asarray(expected)).max() <= 0.501


def test_full_twelve_bit_window_maps_ends_and_middle() -> None:
    image = image_of([[0.0, 2047.5, 4095.0]], windows=(Window(2048, 4096),))
    assert window_levels(image).tolist() == [[0, 128, 255]]


def test_a_width_of_one_is_a_threshold() -> None:
    image = image_of([[9.0, 9.5, 10.0, 11.0]])
    assert window_levels(image, window=Window(10, 1)).tolist() == [[0, 0, 255, 255]]


def test_monochrome1_is_inverted_after_the_window() -> None:
    ramp = np.arange(0, 4096, 16, dtype=np.float32)[None, :]
    window = Window(1000, 500)
    straight = window_levels(image_of(ramp), window=window)
    turned = window_levels(image_of(ramp, inverted=True), window=window)
    assert turned[0, 0] == 255
    assert turned[0, -1] == 0
    assert np.abs(straight.astype(int) + turned - 255).max() <= 1


@pytest.mark.parametrize("window", [Window(0, 0.5), Window(0, 0, "SIGMOID")])
def test_a_window_without_width_is_refused(window: Window) -> None:
    with pytest.raises(UnsupportedImage, match="width"):
        window_levels(image_of([[1.0]]), window=window)


def test_colour_has_no_window_and_passes_unchanged() -> None:
    picture = noise(4, 5)
    image = image_of(picture)
    assert np.array_equal(display(image), picture)
    with pytest.raises(UnsupportedImage, match="colour"):
        window_levels(image)


def test_a_missing_frame_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="no frame 3"):
        display(image_of([[1.0]]), 2)


def test_without_a_window_the_full_range_is_shown_without_padding() -> None:
    image = image_of([[-2000.0, 10.0, 20.0]], background=-2000.0)
    assert default_window(image).centre == 15
    assert window_levels(image).tolist() == [[0, 0, 255]]


def test_a_flat_image_is_mid_grey() -> None:
    assert window_levels(image_of(np.full((2, 2), 7.0))).tolist() == [[128, 128], [128, 128]]


def test_colour_maps_are_rgb_and_the_default_ones_ordered_in_lightness() -> None:
    assert colour_map("viridis")[0].tolist() == [68, 1, 84]
    assert colour_map("jet")[-1].argmax() == 0
    for name in ("inferno", "viridis", "magma", "cividis"):
        lab = cv2.cvtColor(colour_map(name)[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        assert np.diff(lab[0, :, 0]).min() > -0.35, name
    assert [colour_map(name).shape for name in COLOURS] == [(256, 3)] * 5
    with pytest.raises(UnknownName, match="rainbow"):
        colour_map("rainbow")


def test_relative_heat_runs_from_zero_to_one() -> None:
    assert relative(np.asarray([[-1.0, 0.0, 3.0]])).tolist() == [[0.0, 0.25, 1.0]]
    assert not relative(np.full((2, 3), 5.0)).any()
    assert not relative(np.asarray([[1.0, 1.0 + 1e-7]])).any()
    with pytest.raises(EngineError, match="not numbers"):
        relative(np.asarray([[np.nan, 1.0]]))


@pytest.mark.parametrize("colour", COLOURS)
def test_cold_anatomy_is_unchanged_and_hot_anatomy_blended_as_stated(colour: str) -> None:
    base, heat = noise(6, 8), np.zeros((6, 8), np.float32)
    heat[2, 3], heat[4, 5], heat[0, 0] = 2.0, 0.55, 0.09
    seen = overlay(base, heat, opacity=0.5, colour=colour)
    cold = heat < 0.1
    assert np.array_equal(seen[cold], base[cold])
    for place, alpha, level in (((2, 3), 0.5, 255), ((4, 5), 0.25, 70)):
        expected = base[place] * (1 - alpha) + colour_map(colour)[level] * alpha
        assert np.abs(seen[place] - expected).max() <= 0.5


def test_nothing_is_drawn_below_the_threshold_or_for_a_flat_map() -> None:
    base = noise(1, 4)
    seen = overlay(base, np.asarray([[0, 0.3, 0.6, 1.0]], np.float32), threshold=0.5)
    assert np.array_equal(seen[0, :2], base[0, :2])
    assert not np.array_equal(seen[0, 2:], base[0, 2:])
    assert np.array_equal(overlay(base, np.ones((1, 4), np.float32)), base)
    assert np.array_equal(overlay(base, np.eye(1, 4, dtype=np.float32), opacity=0), base)


def test_the_brightness_of_the_anatomy_does_not_depend_on_the_heat_elsewhere() -> None:
    base = np.full((8, 8, 3), 120, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[0, 0] = 1
    assert (overlay(base, heat, opacity=1.0)[1:] == 120).all()


def test_opacity_rises_with_the_heat() -> None:
    values = np.asarray([0, 0.05, 0.275, 0.5, 0.75, 1.0], np.float32)
    assert weight(values) == pytest.approx([0, 0, 0.5, 1, 1, 1])
    assert weight(values, 0.6).tolist() == [0, 0, 0, 0, 1, 1]


def test_sizes_must_agree() -> None:
    for draw in (overlay, blend):
        with pytest.raises(ShapeMismatch, match="differ"):
            draw(noise(3, 3), np.zeros((3, 4), np.float32))


def area(outline: np.ndarray) -> float:
    """Signed area; positive for outlines that keep the mask on the right (y downwards)."""
    x, y = outline[:, 0], outline[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_contours_follow_pixel_edges() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    (outline,) = contours(mask)
    assert {tuple(corner) for corner in outline.tolist()} == {(2, 1), (6, 1), (6, 3), (2, 3)}
    assert contours(np.zeros((3, 3), bool)) == []


def test_a_ring_has_an_outer_and_an_inner_outline() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    assert sorted(area(outline) for outline in contours(mask)) == [-1.0, 9.0]
    assert all(len(outline) == 4 for outline in contours(mask))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_outlines_enclose_exactly_the_mask(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    outlines = contours(mask)
    assert sum(area(outline) for outline in outlines) == mask.sum()
    for outline in outlines:
        steps = np.roll(outline, -1, axis=0) - outline
        assert ((steps == 0).sum(axis=1) == 1).all()


def test_a_drawn_box_lies_on_its_edges_within_one_pixel() -> None:
    base = np.full((60, 80, 3), 128, np.uint8)
    seen = draw_box(base, Box(20, 10, 30, 25))
    touched = (seen != base).any(axis=2)
    rows, columns = np.flatnonzero(touched[:, 35]), np.flatnonzero(touched[20, :])
    for found, edges in ((rows, (10, 35)), (columns, (20, 50))):
        middle = sum(edges) / 2
        for side, edge in ((found[found < middle], edges[0]), (found[found > middle], edges[1])):
            assert abs(side.mean() + 0.5 - edge) <= 1
    line = seen[8:12, 35, 0]
    assert line.max() > 150
    assert line.min() < 100
    assert (seen[15:30, 25:45] == 128).all()
    assert (base == 128).all()


def test_a_mark_lies_where_the_heat_lies_at_any_scale() -> None:
    mask = np.zeros((40, 50), bool)
    mask[12:15, 30:34] = True
    for scale in (1.0, 2.0, 0.5):
        shape = (round(40 * scale), round(50 * scale), 3)
        seen = draw_contour(np.full(shape, 128, np.uint8), contours(mask), scale)
        rows, columns = np.nonzero((seen != 128).any(axis=2))
        assert abs((rows.mean() + 0.5) / scale - 13.5) <= 1
        assert abs((columns.mean() + 0.5) / scale - 32) <= 1


def test_png_is_lossless() -> None:
    picture = noise(5, 9)
    assert np.array_equal(decoded(png_bytes(picture)), picture)
    assert np.array_equal(decoded(png_bytes(picture[:, :, 0]))[:, :, 1], picture[:, :, 0])
    with pytest.raises(UnsupportedImage, match="empty"):
        png_bytes(np.zeros((0, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("shape", "expected"), [((300, 200), (160, 107)), ((3, 3), (160, 160)), ((1, 5000), (1, 160))]
)
def test_thumbnails_fit_a_square(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = image_of(np.random.default_rng(0).random(shape))
    assert decoded(thumbnail(image)).shape[:2] == expected


def test_a_thumbnail_shows_true_aspect_and_the_middle_frame_of_the_first_image() -> None:
    pixels = np.zeros((3, 40, 40, 1), np.float32)
    pixels[1] = 255
    image = Image(pixels, Modality.MRI, "0" * 64, Spacing(2.0, 1.0), windows=(Window(128, 256),))
    seen = decoded(thumbnail(Case("A", (image,)), 80))
    assert seen.shape[:2] == (80, 40)
    assert (seen == 255).all()
