"""Figures of the agreement page: coefficients with intervals, and the distribution of ratings.

Questions and sentences are escaped: plotly reads a subset of HTML in every text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from engine.errors import ShapeMismatch

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from engine.metrics.agreement import Estimate

PAPER = "#111418"
TEXT = "#e6e6e6"
QUIET = "#9aa4ae"
GRID = "#2a3038"
ROW = 30
# Okabe and Ito's colours, told apart by all common forms of colour vision; the marker's shape
# says the same once more.
STYLES = (
    ("#e6e6e6", "square"),
    ("#e69f00", "circle"),
    ("#f0e442", "diamond"),
    ("#56b4e9", "triangle-up"),
    ("#cc79a7", "triangle-down"),
    ("#009e73", "star"),
    ("#d55e00", "cross"),
)
BANDS = (
    (-1.0, 0.0, "poor"),
    (0.0, 0.2, "slight"),
    (0.2, 0.4, "fair"),
    (0.4, 0.6, "moderate"),
    (0.6, 0.8, "substantial"),
    (0.8, 1.0, "almost<br>perfect"),
)
# Cividis at five steps, with the text colour that reads on each.
SCORES = (
    ("1", "#00306f", "#ffffff"),
    ("2", "#4f576c", "#ffffff"),
    ("3", "#7f7c75", "#000000"),
    ("4", "#bbae6c", "#000000"),
    ("5", "#fee838", "#000000"),
)
CANNOT_JUDGE = "cannot judge"


def agreement_figure(estimates: Mapping[str, Sequence[Estimate]]) -> Figure:
    """Dots with 95 % intervals, one row per coefficient, grouped by question.

    An undefined coefficient keeps its row, with the reason in words.

    Args:
        estimates: Coefficients by the text of the question.
    """
    figure = _dark_figure()
    rows = _rows(estimates)
    names = list(dict.fromkeys(_label(one) for _, _, one in rows if one is not None))
    for index, name in enumerate(names):
        colour, symbol = STYLES[index % len(STYLES)]
        points = [(y, one) for y, _, one in rows if one is not None and _label(one) == name]
        figure.add_scatter(**_points(name, points), marker=_marker(colour, symbol))
    for y, question, one in rows:
        if one is None:
            figure.add_annotation(**_left(y, f"<b>{escape(question)}</b>", TEXT))
        elif one.value is None:
            figure.add_annotation(**_left(y, _broken(f"undefined: {one.reason}", 95), "#f0c674"))
        else:
            figure.add_annotation(**_right(y, _short(one) + (" *" if one.notes else "")))
    _bands(figure)
    _row_axis(figure, rows)
    return figure


def distribution_figure(counts: Mapping[str, Sequence[int]]) -> Figure:
    """How often each score was given: stacked bars, one per question.

    Args:
        counts: Six counts by the text of the question: scores 1 to 5, then "cannot judge".

    Raises:
        ShapeMismatch: a question has not six counts.
    """
    if any(len(row) != len(SCORES) + 1 for row in counts.values()):
        raise ShapeMismatch("Each question needs six counts: scores 1 to 5, and cannot judge.")
    figure = _dark_figure()
    questions = [_broken(question, 34) for question in counts]
    for index, (score, colour, ink) in enumerate(SCORES):
        _bar(figure, score, questions, [row[index] for row in counts.values()], colour, ink)
    unknown = [row[-1] for row in counts.values()]
    _bar(figure, CANNOT_JUDGE, questions, unknown, "#3a4149", "#ffffff", hatch="/")
    figure.update_layout(
        barmode="stack",
        uniformtext={"mode": "hide", "minsize": 11},
        height=140 + 52 * len(counts),
        margin={"l": 10, "r": 20, "t": 60, "b": 50},
        xaxis={"title": {"text": "ratings"}, "gridcolor": GRID, "zeroline": False},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    return figure


def _dark_figure() -> Figure:
    from plotly import graph_objects  # slow to import; the other pages do without

    figure = graph_objects.Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": TEXT, "size": 13},
        showlegend=False,
        hoverlabel={"bgcolor": "#20262d", "font": {"color": TEXT}, "align": "left"},
    )
    return figure


def _rows(estimates: Mapping[str, Sequence[Estimate]]) -> list[tuple[float, str, Estimate | None]]:
    """Height, question and estimate of every row; a question's own row has no estimate."""
    rows: list[tuple[float, str, Estimate | None]] = []
    y = 0.0
    for question, values in estimates.items():
        for one in (None, *values):
            rows.append((y, question, one))
            y += 1
        y += 0.4
    return rows


def _label(one: Estimate) -> str:
    """Coefficient and weights, alike for two raters and for more."""
    return one.name if one.weights == "identity" else f"{one.name}, {one.weights}"


