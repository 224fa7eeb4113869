"""The check of a manifest: every problem is listed before training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.datasets.check_pixels import pixel_problems
from engine.datasets.check_table import table_problems
from engine.datasets.errors import InvalidManifest
from engine.datasets.manifest import Manifest, read_manifest
from engine.datasets.problems import Check, Problem, error
from engine.progress import Watcher

__all__ = ["Check", "Problem", "check", "checked"]

NOT_STATED = "not stated"
LEAK = "leak"


def check(manifest: Manifest, *, decode: bool = True, progress: Watcher | None = None) -> Check:
    """Look for everything that would make training impossible or its figures false.

    Args:
        manifest: Rows.
        decode: Also open each image: absent, unreadable, duplicate, of the wrong kind or size,
            or marked outside.
        progress: Called with (images done, images); raises `Cancelled` to stop.

    Raises:
        Cancelled: The watcher asks to stop.
    """
    problems = table_problems(manifest)
    if decode:
        told = {problem.rows for problem in problems if problem.kind == LEAK}
        problems += [
            problem
            for problem in pixel_problems(manifest, progress)
            if problem.kind != LEAK or problem.rows not in told
        ]
    problems.sort(key=lambda problem: (problem.severity, problem.rows))
    rows = manifest.rows
    known = Counter(dict.fromkeys(manifest.classes, 0))
    known.update(row.label or NOT_STATED for row in rows if row.label in (*manifest.classes, ""))
    return Check(
        tuple(problems),
        dict(known),
        _counted(row.site for row in rows),
        _counted(row.split for row in rows),
        _counted(row.modality for row in rows),
        len({row.key for row in rows}),
        len(rows),
    )


def checked(
    path: Path,
    classes: Sequence[str] = (),
    grades: Sequence[str] = (),
    *,
    decode: bool = True,
    progress: Watcher | None = None,
) -> tuple[Manifest | None, Check]:
    """Read and check a manifest; None, and one problem, where it cannot be read as a table."""
    try:
        manifest = read_manifest(path, classes, grades)
    except InvalidManifest as wrong:
        return None, Check((error("table", (), str(wrong)),))
    return manifest, check(manifest, decode=decode, progress=progress)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(name or NOT_STATED for name in names).items()))
