"""Labelled cases that guard an adaptation, or that two models are compared on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.errors import InvalidInput
from app.settings import Settings
from app.store import DatasetInfo, Store
from engine.errors import EngineError
from engine.records import ModelCard

if TYPE_CHECKING:
    from engine.datasets.manifest import Manifest
    from engine.datasets.source import Source
    from engine.datasets.splits import Split
    from engine.models import System

PHANTOMS = "phantoms"
PHANTOM_CASES = {"validation": 120, "test": 200}
"""Phantoms that guard an adaptation, or that models are compared on."""

CHANGED = (
    "The manifest of this data set was changed since it was checked; please have it checked again."
)
OTHER_CLASSES = (
    "The model knows other classes than the phantoms have; please choose a data set instead."
)
ONE_KIND = "Only models of the cross-modal breast system can be used here."


def opened(info: DatasetInfo) -> Manifest:
    """The manifest of a data set, as it was when it was checked.

    Raises:
        InvalidInput: It was changed since. InvalidManifest: It cannot be read.
    """
    from engine.datasets.manifest import read_manifest

    manifest = read_manifest(Path(info.path), info.classes, info.grades)
    if manifest.digest != info.digest:
        raise InvalidInput(CHANGED)
    return manifest


def require_phantoms(card: ModelCard) -> None:
    """Refuse a model whose classes no phantom has.

    Raises:
        InvalidInput: There is such a class.
    """
    from engine.phantoms import LABELS

    if not set(card.classes) <= set(LABELS):
        raise InvalidInput(OTHER_CLASSES)


def labelled(
    store: Store,
    settings: Settings,
    system: System,
    source: str | int,
    part: str,
    models: tuple[str, ...],
) -> Source:
    """Labelled cases that none of some models was trained on.

    Args:
        system: Whose sizes of images are wanted. source: "phantoms", or number of a data set.
        part: "validation" or "test". models: Names of the models.

    Raises:
        InvalidInput: The data set was changed since it was checked, or does not suit.
        EngineError: It cannot be read.
    """
    from engine.datasets.manifest_source import manifest_source
    from engine.datasets.phantoms import SPLITS, phantom_source
    from engine.models.crossmodal import CrossModal

    if not isinstance(system, CrossModal):
        raise InvalidInput(ONE_KIND)
    card, sizes = system.card, system.sizes
    cells = sizes[0] // system.network.patch_size * system.network.lesion_map.cells
    cache = settings.workspace / "cache"
    if source == PHANTOMS:
        require_phantoms(card)
        return phantom_source(
            SPLITS[part], PHANTOM_CASES[part], card.classes, sizes, cells, grades=card.grades,
            cache=cache / "phantoms",
        )  # fmt: skip
    manifest = opened(store.dataset(int(source)))
    return manifest_source(
        manifest,
        part,
        _split(store, settings, manifest, int(source), part, models),
        classes=card.classes,
        grades=card.grades,
        sizes=sizes,
        cells=cells,
        pairing=_pairing(manifest),
        cache=cache / "decoded",
    )


def _pairing(manifest: Manifest) -> Literal["patient", "label", "none"]:
    """Pairs of one patient where there are any; otherwise pairs of one class, which are artificial.

    Without pathology there are none.
    """
    seen = {row.key for row in manifest.rows if row.is_mammogram}
    other = {row.key for row in manifest.rows if row.is_pathology}
    if not other:
        return "none"
    return "patient" if seen & other else "label"


def _split(
    store: Store,
    settings: Settings,
    manifest: Manifest,
    dataset: int,
    part: str,
    models: tuple[str, ...],
) -> Split:
    """A split in which a patient is in `part` only if it was so for each model trained on it."""
    from engine.datasets.splits import Split, make_split, read_split

    found: list[Split] = []
    for name in models:
        place = _split_file(store, settings, dataset, name)
        if place is not None:
            try:
                found.append(read_split(place))
            except EngineError:
                continue
    if not found:
        return make_split(manifest, seed=0)
    first = found[0]
    if all(each.digest == first.digest for each in found):
        return first
    joint = {
        key: part if all(each.assignment.get(key) == part for each in found) else "train"
        for key in first.assignment
    }
    text = json.dumps(sorted(joint.items()))
    return Split(joint, hashlib.sha256(text.encode()).hexdigest(), first.seed)


def _split_file(store: Store, settings: Settings, dataset: int, name: str) -> Path | None:
    """The split that a model, or the one it was adapted from, was trained with on a data set."""
    for _ in range(16):  # as many adaptations in a row as anybody makes
        model = store.model(name)
        if model is None:
            return None
        run = None if model.run_id is None else store.run(model.run_id)
        if run is not None and run.kind == "training":
            place = settings.workspace / "runs" / str(run.id) / "split.json"
            return place if run.settings.get("dataset") == dataset and place.is_file() else None
        name = model.parent
    return None
