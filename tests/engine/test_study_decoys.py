"""Decoys look like maps, and depend on the image only where they should."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeMismatch
from engine.study.decoys import decoy_map
from engine.study.records import Decoy, InvalidProtocol

DRAWN = (Decoy.RANDOM, Decoy.EDGES, Decoy.CENTRE)


def square(height: int = 60, width: int = 90) -> NDArray[np.float32]:
    """A bright rectangle on a dark ground."""
    image = np.full((height, width), -50.0, np.float32)
    image[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 700
    return image


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("shape", [(60, 90), (60, 90, 3), (1, 1), (2, 300), (700, 400)])
def test_a_decoy_fits_its_image(kind: Decoy, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape)
    drawn = decoy_map(kind, image, 1)
    assert drawn.shape == shape[:2] and drawn.dtype == np.float32
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.max() > 0.5 or min(shape[:2]) <= 2


def test_a_random_field_is_smooth_and_comes_from_its_seed_alone() -> None:
    one = decoy_map(Decoy.RANDOM, square(), 1)
    assert np.array_equal(one, decoy_map(Decoy.RANDOM, square() * -3, 1))
    assert not np.array_equal(one, decoy_map(Decoy.RANDOM, square(), 2))
    assert np.abs(np.diff(one, axis=1)).max() < 0.2
    assert one.max() - one.min() > 0.9


def test_edges_are_hot_at_the_border_of_a_shape_only() -> None:
    edges = decoy_map(Decoy.EDGES, square(), 0)
    assert edges[30, 30] > 0.5 and edges[20, 45] > 0.5
    assert edges[30, 45] < 0.05 and edges[5, 5] < 0.05
    assert np.array_equal(edges, decoy_map(Decoy.EDGES, square(), 9))


@pytest.mark.parametrize("level", [0.0, 0.3, 1000.0])
def test_an_even_image_has_no_edge(level: float) -> None:
    assert not decoy_map(Decoy.EDGES, np.full((40, 50), level), 0).any()


def test_the_blob_is_in_the_centre() -> None:
    blob = decoy_map(Decoy.CENTRE, square(61, 91), 0)
    assert np.unravel_index(blob.argmax(), blob.shape) == (30, 45)
    assert np.allclose(blob, blob[::-1]) and np.allclose(blob, blob[:, ::-1])
    assert blob[0, 0] < 0.1


def test_what_is_no_number_does_no_harm() -> None:
    image = square()
    image[0, :3] = np.nan, np.inf, -np.inf
    for kind in DRAWN:
        assert np.isfinite(decoy_map(kind, image, 0)).all()


def test_a_map_of_another_class_is_not_drawn() -> None:
    with pytest.raises(InvalidProtocol, match="made by an explanation method"):
        decoy_map(Decoy.OTHER_CLASS, square(), 0)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (0, 5), (5, 0)])
def test_anything_but_one_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match="one image"):
        decoy_map(Decoy.CENTRE, np.zeros(shape), 0)
