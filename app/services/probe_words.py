"""What the counterfactual probe says: fills, the effect in a sentence, and its cautions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.records import Grade, Prediction

FILLS: Mapping[str, tuple[str, str]] = {
    "inpainting": (
        "Inpainting",
        "The surroundings are continued smoothly into the region. The filling has no texture, "
        "which the model may notice.",
    ),
    "blur": (
        "Blur",
        "The region loses its detail but keeps its overall brightness, so a large bright lesion "
        "may still show through.",
    ),
    "mean": (
        "Mean",
        "The region takes the average value of the image. Its sharp edge can itself look like "
        "a finding.",
    ),
    "black": (
        "Black",
        "The region is blacked out. Real images hardly ever hold such a patch, so the model may "
        "answer to the patch rather than to what is missing.",
    ),
}
"""Ways of filling the removed region: name to title and one plain sentence."""

CAUTION = (
    "A filled picture may be unlike anything the model was trained on, so part of a change can "
    "come from the filling itself. Try another way of filling, and the same shape on healthy "
    "tissue, before you rely on it."
)


def share_text(share: float) -> str:
    """A share of the image, 0 to 1, as a percentage with a sensible number of digits."""
    if share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def effect_text(target: str, before: float, after: float, share: float, title: str) -> str:
    """What the removal did to the probability of the target.

    Args:
        target: Class. before, after: Its probability, 0 to 1. share: Part of the image removed.
        title: Name of the image, such as "Mammogram".
    """
    start = f"Without the marked region ({share_text(share)} of the {title.lower()})"
    first, second = f"{before:.2f}", f"{after:.2f}"
    if first == second:
        first_fine, second_fine = f"{before:.4f}", f"{after:.4f}"
        if first_fine == second_fine:
            return f"{start} the probability of {target} stays at {first}."
        return (
            f"{start} the probability of {target} hardly changes: it was {first_fine} and is now "
            f"{second_fine}."
        )
    verb = "falls" if after < before else "rises"
    return f"{start} the probability of {target} {verb} from {first} to {second}."


def turn_text(before: Prediction, after: Prediction, others: Sequence[str] = ()) -> str:
    """Whether the model would now say something else; if not, what it still reads.

    Args:
        before, after: What it says. others: Names of the unchanged images that it reads.
    """
    if before.leading != after.leading:
        return f"The model would then say {after.leading} instead of {before.leading}."
    if not others:
        return ""
    named = " and the ".join(dict.fromkeys(name.lower() for name in others))
    verb = "are" if len(others) > 1 else "is"
    return f"The model still reads the {named}, which {verb} unchanged."


def rows(before: Prediction, after: Prediction, target: str) -> list[dict[str, Any]]:
    """Probability of each class before and after, as the page draws it."""
    return [
        {
            "name": name,
            "before": value,
            "after": after.probabilities[name],
            "difference": after.probabilities[name] - value,
            "target": name == target,
        }
        for name, value in before.probabilities.items()
    ]


def grade_text(grade: Grade | None) -> str:
    """A grade with its probability."""
    if grade is None:
        return "not assessed"
    return f"{grade.name} ({grade.probabilities[grade.level]:.2f})"
