"""The four questions of the reader protocol, with anchored 1 to 5 scales."""

from __future__ import annotations

from engine.records import Question

QUESTIONS: tuple[Question, ...] = (
    Question(
        "lesion_match",
        "Does the attention match the lesion?",
        (
            "The hottest area lies outside the lesion and the lesion is cold",
            "Mostly outside the lesion",
            "Partly covers the lesion, or has equal hot spots elsewhere",
            "Covers most of the lesion with little spill",
            "The hottest area is inside the lesion and nothing else compares",
        ),
    ),
    Question(
        "helps_understanding",
        "Does the heat map help to understand the decision?",
        (
            "It misleads",
            "It does not help",
            "It helps a little",
            "It helps",
            "It makes the decision clear",
        ),
    ),
    Question(
        "association",
        "Is the association of label and region reasonable?",
        (
            "Contradicts what I see",
            "Doubtful",
            "Possible",
            "Reasonable",
            "Exactly what I would name there",
        ),
    ),
    Question(
        "trust",
        "How far do you trust this result overall?",
        (
            "Not at all",
            "Little",
            "Somewhat",
            "Largely",
            "Fully",
        ),
    ),
)
