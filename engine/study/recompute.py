"""Make the figures of a reader study again, from its export alone.

    python recompute.py [FOLDER]        (the folder of this file by default)

What it does, in this order:
1. compares every file with its SHA-256 in digests.json;
2. analyses the answers of study.json once more, with the seed and the number of bootstrap draws
   that are written there, and compares every number with the written analysis;
3. reads answers.csv by itself, makes one matrix of first readings per question and condition
   (cases in rows, readers in columns, an empty answer is missing), and computes the agreement and
   the mean of each; they must equal those of the analysis.

It needs Lightbox, and nothing else. Exit status: 0 if everything agrees, 1 if not.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.study.agree import primary
from engine.study.analysis import analyse, analysis_to_json
from engine.study.protocol_json import facts_from_json, protocol_from_json

CLOSE = 1e-6


def main(arguments: list[str]) -> int:
    """Check one folder; every difference is told on its own line."""
    folder = Path(arguments[0]) if arguments else Path(__file__).parent
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    found = list(differences(files))
    for line in found or ["Everything agrees with the export."]:
        sys.stdout.write(line + "\n")
    return 1 if found else 0


def differences(files: dict[str, bytes]) -> Iterator[str]:
    """What does not agree in an export, one sentence each.

    Args:
        files: Name within the export to content.
    """
    yield from changed_files(files)
    study = json.loads(files["study.json"])
    if study["analysis"] is None:
        return
    yield from changed_numbers(study)
    yield from changed_tables(study, files["answers.csv"])


def changed_files(files: dict[str, bytes]) -> Iterator[str]:
    """Files that are missing, or are not what they were."""
    for name, digest in json.loads(files["digests.json"])["files"].items():
        if name not in files:
            yield f"The file {name} is missing."
        elif hashlib.sha256(files[name]).hexdigest() != digest:
            yield f"The file {name} was changed after the export."


def changed_numbers(study: dict[str, Any]) -> Iterator[str]:
    """Numbers of the analysis that come out otherwise."""
    written = study["analysis"]
    again = analysis_to_json(
        analyse(
            facts_from_json(study["facts"]),
            seed=written["seed"],
            draws=written["draws"],
            arm=written["arm"],
            group=written["group"],
        )
    )
    yield from compared(written, json.loads(json.dumps(again)), "analysis")


def compared(written: Any, again: Any, where: str) -> Iterator[str]:
    """Where two trees of plain values differ."""
    if isinstance(written, dict) and isinstance(again, dict):
        for name in sorted(set(written) | set(again)):
            yield from compared(written.get(name), again.get(name), f"{where}.{name}")
    elif isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
        for number, pair in enumerate(zip(written, again, strict=True)):
            yield from compared(*pair, f"{where}[{number}]")
    elif not same(written, again):
        yield f"{where} is written as {written}, and comes out as {again}."


def same(written: Any, again: Any) -> bool:
    """Whether two plain values are equal, numbers to within rounding."""
    numbers = (int, float)
    if isinstance(written, numbers) and isinstance(again, numbers):
        return math.isclose(written, again, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(written == again)


def changed_tables(study: dict[str, Any], answers: bytes) -> Iterator[str]:
    """Agreement and mean of each question and condition, from the rows of answers.csv."""
    written = study["analysis"]
    questions = {q.id: q for q in protocol_from_json(study["facts"]["protocol"]).questions}
    rows = list(csv.DictReader(io.StringIO(answers.decode("utf-8-sig"), newline="")))
    for result in written["questions"]:
        if not result["arm"] or result["group"] or not result["statistics"]:
            continue
        question, where = questions[result["question"]], f"{result['question']}, {result['arm']}"
        if written["group"]:
            continue
        ratings = matrix(rows, result["question"], result["arm"])
        again = primary(ratings, question, written["seed"], written["draws"])
        for old, new in zip(result["statistics"], again, strict=True):
            if not same(old["value"], new.value):
                yield f"answers.csv gives {new.value} for {old['statistic']} of {where}."
        if result["mean"] is not None and not same(result["mean"], float(np.nanmean(ratings))):
            yield f"answers.csv gives another mean of {where}."


def matrix(rows: list[dict[str, str]], question: str, condition: str) -> NDArray[np.float64]:
    """First readings as (cases, readers), NaN where there is no answer."""
    mine = [
        row
        for row in rows
        if row["question_id"] == question
        and row["condition"] == condition
        and row["replicate"] == "1"
        and row["answer_status"] != "not_applicable"
    ]
    cases = list(dict.fromkeys(row["case_id"] for row in mine))
    readers = list(dict.fromkeys(row["reader_id"] for row in mine))
    ratings = np.full((len(cases), len(readers)), np.nan)
    for row in mine:
        if row["answer_status"] == "answered" and row["answer"]:
            cell = cases.index(row["case_id"]), readers.index(row["reader_id"])
            ratings[cell] = float(row["answer"])
    return ratings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
