"""Figures of a study's analysis: agreement, ratings as diverging bars, times.

Each function gives a figure and the same in words, for those who do not see it. Names are escaped:
plotly reads a subset of HTML in every text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from app.ui.figures import GRID, PAPER, QUIET, TEXT, agreement_figure
from app.ui.study.names import Names, statistic_title
from engine.metrics.agreement import Estimate

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from engine.study.agree import Statistic
    from engine.study.results import QuestionResult, TimingResult

Drawn = tuple["Figure", str]

# Cividis from low to high, with the ink that reads on each; scales of other lengths take from it.
LADDER = ("#00306f", "#3b496c", "#575d6d", "#707173", "#8a8779", "#a69d75", "#c4b56c", "#e4cf5b",
          "#fee838")  # fmt: skip
DARK_INKS = 4
LEAST_WRITTEN = 7
"""Least share, per cent, that is written into a bar."""
ROW = 34


def minus(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign; a dash for none."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A value with its 95 % interval, in words."""
    if value is None:
        return "not estimable"
    if low is None or high is None:
        return f"{minus(value, digits)} (no interval)"
    return f"{minus(value, digits)} ({minus(low, digits)} to {minus(high, digits)})"


def dark(**layout: Any) -> Figure:
    """An empty figure in the colours of the page."""
    from plotly import graph_objects  # slow to import; the other pages do without

    figure = graph_objects.Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": TEXT, "size": 13},
        hoverlabel={"bgcolor": "#20262d", "font": {"color": TEXT}, "align": "left"},
        **layout,
    )
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    return figure


def forest(results: Sequence[QuestionResult], names: Names) -> Drawn:
    """Agreement with 95 % intervals, one row per statistic, grouped by question and condition."""
    rows = {_heading(one, names): [_estimate(s) for s in one.statistics] for one in results}
    rows = {heading: found for heading, found in rows.items() if found}
    figure = agreement_figure(rows)
    _near(figure, min((e.low for found in rows.values() for e in found if e.low is not None),
                      default=0.0))  # fmt: skip
    return figure, _forest_in_words(rows)


def _near(figure: Figure, least: float) -> None:
    """Leave out what lies far below all intervals, so that they get the width."""
    edge = max(-1.0, min(-0.2, 0.2 * floor(least / 0.2)))
    figure.update_xaxes(range=[edge - 0.03, 1.03])
    for note in figure.layout.annotations:
        if note.xref == "paper":
            continue
        if note.x == -1:
            note.x = edge
        elif note.text == "poor":
            note.x = edge / 2


def _forest_in_words(rows: Mapping[str, Sequence[Estimate]]) -> str:
    """The least and the greatest of the coefficient that is named first for most questions."""
    names = [e.name for found in rows.values() for e in found if e.value is not None]
    wanted = next((name for name in names if "quadratic" in name and "kappa" in name),
                  names[0] if names else "")  # fmt: skip
    found = [
        (e.value, heading, e)
        for heading, estimates in rows.items()
        for e in estimates
        if e.name == wanted and e.value is not None
    ]
    if not found:
        return "No coefficient can be estimated; the table below says why."
    least, most = min(found, key=lambda f: f[0]), max(found, key=lambda f: f[0])
    ends = [
        f"{interval(e.value, e.low, e.high)} for “{heading}”" for _, heading, e in (least, most)
    ]
    words = ends[0] if least is most else " to ".join(ends)
    return f"{wanted}: {words}. All numbers stand in the table “Agreement between readers” below."


def _heading(one: QuestionResult, names: Names) -> str:
    return names.question(one.question) + (f" · {names.arm(one.arm)}" if one.arm else "")


def _label(one: Estimate) -> str:
    return one.name if one.weights == "identity" else f"{one.name}, {one.weights}"


def _estimate(one: Statistic) -> Estimate:
    """A statistic in the words that the forest plot draws."""
    return Estimate(
        statistic_title(one.statistic, one.weights, one.level), "identity", one.value, one.low,
        one.high, one.se, one.cases, one.raters, one.ratings, one.missing, one.reason, one.notes,
        one.interval,
    )  # fmt: skip


