"""`lightbox explain`: files in, maps and numbers out."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import typer

from app.errors import InvalidInput, StorageFailed
from app.version import VERSION
from engine.errors import EngineError, UnknownName


def run(
    paths: Sequence[Path],
    out: Path,
    methods: Sequence[str],
    target: str | None,
    model: str | None,
    device: str,
) -> int:
    """Explain every case; failures are one sentence each and do not stop the rest.

    Inputs are named by their position, since file names may hold a patient's name.

    Returns:
        1 if any input could not be served, else 0.
    """
    from engine.export import write_explanations
    from engine.io import gather
    from engine.workflow import DEFAULT_MODEL, EXPLAINERS, class_index, explain, load_system

    if not methods:
        raise InvalidInput("Name at least one explanation method.")
    for name in methods:
        EXPLAINERS[name]
    absent = [str(n) for n, path in enumerate(paths, 1) if not path.exists()]
    for number in absent:
        typer.echo(f"Path {number} on the command line does not exist.", err=True)
    system = load_system(model or DEFAULT_MODEL, device=device)
    if target is not None:
        class_index(system.card, target)
    failed, served = len(absent), 0
    for outcome in gather([path for path in paths if path.exists()]):
        if outcome.case is None:
            failed += 1
            typer.echo(f"File {outcome.position}: {outcome.problem}", err=True)
            continue
        case = outcome.case
        try:
            analysis = explain(system, case, methods, target)
            write_explanations(
                out / case.id, case, system.card, analysis.prediction,
                analysis.explanations, analysis.refused, f"Lightbox {VERSION}",
            )  # fmt: skip
        except EngineError as error:
            failed += 1
            typer.echo(f"File {outcome.position}: {error}", err=True)
            continue
        except OSError as error:
            raise StorageFailed(_storage(error)) from None
        failed += bool(analysis.refused)
        for name, reason in analysis.refused.items():
            typer.echo(f"File {outcome.position}: {name}: {reason}", err=True)
        served += 1
        leading = analysis.prediction.leading
        share = analysis.prediction.probabilities[leading]
        typer.echo(f"File {outcome.position}: {case.id}: {leading} {share:.2f}")
    if served + failed == 0:
        raise UnknownName("There is no file to explain at the places given.")
    return 1 if failed else 0


def _storage(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full; the results could not be written."
    return "The results could not be written to the output folder."
