"""The analysis of a study as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.metrics.agreement_statistic import Statistic
from engine.study.results import Analysis, MrmcResult, QuestionResult

NOTHING = "–"


def lines(analysis: Analysis, deviations: Sequence[str] = ()) -> Iterator[str]:
    """What the analysis says, part by part; parts without content are left out.

    Args:
        deviations: What departed from the protocol, or was assumed.
    """
    part = "".join(
        f", {what} {name}"
        for what, name in (("condition", analysis.arm), ("group", analysis.group))
        if name
    )
    yield (
        f"Study {analysis.code}{part}: {analysis.cases} cases, {analysis.readers} readers, "
        f"{analysis.answers} answers; seed {analysis.seed}, {analysis.draws} draws"
    )
    for result in analysis.questions:
        yield from _question(result)
    yield from _arms(analysis)
    yield from _models(analysis)
    yield from _trust(analysis)
    if analysis.accuracy is not None:
        yield from _accuracy(analysis.accuracy)
    yield from _rest(analysis)
    yield ""
    yield from (f"Note: {note}" for note in (*analysis.notes, *deviations))


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def ends(low: float | None, high: float | None) -> str:
    """An interval; nothing where it has no ends."""
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def chance(p: float | None) -> str:
    """A p-value."""
    return NOTHING if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _question(result: QuestionResult) -> Iterator[str]:
    where = result.arm or (f"group {result.group}" if result.group else "all conditions")
    yield ""
    yield (
        f"{result.question}, {where}: {result.cases} items, {result.readers} readers, "
        f"{result.ratings} ratings, {result.missing} missing"
    )
    if result.mean is not None:
        interval = ends(result.mean_low, result.mean_high)
        yield f"  {'mean':<28}{number(result.mean):>8}  {interval}".rstrip()
    for one in result.statistics:
        yield _statistic(one)
    if result.reason:
        yield f"  {result.reason}"


def _statistic(one: Statistic) -> str:
    name = " ".join(part for part in (one.statistic, one.weights or one.level) if part)
    told = one.reason if one.value is None else ends(one.low, one.high)
    label = f"  {one.benchmark} (Landis and Koch)" if one.benchmark else ""
    return f"  {name:<28}{number(one.value):>8}  {told}{label}".rstrip()


def _arms(analysis: Analysis) -> Iterator[str]:
    if analysis.comparisons:
        yield ""
        yield "Conditions compared, second minus first"
    for one in analysis.comparisons:
        told = one.reason or f"{ends(one.low, one.high)}  Holm {chance(one.p_holm)}"
        pair = f"{one.question}: {one.arm_a}, {one.arm_b}"
        yield f"  {pair:<44}{number(one.mean_difference):>8}  {told}  {one.cases} cases"
    for test in analysis.friedman:
        told = test.reason or f"chi2 {number(test.statistic)}, {test.df} df, {chance(test.p)}"
        yield f"  {test.question}: Friedman {told}, Kendall W {number(test.kendall_w)}"
    for decoy in analysis.decoys:
        yield (
            f"  {decoy.question}: explanations minus decoys {number(decoy.difference)}  "
            f"{ends(decoy.low, decoy.high)}  {decoy.cases} cases"
        )


def _models(analysis: Analysis) -> Iterator[str]:
    for model in analysis.model:
        yield ""
        against = f", against {model.reference}" if model.reference else ""
        yield f"{model.question}: {model.kind}, {model.observations} ratings{against}"
        if model.reason:
            yield f"  {model.reason}"
        for term in model.terms:
            told = f"{ends(term.low, term.high)}  {chance(term.p) if term.se else ''}"
            yield f"  {term.name:<28}{number(term.estimate):>8}  {told}".rstrip()


def _trust(analysis: Analysis) -> Iterator[str]:
    if analysis.trust:
        yield ""
        yield "Ratings where the model was right, and where it was wrong"
    for split in analysis.trust:
        told = split.reason or f"difference {number(split.difference)}"
        yield (
            f"  {split.question}, {split.arm or 'all conditions'}: {number(split.mean_right)} "
            f"({split.n_right}), {number(split.mean_wrong)} ({split.n_wrong})  {told}  "
            f"{ends(split.low, split.high)}".rstrip()
        )
        if split.over_reliance is not None or split.under_reliance is not None:
            yield (
                f"    followed a wrong model {number(split.over_reliance)} of {split.n_over}, "
                f"departed from a right one {number(split.under_reliance)} of {split.n_under}"
            )
    for one in analysis.correlations:
        told = one.reason or ends(one.low, one.high)
        yield f"  {one.question} with {one.score}: rho {number(one.rho)}  {told}  {one.n} maps"


def _accuracy(result: MrmcResult) -> Iterator[str]:
    yield ""
    yield (
        f"Diagnostic accuracy, positive is {result.positive}: {result.cases} cases, "
        f"{result.positives} positive, {result.readers} readers"
    )
    for arm in result.arms:
        yield (
            f"  {arm.arm:<20} AUC {number(arm.auc)} ({ends(arm.auc_low, arm.auc_high)})  "
            f"sensitivity {number(arm.sensitivity)}  specificity {number(arm.specificity)}"
        )
    for test in result.tests:
        df2 = "infinite" if test.df2 is None else number(test.df2, 1)
        told = test.reason or f"F {number(test.f)}, df {test.df1} and {df2}, {chance(test.p)}"
        yield f"  {test.measure}: {told}"
    for pair in result.comparisons:
        told = pair.reason or f"{ends(pair.low, pair.high)}  Holm {chance(pair.p_holm)}"
        yield (f"  {pair.measure}: {pair.arm_a}, {pair.arm_b}  {number(pair.difference)}  {told}")
    if result.reason:
        yield f"  {result.reason}"
    yield from (f"  Note: {note}" for note in result.notes)


def _rest(analysis: Analysis) -> Iterator[str]:
    """Repeats, forms, times and flags."""
    for one in analysis.intra:
        yield (
            f"Repeats of {one.reader or 'all readers'}, {one.question}: kappa "
            f"{number(one.kappa_quadratic)}, ICC {number(one.icc)}, SD {number(one.within_sd)}, "
            f"{one.pairs} pairs"
        )
    for form in analysis.forms:
        told = form.reason or ends(form.low, form.high)
        yield f"Form {form.form}: mean {number(form.mean)}  {told}  {len(form.scores)} readers"
    for arm in analysis.timing.arms:
        yield (
            f"Time, {arm.arm}: median {number(arm.median_s, 0)} s "
            f"({number(arm.q1_s, 0)} to {number(arm.q3_s, 0)}), {arm.readings} readings"
        )
    for flag in analysis.flags:
        yield f"To adjudicate: {flag.case}, {flag.arm}, {flag.question}. {flag.reason}"