def ratings(results: Sequence[QuestionResult], names: Names) -> Drawn:
    """How often each point of a scale was given: bars that diverge from the middle of the scale."""
    rated = [one for one in results if one.kind == "scale" and any(one.counts.values())]
    shown = [one for one in rated if one.scale == rated[0].scale]
    labels = [_row_label(one, names) for one in shown]
    figure = dark(
        barmode="relative",
        height=150 + ROW * max(1, len(shown)) + 8 * max(label.count("<br>") for label in labels)
        if shown else 200,
        margin={"l": 10, "r": 190, "t": 62, "b": 60},
        xaxis={"title": {"text": "share of ratings, % (below the middle | above)"},
               "range": [-104, 104], "gridcolor": GRID, "zeroline": True, "zerolinecolor": QUIET,
               "tickvals": [-100, -50, 0, 50, 100], "ticktext": ["100", "50", "0", "50", "100"]},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        showlegend=True,
    )  # fmt: skip
    for score in sorted({score for one in shown for score in one.scale}):
        _diverging(figure, score, shown, labels)
    for one, label in zip(shown, labels, strict=True):
        middle = (one.scale[0] + one.scale[-1]) / 2
        if _share(one, middle) >= LEAST_WRITTEN:
            figure.add_annotation(
                x=0, y=label, text=f"{_share(one, middle):.0f}", showarrow=False,
                font={"size": 12, "color": _colour(one.scale, middle)[1]},
            )  # fmt: skip
        figure.add_annotation(
            x=1.01, xref="paper", y=label, xanchor="left", showarrow=False, align="left",
            font={"size": 12}, text=_mean_text(one),
        )  # fmt: skip
    return figure, _ratings_in_words(shown, names)


def _row_label(one: QuestionResult, names: Names) -> str:
    text = names.question(one.question) if not one.arm else names.arm(one.arm)
    return "<br>".join(escape(line) for line in wrap(text, 36))


def _mean_text(one: QuestionResult) -> str:
    mean = interval(one.mean, one.mean_low, one.mean_high) if one.mean is not None else ""
    unsure = f", {one.cannot_judge} cannot judge" if one.cannot_judge else ""
    number = sum(one.counts.values())
    return f"<b>{mean}</b><br>{number} ratings{unsure}" if mean else f"{number} ratings{unsure}"


def _diverging(
    figure: Figure, score: float, shown: Sequence[QuestionResult], labels: Sequence[str]
) -> None:
    """The bars of one score; the middle score lies half on either side."""
    for side in (-1, 1):
        lengths, texts, hovers = [], [], []
        for one in shown:
            share = _share(one, score)
            lengths.append(side * share * _part(one.scale, score, side))
            is_whole = _part(one.scale, score, side) == 1.0
            texts.append(f"{share:.0f}" if share >= LEAST_WRITTEN and is_whole else "")
            hovers.append(f"{_word(one, score)}: {one.counts.get(score, 0)} ratings, {share:.0f} %")
        if not any(lengths):
            continue
        colour, ink = _colour(shown[0].scale, score)
        figure.add_bar(
            name=f"{score:g}", legendgroup=f"{score:g}",
            showlegend=all(each.name != f"{score:g}" for each in figure.data),
            orientation="h", x=lengths, y=list(labels), text=texts, textposition="inside",
            insidetextanchor="middle", textangle=0, textfont={"color": ink, "size": 12},
            marker={"color": colour, "line": {"color": "#7d8791", "width": 1}},
            hovertext=[escape(hover) for hover in hovers], hoverinfo="text",
            legendrank=int(1000 + 10 * score),
        )  # fmt: skip
    if len(figure.data) > 1:
        figure.data = _stacked(figure.data)


def _stacked(bars: Sequence[Any]) -> list[Any]:
    """Bars below zero from the middle outwards, that is from the highest score down."""
    below = [bar for bar in bars if min(bar.x) < 0]
    above = [bar for bar in bars if min(bar.x) >= 0]
    return [*sorted(below, key=lambda bar: -float(bar.name)), *above]


