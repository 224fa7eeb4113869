"""The words and tables of the page "Which method", as HTML; every text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from app.services.benchmarks import FOLDER, Trust
from engine.benchmark.records import LEVELS, ArmResult, Benchmark, Cell, MethodResult
from engine.benchmark.table import (
    ARROWS,
    FAMILIES,
    counted,
    headline,
    metrics_of,
    number,
    seconds,
)
from engine.benchmark.verdict import THRESHOLDS
from engine.metrics.catalogue import Metric

TITLES = {
    "localisation": "Does the heat lie on the lesion?",
    "faithfulness": "Does the model use what the map shows?",
    "stability": "Does the map stay when nothing changed, and go when the model is destroyed?",
    "complexity": "What does the map look like?",
}
DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "neither": "no direction is better",
}
AGAINST = {
    "better": ("lbt-better", "+", "better than chance"),
    "worse": ("lbt-worse", "−", "worse than chance"),
    "alike": ("lbt-alike", "=", "no better than chance"),
    "unknown": ("", "", ""),
}
OTHER_IMAGE = (
    " The verdicts are about the mammogram, which bears the lesion; the figures and tables below "
    "are about the other image."
)
BEST = "best"
NAME = "name"


def absent(trust: Trust) -> str:
    """What is said of a model that was never measured."""
    older = ""
    if trust.others:
        older = (
            "<p>There are results for other weights of this model. They say nothing about these "
            "weights and are not shown.</p>"
        )
    return (
        f'<div class="lbx lbt"><h2>{escape(trust.card.title)}</h2>'
        f'<p class="lbx-note">Nobody has measured yet which method to trust with this model '
        f"(weights {escape(trust.card.weights_digest[:12])}).</p>{older}"
        f"<p>Measure it where Lightbox is installed; it takes a while:</p>"
        f"<pre>{escape(trust.command)}</pre>"
        f"<p>Then put the file into the folder <b>{FOLDER}</b> of the workspace.</p></div>"
    )


def verdicts(trust: Trust, benchmark: Benchmark, arm: ArmResult, image: str = "") -> str:
    """Where the numbers come from, and what they amount to, best method first.

    Args:
        image: Modality that figures and tables are about; verdicts are about the first one.
    """
    facts = (
        f"{benchmark.cases} {counted(benchmark)} Made {_day(benchmark.made)} on "
        f"{benchmark.device}, seed {benchmark.seed}; weights {benchmark.weights_digest[:12]}."
    )
    about = "" if image in ("", arm.images[0]) else OTHER_IMAGE
    rows = "".join(_verdict(place, each) for place, each in enumerate(arm.methods, 1))
    return (
        f'<div class="lbx lbt"><h2>{escape(trust.card.title)}: {escape(arm.title.lower())}</h2>'
        f'<p class="lbt-lead">{escape(" ".join(headline(arm)))}</p>'
        '<p class="lbx-soft">Measured on synthetic phantoms, for the true class of each case. It '
        f"speaks for this model on such images, not for patients.{about}</p>"
        f'<ol class="lbt-list">{rows}</ol>'
        f"<details><summary>How these verdicts are reached, and how to repeat them</summary>"
        f"<p>{escape(THRESHOLDS)}</p><p>{escape(facts)}</p>"
        f"<pre>{escape(benchmark.command or trust.command)}</pre></details></div>"
    )


def tables(arm: ArmResult, image: str, order: str = BEST) -> str:
    """Every metric of every method on one image, one table a family, with what each means.

    Args:
        order: `BEST`, `NAME`, or a metric's registry name.
    """
    rows = sorted_methods(arm, image, order)
    parts = []
    for family in FAMILIES:
        metrics = metrics_of(arm, image, family)
        if metrics:
            parts.append(_table(TITLES[family], metrics, rows, image))
    return (
        '<div class="lbx lbt"><p class="lbx-soft">Each cell: mean over cases; below it the 95 % '
        "interval over cases, the chance level, and n, the cases with a number. "
        '<b class="lbt-better">+</b> better than chance, <b class="lbt-alike">=</b> no better, '
        '<b class="lbt-worse">−</b> worse; no mark where there is nothing to beat or too few cases.'
        f"</p>{''.join(parts)}</div>"
    )


def sorted_methods(arm: ArmResult, image: str, order: str) -> list[tuple[int, MethodResult]]:
    """Methods that the model serves with their places, in the order asked for."""
    rows = [(place, each) for place, each in enumerate(arm.methods, 1) if not each.refused]
    if order == NAME:
        return sorted(rows, key=lambda row: row[1].title.casefold())
    if order == BEST:
        return rows
    from engine.metrics.catalogue import METRICS

    sign = 1 if METRICS[order].better == "lower" else -1
    return sorted(rows, key=_by_metric(order, image, sign))


def _by_metric(
    metric: str, image: str, sign: int
) -> Callable[[tuple[int, MethodResult]], tuple[bool, float]]:
    def key(row: tuple[int, MethodResult]) -> tuple[bool, float]:
        cell = row[1].cell(metric, image)
        value = None if cell is None else cell.value
        return value is None, sign * (value or 0.0)

    return key


def _verdict(place: int, method: MethodResult) -> str:
    level = method.verdict.level
    time = "" if method.seconds is None else f"{seconds(method)} s"
    tags = " · ".join(
        part for part in (time, "slow" if method.slow else "", f"n {method.cases}") if part
    )
    return (
        f'<li class="lbt-row is-{level}"><span class="lbt-place">{place}</span>'
        f'<b class="lbt-name">{escape(method.title)}</b>'
        f'<span class="lbt-level">{LEVELS[level]}</span>'
        f'<span class="lbt-why">{escape(method.verdict.text)}</span>'
        f'<span class="lbt-tags">{"" if method.refused else tags}</span></li>'
    )


def _table(
    title: str, metrics: Sequence[Metric], rows: Sequence[tuple[int, MethodResult]], image: str
) -> str:
    head = "".join(
        f'<th scope="col" title="{escape(m.summary)}">{escape(m.title)} {ARROWS[m.better]}'
        f"<small>{escape(m.unit)}</small></th>"
        for m in metrics
    )
    body = "".join(
        f'<tr><th scope="row">{escape(method.title)} <small>{place}</small></th>'
        + "".join(_cell(method.cell(m.name, image)) for m in metrics)
        + "</tr>"
        for place, method in rows
    )
    meaning = "".join(
        f"<dt>{escape(m.title)} ({escape(m.unit)}; {DIRECTIONS[m.better]})</dt>"
        f"<dd>{escape(m.summary)} {escape(m.limits)}</dd>"
        for m in metrics
    )
    return (
        f'<section><h2>{escape(title)}</h2><div class="lbt-scroll"><table><thead><tr>'
        f'<th scope="col">Method</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<details><summary>What these numbers are, and what they cannot say</summary>"
        f"<dl>{meaning}</dl></details></section>"
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="lbt-none">not measured</td>'
    missing = f"{cell.undefined} without: {cell.reason}" if cell.undefined else ""
    if cell.value is None:
        return f'<td class="lbt-none" title="{escape(missing)}">undefined, n 0</td>'
    kind, mark, words = AGAINST[cell.against_chance]
    below = []
    if cell.low is not None:
        below.append(f"{number(cell.low)} to {number(cell.high)}")
    if cell.chance is not None:
        below.append(f"chance {number(cell.chance)}")
    below.append(f"n {cell.n}" + (f" of {cell.n + cell.undefined}" if cell.undefined else ""))
    right = f"{number(cell.right)} in {cell.n_right} cases answered right"
    told = "; ".join(
        part for part in (words, f"median {number(cell.median)}", right, missing) if part
    )
    return (
        f'<td class="{kind}" title="{escape(told)}"><b>{number(cell.value)}</b>'
        f"<i>{mark}</i><small>{' · '.join(below)}</small></td>"
    )


def _day(made: str) -> str:
    """Day and minute of an ISO time, as text."""
    return f"{made[:16].replace('T', ' ')} UTC"
