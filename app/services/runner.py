"""What a worker process does: check a data set, train, adapt, or compare; one run and no more."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InvalidInput
from app.services.models import Models
from app.services.run_cases import CHANGED, caution, labelled, opened, unsure
from app.services.shelf import Shelf
from app.settings import Settings
from app.store import RunInfo, Store
from engine.runs import RunFolder

if TYPE_CHECKING:
    from engine.datasets.batch import Batch
    from engine.datasets.problems import Check
    from engine.models import System

SAY_SECONDS = 0.5
MOST_PROBLEMS = 1000
MOST_ROWS = 200
CANDIDATE = "candidate"


@dataclass(frozen=True)
class Bench:
    """What a worker works with."""

    settings: Settings
    store: Store
    models: Models
    shelf: Shelf

    @classmethod
    def open(cls, settings: Settings, store: Store) -> Bench:
        """Over the workspace of the settings."""
        shelf = Shelf(store, settings.workspace / "models")
        models = Models(settings.device)
        models.connect(store, shelf.folder)
        return cls(settings, store, models, shelf)

    def load(self, name: str) -> System:
        """A copy of a system of this process's own; the one that serves lives elsewhere."""
        from engine.workflow import load_system

        return load_system(name, device=self.settings.device, folder=self.models.folder(name))


def do(bench: Bench, run: RunInfo, folder: RunFolder) -> None:
    """Do what a run is for; what comes out of it is stored before its folder says "finished".

    Raises:
        AppError, EngineError: It cannot be done, in one sentence.
        Paused, Cancelled: Somebody asked for it.
    """
    _WORK[run.kind](bench, run, folder)


def _check(bench: Bench, run: RunInfo, folder: RunFolder) -> None:
    from engine.datasets.check import checked

    info = bench.store.dataset(int(run.settings["dataset"]))
    folder.say("started")
    teller = _Teller(folder)
    manifest, found = checked(Path(info.path), info.classes, info.grades, progress=teller)
    digest = "" if manifest is None else manifest.digest
    bench.store.change_dataset(info.id, digest=digest, found=_found(found))
    errors = sum(problem.severity == "error" for problem in found.problems)
    folder.say("finished", errors=errors, warnings=len(found.problems) - errors)


def _found(check: Check) -> dict[str, Any]:
    """A check as plain values, its longest lists cut."""
    return {
        "rows": check.rows,
        "patients": check.patients,
        "classes": dict(check.classes),
        "sites": dict(check.sites),
        "splits": dict(check.splits),
        "modalities": dict(check.modalities),
        "errors": sum(problem.severity == "error" for problem in check.problems),
        "warnings": sum(problem.severity == "warning" for problem in check.problems),
        "problems": [
            {
                "severity": problem.severity,
                "kind": problem.kind,
                "rows": list(problem.rows[:MOST_ROWS]),
                "message": problem.message,
            }
            for problem in check.problems[:MOST_PROBLEMS]
        ],
    }


def _training(bench: Bench, run: RunInfo, folder: RunFolder) -> None:
    from engine.training.recipe_files import recipe_of
    from engine.training.run import train
    from engine.workflow import choose_device

    recipe = recipe_of(tomllib.loads(str(run.settings["recipe"])))
    _require_checked(bench, run)
    card = train(recipe, folder.path, choose_device(bench.settings.device))
    if any(model.run_id == run.id for model in bench.store.models()):
        return
    name = bench.shelf.free_name(run.model)
    bench.shelf.install(card, name, origin="trained", who=run.owner, run_id=run.id)
    if name != run.model:
        bench.store.change_run(run.id, {"model": name})


def _require_checked(bench: Bench, run: RunInfo) -> None:
    """Refuse to learn from a manifest that is not the one the training was asked for.

    Raises:
        InvalidInput: It was changed while the run waited. NotFound: The data set was removed.
    """
    if run.settings.get("dataset") is None:
        return
    digest = opened(bench.store.dataset(int(run.settings["dataset"]))).digest
    if run.settings.get("manifest", digest) != digest:
        raise InvalidInput(CHANGED)


