"""What stands in the place of removed pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from engine.errors import EmptyMask, ShapeMismatch, UnknownName
from engine.metrics.baselines import (
    FILLS,
    black,
    blurred,
    constant,
    inpainted,
    mean_filled,
    named_fill,
    scaled_blur,
    without_region,
)
from tests.naive import metrics_faithfulness as naive


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny arrays lose more than they gain by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def square(height: int = 32, width: int = 40) -> torch.Tensor:
    region = torch.zeros(height, width, dtype=torch.bool)
    region[8:20, 12:28] = True
    return region


def test_blur_keeps_an_even_image_and_darkens_the_border_only_on_request() -> None:
    even = torch.full((3, 30, 20), 2.0)
    torch.testing.assert_close(blurred(even), even)
    zeroed = blurred(even, mirror=False)
    assert float(zeroed[0, 0, 0]) < 1.0
    torch.testing.assert_close(zeroed[:, 6:-6, 6:-6], even[:, 6:-6, 6:-6])


def test_blur_removes_detail_and_grows_with_the_image() -> None:
    small, large = drawn(1, 64, 64), drawn(1, 448, 448)
    assert float(blurred(small).std()) < 0.2
    torch.testing.assert_close(scaled_blur(small), blurred(small))
    assert float(scaled_blur(large).std()) < 0.6 * float(blurred(large).std())


def test_blur_of_an_image_smaller_than_its_kernel() -> None:
    assert blurred(drawn(1, 4, 4)).shape == (1, 4, 4)


def test_constants_per_channel() -> None:
    image, mean, std = drawn(3, 5, 6), torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.1, 0.5])
    dark = black(image, mean, std)
    torch.testing.assert_close(dark * std[:, None, None] + mean[:, None, None], 0 * image)
    assert torch.equal(constant(image, 1.5), torch.full_like(image, 1.5))
    torch.testing.assert_close(mean_filled(image)[:, 2, 3], image.mean((1, 2)))


@pytest.mark.parametrize("name", list(FILLS))
def test_every_fill_keeps_what_is_not_removed(name: str) -> None:
    image, region = drawn(3, 32, 40), square()
    result = without_region(image, region, named_fill(name, image, -2.0))
    assert torch.equal(result[:, ~region], image[:, ~region])
    assert not torch.isclose(result[:, region], image[:, region]).all()
    assert bool(result.isfinite().all())


def test_inpainting_is_the_membrane_of_its_twin() -> None:
    rows, columns = np.mgrid[0:32, 0:40]
    smooth = np.sin(rows / 9) + columns / 20
    image, region = torch.from_numpy(smooth)[None], square()
    result = without_region(image, region, inpainted)[0].numpy()
    exact = naive.membrane(smooth, region.numpy())
    assert np.abs(result - exact).max() < 0.05 * np.ptp(smooth)
    assert np.abs(result - exact)[region.numpy()].mean() < 0.015 * np.ptp(smooth)


def test_inpainting_takes_away_a_bright_lesion() -> None:
    image, region = torch.full((1, 32, 40), 0.3), square()
    with_lesion = torch.where(region, 1.0, image)
    torch.testing.assert_close(without_region(with_lesion, region, inpainted), image)


def test_inpainting_a_batch_is_inpainting_each() -> None:
    image = drawn(2, 17, 13)
    masks = drawn(4, 1, 17, 13) > 0.5
    together = inpainted(image, masks)
    for mask, result in zip(masks, together, strict=True):
        torch.testing.assert_close(inpainted(image, mask[None])[0], result)


def test_inpainting_everything_leaves_the_mean() -> None:
    image = drawn(2, 9, 6)
    result = inpainted(image, torch.ones(1, 1, 9, 6, dtype=torch.bool))[0]
    torch.testing.assert_close(result, mean_filled(image))


def test_what_has_no_meaning_is_refused() -> None:
    image = drawn(1, 8, 8)
    with pytest.raises(EmptyMask):
        without_region(image, torch.zeros(8, 8, dtype=torch.bool), inpainted)
    with pytest.raises(ShapeMismatch):
        without_region(image, torch.ones(4, 4, dtype=torch.bool), inpainted)
    with pytest.raises(ShapeMismatch):
        inpainted(image, torch.ones(1, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(UnknownName, match="no fill named"):
        named_fill("paint", image)
