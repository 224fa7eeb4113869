"""Data sets of the administrator: registered by manifest, checked in the background, looked at."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import AppError, InvalidInput
from app.services.context import Context
from app.services.run_cases import decoded_folder, opened
from app.services.run_views import DatasetView, ProblemView
from app.services.runs import PAUSABLE, queue_run
from app.store import DatasetInfo, RunInfo
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.datasets.manifest import Manifest

DatasetViews = list[DatasetView]
ProblemViews = list[ProblemView]
Pictures = list[tuple[bytes, str]]

NAME_LENGTH = 100
MOST_PICTURES = 60
ABSENT = "There is no manifest at this place, or it cannot be read."
NOT_ABSOLUTE = "Please give the whole path, from the root of this machine's disk on."
IN_USE = (
    "This data set is used by a run that is not over, or that failed and may go on; please wait "
    "for it, cancel it, or discard it."
)
LIVE = ("queued", "running", "pausing", "paused", "cancelling")


class Datasets:
    """Data sets that models are trained, adapted and compared on."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def list(self, user: User | None) -> DatasetViews:
        """All data sets, newest first."""
        store = self._context.store
        runs = {run.id: run for run in store.runs()}
        return [_view(info, runs.get(info.run_id or 0)) for info in store.datasets()]

    @requires(Role.ADMINISTRATOR)
    def register(
        self, user: User | None, name: str, path: str, classes: str = "", grades: str = ""
    ) -> DatasetView:
        """Register a manifest that lies on this machine, and have it checked.

        Args:
            name: For people. path: Of the manifest, CSV or Parquet.
            classes, grades: Names between commas, lowest grade first; those of the active model
                when empty.

        Raises:
            InvalidInput: The name is taken or empty, or there is no such file.
        """
        who = check(user, Role.ADMINISTRATOR)
        place = Path(path.strip().strip("\"'"))
        if not place.is_absolute():
            raise InvalidInput(NOT_ABSOLUTE)
        if not _is_file(place):
            raise InvalidInput(ABSENT)
        return self._register(who, name, place, classes, grades)

    @requires(Role.ADMINISTRATOR)
    def problems(self, user: User | None, dataset_id: int) -> ProblemViews:
        """What the last check found, errors first.

        Raises:
            NotFound: There is no such data set.
        """
        found = self._context.store.dataset(dataset_id).found or {}
        return [
            ProblemView(each["severity"], each["kind"], tuple(each["rows"]), each["message"])
            for each in found.get("problems", ())
        ]

    @requires(Role.ADMINISTRATOR)
    def thumbnails(self, user: User | None, dataset_id: int, count: int = 12) -> Pictures:
        """Some images as PNG with a caption, spread over classes and modalities.

        Images that cannot be read are left out.

        Raises:
            NotFound: There is no such data set. InvalidInput: It was changed since its check.
        """
        from engine.datasets.thumbnails import thumbnail
        from engine.render import png_bytes

        who = check(user, Role.ADMINISTRATOR)
        info = self._context.store.dataset(dataset_id)
        self._context.record(who, "dataset_look", f"dataset-{info.id}")
        if not info.digest:
            return []
        manifest = opened(info)
        made: Pictures = []
        for place in _spread(manifest)[: 2 * MOST_PICTURES]:
            if len(made) >= min(count, MOST_PICTURES):
                break
            row = manifest.rows[place]
            try:
                picture = png_bytes(thumbnail(manifest, place))
            except EngineError:
                continue
            made.append(
                (picture, f"Row {row.number}: {row.label or 'class unknown'}, {row.modality}")
            )
        return made

    @requires(Role.ADMINISTRATOR)
    def recheck(self, user: User | None, dataset_id: int) -> DatasetView:
        """Check it again, since its files were changed.

        Raises:
            NotFound: There is no such data set. InvalidInput: Its check is not over yet.
        """
        who, store = check(user, Role.ADMINISTRATOR), self._context.store
        info = store.dataset(dataset_id)
        if info.run_id is not None and store.run(info.run_id).state in LIVE:
            raise InvalidInput("The check of this data set is not over yet.")
        return self._check(who, info)

    @requires(Role.ADMINISTRATOR)
    def remove(self, user: User | None, dataset_id: int) -> None:
        """Forget a data set and the copies of its images; its own files stay where they are.

        Raises:
            NotFound: There is no such data set. InvalidInput: A run needs it.
        """
        who, store = check(user, Role.ADMINISTRATOR), self._context.store
        info = store.dataset(dataset_id)
        if any(_uses(run, info.id) for run in store.runs((*LIVE, "failed"))):
            raise InvalidInput(IN_USE)
        store.remove_dataset(info.id)
        shutil.rmtree(decoded_folder(self._context.settings, info.id), ignore_errors=True)
        self._context.record(who, "dataset_remove", f"dataset-{info.id}")

    def _register(
        self, who: User, name: str, place: Path, classes: str, grades: str
    ) -> DatasetView:
        name = " ".join(name.split())
        if not 0 < len(name) <= NAME_LENGTH:
            raise InvalidInput(f"The name of a data set has 1 to {NAME_LENGTH} characters.")
        card = self._context.models.card()
        stated = _names(classes) or card.classes
        levels = _names(grades) or tuple(each for each in card.grades if each in stated)
        if len(set(stated)) < max(2, len(stated)):
            raise InvalidInput("Please name at least two classes, each of them once.")
        if not set(levels) <= set(stated):
            raise InvalidInput("Each grade must be one of the classes.")
        info = self._context.store.add_dataset(
            name, who.name, path=str(place), classes=stated, grades=levels
        )
        self._context.record(who, "dataset_register", f"dataset-{info.id}")
        try:
            return self._check(who, info)
        except AppError:  # too many runs wait: nothing would ever check it
            self._context.store.remove_dataset(info.id)
            raise

    def _check(self, who: User, info: DatasetInfo) -> DatasetView:
        context = self._context
        title = f"Check of “{info.name}”"
        run = queue_run(context, who, "check", title, {"dataset": info.id})
        return _view(context.store.change_dataset(info.id, run_id=run.id), run)


