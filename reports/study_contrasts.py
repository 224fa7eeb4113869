"""Sections that compare: conditions, decoys, right and wrong predictions, accuracy, forms, time."""

from __future__ import annotations

from engine.study.records import Protocol, StudyFacts
from engine.study.results import Analysis, ModelResult, MrmcResult
from reports.blocks import Block, Estimate, Forest, Grid, Section, Words
from reports.study_words import (
    DASH,
    arm_title,
    number,
    p_value,
    plural,
    question_title,
    span,
    with_span,
)


def arms_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """Conditions compared on the same cases."""
    protocol = facts.protocol
    friedman = tuple(
        (
            question_title(protocol, one.question),
            str(one.cases),
            number(one.statistic),
            DASH if one.df is None else str(one.df),
            p_value(one.p),
            number(one.kendall_w),
            one.reason or DASH,
        )
        for one in analysis.friedman
    )
    pairs = tuple(
        (
            question_title(protocol, one.question),
            f"{arm_title(protocol, one.arm_b)} minus {arm_title(protocol, one.arm_a)}",
            str(one.cases),
            number(one.mean_difference),
            span(one.low, one.high),
            p_value(one.p),
            p_value(one.p_holm),
            one.reason or DASH,
        )
        for one in analysis.comparisons
    )
    blocks: list[Block] = [
        Grid(
            ("Question", "Cases", "Chi-square", "df", "p", "Kendall's W", "Why not"),
            friedman,
            (56, 14, 24, 10, 16, 24, 36),
            "Any difference between conditions (Friedman)",
            "There is only one condition.",
        ),
        Grid(
            ("Question", "Contrast", "Cases", "Mean", "95 % interval", "p", "p, Holm", "Why not"),
            pairs,
            (38, 44, 13, 14, 27, 15, 17, 24),
            "Pairs of conditions on the same cases",
            "There is no pair of conditions to compare.",
            once=True,
        ),
        *_contrast_plot(protocol, analysis),
    ]
    for model in analysis.model:
        blocks += _model(protocol, model)
    decoys = tuple(
        (
            question_title(protocol, one.question),
            str(one.cases),
            number(one.mean_explanation),
            number(one.mean_decoy),
            with_span(one.difference, one.low, one.high),
            one.reason or DASH,
        )
        for one in analysis.decoys
    )
    if decoys:
        names = ("Question", "Cases", "Explanations", "Decoys", "Difference (95 %)", "Why not")
        blocks.append(Grid(names, decoys, (52, 14, 28, 18, 40, 34), "Explanations and decoys"))
    return Section("8. Conditions compared", tuple(blocks))


def _contrast_plot(protocol: Protocol, analysis: Analysis) -> list[Block]:
    rows: list[Estimate] = []
    for question in dict.fromkeys(one.question for one in analysis.comparisons):
        found = [o for o in analysis.comparisons if o.question == question]
        if not any(o.mean_difference is not None for o in found):
            continue
        rows.append(Estimate(question_title(protocol, question), None, None, None, "", True))
        for one in found:
            name = f"{arm_title(protocol, one.arm_b)} minus {arm_title(protocol, one.arm_a)}"
            said = with_span(one.mean_difference, one.low, one.high)
            rows.append(Estimate(name, one.mean_difference, one.low, one.high, said))
    ends = [abs(end) for row in rows for end in (row.value, row.low, row.high) if end is not None]
    if not ends:
        return []
    reach = next((r for r in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0) if max(ends) <= r), max(ends))
    axis = "Mean difference, scale points, with 95 % interval"
    return [Forest("Differences of conditions", axis, tuple(rows), -reach, reach)]


def _model(protocol: Protocol, model: ModelResult) -> list[Block]:
    title = f"{model.kind[:1].upper()}{model.kind[1:]}: {question_title(protocol, model.question)}"
    if not model.terms:
        return [Words(title, "subheading"), Words(model.reason or "The model did not converge.")]
    rows = []
    for term in model.terms:
        name = term.name
        if name.startswith("arm:"):
            name = arm_title(protocol, name[4:])
        rows.append(
            (
                name,
                number(term.estimate, 3),
                number(term.se, 3),
                span(term.low, term.high, 3),
                p_value(term.p),
            )
        )
    against = arm_title(protocol, model.reference) if model.reference else "the first condition"
    scale = "log odds" if model.kind.startswith("cumulative") else "scale points"
    words = f"Effects in {scale}, against {against}; {plural(model.observations, 'rating')}."
    names = ("Term", "Estimate", "SE", "95 % interval", "p")
    return [
        Words(title, "subheading"),
        Words(words, "small"),
        Grid(names, tuple(rows), (60, 28, 24, 44, 24)),
    ]


