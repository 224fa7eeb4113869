"""Sections on agreement: coefficients, ratings, repeats, and how robust they are."""

from __future__ import annotations

from engine.metrics.agreement_statistic import Statistic
from engine.study.records import Protocol, StudyFacts
from engine.study.results import Analysis, QuestionResult
from reports.blocks import Bars, Block, Estimate, Forest, Grid, Histograms, Section, Words
from reports.study_design import headline
from reports.study_words import (
    DASH,
    arm_title,
    find_question,
    number,
    question_title,
    span,
    statistic_name,
    with_span,
)

MEANING = (
    "Agreement is not correctness: readers can agree and be wrong. Intervals are of 95 %. The "
    "benchmark is the best label of Landis and Koch that is reached with probability 0.95; it is "
    "a convention, not a test."
)


def place_of(protocol: Protocol, result: QuestionResult) -> str:
    """What a result is of, such as "all conditions" or "Grad-CAM"."""
    if result.group:
        return f"group {result.group}"
    return arm_title(protocol, result.arm)


def agreement_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """Agreement per question and condition: plot, then tables."""
    protocol = facts.protocol
    blocks: list[Block] = [Words(MEANING, "small")]
    rows: list[Estimate] = []
    for question in _questions(analysis):
        found = [r for r in analysis.questions if r.question == question and r.statistics]
        if not found:
            continue
        rows.append(Estimate(question_title(protocol, question), None, None, None, "", True))
        for result in found:
            lead = headline(result.statistics)
            said = with_span(lead.value, lead.low, lead.high)
            rows.append(Estimate(place_of(protocol, result), lead.value, lead.low, lead.high, said))
    if rows:
        low = min([0.0, *(r.low for r in rows if r.low is not None)])
        low = -1.0 if low < -0.5 else (-0.5 if low < 0 else 0.0)
        names = {statistic_name(headline(r.statistics)) for r in analysis.questions if r.statistics}
        axis = f"{' / '.join(sorted(names))}, with 95 % interval"
        blocks.append(
            Forest("Agreement by question and condition", axis, tuple(rows), low, 1.0, (0.0,))
        )
    for question in _questions(analysis):
        blocks += _tables(protocol, analysis, question)
    return Section("5. Agreement between readers", tuple(blocks))


def _questions(analysis: Analysis) -> list[str]:
    return list(dict.fromkeys(result.question for result in analysis.questions))


def _tables(protocol: Protocol, analysis: Analysis, question: str) -> list[Block]:
    """One row per condition, one column per statistic: value, interval, benchmark."""
    found = [result for result in analysis.questions if result.question == question]
    columns = list(
        dict.fromkeys(statistic_name(one) for result in found for one in result.statistics)
    )
    title = question_title(protocol, question)
    if not columns:
        reasons = dict.fromkeys(result.reason for result in found if result.reason)
        said = [Words(reason) for reason in reasons] or [Words("No coefficient applies.")]
        return [Words(title, "subheading"), *said]
    notes: dict[str, list[str]] = {}
    rows = []
    for result in found:
        place = place_of(protocol, result)
        cells = {statistic_name(one): one for one in result.statistics}
        rows.append((place, *(_cell(cells.get(name)) for name in columns), _size(result)))
        for words in _remarks(result):
            notes.setdefault(words, []).append(place)
    shares = (24, *(23.5 for _ in columns), 15)
    heads = [name.replace("Krippendorff's alpha", "Alpha") for name in columns]
    table = Grid(("Condition", *heads, "Cases, raters"), tuple(rows), shares, title)
    said = [
        Words(words if len(places) == len(found) else f"{words} ({', '.join(places)})", "note")
        for words, places in notes.items()
    ]
    return [table, *said, *_pairs(analysis, question)]


def _cell(one: Statistic | None) -> str:
    if one is None:
        return DASH
    if one.value is None:
        return "undefined"
    interval = span(one.low, one.high)
    lines = [number(one.value, 3), "no interval" if interval == DASH else interval, one.benchmark]
    return "\n".join(filter(None, lines))


def _remarks(result: QuestionResult) -> list[str]:
    """Why a value is undefined, and what must be known of the others."""
    said = [
        f"{statistic_name(one)} is undefined: {one.reason}"
        for one in result.statistics
        if one.value is None
    ]
    for one in result.statistics:
        said += [f"{statistic_name(one)}: {note}" for note in one.notes]
    reason = [result.reason] if result.reason else []
    return list(dict.fromkeys([*said, *result.notes, *reason]))


def _size(result: QuestionResult) -> str:
    return f"{result.cases}, {result.readers}"


