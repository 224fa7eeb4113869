"""Scores of the ready forms, such as SUS, reader by reader."""

from __future__ import annotations

import numpy as np

from engine.study.forms import FORMS, Form, IncompleteForm
from engine.study.intervals import student
from engine.study.records import ReadStatus, StudyFacts
from engine.study.results import FormResult

INCOMPLETE = "No reader answered every item of this form."
ONE = "Only one reader answered every item of this form, so there is no interval."


def form_scores(facts: StudyFacts) -> tuple[FormResult, ...]:
    """Each form that has a score of its own and is asked once per reader."""
    results = []
    groups = dict.fromkeys(q.group for q in facts.protocol.questions if q.group and not q.per_case)
    for group in groups:
        form = FORMS.get(group)
        if form is None or form.score is None:
            continue
        items = {q.id for q in facts.protocol.questions if q.group == group}
        each = {reader: _score(form, given) for reader, given in _answers(facts, items).items()}
        results.append(_result(group, {r: score for r, score in each.items() if score is not None}))
    return tuple(results)


def _score(form: Form, given: dict[str, float]) -> float | None:
    """Score of one reader; None where an item has no answer, or was taken out of the form."""
    if form.score is None:
        return None
    try:
        return float(form.score(given))
    except IncompleteForm:
        return None


def _answers(facts: StudyFacts, items: set[str]) -> dict[str, dict[str, float]]:
    """Reader to item to value."""
    given: dict[str, dict[str, float]] = {}
    for answer in facts.answers:
        is_given = answer.status is ReadStatus.ANSWERED and answer.value is not None
        if answer.question in items and not answer.case and is_given:
            given.setdefault(answer.reader, {})[answer.question] = float(answer.value or 0.0)
    return dict(sorted(given.items()))


def _result(group: str, scores: dict[str, float]) -> FormResult:
    if not scores:
        return FormResult(group, {}, None, None, None, INCOMPLETE)
    low, high = student(list(scores.values()))
    mean = float(np.mean(list(scores.values())))
    return FormResult(group, scores, mean, low, high, ONE if len(scores) == 1 else "")
