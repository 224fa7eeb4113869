"""Small multiples: pictures whole, side by side and not overlapping, under their titles."""

from __future__ import annotations

import numpy as np
import pytest

from engine.render import gallery

RED = (255, 0, 0)


def pictures(height: int, width: int, count: int, title: str = "Title") -> list:
    picture = np.full((height, width, 3), RED, np.uint8)
    return [(title, picture)] * count


def red(sheet: np.ndarray) -> int:
    return int((sheet == np.array(RED)).all(2).sum())


@pytest.mark.parametrize("shape", [(60, 60), (90, 30), (30, 90)])
@pytest.mark.parametrize("count", [1, 2, 5, 16, 17])
def test_every_picture_is_whole_and_the_sheet_not_much_larger(shape, count):
    sheet = gallery(pictures(*shape, count), 90)
    scale = 90 / max(shape)
    drawn = round(shape[0] * scale) * round(shape[1] * scale)
    assert sheet.dtype == np.uint8
    assert red(sheet) == count * drawn
    if count == 16:
        assert red(sheet) > 0.3 * sheet.shape[0] * sheet.shape[1]
        assert 0.4 < sheet.shape[0] / sheet.shape[1] < 2.5


def test_rows_of_landscape_pictures_are_no_higher_than_they_need():
    flat, square = (gallery(p, 90, 2) for p in (pictures(30, 90, 4), pictures(90, 90, 4)))
    assert square.shape[0] - flat.shape[0] == 2 * (90 - 30)


def test_a_long_title_is_cut_and_never_runs_into_its_neighbour():
    long = gallery(pictures(90, 30, 1, "word " * 60) + pictures(90, 30, 1, ""), 90, 2)
    alone = gallery(pictures(90, 30, 2, ""), 90, 2)
    assert red(long) == red(alone) == 2 * 90 * 30
    half = long.shape[1] // 2
    assert (long[:50, :half] < 128).any()
    assert (long[:50, half + 4 :] == 255).all()