def _marker(colour: str, symbol: str) -> dict[str, Any]:
    return {"color": colour, "symbol": symbol, "size": 11, "line": {"color": colour, "width": 2}}


def _points(name: str, points: list[tuple[float, Estimate]]) -> dict[str, Any]:
    """A scatter trace of one coefficient over the questions; whiskers only where they exist."""
    known = [(y, one, one.value) for y, one in points if one.value is not None]
    above = [None if one.high is None else max(one.high - value, 0.0) for _, one, value in known]
    below = [None if one.low is None else max(value - one.low, 0.0) for _, one, value in known]
    return {
        "name": escape(name),
        "mode": "markers",
        "x": [value for _, _, value in known],
        "y": [y for y, _, _ in known],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "thickness": 2,
            "width": 4,
        },
        "hovertext": [_details(one) for _, one, _ in known],
        "hoverinfo": "text",
    }


def _short(one: Estimate) -> str:
    value = f"<b>{_number(one.value)}</b>"
    if one.low is None or one.high is None:
        return f"{value} (no interval)"
    return f"{value} ({_number(one.low)} to {_number(one.high)})"


def _number(value: float | None) -> str:
    """Two decimals with a true minus sign, and no minus before zero."""
    if value is None:
        return "undefined"
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _details(one: Estimate) -> str:
    """Everything that belongs beside a coefficient, as lines."""
    lines = [
        f"<b>{escape(_label(one))}</b>: {_short(one)}",
        f"{one.cases} cases rated by two or more, {one.raters} raters",
        f"{one.ratings} ratings, {one.missing} missing",
        f"interval: {escape(one.interval)}",
        *(_broken(note, 70) for note in one.notes),
    ]
    return "<br>".join(lines)


def _broken(text: str, width: int) -> str:
    """Escaped text, broken into lines."""
    return "<br>".join(escape(line) for line in wrap(text, width))


def _left(y: float, text: str, colour: str) -> dict[str, Any]:
    return {
        "x": -1,
        "y": y,
        "text": text,
        "xanchor": "left",
        "align": "left",
        "showarrow": False,
        "font": {"color": colour, "size": 12},
        "bgcolor": PAPER,
    }


def _right(y: float, text: str) -> dict[str, Any]:
    return {
        "x": 1.01,
        "xref": "paper",
        "y": y,
        "text": text,
        "xanchor": "left",
        "align": "left",
        "showarrow": False,
        "font": {"size": 12},
    }


def _bands(figure: Figure) -> None:
    """Landis and Koch's words above the plot, and a line at each limit."""
    for low, high, word in BANDS:
        figure.add_annotation(
            x=(low + high) / 2,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=word,
            showarrow=False,
            font={"size": 10, "color": QUIET},
        )
        figure.add_vline(
            x=low,
            line={"color": "#5a646f" if low == 0 else GRID, "width": 1, "dash": "dot"},
            layer="below",
        )
    figure.add_annotation(
        x=0,
        xref="paper",
        y=0,
        yref="paper",
        yshift=-34,
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": 11, "color": QUIET},
        text=(
            "Dots with 95 % intervals. Words: Landis and Koch 1977, for kappas only, not for "
            "percent agreement.<br>* has a note: point at the dot. Agreement is not correctness."
        ),
    )


def _row_axis(figure: Figure, rows: list[tuple[float, str, Estimate | None]]) -> None:
    named = [(y, _label(one)) for y, _, one in rows if one is not None]
    last = rows[-1][0] if rows else 0.0
    lowest = min([-1.0, *(one.value for _, _, one in rows if one and one.value is not None)])
    figure.update_layout(
        height=int(150 + ROW * (last + 1)),
        margin={"l": 10, "r": 170, "t": 50, "b": 90},
        xaxis={
            "range": [lowest - 0.03, 1.03],
            "tickvals": [-1, -0.5, 0, 0.2, 0.4, 0.6, 0.8, 1],
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={
            "range": [last + 0.6, -0.6],
            "tickvals": [y for y, _ in named],
            "ticktext": [escape(name) for _, name in named],
            "automargin": True,
            "gridcolor": GRID,
            "zeroline": False,
        },
    )


def _bar(
    figure: Figure,
    name: str,
    questions: list[str],
    values: list[int],
    colour: str,
    ink: str,
    hatch: str = "",
) -> None:
    numbers = [int(value) for value in values]
    figure.add_bar(
        name=name,
        orientation="h",
        x=numbers,
        y=questions,
        text=[str(n or "") for n in numbers],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": ink, "size": 12},
        marker={
            "color": colour,
            "line": {"color": "#7d8791", "width": 1},
            "pattern": {"shape": hatch, "fgcolor": "#59636d", "size": 6},
        },
        hovertemplate=f"{name}: %{{x}}<extra></extra>",
    )
