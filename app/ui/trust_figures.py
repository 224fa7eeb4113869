"""Figures of the page "Which method": heat in the lesion, faithfulness, and random weights.

Methods bear the number of their place in the list of verdicts. Titles are escaped: plotly reads
a subset of HTML in every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from app.ui.figures import GRID, PAPER, QUIET, TEXT
from engine.benchmark.records import LEVELS, ArmResult, Cell, MethodResult
from engine.benchmark.table import number
from engine.benchmark.verdict import LOCALISES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = {
    "use": "#2fae86",
    "caution": "#d9a441",
    "avoid": "#b5533c",
    "unknown": "#7d8791",
    "refused": "#4b5159",
}
SYMBOLS = {
    "use": "circle",
    "caution": "diamond",
    "avoid": "x",
    "unknown": "square",
    "refused": "line-ew",
}
ROW = 27
MARK = "#f4f5f7"

Numbered = tuple[int, MethodResult, Cell]


def numbered(arm: ArmResult, image: str, metric: str) -> list[Numbered]:
    """Place in the list of verdicts, method and cell of those with a number."""
    found = []
    for place, method in enumerate(arm.methods, 1):
        cell = method.cell(metric, image)
        if cell is not None and cell.value is not None:
            found.append((place, method, cell))
    return found


def energy_figure(arm: ArmResult, image: str) -> Figure | None:
    """Bars of how much more heat the lesion holds than chance, hottest first; None without any."""
    rows = sorted(numbered(arm, image, "energy_ratio"), key=lambda row: -(row[2].value or 0.0))
    if not rows:
        return None
    figure = _figure("Heat in the lesion, times chance: mean and 95 % interval")
    for level in dict.fromkeys(row[1].verdict.level for row in rows):
        _bars(figure, level, [row for row in rows if row[1].verdict.level == level])
    _line(figure, 1.0, "chance", "right")
    _line(figure, LOCALISES, f"{LOCALISES:g} x chance", "left")
    top = max(max(cell.value or 0.0, cell.high or 0.0) for _, _, cell in rows)
    _rows(figure, [_name(place, method) for place, method, _ in rows], max(top, LOCALISES) * 1.02)
    for place, method, cell in rows:
        figure.add_annotation(**_beside(_name(place, method), _short(cell)))
    figure.update_layout(margin={"r": 190, "b": 72}, showlegend=True)
    return figure


def sanity_figure(arm: ArmResult) -> Figure | None:
    """Bars of how alike maps stay when all weights are destroyed; None where nothing was tested."""
    rows = [
        (place, method, method.sanity)
        for place, method in enumerate(arm.methods, 1)
        if method.sanity is not None and method.sanity.strength is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: row[2].strength or 0.0)
    figure = _figure("Likeness of the map after all weights are destroyed")
    threshold = rows[0][2].threshold
    figure.add_bar(
        orientation="h",
        x=[check.strength for _, _, check in rows],
        y=[_name(place, method) for place, method, _ in rows],
        marker={"color": [COLOURS["avoid" if c.verdict == "fails" else "use"] for _, _, c in rows]},
        hovertext=[
            f"{escape(method.title)}: {check.verdict}, {number(check.strength)}, "
            f"{check.cases} cases"
            for _, method, check in rows
        ],
        hoverinfo="text",
        width=0.62,
    )
    figure.add_scatter(
        mode="markers",
        x=[check.chance for _, _, check in rows],
        y=[_name(place, method) for place, method, _ in rows],
        marker={"symbol": "line-ns", "size": 13, "line": {"color": MARK, "width": 2}},
        hovertext=[f"two destroyed models: {number(check.chance)}" for _, _, check in rows],
        hoverinfo="text",
    )
    _line(figure, threshold, f"fails from {threshold:g}")
    _rows(figure, [_name(place, method) for place, method, _ in rows], 1.0)
    for place, method, check in rows:
        words = f"<b>{number(check.strength)}</b> {check.verdict}, n {check.cases}"
        figure.add_annotation(**_beside(_name(place, method), words))
    figure.update_layout(margin={"r": 120})
    _foot(figure, "White marks: two models destroyed differently. Lower is better.")
    return figure


def faithfulness_figure(arm: ArmResult, image: str) -> Figure | None:
    """Deletion against insertion, with the chance levels; None where neither was measured."""
    insertion = {method.method: cell for _, method, cell in numbered(arm, image, "insertion")}
    rows = [row for row in numbered(arm, image, "deletion") if row[1].method in insertion]
    if not rows:
        return None
    figure = _figure("Faithfulness: deletion against insertion")
    for level in dict.fromkeys(row[1].verdict.level for row in rows):
        own = [row for row in rows if row[1].verdict.level == level]
        figure.add_scatter(
            name=LEVELS[level],
            mode="markers+text",
            x=[cell.value for _, _, cell in own],
            y=[insertion[method.method].value for _, method, _ in own],
            text=[str(place) for place, _, _ in own],
            textposition="top center",
            textfont={"size": 11, "color": TEXT},
            marker={"color": COLOURS[level], "symbol": SYMBOLS[level], "size": 10},
            hovertext=[
                f"<b>{_name(place, method)}</b><br>deletion {_short(cell)}"
                f"<br>insertion {_short(insertion[method.method])}"
                for place, method, cell in own
            ],
            hoverinfo="text",
        )
    _chance_lines(figure, [cell for _, _, cell in rows], list(insertion.values()))
    figure.update_layout(
        height=max(420, 140 + ROW * len(rows)),
        margin={"l": 66, "r": 20, "t": 76, "b": 96},
        showlegend=True,
        xaxis={
            "title": {"text": "deletion, mean probability (lower is better)"},
            "range": _around([cell for _, _, cell in rows]),
            "tickformat": ".2f",
            "gridcolor": GRID,
            "zeroline": False,
        },
        yaxis={
            "title": {"text": "insertion, mean probability (higher is better)"},
            "range": _around(list(insertion.values())),
            "tickformat": ".2f",
            "gridcolor": GRID,
            "zeroline": False,
        },
    )
    return figure


def _around(cells: Sequence[Cell]) -> list[float]:
    """Range of an axis that holds all values and chance levels, and does not blow up trifles."""
    values = [v for cell in cells for v in (cell.value, cell.chance) if v is not None]
    return [min(values) - 0.05, max(values) + 0.05]


def _chance_lines(figure: Figure, deletion: Sequence[Cell], insertion: Sequence[Cell]) -> None:
    """The chance level of the methods on most cases, in both directions."""
    style: dict[str, Any] = {"line": {"color": QUIET, "width": 1, "dash": "dash"}, "layer": "below"}
    note: dict[str, Any] = {"annotation_font": {"size": 11, "color": QUIET}}
    for cells, draw, place in (
        (deletion, figure.add_vline, "top"),
        (insertion, figure.add_hline, "top left"),
    ):
        most = max(cells, key=lambda cell: cell.n)
        if most.chance is not None:
            way = {"x": most.chance} if cells is deletion else {"y": most.chance}
            draw(**way, **style, **note, annotation_text="chance", annotation_position=place)


def _figure(title: str) -> Figure:
    from plotly import graph_objects  # slow to import; the other pages do without

    figure = graph_objects.Figure()
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 15, "color": TEXT}},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": TEXT, "size": 12},
        showlegend=False,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        hoverlabel={"bgcolor": "#20262d", "font": {"color": TEXT}, "align": "left"},
    )
    return figure


def _bars(figure: Figure, level: str, rows: Sequence[Numbered]) -> None:
    values = [cell.value or 0.0 for _, _, cell in rows]
    cells = [cell for _, _, cell in rows]
    figure.add_bar(
        name=LEVELS[level],
        orientation="h",
        x=values,
        y=[_name(place, method) for place, method, _ in rows],
        marker={"color": COLOURS[level]},
        width=0.62,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_span(cell.high, cell.value) for cell in cells],
            "arrayminus": [_span(cell.value, cell.low) for cell in cells],
            "color": MARK,
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[
            f"<b>{_name(place, method)}</b>: {_short(cell)}<br>median of the cases "
            f"{number(cell.median)}<br>where the model is right {number(cell.right)} "
            f"({cell.n_right} cases)"
            for place, method, cell in rows
        ],
        hoverinfo="text",
    )


def _span(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(high - low, 0.0)


def _rows(figure: Figure, names: Sequence[str], top: float) -> None:
    """Axes of a figure with one row a method, the first on top."""
    figure.update_layout(
        barmode="overlay",
        height=int(150 + ROW * len(names)),
        margin={"l": 10, "t": 76, "b": 52},
        xaxis={"range": [0, top], "gridcolor": GRID, "zeroline": False},
        yaxis={
            "categoryorder": "array",
            "categoryarray": list(names),
            "autorange": "reversed",
            "automargin": True,
            "showgrid": False,
            "ticks": "",
        },
    )


def _line(figure: Figure, value: float, words: str, anchor: str = "center") -> None:
    figure.add_vline(
        x=value,
        line={"color": MARK, "width": 1, "dash": "dash"},
        annotation_text=words,
        annotation_position="top",
        annotation_xanchor=anchor,
        annotation_font={"size": 11, "color": QUIET},
    )


def _beside(name: str, text: str) -> dict[str, Any]:
    return {
        "x": 1.01,
        "xref": "paper",
        "y": name,
        "text": text,
        "xanchor": "left",
        "align": "left",
        "showarrow": False,
        "font": {"size": 11},
    }


def _foot(figure: Figure, text: str) -> None:
    figure.add_annotation(
        x=0,
        xref="paper",
        y=0,
        yref="paper",
        yshift=-28,
        xanchor="left",
        yanchor="top",
        text=text,
        showarrow=False,
        font={"size": 11, "color": QUIET},
    )


def _name(place: int, method: MethodResult) -> str:
    return f"{escape(method.title)}  <b>{place}</b>"


def _short(cell: Cell) -> str:
    text = f"<b>{number(cell.value)}</b>"
    if cell.low is not None and cell.high is not None:
        text += f" ({number(cell.low)} to {number(cell.high)})"
    return f"{text}, n {cell.n}"
