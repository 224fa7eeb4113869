"""Deletion, insertion, sufficiency, comprehensiveness and the effect of a region."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from engine.errors import Cancelled, EmptyMask, EngineError, ShapeMismatch
from engine.metrics.baselines import blur_kernel, inpainted
from engine.metrics.faithfulness import deletion, erasure, insertion, region_effect
from engine.metrics.perturbation import curve, perturbation_curve
from engine.progress import Progress
from tests.naive import metrics_faithfulness as naive

Oracle = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny arrays lose more than they gain by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vit(oracle: Oracle) -> VisionTransformer:
    stored = oracle("vit_model")
    network = VisionTransformer(**json.loads(str(stored["config"])))
    weights = {k[2:]: torch.from_numpy(v) for k, v in stored.items() if k.startswith("w/")}
    network.load_state_dict(weights)
    return network.eval()


def sigmoid_of(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A model whose logit is linear in the pixels."""
    return lambda images: torch.sigmoid((images * weights).flatten(1).sum(1))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("step", [64, 517])
@pytest.mark.parametrize("kind", ["del", "ins"])
@pytest.mark.parametrize("sample", [0, 1])
def test_curves_match_the_reference(
    oracle: Oracle, vit: VisionTransformer, step: int, kind: str, sample: int
) -> None:
    stored = oracle("metrics")
    image = torch.from_numpy(oracle("vit_model")["x"][sample])
    heat = torch.from_numpy(stored["delins_saliency"][sample])
    kernel = torch.from_numpy(stored["blur_kernel_11_5"]).expand(3, 1, 11, 11)
    blur = F.conv2d(image[None], kernel, padding=5, groups=3)[0]
    start, end = (image, torch.zeros_like(image)) if kind == "del" else (blur, image)

    result = perturbation_curve(
        lambda x: vit(x).softmax(1)[:, int(stored["delins_top1"][sample])],
        start,
        end,
        heat,
        step_pixels=step,
        portion=24,
    )

    expected = stored[f"{kind}_step{step}_scores"][sample]
    assert result.scores.shape == expected.shape == (-(-4096 // step) + 1,)
    np.testing.assert_allclose(result.scores, expected, atol=1e-4)
    assert result.auc == pytest.approx(stored[f"f64_{kind}_step{step}_auc"][sample], abs=1e-4)
    assert result.fractions[0] == 0.0 and result.fractions[-1] == 1.0


def test_blur_kernel_is_that_of_the_reference(oracle: Oracle) -> None:
    np.testing.assert_allclose(
        blur_kernel(11, 5.0).numpy(), oracle("metrics")["blur_kernel_11_5"], atol=1e-8
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 6),
    st.integers(2, 6),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 99),
    st.integers(2, 5),
)
def test_curve_matches_its_twin_even_with_ties(
    height: int, width: int, step: int, portion: int, seed: int, levels: int
) -> None:
    start, end, weights = drawn(seed, 3, 2, height, width).unbind(0)
    heat = (drawn(seed + 1, height, width) * levels).round()
    model = sigmoid_of(weights)

    result = perturbation_curve(model, start, end, heat, step_pixels=step, portion=portion)
    scores, area = naive.perturbation_curve(
        lambda x: float(model(torch.from_numpy(x)[None])),
        start.numpy(),
        end.numpy(),
        heat.numpy(),
        step,
    )

    np.testing.assert_allclose(result.scores, scores, atol=1e-12)
    assert result.auc == pytest.approx(area, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 7), st.integers(3, 7), st.integers(0, 99))
def test_erasure_matches_its_twin(height: int, width: int, seed: int) -> None:
    image, baseline, weights = drawn(seed, 3, 2, height, width).unbind(0)
    heat = drawn(seed + 1, height, width)
    model = sigmoid_of(weights)
    shares = (0.05, 0.1, 0.2, 0.5)

    sufficiency, comprehensiveness = erasure(model, image, heat, baseline, shares=shares, portion=4)
    expected = naive.erasure(
        lambda x: float(model(torch.from_numpy(x)[None])),
        image.numpy(),
        baseline.numpy(),
        heat.numpy(),
        shares,
    )

    assert sufficiency.value == pytest.approx(expected[0], abs=1e-12)
    assert comprehensiveness.value == pytest.approx(expected[1], abs=1e-12)
    assert sufficiency.n == comprehensiveness.n == 9
    assert (sufficiency.better, comprehensiveness.better) == ("lower", "higher")


def test_no_image_is_asked_for_twice_and_none_beyond_the_portion() -> None:
    sizes: list[int] = []
    seen: set[bytes] = set()

    def model(images: Tensor) -> Tensor:
        sizes.append(len(images))
        seen.update(image.numpy().tobytes() for image in images)
        return images.mean((1, 2, 3))

    watched: list[tuple[int, int]] = []
    image, baseline = drawn(0, 1, 9, 11), drawn(1, 1, 9, 11)
    progress = Progress(lambda done, expected: watched.append((done, expected)))
    perturbation_curve(
        model, image, baseline, drawn(2, 9, 11), step_pixels=5, portion=8, progress=progress
    )

    assert sizes == [8, 8, 5]
    assert len(seen) == 21
    assert watched == [(8, 21), (16, 21), (21, 21)]


