"""Text association and prototypes, on toy networks whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer, UnknownName
from engine.explainers import EXPLAINERS
from engine.explainers.text_association import association, words_of_region
from engine.trace import ClassTarget, Span, Subject, Tap, Trace, capture

WORDS = ("mass", "upper", "no", "calcification")
SPANS = {
    "image": Span(0, (3, 4), "pixels"),
    "text": Span(0, (1, 4), "words", words=WORDS),
}


class Reads(nn.Module):
    """Patches read words, words read patches; word 1 belongs to patch 5."""

    def __init__(self) -> None:
        super().__init__()
        self.forth, self.back = Tap("cross"), Tap("cross")

    def forward(self, pixels: Tensor, words: Tensor) -> Tensor:
        scores = pixels @ words.transpose(1, 2)
        read = self.forth(scores.softmax(-1)[:, None], "image", "text")[:, 0] @ words
        told = (
            self.back(scores.transpose(1, 2).softmax(-1)[:, None], "text", "image")[:, 0] @ pixels
        )
        score = (read * pixels).sum((1, 2)) + (told * words).sum((1, 2))
        return torch.stack((score, -score), 1)


def traced(words: bool = True) -> Trace:
    pixels = torch.zeros(1, 12, 6)
    pixels[0, 5, 2] = 3.0
    text = torch.eye(4, 6)[None] * 0.1
    text[0, 1, 2] = 3.0
    network = Reads()
    spans = SPANS if words else {"image": SPANS["image"]}
    trace, _ = capture(
        Subject(network, lambda inputs: network(**inputs), spans),
        {"pixels": pixels, "words": text},
        ClassTarget(torch.tensor([0])),
        kinds=frozenset({"cross"}),
    )
    return trace


def test_a_word_lights_its_region():
    run = EXPLAINERS["text_association"].run
    for word in (None, 1):
        grid = run(traced(), word=word)["image"][0]
        assert grid.shape == (3, 4)
        assert int(grid.argmax()) == 5
    assert set(run(traced(), word=1)) == {"image"}


def test_a_region_names_its_word():
    region = torch.zeros(1, 3, 4, dtype=torch.bool)
    region[0, 1, 1] = True
    shares = words_of_region(traced(), "image", region)
    assert shares.shape == (1, 4)
    assert WORDS[int(shares.argmax())] == "upper"
    assert float(shares.sum()) == pytest.approx(1.0)


def test_both_directions_of_attention_count():
    trace = traced()
    matrix = association(trace, "image")
    naive = np.zeros((12, 4))
    for reading in trace.readings:
        layer = (reading.values * reading.gradients).clamp_min(0).mean(1)[0].numpy()
        naive += layer if reading.stream == "image" else layer.T
    assert np.allclose(matrix[0].numpy(), naive)


def test_a_case_without_text_and_a_word_that_is_not_there():
    with pytest.raises(UnknownName, match="4 words"):
        EXPLAINERS["text_association"].run(traced(), word=4)
    with pytest.raises(IncompatibleExplainer, match="no text"):
        EXPLAINERS["text_association"].run(traced(words=False), word=None)


class Parts(nn.Module):
    """A prototype head: similarity to three parts, pooled by the maximum, then weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Parameter(torch.eye(3, 4))
        self.weights = nn.Parameter(torch.tensor([[2.0, -1.0, 0.0], [0.0, 1.0, 0.0]]))
        self.tap = Tap("prototypes")

    def forward(self, pixels: Tensor) -> Tensor:
        similar = self.tap(F.conv2d(pixels, self.parts[:, :, None, None]), "image")
        return similar.amax((2, 3)) @ self.weights.T


def parts_trace(target: int) -> Trace:
    pixels = torch.zeros(1, 4, 3, 4)
    pixels[0, 0, 0, 1], pixels[0, 1, 2, 2] = 1.0, 1.0
    network = Parts()
    trace, _ = capture(
        Subject(network, lambda inputs: network(**inputs), {"image": Span(0, (3, 4), "pixels")}),
        {"pixels": pixels},
        ClassTarget(torch.tensor([target])),
        kinds=frozenset({"prototypes"}),
    )
    return trace


@pytest.mark.parametrize(("target", "place"), [(0, 1), (1, 10)])
def test_the_part_that_raises_the_class_is_shown(target, place):
    grid = EXPLAINERS["prototypes"].run(parts_trace(target), prototype=None)["image"][0]
    assert int(grid.argmax()) == place
    assert float(grid.max()) == pytest.approx([2.0, 1.0][target])


def test_one_prototype_is_shown_as_it_is():
    run = EXPLAINERS["prototypes"].run
    assert int(run(parts_trace(0), prototype=1)["image"][0].argmax()) == 10
    with pytest.raises(UnknownName, match="3 prototypes"):
        run(parts_trace(0), prototype=3)