def _view(info: DatasetInfo, run: RunInfo | None) -> DatasetView:
    found: Mapping[str, Any] = info.found or {}
    state, message = "ready", ""
    if run is not None and run.state in LIVE:
        state = "checking"
    elif run is None or run.state != "done":
        state, message = "failed", "" if run is None else run.message or "The check was cancelled."
    elif found.get("errors"):
        state = "refused"
    made: Any = {"state": state}
    return DatasetView(
        **made,
        id=info.id,
        name=info.name,
        created=info.created,
        who=info.who,
        digest=info.digest,
        rows=found.get("rows", 0),
        patients=found.get("patients", 0),
        classes=found.get("classes", {}),
        sites=found.get("sites", {}),
        splits=found.get("splits", {}),
        modalities=found.get("modalities", {}),
        errors=found.get("errors", 0),
        warnings=found.get("warnings", 0),
        run_id=info.run_id,
        message=message,
    )


def require_ready(context: Context, dataset_id: int) -> DatasetInfo:
    """A data set that may be used: its last check is over and found no error.

    Raises:
        NotFound: There is no such data set. InvalidInput: It is not ready, or was changed since.
    """
    info = context.store.dataset(dataset_id)
    run = None if info.run_id is None else context.store.run(info.run_id)
    if _view(info, run).state != "ready":
        raise InvalidInput(
            "This data set is not ready; please look at its check, and have it checked again once "
            "its problems are mended."
        )
    opened(info)
    return info


def _uses(run: RunInfo, dataset_id: int) -> bool:
    """Whether a run that goes on, or may go on, needs a data set."""
    if run.state == "failed" and run.kind not in PAUSABLE:
        return False
    return dataset_id in (run.settings.get("dataset"), run.settings.get("source"))


def _names(text: str) -> tuple[str, ...]:
    """Names between commas or on lines of their own."""
    parts = text.replace("\n", ",").replace(";", ",").split(",")
    return tuple(part.strip() for part in parts if part.strip())


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def _spread(manifest: Manifest) -> Sequence[int]:
    """Places of all rows, dealt out so that each class and modality comes early."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(manifest.rows):
        groups[(row.modality, row.label)].append(place)
    turns = [(turn, key, place) for key, rows in groups.items() for turn, place in enumerate(rows)]
    return [place for _, _, place in sorted(turns)]
