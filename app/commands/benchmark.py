"""`lightbox benchmark-explainers`: every method on phantoms of known truth."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.errors import StorageFailed

if TYPE_CHECKING:
    from engine.benchmark.run import Plan
    from engine.records import Case

FIRST_SEED = 5_000_000
"""Far from the seeds of training, validation, test and demonstration."""
CASES = 24
REFUSED = "The benchmark could not be written where you asked."


def run(
    out: Path | None,
    methods: Sequence[str],
    model: str | None,
    device: str,
    count: int,
    seed: int,
    plan: Plan,
) -> None:
    """Measure, print the table, and keep the JSON where it is wanted.

    Args:
        out: JSON to write; None for the table alone. methods: Registry names; all when empty.
        model: Name of a card. device: "auto", "cpu" or "cuda".
        count: Phantoms with a lesion. seed: Of the first phantom; the next add one each.
        plan: How much is measured.
    """
    from engine.benchmark import to_json
    from engine.benchmark.run import benchmark
    from engine.benchmark.table import markdown
    from engine.workflow import DEFAULT_MODEL, EXPLAINERS, load_system

    for name in methods:
        EXPLAINERS[name]
    if out is not None:
        _prepare(out)
    system = load_system(model or DEFAULT_MODEL, device=device)
    found = benchmark(
        system,
        phantoms(seed, count),
        methods or None,
        plan,
        source=f"Phantoms of engine.phantoms from seed {seed} on.",
        command=command(system.card.name, methods, count, seed, plan),
        progress=_Line(count * len(plan.arms)),
    )
    if out is not None:
        _write(out, to_json(found))
    typer.echo(markdown(found))


def phantoms(seed: int, count: int) -> Iterator[Case]:
    """Phantoms one after the other until `count` of them had a lesion."""
    from engine.phantoms import phantom_case

    while count > 0:
        case = phantom_case(seed)
        count -= case.truth is not None and case.truth.mask is not None
        seed += 1
        yield case


def command(model: str, methods: Sequence[str], count: int, seed: int, plan: Plan) -> str:
    """What to type to obtain the same numbers again."""
    from engine.benchmark.run import Plan

    usual, words = Plan(), [f"--model {model}", f"--cases {count}", f"--seed {seed}"]
    if methods:
        words.append(f"--methods {','.join(methods)}")
    if plan.arms != usual.arms:
        words.append(f"--arms {','.join(plan.arms)}")
    if not plan.slow:
        words.append("--no-slow")
    numbers: Mapping[str, tuple[int, int]] = {
        "--slow-cases": (plan.slow_cases, usual.slow_cases),
        "--sanity-cases": (plan.sanity_cases, usual.sanity_cases),
        "--stability-cases": (plan.stability_cases, usual.stability_cases),
        "--slow-checks": (plan.slow_checks, usual.slow_checks),
    }
    words += [f"{name} {given}" for name, (given, known) in numbers.items() if given != known]
    return " ".join(("lightbox benchmark-explainers", *words))


class _Line:
    """Tells on standard error how far the work is: one line a case, or one that changes."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._started = total, 0, time.monotonic()

    def __call__(self, number: int, what: str) -> None:
        is_new = what == "maps"
        self._done += is_new
        minutes = (time.monotonic() - self._started) / 60
        text = f"case {number}: {what} ({self._done} of {self._total} passes, {minutes:.1f} min)"
        if sys.stderr.isatty():
            typer.echo(f"\r{text:<72}", err=True, nl=False)
        elif is_new:
            typer.echo(text, err=True)


def _prepare(out: Path) -> None:
    """Refuse before the long work what could not be written after it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise StorageFailed("Name a file for the benchmark; there is a folder of that name.")
        existed = out.exists()
        out.open("ab").close()
        if not existed:
            out.unlink()
    except OSError:
        raise StorageFailed(REFUSED) from None


def _write(out: Path, text: str) -> None:
    draft = out.with_name(out.name + ".part")
    try:
        draft.write_text(text, "utf-8")
        draft.replace(out)
    except OSError:
        draft.unlink(missing_ok=True)
        raise StorageFailed(REFUSED) from None
