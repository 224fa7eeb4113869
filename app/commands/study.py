"""`lightbox study analyse`: the analysis of a study from its export, or from a table of ratings."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import typer

from app.commands.study_text import lines
from engine.errors import EngineError
from engine.study.analysis import analyse, analysis_to_json
from engine.study.import_table import import_csv
from engine.study.protocol_json import facts_from_json
from engine.study.records import InvalidProtocol, StudyFacts

REFUSED = 2
UNREADABLE = "The export could not be read."
NO_STUDY = "This is not an export of a study: study.json is missing."
NO_JSON = "The file study.json is not JSON of a study."
MOST_BYTES = 2**30


def run(
    source: Path, *, as_json: bool, seed: int | None, draws: int | None, arm: str, group: str
) -> int:
    """Print the analysis of an export.

    Args:
        source: Folder or zip of an export, its study.json, or a CSV of ratings in long format.
        as_json: As one JSON object instead of tables.
        seed, draws: Of every bootstrap; None takes those of the export, else 0 and 2000.
        arm, group: Limit the analysis to one arm or case group; "" for all.

    Returns:
        Exit status: 0, or 2 with one sentence on standard error where the export cannot be used.
    """
    try:
        facts, written = load(source)
        analysis = analyse(
            facts,
            seed=written.get("seed", 0) if seed is None else seed,
            draws=written.get("draws", 2000) if draws is None else draws,
            arm=arm,
            group=group,
        )
    except OSError:
        typer.echo(UNREADABLE, err=True)
        return REFUSED
    except EngineError as error:
        typer.echo(str(error), err=True)
        return REFUSED
    if as_json:
        content = analysis_to_json(analysis)
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo("\n".join(lines(analysis, facts.deviations)))
    return 0


def load(source: Path) -> tuple[StudyFacts, dict[str, int]]:
    """The facts of an export, with the seed and draws of the analysis in it.

    Raises:
        InvalidProtocol: it is not an export of a study.
        UnreadableTable: a CSV cannot be understood.
    """
    if source.is_dir():
        source = source / "study.json"
        if not source.is_file():
            raise InvalidProtocol(NO_STUDY)
    data = source.read_bytes()
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return import_csv(data), {}
    return _of_json(_unzipped(data) if zipfile.is_zipfile(io.BytesIO(data)) else data)


def _unzipped(data: bytes) -> bytes:
    """study.json of a zip, wherever it lies in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                is_study = entry.filename.rsplit("/", 1)[-1] == "study.json"
                if is_study and entry.file_size <= MOST_BYTES:
                    return archive.read(entry)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError):
        raise InvalidProtocol(UNREADABLE) from None
    raise InvalidProtocol(NO_STUDY)


def _of_json(data: bytes) -> tuple[StudyFacts, dict[str, int]]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidProtocol(NO_JSON) from None
    if not isinstance(content, dict) or not isinstance(content.get("facts", content), dict):
        raise InvalidProtocol(NO_JSON)
    written = content.get("analysis") or {}
    known = {
        name: written[name]
        for name in ("seed", "draws")
        if isinstance(written, dict) and isinstance(written.get(name), int)
    }
    return facts_from_json(content.get("facts", content)), known
