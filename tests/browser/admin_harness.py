"""The administrators' application over invented services, served behind the real gate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from argon2 import PasswordHasher

from app.auth import Accounts, Passwords, Role, User, requires
from app.errors import InvalidInput, NotFound
from app.services.run_views import (
    BeforeAfter,
    ChangedView,
    ComparisonView,
    DatasetView,
    ModelView,
    OutcomeView,
    ProblemView,
    RunView,
)
from app.settings import Settings
from app.store import Store
from tests.browser.served import free_port

CHIEF, PASSWORD = "chief", "correct horse battery"
START = datetime(2026, 11, 20, 9, 15, tzinfo=UTC)
HURT = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>${window.hurt=1}{{7*7}}'
RECIPES = ("crossmodal-demo", "breast-real")
CLASSES = ("Normal", "Benign", "In situ", "Invasive")
ADMIN = requires(Role.ADMINISTRATOR)


@dataclass(frozen=True)
class Field:
    """One field of a recipe, as the engine gives it."""

    path: str
    kind: str
    value: Any
    help: str
    choices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        if isinstance(self.value, tuple):
            return ", ".join(str(v) for v in self.value)
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


FIELDS = (
    Field("name", "text", "crossmodal-demo", "Name of the model card that results."),
    Field("title", "text", "Cross-modal breast demonstration", "Its name for people."),
    Field("intended_use", "text", "Demonstration model, trained on synthetic phantoms, not for "
          "diagnosis.", "Text of the model card."),
    Field("seed", "whole", 7, "Of weights, order and augmentation."),
    Field("data.source", "text", "phantoms", "Where cases come from.", ("phantoms", "manifest")),
    Field("data.manifest", "text", "", "Path of the manifest."),
    Field("data.fractions", "list", (0.7, 0.15, 0.15), "Shares of train, validation, test."),
    Field("data.train_cases", "whole", 3200, "Phantoms in each split, of disjoint seeds."),
    Field("data.sites", "list", (), "Names of the phantom sites; the usual ones when empty."),
    Field("optimiser.epochs", "whole", 9, "Passes over the training cases."),
    Field("optimiser.batch_size", "whole", 16, "Cases per step, over all processes."),
    Field("optimiser.learning_rate", "number", 0.001, "Peak rate of heads and adapters."),
    Field("optimiser.weight_decay", "number", 0.05, "Of matrices; biases have none."),
    Field("optimiser.warmup", "number", 0.03, "Share of all steps."),
    Field("optimiser.precision", "text", "bf16", "Autocast, or full precision.", ("bf16", "32")),
    Field("optimiser.pcgrad", "switch", False, "Project conflicting task gradients."),
    Field("objective.generalisation", "text", "none", "Penalty on what differs between sites.",
          ("none", "irm", "vrex")),
    Field("objective.penalty", "number", 10.0, "Its weight after annealing; 1 before."),
    Field("augmentation.mirror", "switch", True, "Left and right are exchanged."),
    Field("augmentation.stain", "number", 0.2, "How far stains vary."),
    Field("network.img_size", "whole", 224, "Argument of the network."),
    Field("start.weights", "text", "", "A timm name, hub id or path; random when empty."),
)  # fmt: skip


def run(number: int, kind: str, title: str, state: str, **facts: Any) -> RunView:
    """A run that may be asked what its state allows."""
    lives = state in ("queued", "running")
    given: dict[str, Any] = {
        "id": number, "kind": kind, "title": title, "owner": CHIEF, "state": state,
        "created": START + timedelta(minutes=number),
        "started": None if state == "queued" else START + timedelta(minutes=number),
        "ended": None, "share": 0.4, "message": "", "position": 0, "result": "",
        "memory_mb": 1640, "minutes": 12.5, "can_pause": kind == "training" and state == "running",
        "can_resume": kind == "training" and state in ("paused", "failed"),
        "can_cancel": lives or state == "paused",
    }  # fmt: skip
    return RunView(**(given | facts))


def dataset(number: int, name: str, state: str, **facts: Any) -> DatasetView:
    """A data set of four sites."""
    given: dict[str, Any] = {
        "id": number, "name": name, "created": START, "who": CHIEF, "state": state,
        "digest": f"{number:02d}a7c3e9" * 8, "rows": 1248, "patients": 604,
        "classes": {"Normal": 520, "Benign": 388, "In situ": 128, "Invasive": 212},
        "sites": {"Riverside Hospital": 610, "City Breast Clinic": 402, "Screening bus 3": 236},
        "splits": {"train": 870, "validation": 190, "test": 188},
        "modalities": {"mammography": 804, "pathology": 444}, "errors": 0, "warnings": 0,
        "run_id": 90 + number,
    }  # fmt: skip
    return DatasetView(**(given | facts))


def model(name: str, state: str, **facts: Any) -> ModelView:
    """A model with figures and intervals."""
    given: dict[str, Any] = {
        "name": name, "title": "Cross-modal breast demonstration", "version": "1.0",
        "digest": (name.encode().hex() * 9)[:64], "origin": "trained", "state": state,
        "created": START, "parent": "", "run_id": None,
        "metrics": {
            "with_pathology": {"cases": 600, "accuracy": 0.962, "accuracy_interval": [0.945, 0.977],
                               "macro_auc": 0.991, "macro_auc_interval": [0.985, 0.996]},
            "mammogram_only": {"cases": 600, "accuracy": 0.615, "accuracy_interval": [0.576, 0.653],
                               "macro_auc": 0.843, "macro_auc_interval": [0.821, 0.864]},
        },
        "ratings": 0, "deletable": True, "why_not": "",
    }  # fmt: skip
    return ModelView(**(given | facts))


def picture(seed: int, side: int = 128) -> bytes:
    """A PNG that looks like a breast, roughly."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    draw = np.random.default_rng(seed)
    breast = np.clip(1.2 - np.hypot(columns / 0.8, (rows - 0.5) / 0.45), 0, 1)
    grain = cv2.GaussianBlur(draw.random((side, side)), (0, 0), 3)
    return cv2.imencode(".png", (255 * breast * (0.4 + grain)).clip(0, 255).astype(np.uint8))[
        1
    ].tobytes()


