"""A study as files: a long table, wide matrices, JSON, a data dictionary, how to recompute."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import resources
from typing import Any

import numpy as np

from engine.study.analysis import Analysis, analyse, analysis_to_json
from engine.study.blind import blinded
from engine.study.dictionary import COLUMNS, entries
from engine.study.import_table import import_csv
from engine.study.protocol_json import facts_to_json
from engine.study.records import (
    Protocol,
    QuestionKind,
    ReaderFacts,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
)
from engine.study.sheets import csv_bytes, json_bytes, parquet_bytes
from engine.study.table import RATED, by_question, per_case, table

__all__ = ["export_files", "import_csv", "long_rows"]

FORMAT = "lightbox-study"
FORMAT_VERSION = 1
PARQUET_KINDS = ("text", "integer", "number", "boolean")

NUMBERED = """numbered, since the study is not unblinded;
scores of maps are left out until then"""

README = """Study {code}: answers and analysis
{line}

answers.csv        One row per answer: UTF-8, comma, header row. Cells of text that a spreadsheet
                   could take for a formula begin with an apostrophe.
answers.parquet    The same rows with typed columns.
dictionary.csv     What each column and question means: type, unit, codes with their labels
                   (dictionary.json: the same).
wide/              One matrix per question and condition, cases in rows, readers in columns;
                   first readings only, an empty cell is a missing answer.
wide/questionnaire.csv  Closing questionnaire, readers in rows.
study.json         Protocol, readers and answers ("facts"), and the analysis with its seed.
digests.json       SHA-256 of every other file, and the digests frozen when the study was locked.
recompute.py       Makes the figures again from this folder: python recompute.py
                   It needs Lightbox to be installed; lightbox study analyse FOLDER does so too.

Rows with replicate 2 are hidden repeats; they belong to no table of agreement between readers.
Training readings are not included. Condition and method are {blind}.
Agreement is not correctness: readers can agree and all be wrong.
"""


def long_rows(facts: StudyFacts) -> list[dict[str, Any]]:
    """One row per answer, by reader, session, position and question.

    Returns:
        Rows with exactly the columns of `dictionary.COLUMNS`; None where there is nothing. Method
        names only where the study is unblinded, and numbered arms where it is not.
    """
    facts = blinded(facts)
    protocol = facts.protocol
    questions = {question.id: question for question in protocol.questions}
    readers = {reader.code: reader for reader in facts.readers}
    order = {question.id: i for i, question in enumerate(protocol.questions)}
    sorted_answers = sorted(
        facts.answers,
        key=lambda a: (
            a.reader, not a.case, a.session, a.position, a.case, a.arm, a.replicate,
            order.get(a.question, len(order)), a.question,
        ),
    )  # fmt: skip
    return [
        _row(facts, a, questions.get(a.question), readers.get(a.reader), _method(facts, a.arm))
        for a in sorted_answers
    ]


def export_files(facts: StudyFacts, analysis: Analysis | None = None) -> dict[str, bytes]:
    """Every file of the export, by its name; the same facts give the same bytes.

    Args:
        facts: Where they are not unblinded, arms have numbers in place of names in every file.
        analysis: Written into study.json; made anew if it names arms that must be blinded.
    """
    shown = blinded(facts)
    if analysis is not None and shown is not facts:
        analysis = analyse(shown, seed=analysis.seed, draws=analysis.draws, group=analysis.group)
    if not shown.unblinded:  # only explanations have scores, so these would tell the decoys
        shown = replace(shown, map_scores={})
        analysis = None if analysis is None else replace(analysis, correlations=())
    rows = long_rows(shown)
    names = [column.name for column in COLUMNS]
    described = [asdict(entry) for entry in entries(shown.protocol)]
    files = {
        "README.txt": _readme(shown),
        "answers.csv": csv_bytes(names, ([row[name] for name in names] for row in rows)),
        "answers.parquet": parquet_bytes(_kinds(), [_typed(row) for row in rows]),
        "dictionary.csv": csv_bytes(list(described[0]), (list(e.values()) for e in described)),
        "dictionary.json": json_bytes(described),
        "recompute.py": resources.files("engine.study").joinpath("recompute.py").read_bytes(),
        "study.json": json_bytes(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "facts": facts_to_json(shown),
                "analysis": None if analysis is None else analysis_to_json(analysis),
            }
        ),
        **_matrices(shown),
    }
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    files["digests.json"] = json_bytes({"files": digests, "frozen": dict(shown.digests)})
    return dict(sorted(files.items()))


def _row(
    facts: StudyFacts,
    answer: StudyAnswer,
    question: StudyQuestion | None,
    reader: ReaderFacts | None,
    method: str,
) -> dict[str, Any]:
    low, high = _ends(question)
    shown, submitted = answer.timing.shown_at, answer.timing.submitted_at
    values = (
        facts.code, facts.version, answer.session, answer.reader,
        reader.specialty if reader else "", reader.experience if reader else "",
        answer.case, answer.modality, answer.view, answer.laterality,
        answer.arm, answer.label, method, answer.replicate, answer.position,
        answer.question, question.text if question else "", low, high,
        _said(answer), str(answer.status), answer.reason, answer.comment,
        shown.isoformat() if shown else "", submitted.isoformat() if submitted else "",
        answer.timing.active_ms, answer.revision, answer.revisions,
        answer.ai_prediction, answer.ai_confidence, answer.ai_correct, answer.truth,
        answer.weights_digest or facts.digests.get("model", ""),
        facts.digests.get("explainer", facts.digests.get("software", "")),
        facts.digests.get("software", ""),
    )  # fmt: skip
    return {column.name: value for column, value in zip(COLUMNS, values, strict=True)}


def _said(answer: StudyAnswer) -> Any:
    """What was answered: a number, a text, or marks as JSON."""
    if answer.value is not None:
        return int(answer.value) if float(answer.value).is_integer() else answer.value
    if answer.marks is not None:
        return json.dumps(answer.marks, sort_keys=True)
    return answer.text or None


def _ends(question: StudyQuestion | None) -> tuple[float | None, float | None]:
    if question is None:
        return None, None
    if question.scale:
        return question.scale[0], question.scale[-1]
    if question.kind is QuestionKind.NUMBER:
        return float(question.low), float(question.high)
    return None, None


def _method(facts: StudyFacts, arm: str) -> str:
    """Method or decoy of an arm, once arms may be named."""
    known = {a.id: a for a in facts.protocol.arms}.get(arm)
    if known is None or not facts.unblinded:
        return ""
    return known.method or (f"decoy: {known.decoy}" if known.decoy else str(known.kind))


def _kinds() -> dict[str, str]:
    return {
        column.name: column.type if column.type in PARQUET_KINDS else "text" for column in COLUMNS
    }


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row for Parquet: the answer as text, since its type differs by question."""
    answer = row["answer"]
    return {**row, "answer": None if answer is None else str(answer)}


