"""Figures of pairs of readers: a heat table of kappa, and Bland and Altman's plot."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from app.ui.figures import GRID, QUIET, TEXT
from app.ui.study.figures import Drawn, dark, interval, minus

if TYPE_CHECKING:
    from engine.study.results import PairResult, QuestionResult

LIMIT = "#e69f00"


def pair_key(pair: PairResult) -> str:
    """What a pair is called in a list."""
    return f"{pair.reader_a} and {pair.reader_b}"


def heat_table(one: QuestionResult) -> Drawn:
    """Cohen's kappa of every pair of readers, quadratic weights, with its interval in each cell."""
    readers = sorted({name for pair in one.pairs for name in (pair.reader_a, pair.reader_b)})
    found = {frozenset((pair.reader_a, pair.reader_b)): pair for pair in one.pairs}
    values: list[list[float | None]] = []
    texts: list[list[str]] = []
    hovers: list[list[str]] = []
    for a in readers:
        row = [found.get(frozenset((a, b))) if a != b else None for b in readers]
        values.append([pair.kappa_quadratic if pair else None for pair in row])
        texts.append([_cell(pair) for pair in row])
        hovers.append([_hover(pair) for pair in row])
    small = len(readers) > 6
    figure = dark(
        height=150 + (46 if small else 64) * max(2, len(readers)),
        margin={"l": 10, "r": 10, "t": 48, "b": 50},
        xaxis={"side": "bottom", "showgrid": False, "automargin": True, "type": "category"},
        yaxis={"autorange": "reversed", "showgrid": False, "automargin": True, "type": "category"},
    )
    figure.add_heatmap(
        x=readers, y=readers, z=values, zmin=0, zmax=1, colorscale="Cividis", xgap=3, ygap=3,
        hovertext=hovers, hoverinfo="text",
        colorbar={"title": {"text": "kappa", "side": "right"}, "thickness": 14, "outlinewidth": 0,
                  "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
                  "ticktext": ["0 or less", "0.2", "0.4", "0.6", "0.8", "1"]},
    )  # fmt: skip
    for at, row_texts in enumerate(texts):
        for place, text in enumerate(row_texts):
            value = values[at][place]
            ink = QUIET if value is None else "#000000" if value > 0.55 else "#ffffff"
            figure.add_annotation(
                x=readers[place], y=readers[at], showarrow=False,
                text=text.split("<br>")[0] if small else text, font={"color": ink, "size": 12},
            )  # fmt: skip
    words = [
        f"{pair_key(p)} {interval(p.kappa_quadratic, p.low, p.high)}, {p.cases} items"
        for p in one.pairs
    ]
    return figure, "Kappa with quadratic weights of each pair: " + "; ".join(words) + "."


def _cell(pair: PairResult | None) -> str:
    if pair is None:
        return "·"
    if pair.kappa_quadratic is None:
        return "none"
    shown = f"<b>{minus(pair.kappa_quadratic)}</b>"
    if pair.low is None or pair.high is None:
        return shown
    return f"{shown}<br>{minus(pair.low)} to {minus(pair.high)}"


def _hover(pair: PairResult | None) -> str:
    if pair is None:
        return ""
    value = interval(pair.kappa_quadratic, pair.low, pair.high)
    reason = f"<br>{escape(pair.reason)}" if pair.reason else ""
    return f"{escape(pair_key(pair))}: {value}<br>{pair.cases} items judged by both{reason}"


def bland_altman(pair: PairResult) -> Drawn:
    """Difference of two readers against their mean; a dot's area says how many items lie there."""
    names = escape(pair_key(pair))
    figure = dark(
        height=430,
        showlegend=False,
        margin={"l": 10, "r": 150, "t": 48, "b": 55},
        xaxis={"title": {"text": f"mean of {names}"}, "gridcolor": GRID, "zeroline": False,
               "automargin": True},
        yaxis={"title": {"text": f"{escape(pair.reader_a)} minus {escape(pair.reader_b)}"},
               "gridcolor": GRID, "zeroline": True, "zerolinecolor": QUIET, "automargin": True},
    )  # fmt: skip
    most = max((number for _, _, number in pair.points), default=1)
    figure.add_scatter(
        mode="markers", x=[p[0] for p in pair.points], y=[p[1] for p in pair.points],
        marker={"size": [8 + 20 * (p[2] / most) ** 0.5 for p in pair.points], "color": "#56b4e9",
                "opacity": 0.75, "line": {"color": TEXT, "width": 1}},
        hovertext=[f"{number} {'item' if number == 1 else 'items'}" for *_, number in pair.points],
        hoverinfo="x+y+text",
    )  # fmt: skip
    lines = (
        (pair.mean_difference, "mean difference", "solid"),
        (pair.limits_high, "upper limit", "dash"),
        (pair.limits_low, "lower limit", "dash"),
    )
    for value, words, dash in lines:
        if value is None:
            continue
        figure.add_hline(y=value, line={"color": LIMIT, "width": 2, "dash": dash})
        figure.add_annotation(
            x=1.01, xref="paper", y=value, xanchor="left", showarrow=False, align="left",
            font={"size": 12, "color": LIMIT}, text=f"{words}<br><b>{minus(value)}</b>",
        )  # fmt: skip
    text = (
        f"{pair_key(pair)}, {pair.cases} items: mean difference {minus(pair.mean_difference)} "
        f"points, limits of agreement {minus(pair.limits_low)} to {minus(pair.limits_high)}."
    )
    return figure, text
