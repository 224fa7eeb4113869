"""Scores of the maps that a study shows, measured in the background where nobody did so yet."""

from __future__ import annotations

from threading import Lock
from typing import Any

from app.auth import User
from app.errors import InvalidInput, NotFound
from app.services.context import Context
from app.services.evidence_about import About
from app.services.evidence_work import Workshop, portion
from app.services.jobs import cache_key
from app.store import OutputInfo, StudyInfo
from engine.errors import ModelUnavailable
from engine.progress import Progress
from engine.records import ModelCard
from engine.study.records import ArmKind

WEIGHT = 1000
NOT_PREPARED = "The maps of the study are not ready; please prepare them first."
OTHER_MODEL = "The model of this study was replaced, so its maps cannot be measured any more."


class StudyScores:
    """Measures how faithful each map is and how well it finds the lesion.

    The evidence page keeps its scores in the same place, so what it has measured is not measured
    again. Decoys are not measured.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._workshop = context, Workshop(context)
        self._lock = Lock()
        self._jobs: dict[int, str] = {}

    def start(self, user: User, study: StudyInfo) -> None:
        """Measure what is missing.

        Raises:
            InvalidInput: Nothing was prepared. ModelUnavailable: The study's model is gone.
        """
        if not study.model:
            raise InvalidInput(NOT_PREPARED)
        card = self._context.models.card(str(study.model["name"]))
        if card.weights_digest != study.model["weights_digest"]:
            raise ModelUnavailable(OTHER_MODEL)
        key = cache_key("study scores", study.code, study.version, card.weights_digest)
        self._context.jobs.forget(key)
        job = self._context.jobs.submit(
            key,
            user.name,
            "Scores of the maps of a study",
            lambda progress: self._measure(study, card, progress),
        )
        with self._lock:
            self._jobs[study.id] = job.id

    def state(self, study: StudyInfo) -> dict[str, Any]:
        """How far it is: "done", "total", "running", and "error" in one sentence."""
        with self._lock:
            number = self._jobs.get(study.id)
        error, running = None, False
        if number is not None:
            try:
                job = self._context.jobs.status(number)
            except NotFound:
                pass
            else:
                running = not job.is_over
                error = job.message if job.state == "failed" else None
        maps = self._maps(study)
        done = sum(1 for method, output in maps if self._is_measured(method, output))
        return {"done": done, "total": len(maps), "running": running, "error": error}

    def _maps(self, study: StudyInfo) -> list[tuple[str, OutputInfo]]:
        """Method and output of each map of a real method."""
        methods = {
            arm.id: arm.method for arm in study.protocol.arms if arm.kind is ArmKind.EXPLANATION
        }
        return [
            (methods[output.arm], output)
            for output in self._context.store.outputs(study.id).values()
            if output.arm in methods and output.explanation is not None and not output.problem
        ]

    def _is_measured(self, method: str, output: OutputInfo) -> bool:
        store = self._context.store
        return bool(store.stored_scores(output.case, output.weights_digest, output.leading, method))

    def _measure(self, study: StudyInfo, card: ModelCard, progress: Progress) -> int:
        left = [
            output for method, output in self._maps(study) if not self._is_measured(method, output)
        ]
        progress.expect(WEIGHT * len(left))
        for output in left:
            if output.explanation is None or output.prediction is None:
                continue
            store, part = self._context.store, portion(progress, WEIGHT)
            this = About(
                self._context.case(output.case),
                card,
                output.prediction,
                store.prediction(output.prediction),
                output.leading,
            )
            self._workshop.measure(this, [store.explanation_row(output.explanation)], part[0])
            part[1]()
        return len(left)