def _adaptation(bench: Bench, run: RunInfo, folder: RunFolder) -> None:
    from engine.adaptation import AdaptationSettings, adapt, save_candidate

    asked = run.settings
    folder.say("started", method=asked["method"], cases=len(asked["cases"]))
    system = bench.load(str(asked["model"]))
    cases = [_case(bench, system, case, n) for n, case in enumerate(asked["cases"])]
    folder.obey()
    source = labelled(
        bench.store, bench.settings, system, asked["source"], "validation", (asked["model"],)
    )
    folder.obey()
    settings = AdaptationSettings(method=asked["method"], steps=int(asked["steps"]))
    made = adapt(
        system,
        cases,
        settings,
        source=source,
        cases=asked["cases"],
        progress=lambda told: folder.say("step", **told),
        stop=folder.obey,
    )
    if not made.rolled_back:
        save_candidate(made, system.card, folder.path / CANDIDATE, CANDIDATE)
    doubtful = unsure(bench.store, bench.settings, asked["source"], (asked["model"],))
    notes = [caution(doubtful)] if doubtful else []
    bench.store.keep_run_result(run.id, {**made.report, "notes": notes})
    folder.say("finished", rolled_back=made.rolled_back)


def _case(bench: Bench, system: System, case_id: str, place: int) -> Batch:
    """One stored case as a batch, so that its full pixels need not stay in memory."""
    import torch

    from engine.adaptation import batch_of_cases

    number = torch.tensor([place])
    batch = batch_of_cases(system, [bench.store.case(case_id)])
    return replace(batch, patient=number, index=number.clone())


def _comparison(bench: Bench, run: RunInfo, folder: RunFolder) -> None:
    from engine.training.evaluate import compare, outputs_of

    names = (str(run.settings["a"]), str(run.settings["b"]))
    folder.say("started", a=names[0], b=names[1])
    _warn(bench, run, names)
    said = []
    for done, name in enumerate(names):
        folder.obey()
        folder.say("step", step=done, steps=len(names))
        system = bench.load(name)
        source = labelled(
            bench.store, bench.settings, system, run.settings["source"], "test", names
        )
        network: Any = system.network
        said.append(outputs_of(network, source, system.device))
    folder.obey()
    figures = compare(said[0], said[1])
    leading = [outputs.classes.argmax(1) for outputs in said]
    keys = ("a", "b", "difference", "low", "high")
    bench.store.keep_run_result(
        run.id,
        {
            "rows": [[name, *(float(row[key]) for key in keys)] for name, row in figures.items()],
            "cases": len(leading[0]),
            "disagreements": int((leading[0] != leading[1]).sum()),
        },
    )
    folder.say("finished")


def _warn(bench: Bench, run: RunInfo, names: tuple[str, str]) -> None:
    """Say beside what the models are compared on that they may have learnt from it."""
    doubtful = unsure(bench.store, bench.settings, run.settings["source"], names)
    if doubtful:
        said = caution(doubtful)
        words = f"{run.settings['words']} ({said[0].lower()}{said[1:-1]})"
        bench.store.change_run(run.id, {"settings": {**run.settings, "words": words}})


class _Teller:
    """Tells how far a check is, not too often, and stops it when that is asked."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._said = folder, float("-inf")

    def __call__(self, done: int, expected: int) -> None:
        if time.monotonic() - self._said < SAY_SECONDS:
            return
        self._said = time.monotonic()
        self._folder.obey()
        self._folder.say("step", step=done, steps=expected)


_WORK: Mapping[str, Callable[[Bench, RunInfo, RunFolder], None]] = {
    "check": _check,
    "training": _training,
    "adaptation": _adaptation,
    "comparison": _comparison,
}
