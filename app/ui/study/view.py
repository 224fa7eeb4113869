"""An analysis as it is shown: figures with their words, panels of tables, and what to choose from.

The tabs "Analysis" and "Import" show the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.ui.kit import plain
from app.ui.study.figures import Drawn, forest, ratings, times
from app.ui.study.figures_pairs import bland_altman, heat_table, pair_key
from app.ui.study.names import STATISTICS, Names, statistic_title
from app.ui.study.panels import panel

if TYPE_CHECKING:
    from engine.study.records import StudyFacts
    from engine.study.results import Analysis, QuestionResult

Picked = Mapping[str, Any]
Pieces = dict[str, Any]
KEYS = ("arm", "group", "question", "pair")
HIDDEN: dict[str, Any] = {"visible": False}
PLOTS = {
    "forest": "Agreement of the readers, with 95 % intervals",
    "ratings": "How often each point of the scale was given",
    "arms": "The same for the chosen question, by condition",
    "heat": "Agreement of each pair of readers",
    "pair": "Two readers compared (Bland and Altman)",
    "times": "Time spent on a reading",
}


class AnalysisView:
    """Components that show one analysis, and the values that fill them."""

    def __init__(self) -> None:
        self._plots: dict[str, gr.Plot] = {}
        self._words: dict[str, gr.Markdown] = {}
        self.agreement: gr.HTML | None = None
        self.tables: gr.HTML | None = None

    def build(self) -> None:
        """Add the components to the page being built."""
        self._figure("forest")
        self._figure("ratings")
        self._figure("arms")
        self.agreement = panel("analysis_agreement")
        with gr.Row(equal_height=False):
            for name in ("heat", "pair"):
                with gr.Column(min_width=480):
                    self._figure(name)
        self._figure("times")
        self.tables = panel("analysis_tables")

    def _figure(self, name: str) -> None:
        self._plots[name] = gr.Plot(
            label=PLOTS[name], visible=False, elem_classes="lbs-plot", elem_id=None
        )
        self._words[name] = gr.Markdown(visible=False, elem_classes="lbs-words")

    @property
    def outputs(self) -> list[Any]:
        """Components in the order of `shown` and `hidden`."""
        plots = [part for name in PLOTS for part in (self._plots[name], self._words[name])]
        return [*plots, self.agreement, self.tables]

    def hidden(self) -> tuple[Any, ...]:
        """Nothing; a panel without an analysis hides itself."""
        return (*(gr.update(**HIDDEN) for _ in range(2 * len(PLOTS))), {}, {})

    def shown(self, facts: StudyFacts, analysis: Analysis, picked: Picked) -> tuple[Any, ...]:
        """All figures and tables of an analysis."""
        names = Names.of(facts.protocol)
        made = _drawn(analysis, names, picked)
        parts = [part for name in PLOTS for part in _plot(made.get(name))]
        pieces = _pieces(facts, analysis, names, picked)
        return (*parts, pieces, pieces)


def choices(facts: StudyFacts, analysis: Analysis, picked: Picked) -> dict[str, Any]:
    """What the analysis can be limited to, what is chosen, and how much there is."""
    names = Names.of(facts.protocol)
    rated = [one for one in analysis.questions if one.statistics and not one.arm]
    question = _question(analysis, picked)
    pairs = [] if question is None else [pair_key(pair) for pair in question.pairs]
    groups = sorted({group for group in facts.protocol.groups.values() if group})
    return {
        "arms": [[arm.id, names.arm(arm.id)] for arm in facts.protocol.arms],
        "groups": groups,
        "questions": list(
            {one.question: [one.question, names.question(one.question)] for one in rated}.values()
        ),
        "pairs": pairs,
        "picked": {
            "arm": picked.get("arm") or "",
            "group": picked.get("group") or "",
            "question": question.question if question else "",
            "pair": picked.get("pair") if picked.get("pair") in pairs else (pairs or [""])[0],
        },
        "readers": analysis.readers,
        "cases": analysis.cases,
        "answers": analysis.answers,
        "withdrawn": sum(reader.withdrawn for reader in facts.readers),
        "unblinded": facts.unblinded,
        "state": str(facts.state),
        "notes": list(analysis.notes),
        "deviations": list(facts.deviations),
        "remarks": _remarks(analysis, names),
    }


def _remarks(analysis: Analysis, names: Names) -> list[str]:
    """What must be known beside single coefficients, such as the paradox of kappa; each once."""
    found: dict[str, list[str]] = {}
    for one in _pooled(analysis):
        for statistic in one.statistics:
            title = statistic_title(statistic.statistic, statistic.weights, statistic.level)
            for note in statistic.notes:
                found.setdefault(f"{title}: {note}", []).append(names.question(one.question))
        for note in one.notes:
            found.setdefault(note, []).append(names.question(one.question))
    return [note if len(on) > 1 else f"{note} ({on[0]})" for note, on in found.items()]


def _pooled(analysis: Analysis) -> list[QuestionResult]:
    """One result per question: of all conditions, or of the only one asked for."""
    wanted = [
        one
        for one in analysis.questions
        if one.arm in ("", analysis.arm) and one.group in ("", analysis.group)
    ]
    first: dict[str, QuestionResult] = {}
    for one in wanted:
        first.setdefault(one.question, one)
    return list(first.values())


def _by_arm(analysis: Analysis, question: str) -> list[QuestionResult]:
    """Results of a question for each condition, all case groups together."""
    return [
        one
        for one in analysis.questions
        if one.question == question and one.arm and one.group in ("", analysis.group)
    ]


def _question(analysis: Analysis, picked: Picked) -> QuestionResult | None:
    """The question that pairs are compared on: the chosen one, else the first with pairs."""
    found = [one for one in _pooled(analysis) if one.pairs]
    wanted = picked.get("question")
    return next((one for one in found if one.question == wanted), found[0] if found else None)


def _drawn(analysis: Analysis, names: Names, picked: Picked) -> dict[str, Drawn]:
    """Figures for which there is something to show."""
    pooled = [one for one in _pooled(analysis) if one.statistics]
    made: dict[str, Drawn] = {}
    if pooled:
        made["forest"] = forest(pooled, names)
    question = _question(analysis, picked)
    spread = [one for one in _pooled(analysis) if _is_spread(one)]
    if spread:
        made["ratings"] = ratings(spread, names)
    arms = [] if question is None else _by_arm(analysis, question.question)
    if len(arms) > 1 and all(_is_spread(one) for one in arms):
        made["arms"] = ratings(arms, names)
    if question is not None:
        made["heat"] = heat_table(question)
        pairs = {pair_key(pair): pair for pair in question.pairs}
        pair = pairs.get(str(picked.get("pair")), next(iter(pairs.values())))
        if pair.points:
            made["pair"] = bland_altman(pair)
    if analysis.timing.arms:
        made["times"] = times(analysis.timing, names)
    return made


def _is_spread(one: QuestionResult) -> bool:
    """Whether a result has ratings on a scale."""
    return one.kind == "scale" and sum(one.counts.values()) > 0


def _plot(drawn: Drawn | None) -> tuple[Any, Any]:
    if drawn is None:
        return gr.update(**HIDDEN), gr.update(**HIDDEN)
    figure, words = drawn
    return gr.update(value=figure, visible=True), gr.update(value=_quiet(words), visible=True)


def _quiet(words: str) -> str:
    """Words in which nothing is markup."""
    for sign in ("\\", "*", "_", "`", "#", "[", "]", "<", ">", "$", "|"):
        words = words.replace(sign, f"\\{sign}")
    return words


def _pieces(facts: StudyFacts, analysis: Analysis, names: Names, picked: Picked) -> dict[str, Any]:
    """An analysis as plain values, with the words for its names."""
    value: dict[str, Any] = plain(analysis)
    for one in value["questions"]:
        one["text"], one["arm_title"] = names.question(one["question"]), names.arm(one["arm"])
        for statistic in one["statistics"]:
            keys = ("statistic", "weights", "level")
            statistic["title"] = statistic_title(*(statistic[key] for key in keys))
        for pair in one["pairs"]:
            pair.pop("points", None)
    return {
        "analysis": value,
        "arms": dict(names.arms),
        "questions": dict(names.questions),
        "statistics": STATISTICS,
        "picked": {key: picked.get(key) or "" for key in KEYS},
        "flags": len(analysis.flags),
    }


def picked_of(data: Mapping[str, Any]) -> dict[str, str]:
    """What an event says the analysis is limited to."""
    return {key: str(data[key]) for key in KEYS if key in data}


def only(chosen: Mapping[str, Any]) -> dict[str, str | None]:
    """Condition and case group as the services take them."""
    return {"arm": chosen.get("arm") or None, "group": chosen.get("group") or None}


def nothing(problem: str) -> dict[str, Sequence[Any] | str]:
    """What the head shows where there is no analysis."""
    return {"arms": [], "groups": [], "questions": [], "pairs": [], "problem": problem}