def _matrices(facts: StudyFacts) -> dict[str, bytes]:
    answers = by_question(facts)
    files: dict[str, bytes] = {}
    for question in per_case(facts.protocol):
        if question.kind not in RATED:
            continue
        rows = table(facts, answers.get(question.id, ()))
        for arm in facts.protocol.arms:
            part = rows.arm(arm.id)
            if part.items:
                name = _unused(f"wide/{_plain(question.id)}_{_plain(arm.id)}", files)
                files[name] = csv_bytes(
                    ["case_id", *part.readers],
                    (
                        [case, *(None if np.isnan(v) else float(v) for v in values)]
                        for case, values in zip(part.cases, part.values, strict=True)
                    ),
                )
    closing = _closing(facts, facts.protocol)
    return {**files, **({"wide/questionnaire.csv": closing} if closing else {})}


def _closing(facts: StudyFacts, protocol: Protocol) -> bytes | None:
    """Closing questionnaire, readers by questions."""
    asked = [question.id for question in protocol.questions if not question.per_case]
    said = {(a.reader, a.question): _said(a) for a in facts.answers if not a.case}
    if not said:
        return None
    readers: Sequence[str] = sorted({reader for reader, _ in said})
    return csv_bytes(
        ["reader_id", *asked],
        ([reader, *(said.get((reader, question)) for question in asked)] for reader in readers),
    )


def _plain(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60] or "unnamed"


def _unused(name: str, taken: dict[str, bytes]) -> str:
    """The name with ".csv", numbered where two names look alike."""
    candidate, number = f"{name}.csv", 2
    while candidate in taken:
        candidate, number = f"{name}-{number}.csv", number + 1
    return candidate


def _readme(facts: StudyFacts) -> bytes:
    blind = "named" if facts.unblinded else NUMBERED
    title = f"Study {facts.code}: answers and analysis"
    return README.format(code=facts.code, line="=" * len(title), blind=blind).encode()
