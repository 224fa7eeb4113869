"""What a study shows is made ahead and frozen: predictions, maps and decoys, by one model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.auth import User
from app.errors import AppError, InvalidInput, NotFound
from app.services.context import Context
from app.services.evidence_about import latest
from app.services.jobs import cache_key
from app.store import OutputInfo, StudyInfo
from engine.errors import EngineError, IncompatibleExplainer, ModelUnavailable
from engine.progress import Progress
from engine.records import Case, Explanation, HeatMap, ModelCard, Prediction
from engine.study.records import Arm, ArmKind, Decoy, StudyState

if TYPE_CHECKING:
    from engine.models import System

DECOY = "decoy"
DECOY_DIGEST = hashlib.sha256(b"decoys of reader studies").hexdigest()
"""Weights that no model has, so that no page but the reading room ever finds a decoy."""

USUAL_METHOD = "gradcam"
OTHER_MODEL = "The model of this study has changed since it was prepared."
NOTHING = "The method finds nothing to draw on this case."


@dataclass(frozen=True)
class _Made:
    """The stored prediction of a case: its number, and the prediction."""

    number: int
    prediction: Prediction


class Preparation:
    """Makes what is missing of a study in the background, one case after another."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = Lock()
        self._jobs: dict[int, str] = {}

    def start(self, user: User, study: StudyInfo) -> None:
        """Make what is missing; the model in use answers in a draft, the study's own afterwards.

        Raises:
            InvalidInput: The study is locked. ModelUnavailable: The model cannot be used.
        """
        if study.state not in (StudyState.DRAFT, StudyState.OPEN):
            raise InvalidInput("The study is locked, so nothing is prepared any more.")
        card = self._card(study)
        if study.state is StudyState.DRAFT:
            frozen = {
                "name": card.name,
                "version": card.version,
                "weights_digest": card.weights_digest,
            }
            self._context.store.set_study_model(study.id, frozen)
        key = cache_key("study", study.code, study.version, card.weights_digest)
        self._context.jobs.forget(key)
        job = self._context.jobs.submit(
            key,
            user.name,
            "What a study shows",
            lambda progress: self._make(study, card, progress),
        )
        with self._lock:
            self._jobs[study.id] = job.id

    def state(self, study: StudyInfo) -> dict[str, Any]:
        """How far it is: "done", "total", "running", and "error" in one sentence."""
        error, running = self._job(study.id)  # before the outputs, which may be ready just after
        outputs, digest = self._context.store.outputs(study.id), self._digest(study)
        wanted = {key: self._key(study, *key, digest) for key in pairs(study)}
        made = [outputs[k] for k, key in wanted.items() if _fits(outputs.get(k), key)]
        problems = [output.problem for output in made if output.problem]
        if problems and not running:
            error = f"{len(problems)} of {len(wanted)} cannot be shown: {problems[0]}"
        done = len(made) - len(problems)
        return {"done": done, "total": len(wanted), "running": running, "error": error}

    def is_complete(self, study: StudyInfo) -> bool:
        """Whether everything of the study can be shown."""
        state = self.state(study)
        return bool(state["done"] == state["total"])

    def _digest(self, study: StudyInfo) -> str:
        """Weights that answer in a study: its own, but a draft follows the model in use."""
        if study.state is not StudyState.DRAFT:
            return str(study.model.get("weights_digest", ""))
        try:
            return self._context.models.card().weights_digest
        except EngineError:
            return ""

    def _job(self, study_id: int) -> tuple[str | None, bool]:
        """What went wrong, and whether it goes on."""
        with self._lock:
            number = self._jobs.get(study_id)
        if number is None:
            return None, False
        try:
            job = self._context.jobs.status(number)
        except NotFound:
            return None, False
        return (job.message or None) if job.state == "failed" else None, not job.is_over

    def _card(self, study: StudyInfo) -> ModelCard:
        models = self._context.models
        if study.state is StudyState.DRAFT:
            return models.card()
        card = models.card(str(study.model.get("name", "")))
        if card.weights_digest != study.model.get("weights_digest"):
            raise ModelUnavailable(OTHER_MODEL)
        return card

    def _make(self, study: StudyInfo, card: ModelCard, progress: Progress) -> int:
        """Everything that is missing; the number of outputs made."""
        stored, by_case = self._context.store.outputs(study.id), dict[str, list[Arm]]()
        for case, arm in pairs(study):
            key = self._key(study, case, arm, card.weights_digest)
            found = stored.get((case, arm))
            if not _fits(found, key) or (found is not None and found.problem):
                by_case.setdefault(case, []).append(study.protocol.arm(arm))
        progress.expect(sum(len(arms) for arms in by_case.values()))
        for case, arms in by_case.items():
            self._case(study, case, arms, card)
            progress.advance(len(arms))
        return sum(len(arms) for arms in by_case.values())

    def _case(self, study: StudyInfo, case_id: str, arms: Sequence[Arm], card: ModelCard) -> None:
        case = self._context.store.case(case_id)
        shown = [arm for arm in arms if arm.kind is not ArmKind.IMAGE]
        made: _Made | None = None
        problem = ""
        if shown:
            try:
                made = self._predicted(case, card)
            except (AppError, EngineError) as error:
                problem = str(error)
        for arm in arms:
            output = OutputInfo(
                case_id,
                arm.id,
                weights_digest=card.weights_digest,
                content=self._key(study, case_id, arm.id, card.weights_digest),
            )
            if arm.kind is not ArmKind.IMAGE:
                output = replace(output, problem=problem)
            if made is not None and arm.kind is not ArmKind.IMAGE:
                output = self._output(study, case, arm, made, card, output)
            self._context.store.keep_output(study.id, output)

    def _output(
        self,
        study: StudyInfo,
        case: Case,
        arm: Arm,
        made: _Made,
        card: ModelCard,
        output: OutputInfo,
    ) -> OutputInfo:
        """What one arm shows, or why it cannot show it."""
        leading = made.prediction.leading
        output = replace(
            output,
            prediction=made.number,
            leading=leading,
            confidence=made.prediction.probabilities[leading],
        )
        try:
            if arm.kind is ArmKind.EXPLANATION:
                return replace(output, explanation=self._map(case, arm.method, leading, card, made))
            if arm.kind is ArmKind.DECOY:
                return replace(output, explanation=self._decoy(study, case, arm, card, made))
        except (AppError, EngineError) as error:
            return replace(output, problem=str(error))
        return output

    def _predicted(self, case: Case, card: ModelCard) -> _Made:
        """The stored prediction of a case, made when it is not there."""
        store = self._context.store
        found = store.latest_prediction(case.id, card.weights_digest)
        if found is not None:
            return _Made(*found)

        def work(system: System) -> Prediction:
            from engine.workflow import predict

            return predict(system, case)

        prediction = self._context.models.run(work, card.name, background=True)
        return _Made(store.keep_prediction(case.id, prediction), prediction)

    def _map(self, case: Case, method: str, target: str, card: ModelCard, made: _Made) -> int:
        """Number of the stored map of a method, made when it is not there.

        Raises:
            IncompatibleExplainer: The method cannot serve the case.
        """
        from engine.explainers import EXPLAINERS

        store, known = self._context.store, EXPLAINERS[method]
        rows = [
            row for row in store.explanations(case.id, card.weights_digest) if row.target == target
        ]
        found = latest(rows, known, known.settings)
        if found is None:
            explanation = self._explained(case, method, target, card)
            number = store.keep_explanation(case.id, made.number, explanation)
            found = store.explanation_row(number)
        if not any(heat.localised for heat in found.maps):
            raise IncompatibleExplainer(next((m.reason for m in found.maps if m.reason), NOTHING))
        return found.id

    def _explained(self, case: Case, method: str, target: str, card: ModelCard) -> Explanation:
        def work(system: System) -> Explanation:
            from engine.workflow import explain

            analysis = explain(system, case, (method,), target)
            if method in analysis.refused:
                raise IncompatibleExplainer(analysis.refused[method])
            return analysis.explanations[0]

        return self._context.models.run(work, card.name, background=True)

    def _decoy(self, study: StudyInfo, case: Case, arm: Arm, card: ModelCard, made: _Made) -> int:
        """Number of a stored decoy; it looks in every respect like a map of the leading class."""
        if arm.decoy is Decoy.OTHER_CLASS:
            method = _method(study)
            classes = [name for name in card.classes if name != made.prediction.leading]
            if not classes:
                raise InvalidInput("The model knows one class only, so no other can be shown.")
            other = classes[_seed(study, case, arm) % len(classes)]
            maps = self._explained(case, method, other, card).maps
        else:
            maps = _drawn(study, case, arm, made.prediction)
        made_of = Explanation(
            DECOY, made.prediction.leading, maps, {}, card.name, DECOY_DIGEST, 0.0
        )
        return self._context.store.keep_explanation(case.id, made.number, made_of)

    def _key(self, study: StudyInfo, case: str, arm_id: str, digest: str) -> str:
        """Digest of all that an output depends on."""
        arm = study.protocol.arm(arm_id)
        decoy = None if arm.decoy is None else arm.decoy.value
        of_decoy = (study.protocol.seed, _method(study)) if arm.kind is ArmKind.DECOY else ()
        return cache_key("output", case, arm.kind.value, arm.method, decoy, digest, of_decoy)


