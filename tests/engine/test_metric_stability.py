"""Changes of a map under changes of the image, and what maps predict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import Cancelled, ShapeMismatch
from engine.metrics.stability import (
    infidelity,
    infidelity_score,
    max_sensitivity,
    moved,
    noise_ball,
    scaled_intensities,
    shift_sensitivity,
    stability_scores,
)
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


def oracle_cnn(stored: dict[str, np.ndarray]) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = []
    for i, (inner, outer, stride) in enumerate(((3, 8, 1), (8, 16, 1), (16, 16, 2)), start=1):
        layers.append((f"conv{i}", nn.Conv2d(inner, outer, 3, stride=stride, padding=1)))
        layers.append((f"bn{i}", nn.BatchNorm2d(outer)))
        layers.append((f"relu{i}", nn.ReLU()))
        if i == 1:
            layers.append(("pool1", nn.MaxPool2d(2)))
    layers += [
        ("gap", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(16, 5)),
    ]
    network = nn.Sequential(OrderedDict(layers))
    network.load_state_dict(
        {k[2:]: torch.from_numpy(v) for k, v in stored.items() if k.startswith("w/")}
    )
    return network.eval()


@pytest.fixture(scope="module")
def cnn(oracle: Oracle) -> nn.Sequential:
    return oracle_cnn(oracle("cnn"))


def gradient_of(network: nn.Module, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The magnitude of the gradient of the target's logit."""

    def explain(images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            chosen = network(leaf).gather(1, target[:, None]).sum()
            return torch.autograd.grad(chosen, leaf)[0].abs()

    return explain


def picture(seed: int = 0, size: int = 24) -> Tensor:
    return torch.rand((1, 1, size, size), generator=torch.Generator().manual_seed(seed)).double()


def test_sensitivity_matches_the_references(oracle: Oracle, cnn: nn.Sequential) -> None:
    stored, model = oracle("metrics"), oracle("cnn")
    image, target = torch.from_numpy(model["x"]), torch.from_numpy(model["target"])
    explain = gradient_of(cnn, target)
    np.testing.assert_allclose(explain(image), stored["sens_reference_expl"], rtol=1e-4, atol=1e-7)

    noise = torch.from_numpy(stored["sens_noise"])
    with torch.no_grad():
        got = max_sensitivity(explain, image, (image + change for change in noise)).numpy()

    np.testing.assert_allclose(got, stored["f64_captum_sensitivity_max_rel"], rtol=1e-4)
    np.testing.assert_allclose(got, stored["f64_quantus_max_sensitivity"], rtol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_matches_the_reference(oracle: Oracle, cnn: nn.Sequential, scaled: bool) -> None:
    stored, model = oracle("metrics"), oracle("cnn")
    image, target = torch.from_numpy(model["x"]), torch.from_numpy(model["target"])
    got = infidelity(
        lambda x: cnn(x).gather(1, target[:, None])[:, 0],
        torch.from_numpy(stored["infid_attr_gradient"]),
        image,
        torch.from_numpy(stored["sens_noise"]),
        optimal_scale=scaled,
    )
    expected = stored[f"f64_captum_infidelity_norm{int(scaled)}"]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-3)


@pytest.mark.parametrize("scaled", [False, True])
def test_twins_agree(scaled: bool) -> None:
    image, weights = picture(0, 5), picture(1, 5)
    noise = [picture(seed, 5) - 0.5 for seed in range(2, 6)]

    def score(x: Tensor) -> Tensor:
        return torch.tanh((weights * x).flatten(1).sum(1))

    def explain(x: Tensor) -> Tensor:
        return weights * x**2

    got = infidelity(score, explain(image), image, noise, optimal_scale=scaled)
    expected = naive.infidelity(
        lambda x: float(score(torch.from_numpy(x))),
        explain(image).numpy(),
        image.numpy(),
        [change.numpy() for change in noise],
        scaled,
    )
    assert float(got) == pytest.approx(expected)
    others = [image + change for change in noise]
    change = naive.max_sensitivity(
        lambda x: explain(torch.from_numpy(x)).numpy(), image.numpy(), [o.numpy() for o in others]
    )
    assert float(max_sensitivity(explain, image, others)) == pytest.approx(change)


def test_a_linear_model_is_predicted_exactly_by_its_gradient() -> None:
    image, weights = picture(0), picture(1)
    noise = [picture(seed) for seed in range(2, 5)]

    def score(x: Tensor) -> Tensor:
        return (weights * x).flatten(1).sum(1)

    assert float(infidelity(score, weights, image, noise)) == pytest.approx(0.0, abs=1e-18)
    assert float(infidelity(score, 7 * weights, image, noise)) > 1.0
    scaled = infidelity(score, 7 * weights, image, noise, optimal_scale=True)
    assert float(scaled) == pytest.approx(0.0, abs=1e-18)
    blank = infidelity(score, 0 * weights, image, noise, optimal_scale=True)
    assert float(blank) == pytest.approx(float(infidelity(score, 0 * weights, image, noise)))
    exact = infidelity_score(score, 7 * weights, image, noise)
    assert exact.value == pytest.approx(0.0, abs=1e-18) and exact.n == 3
    assert exact.chance == pytest.approx(float(blank)) and exact.chance > 1.0
    with pytest.raises(ShapeMismatch, match="No change"):
        infidelity(score, weights, image, [])


def test_noise_stays_in_its_ball_and_follows_the_seed() -> None:
    image = picture()
    drawn = list(noise_ball(image, 0.02, 3, seed=4))
    for other in drawn:
        assert float((other - image).abs().max()) <= 0.02
    assert float((drawn[0] - image).abs().max()) > 0.019
    assert not torch.equal(drawn[0], drawn[1])
    assert all(map(torch.equal, drawn, noise_ball(image, 0.02, 3, seed=4)))
    assert not torch.equal(drawn[0], next(noise_ball(image, 0.02, 3, seed=5)))


def test_brightness_keeps_black() -> None:
    image = torch.tensor([-2.0, 0.0, 4.0]).view(1, 1, 1, 3)
    (brighter,) = scaled_intensities(image, [1.5], black=-2.0)
    assert brighter.flatten().tolist() == [-2.0, 1.0, 7.0]


def test_moving_repeats_the_edge() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    assert moved(image, 0, 1).flatten().tolist() == [0, 0, 1, 3, 3, 4]
    assert moved(image, -1, 0).flatten().tolist() == [3, 4, 5, 3, 4, 5]


def test_a_method_that_follows_the_image_does_not_change_under_shifts() -> None:
    image = picture()
    assert float(shift_sensitivity(lambda x: x[:, 0] ** 2, image)) == 0.0
    frame = torch.arange(24.0).expand(1, 24, 24)
    fixed = shift_sensitivity(lambda x: frame, image, [(0, 1)])
    expected = (23 * 24) ** 0.5 / float(frame[..., :-1].norm())
    assert float(fixed) == pytest.approx(expected, rel=1e-6)
    assert float(shift_sensitivity(lambda x: frame, image, [(3, 0)])) == 0.0


def test_shifts_that_leave_nothing_are_refused() -> None:
    image = picture()
    with pytest.raises(ShapeMismatch, match="more than its own size"):
        shift_sensitivity(lambda x: x[:, 0], image, [(24, 0)])
    with pytest.raises(ShapeMismatch, match="differ in size"):
        shift_sensitivity(lambda x: x[:, 0, ::2], image)


def test_the_scale_of_a_method_does_not_matter() -> None:
    image, others = picture(), [picture(1), picture(2)]
    small = max_sensitivity(lambda x: x.cos(), image, others)
    large = max_sensitivity(lambda x: 1e6 * x.cos(), image, others)
    torch.testing.assert_close(small, large)


def test_images_of_a_batch_do_not_mix() -> None:
    batch = torch.cat([picture(0), picture(1)])
    other = torch.cat([picture(2), picture(3)])
    together = max_sensitivity(torch.sin, batch, [other])
    for i in range(2):
        alone = max_sensitivity(torch.sin, batch[i : i + 1], [other[i : i + 1]])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_scores_say_what_they_depend_on_and_how_far_they_are() -> None:
    seen: list[tuple[int, int]] = []
    progress = Progress(lambda done, expected: seen.append((done, expected)))
    noise, shift, light = stability_scores(
        lambda x: x[:, 0] ** 2, picture(), radius=0.1, draws=4, progress=progress
    )
    assert seen[-1] == (17, 17) and len(seen) == 17
    assert (noise.metric, noise.n) == ("noise_sensitivity", 4) and "0.1" in noise.note
    assert shift.value == 0.0 and "2 pixels" in shift.note
    assert light.value == pytest.approx(1.1**2 - 1, rel=1e-6)
    assert {score.better for score in (noise, shift, light)} == {"lower"}


def test_a_map_of_zeros_has_no_score() -> None:
    scores = stability_scores(lambda x: 0 * x[:, 0], picture(), draws=2)
    assert [score.value for score in scores] == [None] * 3
    assert all("zero everywhere" in score.note for score in scores)


def test_a_watcher_can_stop_it() -> None:
    def stop(done: int, expected: int) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        stability_scores(lambda x: x[:, 0], picture(), progress=Progress(stop))