def _part(scale: Sequence[float], score: float, side: int) -> float:
    """Which part of a score's bar lies on a side of the middle of its scale: 0, 0.5 or 1."""
    middle = (scale[0] + scale[-1]) / 2
    if score == middle:
        return 0.5
    return 1.0 if (score > middle) == (side > 0) else 0.0


def _share(one: QuestionResult, score: float) -> float:
    total = sum(one.counts.values())
    return 100 * one.counts.get(score, 0) / total if total else 0.0


def _word(one: QuestionResult, score: float) -> str:
    place = list(one.scale).index(score) if score in one.scale else -1
    words = one.labels[place] if 0 <= place < len(one.labels) else ""
    return f"{score:g}, {words}" if words else f"{score:g}"


def _colour(scale: Sequence[float], score: float) -> tuple[str, str]:
    place = (score - scale[0]) / ((scale[-1] - scale[0]) or 1)
    step = round(min(1.0, max(0.0, place)) * (len(LADDER) - 1))
    return LADDER[step], "#ffffff" if step < DARK_INKS else "#000000"


def _ratings_in_words(shown: Sequence[QuestionResult], names: Names) -> str:
    found = [(one.mean, one) for one in shown if one.mean is not None]
    if not found:
        return "The numbers stand in the table “Ratings” below."
    ends = {id(one): one for _, one in (min(found, key=_first), max(found, key=_first))}
    words = " to ".join(
        f"{interval(one.mean, one.mean_low, one.mean_high)} for “{_heading(one, names)}”"
        for one in ends.values()
    )
    return f"Mean rating: {words}. All numbers stand in the table “Ratings” below."


def _first(pair: tuple[float, QuestionResult]) -> float:
    return pair[0]


def times(timing: TimingResult, names: Names) -> Drawn:
    """Median active time of a reading with its quartiles: per condition, and along a session."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1, cols=2, column_widths=[0.5, 0.5], horizontal_spacing=0.14,
        subplot_titles=("By condition: median and quartiles", "Along a session: median"),
    )  # fmt: skip
    arms = list(timing.arms)
    titles = ["<br>".join(escape(s) for s in wrap(names.arm(one.arm), 26)) for one in arms]
    figure.add_scatter(
        row=1, col=1, mode="markers", y=titles, x=[one.median_s for one in arms],
        error_x={"type": "data", "symmetric": False, "thickness": 2, "width": 5,
                 "array": [one.q3_s - one.median_s for one in arms],
                 "arrayminus": [one.median_s - one.q1_s for one in arms]},
        marker={"color": "#56b4e9", "size": 11, "symbol": "circle"},
        hovertext=[f"{one.readings} readings, {one.median_s:.0f} s "
                   f"({one.q1_s:.0f} to {one.q3_s:.0f})" for one in arms], hoverinfo="text",
    )  # fmt: skip
    figure.add_scatter(
        row=1, col=2, mode="lines+markers", x=[f"{p.first}–{p.last}" for p in timing.learning],
        y=[one.median_s for one in timing.learning],
        line={"color": "#e69f00", "width": 2}, marker={"size": 8, "symbol": "diamond"},
        hovertext=[f"{one.readings} readings" for one in timing.learning], hoverinfo="text+y",
    )  # fmt: skip
    figure.update_layout(
        dark(height=170 + 38 * max(3, len(arms)), showlegend=False,
             margin={"l": 10, "r": 20, "t": 70, "b": 60}).layout
    )  # fmt: skip
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "rangemode": "tozero"}
    figure.update_xaxes(**axis, title="active seconds per reading", row=1, col=1)
    figure.update_yaxes(
        automargin=True, autorange="reversed", type="category", showgrid=False, row=1, col=1
    )
    figure.update_xaxes(
        type="category", title="position in the session", showgrid=False, row=1, col=2
    )
    figure.update_yaxes(**axis, title="active seconds", row=1, col=2)
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    figure.update_annotations(font_size=13)
    lines = [
        f"{names.arm(one.arm)} {one.median_s:.0f} s ({one.q1_s:.0f} to {one.q3_s:.0f}, "
        f"{one.readings} readings)"
        for one in arms
    ]
    return figure, "Median active time with quartiles: " + "; ".join(lines) + "."
