"""Test-time adaptation: target cases without labels are chosen, and its outcome is judged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, NotFound
from app.services.context import Context
from app.services.datasets import require_ready
from app.services.run_cases import ONE_KIND, PHANTOMS, require_phantoms
from app.services.run_views import BeforeAfter, ChangedView, ModelView, OutcomeView, RunView
from app.services.runner import CANDIDATE
from app.services.runs import queue_run, view_of
from app.services.shelf_views import model_view
from app.store import RunInfo
from engine.records import Modality

Choices = list[tuple[str, str]]

TITLES = {
    "eata": "EATA: learns from sure and differing cases, tied to what it knew",
    "tent": "TENT: minimises entropy on all cases",
    "sar": "SAR: minimises entropy sharpness-aware, and recovers from collapse",
}
JUDGED = "This adaptation was accepted or discarded before."
DISCARDED = "Its outcome was discarded."
MOST_STEPS = 1000
MOST_CASES = 1000


class Adaptation:
    """Starts adaptations, tells their outcome, and makes candidates of them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def methods(self, user: User | None) -> Choices:
        """Name and title of each method, the usual one first."""
        from engine.adaptation import METHODS

        names = sorted(METHODS, key=lambda name: (name not in TITLES, list(TITLES).index(name)
                       if name in TITLES else 0))  # fmt: skip
        return [(name, TITLES.get(name, name)) for name in names]

    @requires(Role.ADMINISTRATOR)
    def cases(self, user: User | None) -> Choices:
        """Pseudonym and label of each stored case that can be adapted to, newest first."""
        return [
            (row.id, f"{row.id}, {row.source}, {row.created:%Y-%m-%d}")
            for row in self._context.store.case_summaries()
            if Modality.MAMMOGRAPHY in row.modalities
        ]

    @requires(Role.ADMINISTRATOR)
    def start(
        self,
        user: User | None,
        model: str,
        case_ids: Sequence[str],
        method: str,
        steps: int,
        source: str | int = PHANTOMS,
    ) -> RunView:
        """Queue an adaptation.

        Args:
            model: Name of the model to start from; the active one when empty.
            case_ids: Target cases. method: Name of the method. steps: Steps, 1 to 1000.
            source: "phantoms", or the number of a data set: labelled cases that guard what the
                model knew.

        Raises:
            InvalidInput: A choice is missing or out of range.
            NotFound: There is no such data set. ModelUnavailable: There is no such model.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        card = context.models.card(model or None)
        if card.system != "crossmodal":
            raise InvalidInput(ONE_KIND)
        cases = self._chosen(case_ids)
        if method not in dict(self.methods(user)):
            raise InvalidInput("There is no such method.")
        if isinstance(steps, bool) or not 1 <= int(steps) <= MOST_STEPS:
            raise InvalidInput(f"The number of steps must be from 1 to {MOST_STEPS}.")
        if source == PHANTOMS:
            require_phantoms(card)
        else:
            source = require_ready(context, _number(source)).id
        settings = {
            "model": card.name,
            "digest": card.weights_digest,
            "cases": cases,
            "method": method,
            "steps": int(steps),
            "source": source,
        }
        title = f"Adaptation of {card.name} to {len(cases)} cases by {method.upper()}"
        return view_of(context, queue_run(context, who, "adaptation", title, settings))

    @requires(Role.ADMINISTRATOR)
    def outcome(self, user: User | None, run_id: int) -> OutcomeView:
        """What an adaptation has done.

        Raises:
            NotFound: There is no such adaptation, or it is not done.
        """
        who = check(user, Role.ADMINISTRATOR)
        run, report = self._done(run_id)
        self._context.record(who, "adaptation_look", f"run-{run.id}")
        return self._outcome(run, report)

    @requires(Role.ADMINISTRATOR)
    def accept(self, user: User | None, run_id: int, name: str) -> ModelView:
        """Make a candidate of an adaptation; the model in use stays what it is.

        Raises:
            NotFound: There is no such adaptation, or it is not done.
            InvalidInput: It was rolled back, accepted or discarded before, or the name is taken.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        run, report = self._done(run_id)
        if report["rolled_back"]:
            raise InvalidInput(
                "This adaptation was taken back by its guard, so that there is nothing to accept."
            )
        context.shelf.require_free(name)
        if report.get("discarded") or not self._claim(run.id, {"model": name}):
            raise InvalidInput(JUDGED)
        card = self._folder(run.id) / CANDIDATE / f"{CANDIDATE}.toml"
        parent = str(run.settings["model"])
        try:
            context.shelf.install(
                card, name, origin="adapted", who=who.name, parent=parent, run_id=run.id
            )
        except BaseException:
            context.store.change_run(run.id, {"model": ""})
            raise
        context.record(who, "adaptation_accept", f"run-{run.id}", model=name)
        return model_view(context, name)

    @requires(Role.ADMINISTRATOR)
    def discard(self, user: User | None, run_id: int) -> None:
        """Throw the outcome of an adaptation away; what it did stays on record.

        Raises:
            NotFound: There is no such adaptation, or it is not done.
            InvalidInput: It was accepted.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        run, report = self._done(run_id)
        if report.get("discarded"):
            return
        changes = {"result": {**report, "discarded": True}, "message": DISCARDED}
        if not self._claim(run.id, changes):
            raise InvalidInput("This adaptation was accepted; delete its model instead.")
        shutil.rmtree(self._folder(run.id) / CANDIDATE, ignore_errors=True)
        context.record(who, "adaptation_discard", f"run-{run.id}")

    def _claim(self, run_id: int, changes: Mapping[str, Any]) -> bool:
        """Change an outcome that nobody has judged yet; False where somebody was faster."""
        unjudged = {"model": "", "message": ""}
        store = self._context.store
        return store.change_run(run_id, changes, only_in=("done",), where=unjudged) is not None

    def _folder(self, run_id: int) -> Path:
        return self._context.supervisor.folder(run_id).path

    def _chosen(self, case_ids: Sequence[str]) -> list[str]:
        """Different cases, all of them stored and with a mammogram."""
        known = {
            row.id
            for row in self._context.store.case_summaries()
            if Modality.MAMMOGRAPHY in row.modalities
        }
        chosen = list(dict.fromkeys(str(case) for case in case_ids))
        if not chosen:
            raise InvalidInput("Please choose the cases to adapt to.")
        if len(chosen) > MOST_CASES:
            raise InvalidInput(f"Please choose at most {MOST_CASES} cases.")
        if not set(chosen) <= known:
            raise InvalidInput("One of the cases does not exist, or has no mammogram.")
        return chosen

    def _done(self, run_id: int) -> tuple[RunInfo, dict[str, Any]]:
        run = self._context.store.run(run_id)
        if run.kind != "adaptation" or run.state != "done":
            raise NotFound("There is no such adaptation, or it is not done yet.")
        return run, self._context.store.run_result(run_id)

    def _outcome(self, run: RunInfo, report: Mapping[str, Any]) -> OutcomeView:
        classes = list(report["classes"])
        source: Mapping[str, Any] = report["source"] or {}
        before, after = (
            {name: int(n) for name, n in zip(classes, report["histogram"][key], strict=True)}
            for key in ("before", "after")
        )
        return OutcomeView(
            run_id=run.id,
            model=str(run.settings["model"]),
            method=str(report["method"]),
            cases=int(report["cases"]),
            steps=int(report["steps_done"]),
            kept=report["kept_share"],
            entropy=_pair(report["entropy"]),
            histogram_before=before,
            histogram_after=after,
            sensitivity=_pair(source.get("sensitivity")),
            source_accuracy=_pair(source.get("accuracy")),
            accuracy=_pair(report["accuracy"]),
            divergence=source.get("divergence"),
            rolled_back=str(report["rolled_back"]),
            changed=[self._changed(row, classes) for row in report["rows"] if row["changed"]],
            accepted=run.model,
            discarded=bool(report.get("discarded")),
            notes=tuple(str(note) for note in report.get("notes", ())),
        )

    def _changed(self, row: Mapping[str, Any], classes: Sequence[str]) -> ChangedView:
        old, new = max(row["before"]), max(row["after"])
        try:
            picture = self._context.store.thumbnail(row["case"]) or b""
        except NotFound:
            picture = b""
        return ChangedView(
            case_id=str(row["case"]),
            before=classes[row["before"].index(old)],
            after=classes[row["after"].index(new)],
            before_share=float(old),
            after_share=float(new),
            picture=picture,
        )


def _pair(values: Any) -> BeforeAfter:
    """Numbers before and after, each plain, or with its interval."""
    if not values:
        return BeforeAfter(None, None)
    old, new = values["before"], values["after"]
    if not isinstance(old, Mapping):
        return BeforeAfter(old, new)
    return BeforeAfter(old["value"], new["value"], old["low"], old["high"], new["low"], new["high"])


def _number(source: object) -> int:
    text = str(source)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput("Please choose the phantoms or a data set as source.")
    return int(text)