def test_a_watcher_can_stop_a_curve() -> None:
    def stop(done: int, expected: int) -> None:
        raise Cancelled("Stopped.")

    image = drawn(0, 1, 8, 8)
    with pytest.raises(Cancelled):
        perturbation_curve(
            lambda x: x.sum((1, 2, 3)), image, image, image[0], progress=Progress(stop)
        )


def test_a_true_map_beats_chance_and_its_opposite() -> None:
    weights = torch.zeros(1, 28, 28, dtype=torch.float64)
    weights[0, 8:14, 10:16] = 0.2
    image, baseline = torch.ones_like(weights), torch.zeros_like(weights)
    model = sigmoid_of(weights)

    good, _ = deletion(model, image, weights[0], baseline, steps=40, chance_draws=5)
    bad, _ = deletion(model, image, -weights[0], baseline, steps=40)
    uncovered, whole = insertion(model, image, weights[0], baseline, steps=40, chance_draws=5)

    assert good.value is not None and good.chance is not None and bad.value is not None
    assert good.value < good.chance < bad.value
    assert uncovered.value is not None and uncovered.chance is not None
    assert uncovered.value > uncovered.chance
    assert "5 random orders" in good.note and good.n == 41
    assert whole.scores[0] == pytest.approx(0.5) and whole.scores[-1] > 0.99
    assert bad.chance is None


def test_chance_depends_on_the_seed_alone() -> None:
    image, weights = drawn(0, 1, 20, 20), drawn(1, 1, 20, 20)
    options = {"steps": 10, "chance_draws": 2}
    fill = torch.zeros_like(image)
    first, _ = deletion(sigmoid_of(weights), image, weights[0], fill, seed=3, **options)
    again, _ = deletion(sigmoid_of(weights), image, weights[0], fill, seed=3, **options)
    other, _ = deletion(sigmoid_of(weights), image, weights[0], fill, seed=4, **options)
    assert first == again
    assert first.chance != other.chance and first.value == other.value


def test_the_number_of_steps_is_kept_where_it_divides_not() -> None:
    image = drawn(0, 1, 10, 10)
    result = perturbation_curve(lambda x: x.sum((1, 2, 3)), image, image, image[0], steps=7)
    assert result.step_pixels == 15 and len(result.scores) == 8
    assert result.fractions[-2] == pytest.approx(0.9)


def test_a_curve_may_inpaint_what_is_missing() -> None:
    image = torch.linspace(0, 1, 16).expand(1, 16, 16)
    seen: list[Tensor] = []

    def model(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return images.mean((1, 2, 3))

    curve("deletion", model, image, image[0], inpainted, steps=8, portion=3)
    deleted = torch.cat(seen)
    assert len(deleted) == 9 and torch.equal(deleted[0], image)
    torch.testing.assert_close(deleted[-1], torch.full_like(image, 0.5))
    seen.clear()
    curve("insertion", model, image, image[0], inpainted, steps=8, portion=3)
    torch.testing.assert_close(torch.cat(seen)[0], deleted[-1])
    assert torch.equal(torch.cat(seen)[-1], image)


def test_the_effect_of_a_region_is_exact_for_a_known_model() -> None:
    image = torch.ones(1, 10, 10, dtype=torch.float64)
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[2:4, 3:8] = True

    def model(images: Tensor) -> Tensor:
        return images[:, 0][:, mask].sum(1) / 20

    score = region_effect(model, image, mask, torch.zeros_like(image), chance_draws=20)
    assert score.value == pytest.approx(-0.5)
    assert score.chance is not None and -0.3 < score.chance < 0.0
    assert score.n == 22 and "10.0% of the image" in score.note


def test_a_model_that_ignores_the_image_shows_no_effect() -> None:
    image, heat = drawn(0, 2, 8, 8), drawn(1, 8, 8)

    def model(images: Tensor) -> Tensor:
        return torch.full((len(images),), 0.25, dtype=torch.float64)

    fill = torch.zeros_like(image)
    assert deletion(model, image, heat, fill)[0].value == 0.25
    assert [score.value for score in erasure(model, image, heat, fill)] == [0.0, 0.0]
    assert region_effect(model, image, heat > 0, fill).value == 0.0


def test_what_has_no_meaning_is_refused() -> None:
    image, heat = torch.zeros(1, 8, 8), torch.zeros(8, 8)

    def model(images: Tensor) -> Tensor:
        return images.sum((1, 2, 3))

    with pytest.raises(EmptyMask, match="no pixel"):
        region_effect(model, image, heat > 0, image)
    with pytest.raises(ShapeMismatch, match="region"):
        region_effect(model, image, torch.ones(4, 4) > 0, image)
    with pytest.raises(ShapeMismatch, match="heat map"):
        deletion(model, image, torch.zeros(4, 4), image)
    with pytest.raises(ShapeMismatch, match="replaces"):
        perturbation_curve(model, image, torch.zeros(1, 4, 4), heat)
    with pytest.raises(EngineError, match="not numbers"):
        deletion(model, image, heat * float("nan"), image)


def test_the_model_is_asked_without_gradient() -> None:
    parameter = torch.ones(1, requires_grad=True)

    def model(images: Tensor) -> Tensor:
        answer = (images * parameter).sum((1, 2, 3))
        assert not answer.requires_grad
        return answer

    image = torch.ones(1, 4, 4)
    assert deletion(model, image, image[0], torch.zeros_like(image))[0].value == pytest.approx(8.0)
