"""Outcomes of adjudication, and facts about the cases of a study that need no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from app.errors import InvalidInput
from app.store.database import Database, plain, serialise
from app.store.study_rows import By, found, note
from app.store.study_tables import StudyOutcomeRow
from app.store.tables import EvidenceRecord, ImageRow, TruthRow
from engine.study.records import StudyState

MOST_TEXT = 10_000


@dataclass(frozen=True)
class Outcome:
    """What an adjudicator decided about a case in an arm; it stands beside the answers."""

    case: str
    arm: str
    question: str
    outcome: str
    reason: str
    who: str
    created: datetime


@dataclass(frozen=True)
class CaseFacts:
    """A case as the analysis knows it: of its first image, and its class where it is known."""

    modality: str
    view: str
    laterality: str
    truth: str | None


class StudyOutcomes(Database):
    """Keeps what is decided after the reading."""

    def keep_outcome(
        self,
        study_id: int,
        *,
        case: str,
        arm: str,
        question: str,
        outcome: str,
        reason: str,
        by: By,
    ) -> None:
        """Store an outcome; an earlier one on the same answers is kept, and does not count.

        Raises:
            InvalidInput: A text is empty or too long, or the study is a draft.
        """
        if not outcome.strip() or max(len(outcome), len(reason)) > MOST_TEXT:
            raise InvalidInput(f"An outcome has 1 to {MOST_TEXT} characters.")
        with self._writing() as session:
            serialise(session)
            study = found(session, study_id)
            if study.state == StudyState.DRAFT.value:
                raise InvalidInput("The study was not opened yet.")
            row = StudyOutcomeRow(
                study_id=study_id,
                case_id=case,
                arm=arm,
                question=question,
                outcome=plain(outcome),
                reason=plain(reason),
                who=by.name,
                created=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            note(session, by, "study_adjudicate", study.code, outcome=row.id)

    def outcomes(self, study_id: int) -> dict[tuple[str, str, str], Outcome]:
        """The outcomes that count, by case, arm and question."""
        wanted = select(StudyOutcomeRow).where(StudyOutcomeRow.study_id == study_id)
        with self._reading() as session:
            return {
                (row.case_id, row.arm, row.question): Outcome(
                    row.case_id,
                    row.arm,
                    row.question,
                    row.outcome,
                    row.reason,
                    row.who,
                    row.created,
                )
                for row in session.scalars(wanted.order_by(StudyOutcomeRow.id))
            }

    def case_facts(self, cases: Sequence[str]) -> dict[str, CaseFacts]:
        """What is known about cases without their pixels."""
        images = select(ImageRow).where(ImageRow.case_id.in_(cases), ImageRow.position == 0)
        truths = select(TruthRow.case_id, TruthRow.label).where(TruthRow.case_id.in_(cases))
        with self._reading() as session:
            labels = {row.case_id: row.label for row in session.execute(truths)}
            return {
                row.case_id: CaseFacts(
                    row.modality, row.view or "", row.laterality or "", labels.get(row.case_id)
                )
                for row in session.scalars(images)
            }

    def stored_scores(
        self, case: str, weights_digest: str, target: str, method: str
    ) -> list[dict[str, object]]:
        """The newest scores of a map, as they were measured; empty where nobody measured it."""
        wanted = select(EvidenceRecord.content).where(
            EvidenceRecord.case_id == case,
            EvidenceRecord.weights_digest == weights_digest,
            EvidenceRecord.target == target,
            EvidenceRecord.method == method,
            EvidenceRecord.kind == "scores",
        )
        with self._reading() as session:
            content = session.scalar(wanted.order_by(EvidenceRecord.id.desc()).limit(1))
            return list((content or {}).get("scores", ()))
