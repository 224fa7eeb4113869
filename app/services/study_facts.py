"""A study with its answers as it is analysed, exported and printed: codes in place of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.services.context import Context
from app.store import (
    CaseFacts,
    Given,
    OutputInfo,
    ReadingInfo,
    StudyInfo,
    StudyReaderInfo,
    Submission,
)
from app.store.study_rows import Deviation
from engine.study.blind import blinded
from engine.study.records import (
    Arm,
    ArmKind,
    Protocol,
    ReaderFacts,
    StudyAnswer,
    StudyFacts,
    Timing,
)

UNKNOWN = CaseFacts("", "", "", None)


def facts_of(context: Context, study: StudyInfo) -> StudyFacts:
    """The facts of a study, its arms numbered until it is unblinded."""
    return blinded(_Facts(context, study).facts())


def blind_arms(study: StudyInfo) -> dict[str, str]:
    """Id of each arm to the id that an analysis knows it by."""
    ids = [arm.id for arm in study.protocol.arms]
    if study.unblinded:
        return {id_: id_ for id_ in ids}
    probe = StudyFacts(
        study.code,
        study.version,
        study.state,
        replace(study.protocol, training=()),
        (),
        (),
        map_scores={(str(place), id_): {} for place, id_ in enumerate(ids)},
    )
    renamed = {int(place): id_ for place, id_ in blinded(probe).map_scores}
    return {id_: renamed[place] for place, id_ in enumerate(ids)}


class _Facts:
    """Everything that is known of a study, looked up once."""

    def __init__(self, context: Context, study: StudyInfo) -> None:
        store = context.store
        self._context, self._study = context, study
        self._codes: Mapping[str, str] = store.study_codes(study.id)
        self._readers: Mapping[str, StudyReaderInfo] = {
            reader.reader: reader for reader in store.study_readers(study.id)
        }
        self._plan: Mapping[int, ReadingInfo] = {
            reading.id: reading for reading in store.study_plan(study.id)
        }
        self._outputs: Mapping[tuple[str, str], OutputInfo] = store.outputs(study.id)
        self._cases: Mapping[str, CaseFacts] = store.case_facts(list(self._codes))
        self._submissions = store.submissions(study.id)
        self._deviations = store.study_deviations(study.id)

    def facts(self) -> StudyFacts:
        """The facts, with arms by their own names."""
        study = self._study
        return StudyFacts(
            code=study.code,
            version=study.version,
            state=study.state,
            protocol=self._protocol(),
            readers=tuple(
                ReaderFacts(r.code, r.specialty, r.experience, r.withdrawn is not None)
                for r in sorted(self._readers.values(), key=lambda r: r.code)
            ),
            answers=self._answers(),
            readings_planned=self._count(lambda reading: True),
            readings_done=self._count(lambda reading: bool(reading.revision)),
            deviations=tuple(_sentence(each) for each in self._deviations),
            digests=dict(study.digests),
            map_scores=self._scores(),
            unblinded=study.unblinded,
            created=study.created,
            opened=study.opened,
            locked=study.locked,
        )

    def _protocol(self) -> Protocol:
        """The protocol with codes in place of pseudonyms and login names."""
        protocol = self._study.protocol
        return replace(
            protocol,
            cases=tuple(self._codes[case] for case in protocol.cases),
            readers=tuple(sorted(self._readers[name].code for name in protocol.readers)),
            training=tuple(
                replace(each, case=self._codes[each.case]) for each in protocol.training
            ),
            groups={
                self._codes[case]: group
                for case, group in protocol.groups.items()
                if case in self._codes
            },
        )

    def _count(self, counts: Any) -> dict[str, int]:
        made = {reader.code: 0 for reader in self._readers.values()}
        for reading in self._plan.values():
            if not reading.training and counts(reading):
                made[self._readers[reading.reader].code] += 1
        return made

    def _answers(self) -> tuple[StudyAnswer, ...]:
        """The last revision of each answer, training left out, in a fixed order."""
        last: dict[int, Submission] = {each.reading: each for each in self._submissions}
        rows = [
            self._answer(self._plan[number], said, given)
            for number, said in last.items()
            if not self._plan[number].training
            for given in said.answers
        ]
        return tuple(
            sorted(rows, key=lambda a: (a.reader, a.session, a.position, a.case, a.question))
        )

    def _answer(self, reading: ReadingInfo, said: Submission, given: Given) -> StudyAnswer:
        study = self._study
        case = self._cases.get(reading.case, UNKNOWN)
        output = self._outputs.get((reading.case, reading.arm))
        arm = None if reading.is_closing else study.protocol.arm(reading.arm)
        shown = output if arm is not None and arm.kind is not ArmKind.IMAGE else None
        leading = None if shown is None else shown.leading
        return StudyAnswer(
            reader=self._readers[reading.reader].code,
            case=self._codes.get(reading.case, ""),
            arm=reading.arm,
            question=given.question,
            status=given.status,
            value=given.value,
            text=given.text,
            marks=given.marks,
            session=reading.session,
            position=reading.position,
            replicate=reading.replicate,
            stage=reading.stage,
            label=reading.label,
            revision=said.revision,
            revisions=said.revision,
            reason=given.reason or said.reason,
            comment=said.comment,
            timing=_timing(reading, said),
            group=study.protocol.groups.get(reading.case, ""),
            modality=case.modality,
            view=case.view,
            laterality=case.laterality,
            ai_prediction=leading,
            ai_confidence=None if shown is None else shown.confidence,
            ai_correct=_same(leading, case.truth),
            truth=case.truth,
            weights_digest="" if reading.is_closing else str(study.model.get("weights_digest", "")),
        )

    def _scores(self) -> dict[tuple[str, str], dict[str, float]]:
        """Scores of the maps that were shown, as far as somebody measured them."""
        made = {}
        for case in self._study.protocol.cases:
            for arm in self._study.protocol.arms:
                output = self._outputs.get((case, arm.id))
                found = {} if output is None else self._measured(case, arm, output)
                if found:
                    made[(self._codes[case], arm.id)] = found
        return made

    def _measured(self, case: str, arm: Arm, output: OutputInfo) -> dict[str, float]:
        if arm.kind is not ArmKind.EXPLANATION:
            return {}
        scores: dict[str, float] = {}
        for score in self._context.store.stored_scores(
            case, output.weights_digest, output.leading, arm.method
        ):
            value = score.get("value")
            if isinstance(value, int | float):  # of the first image that has one
                scores.setdefault(str(score.get("metric", "")), float(value))
        return scores


def _same(leading: str | None, truth: str | None) -> bool | None:
    if leading is None or truth is None:
        return None
    return leading.casefold() == truth.casefold()


def _timing(reading: ReadingInfo, said: Submission) -> Timing:
    told = said.timing
    shown = told.get("shown_at")
    return Timing(
        shown_at=reading.shown if shown is None else datetime.fromisoformat(shown),
        submitted_at=said.created,
        first_ms=told.get("first_ms"),
        active_ms=int(told.get("active_ms", 0)),
        opacity=int(told.get("opacity", 0)),
        window=int(told.get("window", 0)),
        method=int(told.get("method", 0)),
        heat_seen=told.get("heat_seen"),
    )


def _sentence(deviation: Deviation) -> str:
    """A deviation with its day and, where it is about one, its reader."""
    who = f" {deviation.reader}:" if deviation.reader and deviation.kind == "clock" else ""
    return f"{deviation.created.date().isoformat()}:{who} {deviation.text}"
