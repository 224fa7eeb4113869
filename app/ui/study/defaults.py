"""What the designer offers: a first draft, ready forms, kinds of conditions, items of GRRAS."""

from __future__ import annotations

import secrets
from typing import Any

from app.ui.kit import plain
from engine.study.forms import FORMS
from engine.study.records import Arm, ArmKind, Decoy, Protocol

DECOYS = (
    (Decoy.RANDOM, "Decoy: smooth random map"),
    (Decoy.OTHER_CLASS, "Decoy: map of another class"),
    (Decoy.EDGES, "Decoy: edges of the image"),
    (Decoy.CENTRE, "Decoy: blob in the centre"),
)
GRRAS = (
    ("1", "Title", "Say in the title that reliability or agreement was studied."),
    ("2", "Instrument", "What is measured, and with what: the scale, its points and anchors."),
    ("3", "Subjects", "From which population the cases come."),
    ("4", "Raters", "From which population the readers come."),
    ("5", "What is known", "What is known of the agreement so far, and why this study is made."),
    ("6", "Sample size", "How the numbers of cases, readers and repeats were chosen."),
    ("7", "Sampling", "How cases and readers were selected."),
    ("8", "Rating process", "Time between readings, information available, blinding."),
    ("9", "Independence", "Whether the ratings were made independently."),
    ("10", "Statistics", "How agreement was computed; Lightbox fills in its own methods."),
    ("11", "Actual numbers", "How many readers and cases there were; filled in from the answers."),
    ("12", "Characteristics", "Experience of the readers, make-up of the cases."),
    ("13", "Estimates", "Estimates with uncertainty; filled in from the answers."),
    ("14", "Practical relevance", "What the results mean in practice."),
    ("15", "Detailed results", "Where the detailed results can be had."),
)
MOST_SEED = 2**31


def new_protocol(title: str) -> Protocol:
    """A draft with the four questions of the protocol, one condition, and a seed of its own."""
    return Protocol(
        title=title,
        arms=(condition(ArmKind.PREDICTION),),
        questions=FORMS["protocol"].questions,
        seed=secrets.randbelow(MOST_SEED),
    )


def condition(kind: ArmKind, method: str = "", title: str = "", decoy: Decoy | None = None) -> Arm:
    """A condition as the designer makes it; its id follows from what it shows."""
    names = {ArmKind.IMAGE: "Image only", ArmKind.PREDICTION: "Image and prediction"}
    id_ = {ArmKind.IMAGE: "image", ArmKind.PREDICTION: "prediction"}.get(kind)
    if kind is ArmKind.EXPLANATION:
        id_ = f"map_{method}"
    if decoy is not None:
        id_ = f"decoy_{decoy}"
    return Arm(str(id_), names.get(kind, title), kind, method, decoy)


def conditions(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All conditions to choose from, as plain values.

    Args:
        methods: Explanation methods, each with "id" and "title".
    """
    made = [condition(ArmKind.IMAGE), condition(ArmKind.PREDICTION)]
    made += [condition(ArmKind.EXPLANATION, each["id"], each["title"]) for each in methods]
    made += [condition(ArmKind.DECOY, title=title, decoy=kind) for kind, title in DECOYS]
    return [plain(each) for each in made]


def forms() -> list[dict[str, Any]]:
    """Ready forms with their questions, as plain values."""
    return [
        {
            "id": form.id,
            "title": form.title,
            "source": form.source,
            "questions": plain(form.questions),
        }
        for form in FORMS.values()
    ]
