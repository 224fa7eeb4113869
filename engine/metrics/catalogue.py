"""The registry of what is measured about explanations, in words that a clinician reads.

It describes; the numbers come from the plain functions of the sibling modules. Nothing here
imports torch, so that a page can read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.registry import Registry

Family = Literal["faithfulness", "localisation", "stability", "complexity", "agreement"]
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """One thing that can be measured about a map.

    Args:
        name: Registry name.
        title: Name for people.
        family: What kind of evidence it is.
        better: Which direction is better; "neither" for a mere description.
        unit: Unit in words.
        summary: One plain sentence: what the number is.
        limits: One plain sentence: what it cannot say.
    """

    name: str
    title: str
    family: Family
    better: Better
    unit: str
    summary: str
    limits: str


METRICS: Registry[Metric] = Registry("metric")

MOOT = "these numbers can hardly tell maps apart"
"""Said in the note of a faithfulness score where replacing the whole image hardly changes the
answer: the model decides by something else, or is not moved by what it sees."""


def _describe(
    family: Family, name: str, title: str, better: Better, unit: str, summary: str, limits: str
) -> None:
    METRICS.add(name, Metric(name, title, family, better, unit, summary, limits))


_describe(
    "faithfulness",
    "deletion",
    "Deletion",
    "lower",
    "mean probability along the curve",
    "How fast the model loses its answer when the hottest pixels are erased first.",
    "Erased images look unlike any scan, so part of the fall is the model's surprise.",
)
_describe(
    "faithfulness",
    "insertion",
    "Insertion",
    "higher",
    "mean probability along the curve",
    "How fast the model finds its answer when the hottest pixels are uncovered first.",
    "It depends on what covers the image; compare only numbers of the same cover and step.",
)
_describe(
    "faithfulness",
    "comprehensiveness",
    "Comprehensiveness",
    "higher",
    "change of probability",
    "How much the probability falls when the hottest areas are erased.",
    "A model that finds the same evidence in two places may hardly change.",
)
_describe(
    "faithfulness",
    "sufficiency",
    "Sufficiency",
    "lower",
    "change of probability",
    "How much the probability falls when only the hottest areas are kept.",
    "An image reduced to a few areas is unlike what the model was trained on.",
)
_describe(
    "faithfulness",
    "region_effect",
    "Effect of the region",
    "neither",
    "change of probability",
    "How the probability changes when a region is removed; below zero, the region spoke for it.",
    "It says what this model uses, not whether the region is disease.",
)
_describe(
    "faithfulness",
    "infidelity",
    "Infidelity",
    "lower",
    "squared difference of the score",
    "How far the map is from predicting what small changes of the image do to the score.",
    "It suits signed pixel maps; coarse maps without a scale need the optimal scaling.",
)
_describe(
    "localisation",
    "pointing_game",
    "Pointing game",
    "higher",
    "hit (1) or miss (0)",
    "Whether the hottest point lies on the annotated lesion, or within the tolerance of it.",
    "One point says nothing about the rest of the map.",
)
_describe(
    "localisation",
    "energy_pointing_game",
    "Energy-based pointing game",
    "higher",
    "share of the heat",
    "Which share of the heat lies inside the annotated lesion.",
    "Large lesions collect more heat by chance; read it beside the chance level.",
)
_describe(
    "localisation",
    "energy_ratio",
    "Heat in the lesion, times chance",
    "higher",
    "times the chance level",
    "How many times more heat the lesion holds than an even map would put there.",
    "The largest possible ratio depends on the size of the lesion.",
)
_describe(
    "localisation",
    "attention_lesion_overlap",
    "Attention-lesion overlap (design)",
    "higher",
    "mean heat in the lesion, 0 to 1",
    "Mean heat inside the lesion, the map being scaled from 0 to 1: the formula of the design.",
    "In spite of its name it is no overlap: a map that is hot everywhere scores high.",
)
_describe(
    "localisation",
    "equal_area_iou",
    "Overlap at equal area",
    "higher",
    "intersection over union",
    "Overlap between the lesion and the hottest area of the same size.",
    "The threshold is set by the answer, so it is no measure of detection.",
)
_describe(
    "localisation",
    "relevance_rank_accuracy",
    "Relevance rank accuracy",
    "higher",
    "share of the hottest pixels",
    "Which share of the hottest pixels, as many as the lesion has, lie on the lesion.",
    "The threshold is set by the answer, so it is no measure of detection.",
)
_describe(
    "localisation",
    "roc_auc",
    "Separation of lesion from rest",
    "higher",
    "area under the curve",
    "How often a lesion pixel is hotter than a pixel outside.",
    "With a small lesion it is high even when most of the heat lies elsewhere.",
)
_describe(
    "localisation",
    "topk_intersection",
    "Hottest pixels on the lesion",
    "higher",
    "share of the hottest pixels",
    "Which share of a fixed number of hottest pixels lies on the lesion.",
    "A lesion smaller than that number can never reach 1.",
)
_describe(
    "stability",
    "noise_sensitivity",
    "Change under noise",
    "lower",
    "relative change of the map",
    "The largest change of the map when noise too faint to matter is added to the image.",
    "A map that never changes is stable, and may still be wrong.",
)
_describe(
    "stability",
    "shift_sensitivity",
    "Change under small shifts",
    "lower",
    "relative change of the map",
    "The largest change of the map, moved back, when the image is moved by a few pixels.",
    "Patch-based models change with the patch grid; part of the change is that.",
)
_describe(
    "stability",
    "intensity_sensitivity",
    "Change under brightness",
    "lower",
    "relative change of the map",
    "The largest change of the map when the image is made a little brighter or darker.",
    "A map that never changes is stable, and may still be wrong.",
)
_describe(
    "stability",
    "randomisation",
    "Likeness after randomising the model",
    "lower",
    "rank correlation, sign ignored",
    "How much the map still looks the same after all that the model learnt is destroyed.",
    "Passing shows that the map depends on the model, not that it is right.",
)
_describe(
    "complexity",
    "sparseness",
    "Sparseness",
    "neither",
    "Gini index, 0 to 1",
    "How concentrated the heat is: 0 is even, near 1 is a single point.",
    "Smooth enlargement makes a map less sparse; compare at one resolution.",
)
_describe(
    "complexity",
    "entropy",
    "Entropy",
    "neither",
    "nats",
    "How evenly the heat is spread over the pixels.",
    "It grows with the number of pixels; compare at one resolution.",
)
_describe(
    "complexity",
    "effective_complexity",
    "Pixels that matter",
    "neither",
    "pixels",
    "How many pixels are hotter than a small threshold.",
    "It depends on the threshold and on the scale of the map.",
)
_describe(
    "agreement",
    "rank_correlation",
    "Rank correlation of two maps",
    "neither",
    "Spearman correlation",
    "Whether two maps order the pixels alike.",
    "Methods may agree and all be wrong.",
)
_describe(
    "agreement",
    "top_overlap",
    "Shared hottest area",
    "neither",
    "intersection over union",
    "Overlap between the hottest tenth of two maps.",
    "Methods may agree and all be wrong.",
)
_describe(
    "agreement",
    "structural_similarity",
    "Structural similarity of two maps",
    "neither",
    "SSIM",
    "Whether two maps look alike in brightness, contrast and structure.",
    "It is dominated by large flat areas.",
)
_describe(
    "agreement",
    "edge_correlation",
    "Likeness of edges of two maps",
    "neither",
    "Spearman correlation of edge histograms",
    "Whether the edges of two maps run alike.",
    "It ignores how hot the areas between the edges are.",
)