def pairs(study: StudyInfo) -> list[tuple[str, str]]:
    """(case, arm) pairs that a study shows, training included."""
    protocol = study.protocol
    made = [(case, arm.id) for case in protocol.cases for arm in protocol.arms]
    known = {arm.id for arm in protocol.arms}
    made += [(each.case, each.arm) for each in protocol.training if each.arm in known]
    return list(dict.fromkeys(made))


def _fits(output: OutputInfo | None, key: str) -> bool:
    return output is not None and output.content == key


def _method(study: StudyInfo) -> str:
    """Method of the maps that a decoy of another class imitates."""
    named = (arm.method for arm in study.protocol.arms if arm.kind is ArmKind.EXPLANATION)
    return next(named, USUAL_METHOD)


def _seed(study: StudyInfo, case: Case, arm: Arm) -> int:
    text = f"{study.protocol.seed} {case.id} {arm.id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _drawn(study: StudyInfo, case: Case, arm: Arm, prediction: Prediction) -> tuple[HeatMap, ...]:
    """Decoys on every image that the model reads, on the frame that it reads."""
    from engine.study.decoys import decoy_map

    frames: Mapping[int, int] = prediction.frames or {0: case.images[0].frames // 2}
    maps = []
    for n, frame in frames.items():
        pixels = case.images[n].pixels[frame]
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        if arm.decoy is None:
            raise InvalidInput("A decoy arm does not say which decoy it is.")
        values = decoy_map(arm.decoy, flat, _seed(study, case, arm) + n)
        maps.append(HeatMap(n, frame, values, values.shape, True, ""))
    return tuple(maps)
