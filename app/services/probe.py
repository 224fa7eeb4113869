"""The counterfactual probe: a region is removed, and the model is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, NotFound
from app.services import probe_tiles as tiles
from app.services import probe_words as words
from app.services.context import Context
from app.services.jobs import cache_key
from app.services.layers import Layer
from app.services.probe_answer import make_answer
from app.services.probe_facts import (
    UNREAD,
    box_of,
    frame_of,
    image_facts,
    job_facts,
    position_of,
    target_of,
)
from app.services.probe_mask import MOST_RUNS, box_mask, decode, encode
from app.services.probe_methods import CHOSEN, is_slow, method_facts
from app.services.probe_outline import Outliner
from app.services.probe_results import Answer, Results
from app.services.review import Reviews
from engine.errors import EngineError
from engine.progress import Progress
from engine.records import BoolArray, Case, ModelCard, Prediction

MOST_METHODS = 6


@dataclass(frozen=True)
class Asked:
    """One question to the probe.

    Args:
        image: Position in the case. mask: (H, W) bool, what is removed.
        fill: Key of `FILLS`. methods: Registry names of the maps. target: Class.
    """

    image: int
    mask: BoolArray
    fill: str
    methods: tuple[str, ...]
    target: str


class Probes:
    """Removes what a reader marks, and asks the model again.

    Args:
        context: Shared parts. reviews: Gives the first answer.
        outliner: Turns boxes into regions, where its weights are installed.
    """

    def __init__(
        self,
        context: Context,
        reviews: Reviews,
        *,
        outliner: Outliner | None = None,
    ) -> None:
        self._context, self._reviews = context, reviews
        self._outliner = outliner or Outliner(context.settings)
        self._results = Results()

    @requires(Role.READER)
    def panel(self, user: User | None, case_id: str, target: str | None = None) -> dict[str, Any]:
        """Value of the panel; runs the model unless its answer about the case is stored.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        who, case = self._seen(user, case_id)
        value: dict[str, Any] = {"version": 0, "case": case.id, "problem": "", "images": []}
        try:
            card = self._context.models.card()
            prediction = self._reviews.result(case, card).prediction
        except EngineError as error:
            return value | {"problem": str(error)}
        return value | {
            "notice": card.intended_use,
            "target": target_of(card, prediction, target),
            "targets": list(card.classes),
            "images": self._images(case, card, prediction),
            "fills": [
                {"id": name, "title": title, "summary": text}
                for name, (title, text) in words.FILLS.items()
            ],
            "methods": method_facts(self._context, case, card, prediction),
            "most_methods": MOST_METHODS,
            "most_runs": MOST_RUNS,
            "outline": {"ready": self._outliner.is_ready, "text": self._outliner.text},
            "suggestion": None,
            "caution": words.CAUTION,
            **self._found(who, case.id),
        }

    @requires(Role.READER)
    def ask(
        self,
        user: User | None,
        case_id: str,
        *,
        image: Any,
        mask: Any,
        fill: Any = "inpainting",
        methods: Sequence[Any] = CHOSEN,
        target: Any = None,
    ) -> dict[str, Any]:
        """Remove a region and ask again; slow methods go on in the background.

        Args:
            image: Position in the case. mask: Runs as of `probe_mask`, in source pixels.
            fill: Key of `FILLS`. methods: Registry names. target: Class; the leading one when None.

        Returns:
            Value of the panel, with the answer or the job that will give it.

        Raises:
            NotFound: No such case or image, or not the user's.
            InvalidInput: The region is empty or does not fit, or a choice is unknown.
            EngineError: The model cannot answer.
        """
        who, case = self._seen(user, case_id)
        card = self._context.models.card()
        prediction = self._reviews.result(case, card).prediction
        asked = self._asked(case, card, prediction, image, mask, fill, methods, target)
        share = float(asked.mask.mean())
        self._context.record(
            who, "probe", case.id, image=asked.image, fill=asked.fill, permille=round(1000 * share)
        )
        if is_slow(asked.methods):
            self._submit(who, case, card, prediction, asked)
        else:
            self._results.keep(who.name, self._answer(case, prediction, asked))
        return self.panel(who, case.id, asked.target)

    @requires(Role.READER)
    def outline(
        self, user: User | None, case_id: str, *, image: Any, box: Any, target: str | None = None
    ) -> dict[str, Any]:
        """Value of the panel whose `suggestion` holds the region that a box encloses.

        Args:
            image: Position in the case. box: Left, top, width, height, source pixels.
            target: Class that the panel shows.

        Raises:
            NotFound: No such case or image, or not the user's.
            InvalidInput: The box lies outside the image.
        """
        who, case = self._seen(user, case_id)
        card = self._context.models.card()
        prediction = self._reviews.result(case, card).prediction
        position = position_of(case, image)
        shown = case.images[position]
        frame = frame_of(prediction, position, shown)
        stated = box_of(box)
        filled = box_mask(stated, shown.height, shown.width)
        mask, text = self._outliner.region(shown, frame, stated, filled)
        suggestion = {"image": position, "runs": encode(mask), "text": text}
        return self.panel(who, case.id, target) | {"suggestion": suggestion}

    @requires(Role.READER)
    def cancel(self, user: User | None, case_id: str, target: str | None = None) -> dict[str, Any]:
        """Stop waiting for an answer about a case; gives the value of the panel."""
        who, case = self._seen(user, case_id)
        job = self._results.job(who.name, case.id)
        if job is not None:
            self._context.jobs.cancel(job, who.name)
            self._results.await_job(who.name, case.id, None)
        return self.panel(who, case.id, target)

    @requires(Role.READER)
    def picture(self, user: User | None, case_id: str, position: int, frame: int) -> Layer:
        """One frame to be marked on, as PNG.

        Raises:
            NotFound: No such case, image or frame, or not the user's.
        """
        who = check(user, Role.READER)
        self._context.require_sight(who, case_id)

        def make() -> Layer:
            image = self._context.store.case(case_id).images
            if not 0 <= position < len(image) or not 0 <= frame < image[position].frames:
                raise NotFound("The case has no such image.")
            shown = image[position]
            size = tiles.size_of(shown, tiles.PICTURE_SIDE)
            return tiles.png(tiles.picture(shown, frame, tiles.window_of(shown, frame), size))

        key = ("probe", case_id, position, frame)
        found: Layer = self._context.memory.get(key, make, lambda made: len(made.data))
        return found

    @requires(Role.READER)
    def tile(self, user: User | None, answer_id: str, number: int) -> Layer:
        """A picture of one of the user's own answers.

        Raises:
            NotFound: There is none, or it is forgotten, or its case is no longer the user's.
        """
        who = check(user, Role.READER)
        answer = self._results.find(who.name, answer_id)
        if answer is None or not 0 <= number < len(answer.pictures):
            raise NotFound("This answer is no longer kept; please ask again.")
        self._context.require_sight(who, answer.case)
        return answer.pictures[number]

    def _seen(self, user: User | None, case_id: str) -> tuple[User, Case]:
        who = check(user, Role.READER)
        self._context.require_sight(who, case_id)
        return who, self._context.store.case(case_id)

    def _asked(
        self,
        case: Case,
        card: ModelCard,
        prediction: Prediction,
        image: Any,
        mask: Any,
        fill: Any,
        methods: Sequence[Any],
        target: Any,
    ) -> Asked:
        """A question from the page, checked."""
        position = position_of(case, image)
        if position not in prediction.frames:
            raise InvalidInput(UNREAD)
        shown = case.images[position]
        if fill not in words.FILLS:
            raise InvalidInput("There is no such way of filling a region.")
        able = {
            m["id"] for m in method_facts(self._context, case, card, prediction) if not m["reason"]
        }
        named = tuple(dict.fromkeys(str(method) for method in methods))
        if not set(named) <= able:
            raise InvalidInput("One of the methods cannot be used here; please choose again.")
        if len(named) > MOST_METHODS:
            raise InvalidInput(f"Please choose at most {MOST_METHODS} methods at a time.")
        runs = decode(mask, shown.height, shown.width)
        wanted = target_of(card, prediction, None if target is None else str(target))
        return Asked(position, runs, str(fill), named, wanted)

    def _answer(
        self, case: Case, prediction: Prediction, asked: Asked, progress: Progress | None = None
    ) -> Answer:
        from engine.counterfactual import without

        found = self._context.models.run(
            lambda system: without(
                system,
                case,
                asked.image,
                asked.mask,
                frame=prediction.frames[asked.image],
                fill=asked.fill,
                methods=asked.methods,
                target=asked.target,
                frames=prediction.frames,
                progress=progress,
            ),
            prediction.model,
            background=progress is not None,
        )
        return make_answer(case, found, asked, prediction.frames[asked.image])

    def _submit(
        self,
        who: User,
        case: Case,
        card: ModelCard,
        prediction: Prediction,
        asked: Asked,
    ) -> None:
        key = cache_key("probe", who.name, case.id, card.weights_digest, asked)

        def work(progress: Progress) -> str:
            answer = self._answer(case, prediction, asked, progress)
            self._results.keep(who.name, answer)
            return answer.id

        self._context.jobs.forget(key)
        job = self._context.jobs.submit(key, who.name, "Counterfactual probe", work)
        self._results.await_job(who.name, case.id, job.id)

    def _found(self, who: User, case_id: str) -> dict[str, Any]:
        """Answers so far, and the job that is under way."""
        job, problem = self._waiting(who, case_id)
        answers = [answer.value for answer in self._results.of(who.name, case_id)]
        return {"job": job, "problem": problem, "results": answers}

    def _waiting(self, who: User, case_id: str) -> tuple[dict[str, Any] | None, str]:
        waits = self._results.job(who.name, case_id)
        if waits is None:
            return None, ""
        try:
            job = self._context.jobs.status(waits, owner=who.name)
        except NotFound:
            self._results.await_job(who.name, case_id, None)
            return None, ""
        if not job.is_over:
            return job_facts(job), ""
        self._results.await_job(who.name, case_id, None)
        return None, job.message if job.state == "failed" else ""

    def _images(self, case: Case, card: ModelCard, prediction: Prediction) -> list[dict[str, Any]]:
        """The images, kept since the page asks again and again while a job goes on."""
        found: list[dict[str, Any]] = self._context.memory.get(
            ("probe images", case.id, card.weights_digest),
            lambda: [image_facts(case, n, prediction) for n in range(len(case.images))],
            lambda made: 1024 + 32 * sum(len(r["runs"]) for i in made for r in i["regions"]),
        )
        return found