def trust_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """Ratings where the model was right and wrong, and against the scores of the maps."""
    protocol = facts.protocol
    rows = tuple(
        (
            question_title(protocol, one.question),
            arm_title(protocol, one.arm),
            f"{number(one.mean_right)} ({one.n_right})",
            f"{number(one.mean_wrong)} ({one.n_wrong})",
            with_span(one.difference, one.low, one.high) if one.difference is not None else DASH,
            one.reason or DASH,
        )
        for one in analysis.trust
    )
    reliance = tuple(
        (
            arm_title(protocol, one.arm),
            _share(one.over_reliance, one.n_over),
            _share(one.under_reliance, one.n_under),
        )
        for one in {t.arm: t for t in analysis.trust if t.n_over or t.n_under}.values()
    )
    maps = tuple(
        (
            question_title(protocol, one.question),
            one.score.replace("_", " "),
            str(one.n),
            with_span(one.rho, one.low, one.high) if one.rho is not None else DASH,
            one.reason or DASH,
        )
        for one in analysis.correlations
    )
    blocks: list[Block] = [
        Words(
            "A sound explanation is trusted less where the model is wrong. Means with the number "
            "of ratings; the difference is right minus wrong.",
            "small",
        ),
        Grid(
            ("Question", "Condition", "Model right", "Model wrong", "Difference (95 %)", "Why not"),
            rows,
            (46, 34, 24, 24, 34, 30),
            empty="It is not known of any reading whether the model was right.",
            once=True,
        ),
    ]
    if reliance:
        names = ("Condition", "Followed a wrong prediction", "Left a right prediction")
        blocks.append(Grid(names, reliance, (60, 60, 60), "Reliance"))
    blocks.append(
        Grid(
            ("Question", "Score of the map", "Maps", "Spearman's rho (95 %)", "Why not"),
            maps,
            (52, 40, 14, 42, 40),
            "Ratings against measured scores of the same maps",
            "No score of a map is known.",
            once=True,
        )
    )
    return Section("9. Trust where the model was right and wrong", tuple(blocks))


def _share(value: float | None, n: int) -> str:
    return DASH if value is None else f"{100 * value:.1f} % of {n}"


def accuracy_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """Accuracy with and without the model, questionnaires, time."""
    protocol = facts.protocol
    blocks: list[Block] = []
    if analysis.accuracy is None:
        blocks.append(Words("Diagnostic accuracy: not assessed (no diagnosis was asked for)."))
    else:
        blocks += _accuracy(protocol, analysis.accuracy)
    forms = tuple(
        (
            one.form,
            str(len(one.scores)),
            with_span(one.mean, one.low, one.high) if one.mean is not None else DASH,
            ", ".join(f"{reader} {score:.1f}" for reader, score in one.scores.items()),
            one.reason or DASH,
        )
        for one in analysis.forms
    )
    names = ("Form", "Readers", "Mean (95 %)", "Scores", "Why not")
    empty = "No questionnaire was asked."
    blocks.append(Grid(names, forms, (26, 18, 44, 62, 30), "Questionnaires", empty))
    times = tuple(
        (
            arm_title(protocol, one.arm),
            str(one.readings),
            number(one.median_s, 1),
            span(one.q1_s, one.q3_s, 1),
        )
        for one in analysis.timing.arms
    )
    heads = ("Condition", "Readings", "Median, s", "Quartiles, s")
    empty = analysis.timing.reason or "No time was measured."
    blocks.append(Grid(heads, times, (60, 30, 40, 50), "Active time of a reading", empty))
    learning = tuple(
        (f"{one.first} to {one.last}", str(one.readings), number(one.median_s, 1))
        for one in analysis.timing.learning
    )
    if learning:
        columns = ("Position in the session", "Readings", "Median, s")
        blocks.append(Grid(columns, learning, (70, 50, 60), "Time along the session"))
    return Section("10. Accuracy, questionnaires, time", tuple(blocks))


def _measure(name: str) -> str:
    return "AUC" if name == "auc" else name


def _accuracy(protocol: Protocol, found: MrmcResult) -> list[Block]:
    rows = tuple(
        (
            arm_title(protocol, one.arm),
            with_span(one.sensitivity, one.sensitivity_low, one.sensitivity_high, 3),
            with_span(one.specificity, one.specificity_low, one.specificity_high, 3),
            with_span(one.auc, one.auc_low, one.auc_high, 3),
        )
        for one in found.arms
    )
    tests = tuple(
        (
            _measure(one.measure),
            number(one.f),
            f"{one.df1}, {'infinite' if one.df2 is None else number(one.df2, 1)}"
            if one.f is not None
            else DASH,
            p_value(one.p),
            one.reason or DASH,
        )
        for one in found.tests
    )
    pairs = tuple(
        (
            _measure(one.measure),
            f"{arm_title(protocol, one.arm_b)} minus {arm_title(protocol, one.arm_a)}",
            with_span(one.difference, one.low, one.high, 3)
            if one.difference is not None
            else one.reason or DASH,
            p_value(one.p),
            p_value(one.p_holm),
        )
        for one in found.comparisons
    )
    readers = tuple(
        (
            arm_title(protocol, arm.arm),
            one.reader,
            number(one.sensitivity, 3),
            number(one.specificity, 3),
            number(one.auc, 3),
        )
        for arm in found.arms
        for one in arm.readers
    )
    heads = ("Condition", "Sensitivity (95 %)", "Specificity (95 %)", "AUC (95 %)")
    words = (
        f"Positive is “{found.positive}”. Obuchowski-Rockette with Hillis' degrees of freedom: "
        f"readers and cases are samples. {plural(found.cases, 'case')} read by all "
        f"{plural(found.readers, 'reader')} in all conditions: {found.positives} positive, "
        f"{found.negatives} negative."
    )
    blocks: list[Block] = [
        Words("Diagnostic accuracy", "subheading"),
        Words(words, "small"),
        Grid(heads, rows, (42, 46, 46, 46)),
        Grid(
            ("Measure", "F", "df", "p", "Why not"),
            tests,
            (40, 24, 36, 24, 56),
            "Any difference between conditions",
        ),
        Grid(
            ("Measure", "Contrast", "Difference (95 %)", "p", "p, Holm"),
            pairs,
            (26, 58, 52, 20, 24),
            "Pairs of conditions",
            "There is no pair of conditions.",
            once=True,
        ),
        Grid(
            ("Condition", "Reader", "Sensitivity", "Specificity", "AUC"),
            readers,
            (60, 30, 30, 30, 30),
            "Each reader",
            once=True,
        ),
    ]
    blocks += [Words(note, "note") for note in (found.reason, *found.notes) if note]
    return blocks
