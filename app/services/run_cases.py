"""Labelled cases that guard an adaptation, or that two models are compared on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from app.errors import InvalidInput
from app.settings import Settings
from app.store import DatasetInfo, RunInfo, Store
from engine.cards import known_cards
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
NONE_LEFT = "This data set holds no {} case that none of the models was trained on."

MOST_OPEN = 4
_open: OrderedDict[tuple[object, ...], Manifest] = OrderedDict()
_lock = Lock()


def opened(info: DatasetInfo) -> Manifest:
    """The manifest of a data set, as it was when it was checked.

    Raises:
        InvalidInput: It was changed since. InvalidManifest: It cannot be read.
    """
    manifest = _read(Path(info.path), info.classes, info.grades)
    if manifest.digest != info.digest:
        raise InvalidInput(CHANGED)
    return manifest


def _read(path: Path, classes: tuple[str, ...], grades: tuple[str, ...]) -> Manifest:
    """A manifest; from memory while its file is as it was, since forms ask at each keystroke."""
    from engine.datasets.manifest import read_manifest

    try:
        facts = path.stat()
    except OSError:
        return read_manifest(path, classes, grades)  # says in words what is wrong
    key = (path, facts.st_mtime_ns, facts.st_size, facts.st_ino, classes, grades)
    with _lock:
        found = _open.pop(key, None)
    found = found or read_manifest(path, classes, grades)
    with _lock:
        _open[key] = found
        while len(_open) > MOST_OPEN:
            _open.popitem(last=False)
    return found


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
    """Labelled cases that none of some models is known to have learnt from; see `unsure`.

    Args:
        system: Whose sizes of images are wanted. source: "phantoms", or number of a data set.
        part: "validation" or "test". models: Names of the models.

    Raises:
        InvalidInput: The data set was changed since it was checked, or does not suit, or no case
            is left.
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
    found = manifest_source(
        manifest,
        part,
        _split(manifest, part, [_past(store, settings, name) for name in models]),
        classes=card.classes,
        grades=card.grades,
        sizes=sizes,
        cells=cells,
        pairing=_pairing(manifest),
        cache=decoded_folder(settings, int(source)),
    )
    if not len(found):
        raise InvalidInput(NONE_LEFT.format(part))
    return found


def decoded_folder(settings: Settings, dataset_id: int) -> Path:
    """Where decoded copies of the images of a data set lie, for it alone."""
    return settings.workspace / "cache" / "decoded" / str(dataset_id)


def unsure(
    store: Store, settings: Settings, source: str | int, models: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of some models that may have learnt from the cases of a data set, for all we know.

    They were imported, or what they were trained with is not kept any more.
    """
    if source == PHANTOMS:
        return ()
    return tuple(
        name for name in dict.fromkeys(models) if not _past(store, settings, name).is_known
    )


def caution(names: tuple[str, ...]) -> str:
    """What to say of models that may have learnt from the cases, in one sentence."""
    return (
        f"It is not known what {' and '.join(names)} learnt from, so these cases may have been "
        "among it, and the figures may be too good."
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


@dataclass(frozen=True)
class _Past:
    """What a model, or the one it was adapted from, learnt from.

    Args:
        split: Of the patients that it knew; None for phantoms.
        is_known: False where nobody can tell.
    """

    split: Split | None = None
    is_known: bool = True


def _split(manifest: Manifest, part: str, pasts: Sequence[_Past]) -> Split:
    """A split in which a patient is in `part` only if it was so for each model that knew it.

    Patients are told by their hashes, so that it does not matter under which name or number their
    data set was registered. One that no model knew is where the manifest, or chance, puts it.
    """
    from engine.datasets.splits import Split, make_split

    base = make_split(manifest, seed=0)
    splits = [past.split for past in pasts if past.split is not None]
    joint: dict[str, str] = {}
    for row in manifest.rows:
        known = {split.find(row) for split in splits} - {None}
        joint[row.key] = (part if known == {part} else "train") if known else base.of(row)
    text = json.dumps(sorted(joint.items()))
    return Split(joint, hashlib.sha256(text.encode()).hexdigest(), base.seed)


def _past(store: Store, settings: Settings, name: str) -> _Past:
    """What a model learnt from, looked for through its parents."""
    for _ in range(16):  # as many adaptations in a row as anybody makes
        model = store.model(name)
        if model is None:
            # What ships with Lightbox learnt from phantoms; any other was deleted.
            return _Past(is_known=name in known_cards())
        run = None if model.run_id is None else store.run(model.run_id)
        if run is not None and run.kind == "training":
            return _trained(run, settings)
        name = model.parent
    return _Past(is_known=False)


def _trained(run: RunInfo, settings: Settings) -> _Past:
    """What a training learnt from, by its recipe and the split that it kept."""
    from engine.datasets.splits import read_split

    try:
        data = tomllib.loads(str(run.settings.get("recipe", ""))).get("data", {})
    except tomllib.TOMLDecodeError:
        return _Past(is_known=False)
    if data.get("source", PHANTOMS) == PHANTOMS:
        return _Past()
    kept = settings.workspace / "runs" / str(run.id) / "split.json"
    try:
        return _Past(read_split(Path(data["split"]) if data.get("split") else kept))
    except EngineError:
        return _Past(is_known=False)
