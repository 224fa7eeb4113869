"""Text association: which regions a word speaks of, and which words a region speaks of."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import IncompatibleExplainer, UnknownName
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import weighted
from engine.trace import Reading, Trace


@explainer(
    "text_association",
    title="Text association",
    summary="Regions that raise the class together with the words of the clinical text, or with "
    "one word of it.",
    limits="An association that the model has learnt, not a translation: a word and a region may "
    "go together for a wrong reason, and negations are often misread.",
    family="cross-modal",
    needs={"cross", "text"},
    settings={"word": None},
)
def run(trace: Trace, *, word: int | None) -> Maps:
    """Text-to-region association: one word's (or all words') share of each region.

    Args:
        trace: With attention between an image and a text, and gradients.
        word: Position of a word, counted from 0; all words when None.

    Raises:
        IncompatibleExplainer: The case has no text, or the model did not relate it to the image.
        UnknownName: The text has no such word.
    """
    maps: Maps = {}
    for stream in trace.images:
        matrix = association(trace, stream)
        if word is not None and not 0 <= word < matrix.shape[2]:
            raise UnknownName(f"The text has {matrix.shape[2]} words, counted from 0.")
        regions = matrix.sum(2) if word is None else matrix[:, :, word]
        maps[stream] = trace.grid(regions, stream)
    return maps


def association(trace: Trace, stream: str) -> Tensor:
    """How much each region and each word raise the class together.

    Both directions of attention count: regions that read words, and words that read regions.

    Args:
        trace: With gradients. stream: An image.

    Returns:
        (B, N, L): tokens of the image by words of the text, >= 0.

    Raises:
        IncompatibleExplainer: The model did not relate this image to a text.
    """
    text = next((name for name, span in trace.spans.items() if span.words), None)
    found = [] if text is None else [_oriented(r, stream, text) for r in trace.readings]
    layers = [layer for layer in found if layer is not None]
    if not layers:
        raise IncompatibleExplainer("The case has no text that the model related to this image.")
    return torch.stack(layers).sum(0)


def words_of_region(trace: Trace, stream: str, region: Tensor) -> Tensor:
    """Region-to-text association: each word's share within a region.

    Args:
        trace: With gradients. stream: An image.
        region: (B, h, w) bool on the grid of the stream.

    Returns:
        (B, L), sums to 1 where the region is associated with any word.
    """
    matrix = association(trace, stream)
    prefix = matrix.shape[1] - region[0].numel()
    chosen = region.flatten(1).to(matrix.dtype)
    shares = torch.einsum("bnl,bn->bl", matrix[:, prefix:], chosen)
    return shares / shares.sum(1, keepdim=True).clamp_min(1e-12)


def _oriented(reading: Reading, image: str, text: str) -> Tensor | None:
    """Abar of attention between image and text as (B, N, L); None for other readings."""
    if reading.kind != "cross":
        return None
    if (reading.stream, reading.source) == (image, text):
        return weighted(reading)
    if (reading.stream, reading.source) == (text, image):
        return weighted(reading).transpose(1, 2)
    return None