def training_events(steps: int, total: int = 900, epochs: int = 9) -> list[dict[str, Any]]:
    """What a training says up to a step."""
    draw = np.random.default_rng(1)
    said: list[dict[str, Any]] = [{"event": "started"}]
    for step in range(1, steps + 1):
        epoch = 1 + (step - 1) * epochs // total
        loss = 0.35 + 2.2 * np.exp(-step / 180) + 0.12 * draw.standard_normal()
        said.append(
            {"event": "step", "step": step, "steps": total, "epoch": epoch, "epochs": epochs,
             "loss": float(loss), "learning_rate": 1e-3 * (1 - step / total),
             "images_per_second": 41.7, "skipped": 0}
        )  # fmt: skip
        if step % (total // epochs) == 0:
            found = {"loss": 0.45 + 2.1 * float(np.exp(-step / 200)),
                     "accuracy": 0.95 - 0.6 * float(np.exp(-step / 250)),
                     "macro_auc": 0.98 - 0.4 * float(np.exp(-step / 200)),
                     "lesion_dice": 0.6 - 0.5 * float(np.exp(-step / 400))}  # fmt: skip
            said.append({"event": "epoch", "epoch": epoch, "train": {}, "validation": found,
                         "best": epoch in (1, 2, 4, 5)})  # fmt: skip
    return said


@dataclass
class Bench:
    """What the invented services know, changed by tests and by what the page asks for."""

    datasets: list[DatasetView] = field(default_factory=list)
    problems: dict[int, list[ProblemView]] = field(default_factory=dict)
    runs: list[RunView] = field(default_factory=list)
    events: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    outcomes: dict[int, OutcomeView] = field(default_factory=dict)
    comparisons: dict[int, ComparisonView] = field(default_factory=dict)
    models: list[ModelView] = field(default_factory=list)
    cases: list[tuple[str, str]] = field(default_factory=list)
    before: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    folder: Path = Path()

    def asked(self, name: str) -> list[tuple[Any, ...]]:
        """Calls of one name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def change(self, number: int, **facts: Any) -> RunView:
        """A run in another state."""
        self.runs = [replace(r, **facts) if r.id == number else r for r in self.runs]
        return self.found(number)

    def found(self, number: int) -> RunView:
        """A run."""
        for each in self.runs:
            if each.id == number:
                return each
        raise NotFound("There is no such run.")


class Datasets:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @ADMIN
    def list(self, user: User | None) -> Any:
        return self.bench.datasets

    @ADMIN
    def register(
        self, user: User | None, name: str, path: str, classes: str = "", grades: str = ""
    ) -> DatasetView:
        self.bench.calls.append(("register", name, path, classes, grades))
        if not path.endswith((".csv", ".parquet")):
            raise InvalidInput("The manifest must be a CSV or Parquet file.")
        number = 1 + max((d.id for d in self.bench.datasets), default=0)
        made = dataset(number, name, "checking", rows=0, digest="")
        self.bench.datasets.insert(0, made)
        check = run(made.run_id or 0, "check", f"Check of {name}", "running", share=0.3)
        self.bench.runs.append(check)
        return made

    @ADMIN
    def problems(self, user: User | None, number: int) -> Any:
        return self.bench.problems.get(number, [])

    @ADMIN
    def thumbnails(self, user: User | None, number: int, count: int = 12) -> Any:
        return [(picture(n), f"{CLASSES[n % 4]}, mammography") for n in range(count)]

    @ADMIN
    def recheck(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("recheck", number))

    @ADMIN
    def remove(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("remove", number))
        self.bench.datasets = [d for d in self.bench.datasets if d.id != number]


class Training:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @ADMIN
    def recipes(self, user: User | None) -> Any:
        return list(RECIPES)

    @ADMIN
    def fields(self, user: User | None, recipe: str) -> Any:
        return list(FIELDS)

    @ADMIN
    def validate(
        self, user: User | None, recipe: str, changes: Mapping[str, str], number: int | None = None
    ) -> Any:
        self.bench.calls.append(("validate", dict(changes), number))
        known = {each.path: each for each in FIELDS}
        return [
            (path, f"{path} must be a whole number, not {text!r}.")
            for path, text in changes.items()
            if known[path].kind == "whole" and not text.isdigit()
        ]

    @ADMIN
    def start(
        self,
        user: User | None,
        recipe: str,
        name: str,
        changes: Mapping[str, str],
        number: int | None = None,
    ) -> RunView:
        self.bench.calls.append(("start", recipe, name, dict(changes), number))
        made = run(
            1 + max((r.id for r in self.bench.runs), default=0), "training", name, "running",
            share=0.0,
        )  # fmt: skip
        self.bench.runs.append(made)
        return made


class Runs:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.looks = 0

    @ADMIN
    def list(self, user: User | None) -> Any:
        self.looks += 1
        return self.bench.runs

    @ADMIN
    def view(self, user: User | None, number: int) -> RunView:
        return self.bench.found(number)

    @ADMIN
    def events(self, user: User | None, number: int, after: int = 0) -> Any:
        return self.bench.events.get(number, [])[after:]

    @ADMIN
    def log(self, user: User | None, number: int, lines: int = 40) -> str:
        return self.bench.logs.get(number, "")

    @ADMIN
    def pause(self, user: User | None, number: int) -> RunView:
        self.bench.calls.append(("pause", number))
        return self.bench.change(number, state="paused", can_pause=False, can_resume=True)

    @ADMIN
    def resume(self, user: User | None, number: int) -> RunView:
        self.bench.calls.append(("resume", number))
        return self.bench.change(number, state="running", can_pause=True, can_resume=False)

    @ADMIN
    def cancel(self, user: User | None, number: int) -> RunView:
        self.bench.calls.append(("cancel", number))
        return self.bench.change(
            number, state="cancelled", can_pause=False, can_resume=False, can_cancel=False
        )


class Adaptation:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @ADMIN
    def methods(self, user: User | None) -> Any:
        return [
            ("eata", "EATA: learns from sure and different cases only"),
            ("tent", "TENT: learns from all cases"),
            ("sar", "SAR: learns where the answer is stable"),
        ]

    @ADMIN
    def cases(self, user: User | None) -> Any:
        return self.bench.cases

    @ADMIN
    def start(
        self,
        user: User | None,
        name: str,
        cases: Sequence[str],
        method: str,
        steps: int,
        source: str | int = "phantoms",
    ) -> RunView:
        self.bench.calls.append(("adapt", name, list(cases), method, steps, source))
        made = run(50, "adaptation", f"{method} on {len(cases)} cases", "queued", position=1)
        self.bench.runs.append(made)
        return made

    @ADMIN
    def outcome(self, user: User | None, number: int) -> OutcomeView:
        self.bench.calls.append(("outcome", number))
        return self.bench.outcomes[number]

    @ADMIN
    def accept(self, user: User | None, number: int, name: str) -> ModelView:
        self.bench.calls.append(("accept", number, name))
        self.bench.outcomes[number] = replace(self.bench.outcomes[number], accepted=name)
        made = model(name, "candidate", origin="adapted")
        self.bench.models.append(made)
        return made

    @ADMIN
    def discard(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("discard", number))
        self.bench.outcomes[number] = replace(self.bench.outcomes[number], discarded=True)


class Registry:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @ADMIN
    def list(self, user: User | None) -> Any:
        return sorted(self.bench.models, key=lambda each: each.state != "active")

    @ADMIN
    def compare(self, user: User | None, a: str, b: str, source: str | int = "phantoms") -> RunView:
        self.bench.calls.append(("compare", a, b, source))
        made = run(60, "comparison", f"{a} and {b}", "running", share=0.2)
        self.bench.runs.append(made)
        return made

    @ADMIN
    def comparison(self, user: User | None, number: int) -> ComparisonView:
        return self.bench.comparisons[number]

    @ADMIN
    def activate(self, user: User | None, name: str) -> ModelView:
        self.bench.calls.append(("activate", name))
        active = next(m for m in self.bench.models if m.state == "active")
        self.bench.before = active.name
        changed = {active.name: "retired", name: "active"}
        self.bench.models = [replace(m, state=changed.get(m.name, m.state)) for m in
                             self.bench.models]  # fmt: skip
        return next(m for m in self.bench.models if m.name == name)

    @ADMIN
    def can_roll_back(self, user: User | None) -> str:
        return self.bench.before

    @ADMIN
    def roll_back(self, user: User | None) -> ModelView:
        self.bench.calls.append(("roll_back",))
        return self.activate(user, self.bench.before)

    @ADMIN
    def export(self, user: User | None, name: str) -> Path:
        folder = self.bench.folder / "exports" / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.lightbox.zip"
        path.write_bytes(np.random.default_rng(4).bytes(2_300_000))
        return path

    @ADMIN
    def import_file(self, user: User | None, path: Path) -> ModelView:
        self.bench.calls.append(("import", path.read_bytes()))
        if path.stat().st_size < 1000:
            raise InvalidInput("The file is no model that Lightbox has exported.")
        made = model("imported-model", "candidate", origin="imported")
        self.bench.models.append(made)
        return made

    @ADMIN
    def delete(self, user: User | None, name: str) -> None:
        self.bench.calls.append(("delete", name))
        self.bench.models = [m for m in self.bench.models if m.name != name]


class Administration:
    @ADMIN
    def audit(self, user: User | None, limit: int = 200) -> Any:
        return []

    @ADMIN
    def audit_is_intact(self, user: User | None) -> bool:
        return True

    @ADMIN
    def cards(self, user: User | None) -> Any:
        return []


class Fakes:
    """Real accounts and settings; everything else is invented by `bench`."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.settings = Settings(workspace=folder, secret_file=folder / "session.key")
        self.store = Store(folder)
        light = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.accounts = Accounts(self.store, passwords=light)
        bench.folder = folder
        self.bench = bench
        self.datasets, self.training, self.runs = Datasets(bench), Training(bench), Runs(bench)
        self.adaptation, self.registry = Adaptation(bench), Registry(bench)
        self.administration = Administration()
        self.cases = self.review = self.evidence = self.probe = SimpleNamespace(
            layer=None, thumbnail=None
        )
        self.intake = self.reports = self.ratings = self.cases

    def guest(self) -> None:
        """Nobody: there are accounts."""

    def user(self, name: str | None) -> User | None:
        """Looked up anew."""
        return self.accounts.user(name or "")

    def notice(self) -> str:
        """The intended use."""
        return "Demonstration model, trained on synthetic phantoms, not for diagnosis."

    def needs_setup(self) -> bool:
        """False once there is an account."""
        return not self.accounts.has_accounts()


@contextmanager
def serve(services: Any) -> Iterator[str]:
    """The application of administrators, on a free port of this machine; gives its address."""
    import uvicorn

    from app.web.server import MountSpec, create_app, prepare_gradio

    prepare_gradio(services.settings)
    from app.ui import admin, theme

    if services.needs_setup():
        services.accounts.create_first_administrator(CHIEF, PASSWORD, "Chief")
    looks = {"css": theme.page_css(), "js": theme.SCRIPT, "theme": theme.theme()}

    port, running = free_port(), []

    async def run_server() -> None:
        """Built where it runs, since Gradio would leave event loops open else."""
        demo = admin.build(services)
        app = create_app(services, (MountSpec("/admin", demo, Role.ADMINISTRATOR, **looks),))
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", ws="none", lifespan="on",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        running.append(uvicorn.Server(config))
        await running[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(run_server()), daemon=True)
    thread.start()
    while thread.is_alive() and not (running and running[0].started):
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running[0].should_exit = True
        thread.join(15)


def full_bench() -> Bench:
    """A workbench in use: something of every kind and state."""
    bench = Bench()
    bench.datasets = [
        dataset(4, "Autumn upload", "checking", rows=0, patients=0, digest="", classes={},
                sites={}, splits={}, modalities={}),
        dataset(3, "Screening 2024, second reading", "refused", errors=5, warnings=2),
        dataset(2, "Screening 2024, three sites", "ready", warnings=1),
        dataset(1, "Old archive", "failed", message="The check needed more memory than allowed."),
    ]  # fmt: skip
    bench.problems = {3: [
        ProblemView("error", "unknown class", (12, 48, 49), "“Maligne” is not one of the classes "
                    "Normal, Benign, In situ, Invasive."),
        ProblemView("error", "patient in two splits", (101, 340), "One patient has images in train "
                    "and in test."),
        ProblemView("error", "box outside", (77,), "The box reaches beyond the image."),
        ProblemView("error", "unreadable file", (210, 211), "The file cannot be opened."),
        ProblemView("error", "empty class", (), "No image has the class In situ."),
        ProblemView("warning", "duplicate pixels", tuple(range(300, 330)), "These images are the "
                    "same, pixel by pixel, under different patients."),
        ProblemView("warning", "small class", (), "In situ has only 12 images in test."),
    ], 2: [ProblemView("warning", "small site", (), "One site is small.")]}  # fmt: skip
    bench.runs = [
        run(94, "check", "Check of Autumn upload", "running", share=0.37),
        run(11, "training", "screening-first-try", "done", share=1.0, result="screening-first-try",
            minutes=96.0),
        run(12, "training", "screening-no-pathology", "failed", share=0.31,
            message="The worker ended without a word (signal 9)."),
        run(14, "training", "screening-vrex", "running", share=0.62, minutes=41.0),
        run(15, "training", "screening-large", "queued", share=0.0, position=1),
        run(21, "adaptation", "EATA on 46 cases", "done", share=1.0),
        run(22, "adaptation", "TENT on 30 cases of one class", "done", share=1.0),
        run(31, "comparison", "crossmodal-demo and screening-first-try", "done", share=1.0),
    ]  # fmt: skip
    bench.events = {11: [*training_events(900), {"event": "finished", "card": "x.toml", "metrics":
                    model("x", "candidate").metrics}], 12: training_events(280),
                    14: training_events(560)}  # fmt: skip
    bench.logs = {12: "epoch 3 of 9, step 278, loss 0.91\nepoch 3 of 9, step 279, loss 0.88\n"
                  "epoch 3 of 9, step 280, loss 0.93", 14: "\n".join(
                      f"step {n} of 900, loss 0.5{n % 10}" for n in range(520, 560))}  # fmt: skip
    changed = [
        ChangedView(f"LB-{n:012x}"[:15], CLASSES[n % 3], CLASSES[(n % 3) + 1], 0.5 + 0.01 * n,
                    0.62 + 0.02 * n, picture(n, 96))
        for n in range(7)
    ]  # fmt: skip
    passed = OutcomeView(
        21, "crossmodal-demo", "eata", 46, 20, 0.71, BeforeAfter(0.62, 0.41),
        {"Normal": 14, "Benign": 21, "In situ": 3, "Invasive": 8},
        {"Normal": 16, "Benign": 15, "In situ": 4, "Invasive": 11},
        BeforeAfter(0.91, 0.92, 0.84, 0.96, 0.85, 0.97), BeforeAfter(0.95, 0.945, 0.91, 0.98, 0.9,
        0.98), BeforeAfter(None, None), 0.0132, "", changed,
        notes=("13 cases were left out, since the model was not sure of them.",),
    )  # fmt: skip
    bench.outcomes = {21: passed, 22: replace(
        passed, run_id=22, method="tent", cases=30, histogram_after={"Benign": 30}, changed=[],
        rolled_back="All target cases would have got the same class, and the source buffer lost "
        "31 % of its sensitivity.", sensitivity=BeforeAfter(0.91, 0.63))}  # fmt: skip
    bench.models = [
        model("crossmodal-demo", "active", origin="shipped", created=None, ratings=214,
              deletable=False, why_not="It ships with Lightbox."),
        model("screening-first-try", "candidate", title="Screening, first try", run_id=11),
        model("crossmodal-demo-eata-9", "retired", origin="adapted", parent="crossmodal-demo",
              ratings=12, deletable=False, why_not="Readers have rated maps of these weights."),
    ]  # fmt: skip
    bench.before = "crossmodal-demo-eata-9"
    bench.comparisons = {31: ComparisonView(
        31, "crossmodal-demo", "screening-first-try", "Synthetic phantoms",
        [("accuracy", 0.962, 0.971, 0.009, -0.006, 0.024),
         ("macro_auc", 0.991, 0.996, 0.005, 0.001, 0.009),
         ("lesion_dice", 0.553, 0.512, -0.041, -0.066, -0.018),
         ("brier", 0.081, 0.06, -0.021, -0.034, -0.009)], 400, 17)}  # fmt: skip
    bench.cases = [(f"LB-{n:012x}", f"LB-{n:06x}, mammogram{' and pathology' * (n % 2)}")
                   for n in range(46)]  # fmt: skip
    return bench
