"""The section with the measured numbers of each map, and what each number means in plain words."""

from __future__ import annotations

from reportlab.platypus import Flowable

from engine.metrics.catalogue import METRICS
from engine.records import Score
from reports.content import Report
from reports.layout import (
    NOT_ASSESSED,
    WIDTH,
    clipped,
    grid,
    header_row,
    image_name,
    method_title,
    section,
    text,
)

BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "a description"}


def numbers(report: Report) -> list[Flowable]:
    """A table per method, then the meaning of each measure."""
    parts = section("4. Explanation numbers")
    found = {name: scores for name, scores in report.scores.items() if scores}
    if not found and not report.sanity:
        words = f"Faithfulness, localisation, stability, sanity check: {NOT_ASSESSED}."
        return [*parts, text(words)]
    for name in dict.fromkeys((*found, *report.sanity)):
        parts += _method(report, name, found.get(name, ()))
    return [*parts, *_meanings(found)]


def _method(report: Report, name: str, scores: tuple[Score, ...]) -> list[Flowable]:
    made: list[Flowable] = section(method_title(name), "subheading")
    sanity = report.sanity.get(name, NOT_ASSESSED)
    made.append(text(f"Sanity check with destroyed weights: {sanity}"))
    if not scores:
        return [*made, text(f"Scores of the map: {NOT_ASSESSED}.")]
    share = WIDTH / 180
    widths = [width * share for width in (44, 20, 20, 30, 12, 54)]
    rows = [header_row("Measure", "Value", "By chance", "Reading", "n", "Unit and settings")]
    rows += [
        [
            text(_title(report, score)),
            text(value_words(score.value)),
            text("–" if score.chance is None else value_words(score.chance)),
            text(BETTER[score.better]),
            text(str(score.n)),
            text(clipped(f"{score.unit}. {score.note}".strip(), 300), "small"),
        ]
        for score in scores
    ]
    return [*made, grid(rows, widths, header=True)]


def _title(report: Report, score: Score) -> str:
    title = METRICS[score.metric].title if score.metric in METRICS else clipped(score.metric, 60)
    if score.image is None or len(report.case.images) < 2:
        return title
    return f"{title}, {image_name(report, score.image)}"


def value_words(value: float | None) -> str:
    """A score to three digits; "undefined" where there is none."""
    return "undefined" if value is None else f"{value:.3g}"


def _meanings(found: dict[str, tuple[Score, ...]]) -> list[Flowable]:
    used = dict.fromkeys(score.metric for scores in found.values() for score in scores)
    known = [METRICS[name] for name in used if name in METRICS]
    if not known:
        return []
    widths = (44 * WIDTH / 180, 68 * WIDTH / 180, 68 * WIDTH / 180)
    rows = [header_row("Measure", "What it is", "What it cannot say")]
    rows += [[text(m.title), text(m.summary), text(m.limits)] for m in known]
    return [*section("What the measures mean", "subheading"), grid(rows, widths, header=True)]