def _pairs(analysis: Analysis, question: str) -> list[Block]:
    whole = next(
        (r for r in analysis.questions if r.question == question and not r.arm and not r.group),
        None,
    )
    if whole is None or whole.readers < 3 or not whole.pairs:
        return []
    rows = tuple(
        (
            f"{pair.reader_a}, {pair.reader_b}",
            str(pair.cases),
            number(pair.kappa_quadratic, 3) if pair.kappa_quadratic is not None else pair.reason,
            span(pair.low, pair.high, 3),
            number(pair.mean_difference),
            span(pair.limits_low, pair.limits_high),
        )
        for pair in whole.pairs
    )
    return [
        Grid(
            ("Readers", "Items", "Kappa", "95 % interval", "Mean difference", "Limits"),
            rows,
            (30, 18, 42, 32, 28, 30),
            "Pairs of readers, all conditions",
        )
    ]


def distribution_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """How the ratings are distributed: a panel of bars per question and condition, and a table."""
    protocol = facts.protocol
    blocks: list[Block] = []
    for question in _questions(analysis):
        found = [r for r in analysis.questions if r.question == question and not r.group]
        by_arm = [r for r in found if r.arm] or found
        panels = tuple(_panel(protocol, r) for r in by_arm if _has_bars(protocol, r))
        title = question_title(protocol, question)
        if panels:
            blocks.append(Histograms(title, panels))
        rows = tuple(
            (
                place_of(protocol, r),
                str(r.ratings),
                number(r.mean),
                span(r.mean_low, r.mean_high),
                number(r.median, 1),
                number(r.sd),
                str(r.cannot_judge),
                str(r.missing),
            )
            for r in found
        )
        names = ("Condition", "Ratings", "Mean", "95 % interval", "Median", "SD", "Cannot judge")
        blocks.append(
            Grid(
                (*names, "Missing"),
                rows,
                (40, 18, 16, 32, 18, 14, 24, 18),
                "" if panels else title,
            )
        )
    words = "Intervals of means are clustered by reader. Missing includes “cannot judge”."
    return Section("6. Ratings", (*blocks, Words(words, "note")))


def _has_bars(protocol: Protocol, result: QuestionResult) -> bool:
    found = find_question(protocol, result.question)
    return bool(result.counts) and found is not None and bool(found.scale)


def _panel(protocol: Protocol, result: QuestionResult) -> Bars:
    question = find_question(protocol, result.question)
    scores = sorted(result.counts)
    labels = tuple(f"{score:g}" for score in scores)
    if question is not None and question.choices:
        known = dict(enumerate(question.choices))
        labels = tuple(known.get(int(score), f"{score:g}") for score in scores)
    aside = f"n {result.ratings}, mean {number(result.mean)}, median {number(result.median, 1)}"
    if result.mean is None:
        aside = f"n {result.ratings}"
    if result.cannot_judge:
        aside += f", cannot judge {result.cannot_judge}"
    counts = tuple(result.counts[score] for score in scores)
    return Bars(place_of(protocol, result), labels, counts, aside)


def repeats_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """How far readers agree with themselves."""
    rows = tuple(
        (
            question_title(facts.protocol, one.question),
            one.reader or "all readers",
            str(one.pairs),
            with_span(one.kappa_quadratic, one.low, one.high),
            number(one.icc),
            number(one.within_sd),
            " ".join(one.reasons) or DASH,
        )
        for one in analysis.intra
    )
    names = ("Question", "Reader", "Pairs", "Kappa, quadratic", "ICC(2,1)", "Within SD", "Why not")
    table = Grid(
        names, rows, (44, 20, 13, 36, 18, 18, 40), empty="No reading was repeated.", once=True
    )
    return Section("7. Repeated readings", (table,))


def sensitivity_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """The headline kappa on parts of the data."""
    kinds = {
        "all": "All data",
        "without_decoys": "Without decoys",
        "ai_wrong": "Only where the model was wrong",
    }
    rows: list[Estimate] = []
    questions = list(dict.fromkeys(one.question for one in analysis.sensitivity))
    for question in questions:
        title = question_title(facts.protocol, question)
        rows.append(Estimate(title, None, None, None, "", True))
        for one in analysis.sensitivity:
            if one.question != question:
                continue
            name = kinds.get(one.kind, f"Without reader {one.left_out}")
            said = with_span(one.value, one.low, one.high)
            rows.append(Estimate(f"{name}, {one.cases}", one.value, one.low, one.high, said))
    reasons = {
        f"{question_title(facts.protocol, one.question)}: {one.reason}"
        for one in analysis.sensitivity
        if one.reason
    }
    if not rows:
        return Section("11. Sensitivity analyses", (Words("None was made."),))
    low = min([0.0, *(row.low for row in rows if row.low is not None)])
    low = -1.0 if low < -0.5 else (-0.5 if low < 0 else 0.0)
    plot = Forest(
        "Headline kappa on parts of the data",
        "Kappa with 95 % interval; the number after a name is that of items",
        tuple(rows),
        low,
        1.0,
    )
    below = tuple(Words(reason, "note") for reason in sorted(reasons))
    return Section("11. Sensitivity analyses", (plot, *below))
