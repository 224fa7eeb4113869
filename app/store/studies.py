"""Studies: their design, their plan, what is shown in them, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import InvalidInput, NotFound, StaleRecord
from app.store.database import Database, plain, serialise
from app.store.study_growth import add_codes, add_readings, deviate, free_code
from app.store.study_rows import (
    ABSENT,
    By,
    Deviation,
    OutputInfo,
    found,
    info,
    note,
    reader_info,
    reading_info,
    readings_of,
)
from app.store.study_standing import ReadingInfo, StudyInfo, StudyReaderInfo
from app.store.study_tables import (
    StudyCaseRow,
    StudyDeviationRow,
    StudyOutputRow,
    StudyReaderRow,
    StudyReadingRow,
    StudyRow,
    StudySubmissionRow,
)
from app.store.tables import UserRow
from engine.study.protocol_json import protocol_to_json
from engine.study.records import Protocol, Reading, StudyState

STALE = "This study was changed in another window; please load it again."
NO_READER = "There is no such reader in this study."

Grow = Callable[[StudyInfo, Sequence[ReadingInfo], bool], Sequence[Reading]]
"""From a study, its plan and whether anything was handed in to the rows that come on top."""


class Studies(Database):
    """Keeps studies; what readers hand in is kept by `StudyAnswers`."""

    def add_study(self, owner: str, protocol: Protocol, by: By) -> int:
        """Keep a new draft; its number."""
        with self._writing() as session:
            serialise(session)
            row = StudyRow(
                code=free_code(session),
                title=plain(protocol.title),
                owner=owner,
                state=StudyState.DRAFT.value,
                version=1,
                protocol=protocol_to_json(protocol),
                model={},
                observers=[],
                unblinded=False,
                digests={},
                created=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            note(session, by, "study_create", row.code)
            return row.id

    def study(self, study_id: int) -> StudyInfo:
        """A study.

        Raises:
            NotFound: There is no such study.
        """
        with self._reading() as session:
            return info(found(session, study_id))

    def study_of_code(self, code: str) -> StudyInfo:
        """A study by its code; as `study`."""
        with self._reading() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.code == plain(code)))
            if row is None:
                raise NotFound(ABSENT)
            return info(row)

    def studies(self, owner: str | None = None) -> list[StudyInfo]:
        """Studies of an owner, or all, newest first."""
        wanted = select(StudyRow).order_by(StudyRow.id.desc())
        if owner is not None:
            wanted = wanted.where(StudyRow.owner == owner)
        with self._reading() as session:
            return [info(row) for row in session.scalars(wanted)]

    def observed_studies(self, name: str) -> list[StudyInfo]:
        """Studies that somebody may look at without running them, newest first."""
        with self._reading() as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.id.desc())).all()
            return [info(row) for row in rows if name in row.observers]

    def study_counts(self) -> dict[int, tuple[int, int]]:
        """Study to readings planned and handed in; drafts are not in it."""
        row = StudyReadingRow
        done = func.count().filter(row.revision > 0)
        with self._reading() as session:
            found_rows = session.execute(
                select(row.study_id, func.count(), done).group_by(row.study_id)
            )
            return {study: (int(planned), int(handed)) for study, planned, handed in found_rows}

    def save_study(
        self, study_id: int, protocol: Protocol, version: int, by: By, grow: Grow
    ) -> int:
        """Replace the protocol; the new version.

        Args:
            version: That the change was made on.
            grow: Checks whether the change is allowed in this state, within the transaction.

        Raises:
            NotFound: No such study. StaleRecord: It was changed meanwhile.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.version != version:
                raise StaleRecord(STALE)
            before = info(row)
            plan = [reading_info(each) for each in readings_of(session, study_id)]
            fresh = grow(before, plan, _has_answers(session, study_id))
            row.protocol, row.title = protocol_to_json(protocol), plain(protocol.title)
            row.version += 1
            if before.state is StudyState.OPEN:
                add_codes(session, row, protocol)
                add_readings(session, study_id, fresh)
                text = "The study was changed while it was open: " + _change(before, protocol)
                deviate(session, study_id, "change", "", text)
            note(session, by, "study_save", row.code, version=row.version, readings=len(fresh))
            return row.version

    def set_study_model(self, study_id: int, model: Mapping[str, str]) -> None:
        """Say whose output is shown in a draft."""
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state != StudyState.DRAFT.value:
                raise InvalidInput("The model of an open study cannot be changed.")
            row.model = dict(model)

    def keep_output(self, study_id: int, made: OutputInfo) -> None:
        """Keep what is shown in one arm; it replaces what an earlier design showed there."""
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state not in (StudyState.DRAFT.value, StudyState.OPEN.value):
                raise InvalidInput("The study is locked, so nothing is prepared any more.")
            gone = delete(StudyOutputRow).where(
                StudyOutputRow.study_id == study_id,
                StudyOutputRow.case_id == made.case,
                StudyOutputRow.arm == made.arm,
            )
            session.execute(gone)
            session.add(
                StudyOutputRow(
                    study_id=study_id,
                    case_id=made.case,
                    arm=made.arm,
                    prediction_id=made.prediction,
                    explanation_id=made.explanation,
                    leading=made.leading,
                    confidence=made.confidence,
                    weights_digest=made.weights_digest,
                    content=made.content,
                    problem=plain(made.problem),
                )
            )

    def outputs(self, study_id: int) -> dict[tuple[str, str], OutputInfo]:
        """What is shown, by case and arm."""
        wanted = select(StudyOutputRow).where(StudyOutputRow.study_id == study_id)
        with self._reading() as session:
            return {(row.case_id, row.arm): output_info(row) for row in session.scalars(wanted)}

    def output(self, study_id: int, case: str, arm: str) -> OutputInfo | None:
        """What is shown of one case in one arm; None where nothing was prepared."""
        with self._reading() as session:
            row = session.get(StudyOutputRow, (study_id, case, arm))
            return None if row is None else output_info(row)

    def open_study(self, study_id: int, version: int, readings: Sequence[Reading], by: By) -> None:
        """Store the plan of a draft, and let its readers begin.

        Raises:
            NotFound: No such study. StaleRecord: It was changed, or opened, meanwhile.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.version != version or row.state != StudyState.DRAFT.value:
                raise StaleRecord(STALE)
            row.state, row.opened = StudyState.OPEN.value, datetime.now(UTC)
            add_codes(session, row, info(row).protocol)
            add_readings(session, study_id, readings)
            note(session, by, "study_open", row.code, readings=len(readings))

    def lock_study(
        self, study_id: int, digests: Callable[[], Mapping[str, str]], reason: str, by: By
    ) -> None:
        """End the reading; nothing can be handed in afterwards.

        Args:
            digests: Of what is frozen; asked while nobody else can write.

        Raises:
            InvalidInput: The study is not open.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state != StudyState.OPEN.value:
                raise InvalidInput("Only an open study can be locked.")
            row.state, row.locked = StudyState.LOCKED.value, datetime.now(UTC)
            left = _left(session, study_id)
            if left:
                why = f" Reason: {plain(reason)}" if reason else ""
                text = f"The study was locked with {left} readings not handed in.{why}"
                deviate(session, study_id, "lock", "", text)
            made = dict(digests())
            row.digests = made
            note(session, by, "study_lock", row.code, left=left, **made)

    def unblind_study(self, study_id: int, by: By) -> None:
        """Let arms be named from now on.

        Raises:
            InvalidInput: The study is not locked.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state not in (StudyState.LOCKED.value, StudyState.EXPORTED.value):
                raise InvalidInput("A study is locked before its arms are named.")
            row.unblinded = True
            note(session, by, "study_unblind", row.code)

    def note_export(self, study_id: int, by: By) -> None:
        """Note that the answers left the system; a locked study counts as exported from then."""
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state == StudyState.LOCKED.value:
                row.state, row.exported = StudyState.EXPORTED.value, datetime.now(UTC)
            note(session, by, "study_export", row.code, state=row.state)

    def delete_study(self, study_id: int, by: By) -> None:
        """Remove a draft.

        Raises:
            InvalidInput: It is no draft.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state != StudyState.DRAFT.value:
                raise InvalidInput("Only a draft can be deleted; a study with answers is kept.")
            session.execute(delete(StudyOutputRow).where(StudyOutputRow.study_id == study_id))
            session.flush()
            note(session, by, "study_delete", row.code)
            session.delete(row)

    def set_observers(self, study_id: int, names: Sequence[str], by: By) -> None:
        """Say who may look at the analysis.

        Raises:
            InvalidInput: A name has no account, or reads in the study.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            wanted = list(dict.fromkeys(names))
            known = set(session.scalars(select(UserRow.name).where(UserRow.name.in_(wanted))))
            if set(wanted) - known:
                raise InvalidInput("An observer needs an account.")
            if set(wanted) & set(info(row).protocol.readers):
                raise InvalidInput("Whoever reads in a study cannot observe it.")
            row.observers = wanted
            note(session, by, "study_observers", row.code, observers=len(wanted))

    def study_readers(self, study_id: int) -> list[StudyReaderInfo]:
        """Readers of a study that was opened, by code."""
        wanted = select(StudyReaderRow).where(StudyReaderRow.study_id == study_id)
        with self._reading() as session:
            rows = session.scalars(wanted.order_by(StudyReaderRow.code))
            return [reader_info(row) for row in rows]

    def change_reader(
        self, study_id: int, reader: str, change: str, reason: str, by: By, **values: object
    ) -> None:
        """Change what is known of a reader, and note the deviation where there is a reason.

        Args:
            change: Kind of the change, for the trail. reason: Sentence of the deviation; empty
                where the protocol knows it. values: Columns and what they become.

        Raises:
            NotFound: No such reader in the study. InvalidInput: The study is not open.
        """
        with self._writing() as session:
            serialise(session)
            row = found(session, study_id)
            if row.state == StudyState.DRAFT.value:
                raise InvalidInput("The study was not opened yet.")
            if reason and row.state != StudyState.OPEN.value:
                raise InvalidInput("The study is locked, so nothing about its reading can change.")
            who = session.get(StudyReaderRow, (study_id, plain(reader)))
            if who is None:
                raise NotFound(NO_READER)
            for name, value in values.items():
                setattr(who, name, plain(value) if isinstance(value, str) else value)
            if reason:
                deviate(session, study_id, change, who.code, reason.replace("{code}", who.code))
            note(session, by, f"study_{change}", row.code, reader=who.code)

    def study_codes(self, study_id: int) -> dict[str, str]:
        """Pseudonym of each case of an opened study to its code."""
        wanted = select(StudyCaseRow).where(StudyCaseRow.study_id == study_id)
        with self._reading() as session:
            return {row.case_id: row.code for row in session.scalars(wanted)}

    def study_plan(self, study_id: int) -> list[ReadingInfo]:
        """All readings of a study, by reader and order."""
        with self._reading() as session:
            return [reading_info(row) for row in readings_of(session, study_id)]

    def study_deviations(self, study_id: int) -> list[Deviation]:
        """What departed from the protocol, oldest first."""
        wanted = select(StudyDeviationRow).where(StudyDeviationRow.study_id == study_id)
        with self._reading() as session:
            return [
                Deviation(row.created, row.kind, row.reader, row.text)
                for row in session.scalars(wanted.order_by(StudyDeviationRow.id))
            ]


def output_info(row: StudyOutputRow) -> OutputInfo:
    """What is shown, as a record."""
    return OutputInfo(
        case=row.case_id,
        arm=row.arm,
        prediction=row.prediction_id,
        explanation=row.explanation_id,
        leading=row.leading,
        confidence=row.confidence,
        weights_digest=row.weights_digest,
        content=row.content,
        problem=row.problem,
    )


def _has_answers(session: Session, study_id: int) -> bool:
    wanted = select(StudySubmissionRow.id).join(
        StudyReadingRow, StudyReadingRow.id == StudySubmissionRow.reading_id
    )
    return session.scalar(wanted.where(StudyReadingRow.study_id == study_id).limit(1)) is not None


def _left(session: Session, study_id: int) -> int:
    """Readings not handed in, of readers who did not leave."""
    row = StudyReadingRow
    out = select(StudyReaderRow.reader).where(
        StudyReaderRow.study_id == study_id, StudyReaderRow.withdrawn.is_not(None)
    )
    wanted = select(func.count()).where(
        row.study_id == study_id, row.revision == 0, row.reader.not_in(out)
    )
    return int(session.scalar(wanted) or 0)


def _change(before: StudyInfo, after: Protocol) -> str:
    """What was changed, in words."""
    old, names = before.protocol, ("title", "text", "cases", "readers", "training", "questions")
    changed = [name for name in names if getattr(old, name) != getattr(after, name)]
    return f"{', '.join(changed) or 'notes'} (version {before.version + 1})."
