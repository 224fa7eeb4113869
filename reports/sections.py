"""The sections in words: what was analysed, the result, ratings, limits, conclusion, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from statistics import fmean, median
from typing import Any

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Table

from engine.records import AnswerStatus, Image, Patch, Prediction, Question, Rating, Region
from engine.render import display
from reports import figures
from reports.content import LAYOUT, Report
from reports.layout import (
    NOT_ASSESSED,
    NOT_STATED,
    WIDTH,
    clipped,
    facts,
    grid,
    header_row,
    image_name,
    kind_of,
    method_title,
    percent,
    plain,
    section,
    spoken,
    table,
    text,
)

PATCH_SIDE = 22 * mm
INTERVAL = "_interval"
STUDIES = (
    "Answers given in a reader study are not printed here; the study's own report holds them, "
    "after its lock."
)
LIMITS = (
    "Heat maps show association, not cause.",
    "A plausible map does not make a prediction right.",
    "A map is no finer than its grid; smooth edges come from enlarging it.",
    "Opinions of readers about a map are not evidence that the map is true to the model.",
)


def analysed(report: Report) -> list[Flowable]:
    """Images, warnings and the clinical text as entered."""
    case = report.case
    widths = (9 * mm, 36 * mm, 33 * mm, 42 * mm, WIDTH - 120 * mm)
    rows: list[list[Flowable]] = [header_row("No.", "Image", "Size", "Pixel pitch", "Source")]
    rows += [_image_row(i, image) for i, image in enumerate(case.images)]
    found = [("Case", case.id)]
    found += [("Warning", warning) for warning in case.warnings]
    for index, image in enumerate(case.images):
        found += [(f"Warning, image {index + 1}", warning) for warning in image.warnings]
    if not case.warnings and not any(image.warnings for image in case.images):
        found.append(("Warnings", "none"))
    found.append(("Clinical text, as entered", case.note or "none"))
    found.append(("Earlier images", "none available to the system"))
    if case.truth is not None:
        source = case.truth.source or NOT_STATED
        found.append(("Reference", f"{case.truth.label} (source: {source})"))
    return [*section("1. What was analysed"), grid(rows, widths, header=True), facts(found)]


def _image_row(index: int, image: Image) -> list[Flowable]:
    size = f"{image.width} x {image.height} px, {image.bits} bit"
    size += f", {image.frames} frames" if image.frames > 1 else ""
    details = "; ".join(f"{name}: {value}" for name, value in image.facts.items())
    return [
        text(str(index + 1)),
        text(kind_of(image)),
        text(size),
        text(_pitch(image)),
        text(clipped(details, 400) or NOT_STATED),
    ]


def _pitch(image: Image) -> str:
    if image.spacing is None:
        return "no calibration"
    row, column = image.spacing.row_mm, image.spacing.column_mm
    pitch = f"{row:.4g} mm" if row == column else f"{row:.4g} x {column:.4g} mm"
    return f"{pitch} ({clipped(image.spacing.source, 60)})"


def result(report: Report) -> list[Flowable]:
    """The AI result as element and response."""
    parts = section("2. AI result")
    said = report.prediction
    if said is None:
        return [*parts, facts([("AI result", NOT_ASSESSED)])]
    best = said.leading
    rows: list[tuple[str, str | Flowable]] = [
        ("System", f"{said.model}, version {said.version}"),
        ("Most probable class", f"{best}, {percent(said.probabilities[best])}"),
        ("Class probabilities", _bars(dict(said.probabilities), best)),
    ]
    if said.grade is None:
        rows.append(("Grade", NOT_ASSESSED))
    else:
        pairs = dict(zip(said.grade.names, said.grade.probabilities, strict=True))
        rows.append(("Grade", said.grade.name))
        rows.append(("Grade probabilities", _bars(pairs, said.grade.name)))
    rows += _lesions(report, said)
    rows.append(("Uncertainty", NOT_ASSESSED))
    rows += [("Warning", warning) for warning in said.warnings]
    return [*parts, facts(rows), *_patches(report, said.patches)]


def _bars(shares: dict[str, float], best: str) -> Table:
    cells = [
        [
            text(name, "bold" if name == best else "body"),
            text(percent(share), "bold" if name == best else "body"),
            figures.ShareBar(share, 58 * mm),
        ]
        for name, share in shares.items()
    ]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 0.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
    ]
    widths = (50 * mm, 20 * mm, 62 * mm)
    return table(cells, widths, look, splitInRow=1)


def _lesions(report: Report, said: Prediction) -> list[tuple[str, str | Flowable]]:
    if not said.regions:
        return [("Lesion", NOT_ASSESSED)]
    return [
        (f"Lesion {number}", _lesion(report, region))
        for number, region in enumerate(said.regions, 1)
    ]


def _lesion(report: Report, region: Region) -> str:
    image = report.case.images[region.image]
    pitch = image.spacing
    words = [image_name(report, region.image)]
    if image.frames > 1:
        words[0] += f", frame {region.frame + 1}"
    if region.box is not None:
        box = region.box
        size = f"{box.width:.0f} x {box.height:.0f} px"
        if pitch is not None:
            size += f" = {box.width * pitch.column_mm:.1f} x {box.height * pitch.row_mm:.1f} mm"
        else:
            size += " (no calibration)"
        words.append(f"box from x {box.x:.0f}, y {box.y:.0f} px; width x height {size}")
    if region.mask is not None:
        area = int(region.mask.sum())
        size = f"area {area} px"
        if pitch is not None:
            size += f" = {area * pitch.row_mm * pitch.column_mm:.1f} mm²"
        words.append(size)
    words.append(f"score {NOT_STATED if region.score is None else percent(region.score)}")
    return "; ".join(words)


def _patches(report: Report, patches: tuple[Patch, ...]) -> list[Flowable]:
    if not patches:
        return []
    columns = 6
    cells = [_patch(report, number, patch) for number, patch in enumerate(patches, 1)]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    rows[-1] += [[]] * (columns - len(rows[-1]))
    look = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ]
    pictures = table(rows, [WIDTH / columns] * columns, look)
    return [KeepTogether([text("Most relevant patches", "subheading"), pictures])]


def _patch(report: Report, number: int, patch: Patch) -> list[Flowable]:
    image, box = report.case.images[patch.image], patch.box
    rows = slice(max(0, round(box.y)), max(1, round(box.y + box.height)))
    columns = slice(max(0, round(box.x)), max(1, round(box.x + box.width)))
    frame = report.frame(patch.image)
    pixels = display(image, frame, report.windows.get(patch.image))[rows, columns]
    words = f"{number}. {percent(patch.weight)} of the relevance\nimage {patch.image + 1}, "
    words += f"x {box.x:.0f}, y {box.y:.0f}\n{box.width:.0f} x {box.height:.0f} px"
    if not pixels.size:
        return [text(words + "\noutside the image", "small")]
    scale = PATCH_SIDE / max(pixels.shape[:2])
    size = (max(2.0, pixels.shape[1] * scale), max(2.0, pixels.shape[0] * scale))
    picture = figures.Picture(figures.printed(pixels, size), size, (), f"Patch {number}")
    picture.hAlign = "LEFT"
    return [picture, text(words, "small")]


def ratings(report: Report) -> list[Flowable]:
    """Answers of the readers, by question."""
    parts = section("5. Reader ratings")
    parts.append(text(STUDIES, "small"))
    if not report.ratings:
        return [*parts, text("No ratings yet.")]
    known = {question.id: question for question in report.questions}
    order = [*known, *(r.question for r in report.ratings if r.question not in known)]
    for name in dict.fromkeys(order):
        given = [rating for rating in report.ratings if rating.question == name]
        if given:
            parts += _question(report, known.get(name), name, given)
    return parts


def _question(
    report: Report, question: Question | None, name: str, given: list[Rating]
) -> list[Flowable]:
    widths = (26 * mm, 50 * mm, 34 * mm, WIDTH - 110 * mm)
    rows: list[list[Flowable]] = [header_row("Reader", "Answer", "Shown", "Comment")]
    rows += [_rating(report, question, rating) for rating in given]
    title = section(question.text if question else clipped(name), "subheading")
    return [*title, *_summed(question, given), grid(rows, widths, header=True)]


def _summed(question: Question | None, given: list[Rating]) -> list[Flowable]:
    """Number, distribution, median and mean, where there is more than one answer."""
    values = [r.value for r in given if r.status is AnswerStatus.ANSWERED and r.value is not None]
    if len(given) < 2:
        return []
    top = max([len(question.anchors) if question else 0, *values], default=0)
    counts = ", ".join(f"{score}: {values.count(score)}" for score in range(1, top + 1))
    readers = len({rating.reader for rating in given})
    words = f"n {len(values)}, readers {readers}, cannot judge {len(given) - len(values)}; {counts}"
    if values:
        words += f"; median {median(values):g}, mean {fmean(values):.2f}"
    return [text(words + ".", "small")]


def _rating(report: Report, question: Question | None, rating: Rating) -> list[Flowable]:
    answer = "cannot judge"
    if rating.status is AnswerStatus.ANSWERED and rating.value is not None:
        anchors = question.anchors if question else ()
        named = 1 <= rating.value <= len(anchors)
        answer = f"{rating.value}" + (f" - {anchors[rating.value - 1]}" if named else "")
    shown = f"{method_title(rating.method)}; target {clipped(rating.target, 60)}"
    said = report.prediction
    if said is not None and rating.weights_digest != said.weights_digest:
        shown += f"; other weights ({rating.weights_digest[:12]})"
    moment = rating.created.astimezone(UTC) if rating.created.tzinfo else rating.created
    given = f"{moment:%Y-%m-%d %H:%M} UTC"
    given += f", revision {rating.revision}" if rating.revision > 1 else ""
    return [
        [text(clipped(rating.reader, 80)), text(given, "small")],
        text(answer),
        text(shown),
        text(rating.comment or "no comment"),
    ]


def limits(report: Report) -> list[Flowable]:
    """What the model is for, how it was measured, and what must not be concluded."""
    parts = section("6. Model and limits")
    card = report.card
    rows: list[tuple[str, str | Flowable]] = [("Intended use", report.banner)]
    if card is None:
        rows.append(("Model card", "not available"))
    else:
        rows += [
            ("Model", f"{card.title} ({card.name}, version {card.version})"),
            ("Training data", card.training_data or NOT_STATED),
            ("Measured", _measured(card.metrics) if card.metrics else NOT_ASSESSED),
        ]
        rows += [("Known limit", limit) for limit in card.limits]
    rows += [("Heat maps", "\n".join(LIMITS))]
    return [*parts, facts(rows)]


def _measured(metrics: Mapping[str, Any]) -> str:
    """Numbers of the model card, a line for each way of testing.

    Where some state intervals, the parts that do not (single sites) are left to the card itself.
    """
    lines = []
    told = {name: value for name, value in metrics.items() if _has_bounds(value)} or metrics
    for name, value in told.items():
        group = value if isinstance(value, Mapping) else {name: value}
        words = ", ".join(
            f"{key.replace('_', ' ')} {_number(item)}{_bounds(group, key)}"
            for key, item in group.items()
            if not isinstance(item, bool) and not key.endswith(INTERVAL)
        )
        lines.append(f"{name.replace('_', ' ')}: {words}" if group is value else words)
    return "\n".join(lines)


def _has_bounds(group: object) -> bool:
    return isinstance(group, Mapping) and any(key.endswith(INTERVAL) for key in group)


def _bounds(group: Mapping[str, Any], key: str) -> str:
    """The 95 % interval of a figure, where the card states one."""
    bounds = group.get(key + INTERVAL)
    return f" (95 % {_number(bounds[0])} to {_number(bounds[1])})" if bounds else ""


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.01 else "under 0.01 s"


def conclusion() -> list[Flowable]:
    """An empty block for the reader; the system never fills it in."""
    choices = ("\u2610 agree with the AI result", "\u2610 disagree", "\u2610 changed my mind")
    lines = (choices, ("Remarks:",), ("",), ("Name, role:",), ("Date, time:",), ("Signature:",))
    look = [
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, "#555555"),
        ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ]
    cells = [[text(word) for word in (*line, *[""] * (3 - len(line)))] for line in lines]
    form = table(cells, [WIDTH / 3] * 3, look, rowHeights=[8 * mm] * len(lines))
    words = "To be filled in by a person. Categories such as BI-RADS belong to the reader."
    title = text("7. Reader's conclusion", "heading")
    return [KeepTogether([title, text(words, "small"), form])]


def provenance(report: Report) -> list[Flowable]:
    """Everything needed to trace and repeat the numbers."""
    place, said = report.provenance, report.prediction
    rows: list[tuple[str, str | Flowable]] = [
        ("Report", f"{report.id}, {report.status}"),
        ("Created", spoken(report.created)),
        ("Content digest", report.digest),
        ("Layout", f"version {LAYOUT}"),
        ("Operator", clipped(place.operator) or NOT_STATED),
        ("Software", place.software + (f", commit {place.commit}" if place.commit else "")),
        ("Device", place.device or NOT_STATED),
        ("Seed", "none" if place.seed is None else str(place.seed)),
    ]
    for index, image in enumerate(report.case.images):
        rows.append((f"Source {index + 1}", image.digest))
    if said is not None:
        rows.append(("Model", f"{said.model}, version {said.version}, {said.seconds:.2f} s"))
        rows.append(("Weights", said.weights_digest))
    for explanation in report.explanations:
        words = f"{explanation.method}; target {clipped(explanation.target)}; "
        words += f"{plain(explanation.settings, 1500)}; {_duration(explanation.seconds)}"
        rows.append((method_title(explanation.method), words))
    rows.append(
        (
            "Overlays",
            f"{report.colour}, opacity {report.opacity:g}, "
            f"threshold {report.threshold:g}; opacity rises from 0.05 to 0.5 of the scale",
        )
    )
    return [*section("8. Provenance"), facts(rows)]
