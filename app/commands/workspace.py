"""Commands on a stored workspace: `lightbox report`, `lightbox ratings export`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from app.errors import InvalidInput, StorageFailed
from app.services import OPERATOR, Services
from app.settings import Settings


@contextmanager
def opened(flags: Mapping[str, object]) -> Iterator[Services]:
    """Services over the workspace of the settings; closed in the end."""
    services = Services.open(Settings.load(flags), demonstration=False)
    try:
        yield services
    finally:
        services.close()


FORMS = ("pdf", "json", "dicom-pdf", "dicom-sr")


def report_to(
    out: Path, case: str, target: str | None, flags: Mapping[str, object], form: str = "pdf"
) -> None:
    """Write the report of a case in one of `FORMS`.

    Raises:
        InvalidInput: There is no such form.
    """
    if form not in FORMS:
        raise InvalidInput(f"A report is written as one of {', '.join(FORMS)}.")
    with opened(flags) as services:
        reports = services.reports
        make = {
            "pdf": reports.case_pdf,
            "json": reports.case_json,
            "dicom-pdf": reports.case_dicom,
            "dicom-sr": reports.case_sr,
        }[form]
        _write(out, make(OPERATOR, case, target).data)
    typer.echo("Report written.")


def ratings_to(out: Path, flags: Mapping[str, object]) -> None:
    """Write the ratings as CSV."""
    with opened(flags) as services:
        _write(out, services.ratings.export_csv(OPERATOR).data)
    typer.echo("Ratings written.")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError:
        raise StorageFailed("The file could not be written where you asked.") from None
