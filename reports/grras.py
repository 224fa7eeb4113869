"""The fifteen items of GRRAS: filled from the study, or asked of the investigator.

Source: Kottner et al., "Guidelines for Reporting Reliability and Agreement Studies (GRRAS) were
proposed", J Clin Epidemiol 2011; items in our own words.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.study.records import StudyFacts
from engine.study.results import Analysis
from reports.blocks import Grid, Section, Words
from reports.study_words import (
    CROSSINGS,
    KINDS,
    ORDERS,
    plural,
    statistic_name,
)

ASK = "To be filled in by the investigator: "


@dataclass(frozen=True)
class Item:
    """One item: its number, what is asked, the answer, and whether there is one."""

    number: int
    asked: str
    answer: str
    filled: bool


ASKED = (
    "Title or abstract: that reliability or agreement was studied",
    "The instrument or measure, named and described",
    "The population of subjects (cases) of interest",
    "The population of raters of interest",
    "What is known about reliability and agreement, and why this study",
    "How the sample size and the numbers of raters, subjects and replicates were chosen",
    "How subjects and raters were sampled",
    "The rating process: time between ratings, information available, blinding",
    "Whether ratings were made independently",
    "The statistical analysis",
    "Actual numbers of raters, subjects and replicate observations",
    "Characteristics of raters and subjects",
    "Estimates of reliability and agreement, with their uncertainty",
    "The practical relevance of the results",
    "Where detailed results are available",
)
QUESTIONS = {
    3: "whom the cases stand for, where and when they were examined, and the reference standard.",
    4: "which readers the results are meant to hold for.",
    5: "what earlier studies found, and why this one was needed.",
    6: "why these numbers of readers and cases.",
    7: "how cases and readers were chosen (consecutive, random, convenience).",
    14: "what the agreement found means in practice.",
}


def items(facts: StudyFacts, analysis: Analysis) -> tuple[Item, ...]:
    """All items; what the organiser wrote comes first, what is known from the study follows."""
    known = _known(facts, analysis)
    made = []
    for number, asked in enumerate(ASKED, 1):
        own = facts.protocol.grras.get(str(number), "").strip()
        found = known.get(number, "")
        filled = bool(own) or number not in QUESTIONS
        request = "" if filled else ASK + QUESTIONS[number]
        answer = "\n".join(filter(None, (own, found, request)))
        made.append(Item(number, asked, answer, filled))
    return tuple(made)


def grras_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """The list as a table."""
    found = items(facts, analysis)
    rows = tuple((str(one.number), one.asked, one.answer) for one in found)
    open_items = [str(one.number) for one in found if not one.filled]
    words = "All items are filled in."
    if open_items:
        words = f"Still asked of the investigator: items {', '.join(open_items)}."
    table = Grid(("Item", "What is asked", "Answer"), rows, (12, 58, 110))
    return Section("14. GRRAS items", (Words(words, "bold"), table))


def _known(facts: StudyFacts, analysis: Analysis) -> dict[int, str]:
    protocol, design = facts.protocol, facts.protocol.design
    readers = plural(len(facts.readers), "reader")
    cases = plural(len(protocol.cases), "case")
    kinds = sorted({KINDS[question.kind] for question in protocol.questions})
    repeats = f"{design.repeats} hidden repeats per reader" if design.repeats else "no repeats"
    groups = sorted(set(protocol.groups.values()))
    washout = (
        f"{design.sessions} sessions, at least {design.washout_days:g} days apart"
        if design.sessions > 1
        else "one session"
    )
    return {
        1: f"“Reader agreement study: {protocol.title}” (agreement and reliability).",
        2: f"{plural(len(protocol.questions), 'question')} ({', '.join(kinds)}); wording and "
        "anchors in section 2.",
        4: _who(facts),
        6: f"Planned: {readers}, {cases}, {plural(len(protocol.arms), 'condition')}, {repeats}.",
        8: f"{ORDERS[design.order].capitalize()}; {washout}; {repeats}. Readers saw neither truth, "
        "file names, other readers' answers nor names of methods; the order was random per reader.",
        9: f"Each reader worked alone on an own account. Design: {CROSSINGS[design.crossing]}.",
        10: _methods(analysis),
        11: f"{plural(analysis.readers, 'reader')}, {plural(analysis.cases, 'case')}, "
        f"{plural(analysis.answers, 'answer')}; {_replicates(facts)}; flow in section 3.",
        12: f"Readers in section 4. Cases: {', '.join(_modalities(facts)) or 'not stated'}"
        + (f"; groups {', '.join(groups)}." if groups else "."),
        13: "Sections 5 to 11, each with a 95 % interval where one exists.",
        15: "The export of the study (answers, data dictionary, matrices, script that makes the "
        "numbers again) and the JSON of this report.",
    }


def _who(facts: StudyFacts) -> str:
    special = sorted({reader.specialty for reader in facts.readers if reader.specialty})
    return f"Specialties: {', '.join(special)}." if special else ""


def _methods(analysis: Analysis) -> str:
    names = dict.fromkeys(
        statistic_name(one) for result in analysis.questions for one in result.statistics
    )
    parts = [f"Agreement: {', '.join(names)}." if names else ""]
    if analysis.friedman:
        parts.append("Conditions: Friedman's test, pairs with Holm's correction.")
    parts += [f"Model: {kind}." for kind in dict.fromkeys(m.kind for m in analysis.model)]
    if analysis.accuracy is not None:
        parts.append("Accuracy: Obuchowski-Rockette with Hillis' degrees of freedom.")
    parts.append(f"Bootstrap with {analysis.draws} draws, seed {analysis.seed}.")
    return " ".join(filter(None, parts))


def _replicates(facts: StudyFacts) -> str:
    again = {(a.reader, a.case, a.arm) for a in facts.answers if a.case and a.replicate > 1}
    return plural(len(again), "reading") + " repeated"


def _modalities(facts: StudyFacts) -> list[str]:
    cases: dict[str, set[str]] = {}
    for answer in facts.answers:
        if answer.case:
            cases.setdefault(answer.modality or "modality not stated", set()).add(answer.case)
    return [f"{plural(len(found), 'case')} of {kind}" for kind, found in sorted(cases.items())]
