"""`lightbox explain`: files in, maps and numbers out."""

from __future__ import annotations

import errno
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.errors import InvalidInput, StorageFailed
from app.version import VERSION
from engine.errors import EngineError, UnknownName

if TYPE_CHECKING:
    from engine.io import Outcome


def run(
    paths: Sequence[Path],
    out: Path,
    methods: Sequence[str],
    target: str | None,
    model: str | None,
    device: str,
    *,
    names: bool = False,
    formats: Sequence[str] = ("npz", "png"),
    scores: bool = True,
    settings: Sequence[str] = (),
) -> int:
    """Explain every case; failures are one sentence each and do not stop the rest.

    Inputs are named by their position, since file names may hold a patient's name.

    Args:
        paths: Files, folders or archives. out: Gets one folder a case.
        methods: Registry names, or "all" or "fast". target: Class to explain.
        model: Name of a card, or the path of one.
        device: "auto", "cpu" or "cuda".
        formats: How the maps are written; names from `engine.export.FORMATS`.
        scores: Whether the maps are measured; takes longer than the maps themselves.
        settings: "method.setting=value" each.
        names: Whether the lines on the terminal tell the file names too; nothing else does.

    Returns:
        1 if any input could not be served, else 0.
    """
    from engine.evidence import measure
    from engine.export import checked_formats, write_explanations
    from engine.io import gather
    from engine.workflow import DEFAULT_MODEL, EXPLAINERS, class_index, explain, load_system

    if not methods:
        raise InvalidInput("Name at least one explanation method.")
    every = len(methods) == 1 and methods[0] in ("all", "fast")
    if every:
        methods = [n for n, e in EXPLAINERS.items() if methods[0] == "all" or not e.slow]
    for name in methods:
        EXPLAINERS[name]
    changed = _settings(settings)
    for name, given in changed.items():
        EXPLAINERS[name].chosen(given)
    if not formats:
        raise InvalidInput("Name at least one format for the results.")
    checked_formats(formats)
    present = [path for path in paths if _exists(path)]
    for number, path in enumerate(paths, 1):
        if path not in present:
            named = f" ({_printable(path)})" if names else ""
            typer.echo(f"Path {number}{named} on the command line does not exist.", err=True)
    system = load_system(model or DEFAULT_MODEL, device=device)
    if target is not None:
        class_index(system.card, target)
    failed, served = len(paths) - len(present), 0
    for outcome in gather(present):
        said = _said(outcome, names=names)
        if outcome.case is None:
            failed += 1
            typer.echo(f"{said}: {outcome.problem}", err=True)
            continue
        case = outcome.case
        try:
            analysis = explain(system, case, methods, target, settings=changed)
            asks = scores and "class" in system.offers
            measured = measure(system, case, analysis.explanations, target) if asks else None
            write_explanations(
                out / case.id, case, system.card, analysis.prediction,
                analysis.explanations, analysis.refused, f"Lightbox {VERSION}", formats=formats,
                scores=measured,
            )  # fmt: skip
        except EngineError as error:
            failed += 1
            typer.echo(f"{said}: {error}", err=True)
            continue
        except OSError as error:
            raise StorageFailed(_storage(error)) from None
        failed += bool(analysis.refused) and not every
        for name, reason in analysis.refused.items():
            typer.echo(f"{said}: {name}: {reason}", err=True)
        served += 1
        leading = analysis.prediction.leading
        share = analysis.prediction.probabilities[leading]
        typer.echo(f"{said}: {case.id}: {leading} {share:.2f}")
    if served + failed == 0:
        raise UnknownName("There is no file to explain at the places given.")
    return 1 if failed else 0


def _settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """ "method.setting=value" as settings by method; values are read as TOML where they can be.

    Raises:
        InvalidInput: A text is not of this form.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, setting = place.strip().partition(".")
        if not (equals and dot and method and setting):
            raise InvalidInput("A setting is written method.setting=value.")
        try:
            read = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            read = value.strip()
        found.setdefault(method, {})[setting] = read
    return found


def _exists(path: Path) -> bool:
    """Whether there is something; a name too long, or a closed folder, is nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def _said(outcome: Outcome, *, names: bool) -> str:
    """How the terminal speaks of an outcome."""
    if not names or not outcome.sources:
        return f"File {outcome.position}"
    return f"File {outcome.position} ({', '.join(_printable(path) for path in outcome.sources)})"


def _printable(path: Path) -> str:
    """A file name without what would steer the terminal."""
    return "".join(mark if mark.isprintable() else "?" for mark in path.name)


def _storage(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full; the results could not be written."
    return "The results could not be written to the output folder."
