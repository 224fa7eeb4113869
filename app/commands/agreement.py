"""`lightbox agreement`: every agreement statistic of a CSV file of ratings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from engine.errors import EngineError
from engine.metrics.agreement import Statistic, statistics
from engine.metrics.agreement_csv import CsvTable, read_csv
from engine.metrics.agreement_pair import NOT_BINARY

UNREADABLE = "The file of ratings could not be read."
REFUSED = 2
INTERVAL = "95 % interval"
LABELS = (
    "The labels were taken as the scores 1 to {} in their order; weights, interval and ratio alpha "
    "and ICC presume equal steps between them."
)
CAVEAT = "Agreement is not correctness: readers can agree and all be wrong."


def run(file: Path, scale: Sequence[str], *, as_json: bool, seed: int) -> int:
    """Print the statistics of every question.

    Args:
        file: CSV with the columns reader_id, case_id, question_id, answer.
        scale: Labels of the scale, in order.
        as_json: As one JSON object instead of tables.
        seed: Seed of every bootstrap.

    Returns:
        Exit status: 0, or 2 with one sentence on standard error where the file or the scale
        cannot be used.
    """
    try:
        tables = read_csv(file.read_bytes(), scale)
    except OSError:
        typer.echo(UNREADABLE, err=True)
        return REFUSED
    except EngineError as error:
        typer.echo(str(error), err=True)
        return REFUSED
    found = {table.question: _of(table, seed) for table in tables.values()}
    if as_json:
        results = [
            one.as_json(question, tables[question].readers)
            for question, several in found.items()
            for one in several
        ]
        typer.echo(json.dumps({"results": results}, indent=2, allow_nan=False))
        return 0
    for question, several in found.items():
        typer.echo("\n".join(_lines(tables[question], several)))
    typer.echo(CAVEAT)
    return 0


def _of(table: CsvTable, seed: int) -> tuple[Statistic, ...]:
    return statistics(
        table.ratings,
        table.scale,
        seed=seed,
        level_of_interest=table.first if len(table.scale) == 2 else None,
    )


def _lines(table: CsvTable, found: Sequence[Statistic]) -> list[str]:
    """One question as a table for people, with its notes below."""
    first, kinds = found[0], [_kind(table, one) for one in found]
    wide = max(18, *(len(kind) + 2 for kind in kinds))
    lines = [
        f"Question {table.question}: {len(table.cases)} cases, {first.raters} readers, "
        f"{first.ratings} ratings, {first.missing} missing, "
        f"{first.cases} cases with two or more ratings",
        f"  {'statistic':<26}{'weights or level':<{wide}}{'value':>8}  {INTERVAL:<18}made by",
    ]
    said = [] if table.numeric else [LABELS.format(len(table.scale))]
    notes = dict.fromkeys(said)
    for one, kind in zip(found, kinds, strict=True):
        name = one.statistic
        if one.reason == NOT_BINARY:
            continue
        if one.value is None:
            lines.append(f"  {name:<26}{kind:<{wide}}{'–':>8}  {one.reason}")
            continue
        ends = "" if one.low is None else f"{one.low:.2f} to {one.high:.2f}"
        label = f"; {one.benchmark} (Landis and Koch)" if one.benchmark else ""
        lines.append(
            f"  {name:<26}{kind:<{wide}}{one.value:>8.2f}  {ends:<18}{one.interval}{label}".rstrip()
        )
        notes.update(dict.fromkeys(one.notes))
    return [*lines, *(f"  Note: {note}" for note in notes), ""]


def _kind(table: CsvTable, one: Statistic) -> str:
    """Weights or level, and the readers where a statistic is of two of several."""
    kind = one.weights or one.level or ""
    if one.raters_named is None:
        return kind
    return f"{kind} {' and '.join(table.readers[i] for i in one.raters_named)}".strip()
