"""Helpers for the tests of the administrator's services: runs done in this process."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from app.auth import User
from app.commands import work
from app.services import Services, run_cases
from app.services.run_ends import ending
from app.services.runner import Bench
from app.store import RunInfo
from engine.datasets.phantoms import phantom_source
from engine.training.run import train

SHIPPED = "crossmodal-demo"

TINY = """
name = "tiny"
title = "Tiny model"
system = "crossmodal"
version = "1"
intended_use = "Test model, not for diagnosis."
training_data = "A few phantoms."
limits = ["It knows nothing."]
seed = 3

[network]
img_size = 32
patch_size = 8
embed_dim = 16
depth = 1
num_heads = 2
adapter_dim = 4
projection_dim = 4
pathology_size = 32

[data]
train_cases = 8
validation_cases = 4
test_cases = 4
workers = 0

[optimiser]
epochs = 2
batch_size = 4
precision = "32"
"""


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make phantoms in this process, few of them, and draw few samples."""
    monkeypatch.setattr("engine.training.run.RESAMPLES", 10)
    monkeypatch.setattr("engine.training.run.train", partial(train, processes=0))
    source = partial(phantom_source, workers=0)
    monkeypatch.setattr("engine.datasets.phantoms.phantom_source", source)
    monkeypatch.setattr(run_cases, "PHANTOM_CASES", {"validation": 8, "test": 8})


def add_recipe(services: Services, name: str = "tiny", text: str = TINY) -> str:
    """Put a recipe into the workspace."""
    folder = services.settings.workspace / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text, "utf-8")
    return name


def begin(services: Services, number: int) -> RunInfo:
    """A run as the supervisor would have started it, but without a process."""
    folder = services._context.supervisor.folder(number)
    folder.clear()
    now = datetime.now(UTC)
    changes: dict[str, Any] = {"state": "running", "begun": now, "started": now}
    changes["heard"] = len(folder.events())
    info = services.store.change_run(number, changes, only_in=("queued",))
    assert info is not None
    return info


def end(services: Services, info: RunInfo, code: int) -> RunInfo:
    """What the supervisor would have made of the end of a run's process."""
    folder = services._context.supervisor.folder(info.id)
    told = ending(services.store, services.store.run(info.id), folder, code)
    changes = {"state": told.state, "message": told.message, "ended": datetime.now(UTC)}
    done = services.store.change_run(info.id, changes)
    assert done is not None
    return done


def do(services: Services, number: int) -> RunInfo:
    """Do a run that waits, in this process, as a worker would."""
    info = begin(services, number)
    folder = services._context.supervisor.folder(number)
    bench = Bench.open(services.settings, services.store)
    return end(services, info, work._finish(bench, info, folder))


def files(folder: Path) -> set[str]:
    """Names of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def variant(model: Path, folder: Path, by: float, title: str = "Other model") -> Path:
    """A card whose weights differ from the shipped ones; the path of the card."""
    folder.mkdir(parents=True)
    tensors = load_file(model / f"{SHIPPED}.safetensors")
    name = "classification.layers.3.bias"
    key = name if name in tensors else next(k for k in tensors if k.endswith("bias"))
    tensors[key] = tensors[key] + by
    save_file(tensors, folder / "w.safetensors")
    digest = hashlib.sha256((folder / "w.safetensors").read_bytes()).hexdigest()
    lines = (model / f"{SHIPPED}.toml").read_text("utf-8").splitlines()
    changed = {"weights": "w.safetensors", "weights_digest": digest, "title": title}
    text = "\n".join(
        f"{line.partition(' = ')[0]} = {json.dumps(changed[line.partition(' = ')[0]])}"
        if line.partition(" = ")[0] in changed
        else line
        for line in lines
    )
    card = folder / "card.toml"
    card.write_text(text + "\n", "utf-8")
    return card


def states(services: Services, user: User) -> dict[str, str]:
    return {view.name: view.state for view in services.registry.list(user)}
