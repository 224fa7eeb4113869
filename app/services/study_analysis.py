"""What came out of a study: facts, statistics, adjudication, export and report."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput
from app.services.context import Context
from app.services.jobs import cache_key
from app.services.layers import Layer, layer
from app.services.study_access import by, own_study, seen_study
from app.services.study_digests import answers_digest
from app.services.study_facts import blind_arms, facts_of
from app.store import StudyInfo
from app.version import VERSION
from engine.study.records import StudyFacts, StudyState

if TYPE_CHECKING:
    from engine.study.analysis import Analysis
    from reports.study_content import StudyReport

LARGEST_IMPORT = 64 * 1024 * 1024
NO_ANSWERS = "There are no such answers in this study."
FIXED_TIME = (2000, 1, 1, 0, 0, 0)
"""Time of every file in an export, so that the same answers give the same bytes."""

ANALYSIS_BYTES = 1024 * 1024
MOST_REPORTS = 1000
"""Rows of the trail in which the first making of a report is looked for."""


class StudyAnalysis:
    """Analyses for a study's organiser and, to look at, for observers that the organiser named."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.OBSERVER)
    def studies(self, user: User | None) -> list[dict[str, Any]]:
        """Opened studies whose answers the user may look at, newest first."""
        who, store = check(user, Role.OBSERVER), self._context.store
        found = {study.id: study for study in store.observed_studies(who.name)}
        if who.role.covers(Role.ORGANISER):
            owner = None if who.role is Role.ADMINISTRATOR else who.name
            found |= {study.id: study for study in store.studies(owner)}
        return [
            {"id": s.id, "code": s.code, "title": s.title, "state": s.state.value}
            for _, s in sorted(found.items(), reverse=True)
            if s.state is not StudyState.DRAFT
        ]

    @requires(Role.OBSERVER)
    def facts(self, user: User | None, study_id: int) -> StudyFacts:
        """The study with all answers that count; no login name, arms numbered until unblinding.

        Raises:
            NotFound: No such study of the user's. NotAllowed: The user reads in it.
            InvalidInput: It was not opened yet.
        """
        return facts_of(self._context, self._seen(user, study_id))

    @requires(Role.OBSERVER)
    def analysis(
        self,
        user: User | None,
        study_id: int,
        *,
        arm: str | None = None,
        group: str | None = None,
    ) -> Analysis:
        """Everything that is computed from the answers, of one arm or group where one is named.

        Raises:
            As `facts`. InvalidProtocol: The study has no such arm or group.
        """
        study = self._seen(user, study_id)
        return self._analysis(study, facts_of(self._context, study), arm or "", group or "")

    @requires(Role.OBSERVER)
    def export(self, user: User | None, study_id: int) -> dict[str, bytes]:
        """All files of the export, by name; a locked study counts as exported from then on.

        Raises:
            As `facts`.
        """
        who, store = check(user, Role.OBSERVER), self._context.store
        files = self._files(self._seen(user, study_id))
        store.note_export(study_id, by(who))
        return files

    @requires(Role.OBSERVER)
    def export_zip(self, user: User | None, study_id: int) -> Layer:
        """The export as one archive, the same bytes for the same answers. Raises as `facts`."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(self.export(user, study_id).items()):
                entry = zipfile.ZipInfo(name, FIXED_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        return layer(buffer.getvalue(), "application/zip")

    @requires(Role.OBSERVER)
    def adjudication(self, user: User | None, study_id: int) -> list[dict[str, Any]]:
        """Items on which readers differ, with their answers but not who gave them.

        Raises:
            As `facts`.
        """
        from engine.study.adjudicate import flagged

        study = self._seen(user, study_id)
        facts = facts_of(self._context, study)
        outcomes = self._context.store.outcomes(study_id)
        codes = self._context.store.study_codes(study_id)
        arms = blind_arms(study)
        decided = {
            (codes.get(o.case, ""), arms.get(o.arm, ""), o.question): o for o in outcomes.values()
        }
        made = []
        for flag in flagged(facts):
            outcome = decided.get((flag.case, flag.arm, flag.question))
            made.append(
                {
                    "case": flag.case,
                    "arm": flag.arm,
                    "question": flag.question,
                    "range": flag.range,
                    "missing": flag.missing,
                    "reason": flag.reason,
                    "answers": _said(facts, flag.case, flag.arm, flag.question),
                    "outcome": None if outcome is None else outcome.outcome,
                    "outcome_reason": None if outcome is None else outcome.reason,
                }
            )
        return made

    @requires(Role.ORGANISER)
    def adjudicate(
        self,
        user: User | None,
        study_id: int,
        case: str,
        arm: str,
        question: str,
        outcome: str,
        reason: str,
    ) -> None:
        """Store an outcome beside the answers, which stay as they are.

        Args:
            case, arm, question: As `adjudication` names them.

        Raises:
            NotFound: No such study of the user's. InvalidInput: No such answers, or no outcome.
        """
        who, store = check(user, Role.ORGANISER), self._context.store
        study = self._seen(user, study_id)
        own_study(self._context, who, study_id)
        cases = {code: case_id for case_id, code in store.study_codes(study_id).items()}
        arms = {blind: id_ for id_, blind in blind_arms(study).items()}
        questions = {each.id for each in study.protocol.questions if each.per_case}
        if case not in cases or arm not in arms or question not in questions:
            raise InvalidInput(NO_ANSWERS)
        store.keep_outcome(
            study_id,
            case=cases[case],
            arm=arms[arm],
            question=question,
            outcome=outcome,
            reason=reason,
            by=by(who),
        )

    @requires(Role.OBSERVER)
    def report_pdf(self, user: User | None, study_id: int) -> Layer:
        """The report of a study as a PDF. Raises as `facts`."""
        from reports.study_pdf import study_pdf_bytes

        return self._report(user, study_id, study_pdf_bytes, "application/pdf")

    @requires(Role.OBSERVER)
    def report_json(self, user: User | None, study_id: int) -> Layer:
        """The same content as JSON. Raises as `facts`."""
        from reports.study_pdf import study_report_json

        return self._report(user, study_id, study_report_json, "application/json")

    @requires(Role.OBSERVER)
    def imported(self, user: User | None, data: bytes) -> tuple[StudyFacts, Analysis]:
        """The same analysis of ratings that were collected elsewhere; nothing of them is stored.

        Raises:
            InvalidInput: The table is too large. EngineError: It cannot be read.
        """
        from engine.study.analysis import analyse
        from engine.study.import_table import import_csv

        check(user, Role.OBSERVER)
        if len(data) > LARGEST_IMPORT:
            raise InvalidInput(
                f"A table has at most {LARGEST_IMPORT // 1024 // 1024} MiB; this one is larger."
            )
        facts = import_csv(data)
        return facts, analyse(facts)

    def _seen(self, user: User | None, study_id: int) -> StudyInfo:
        return seen_study(self._context, check(user, Role.OBSERVER), study_id)

    def _analysis(self, study: StudyInfo, facts: StudyFacts, arm: str, group: str) -> Analysis:
        """The analysis, kept in memory for pages that ask again, by digest of the facts."""
        from engine.study.analysis import analyse

        key = self._key(study, facts)
        found: Analysis = self._context.memory.get(
            ("study analysis", key, arm, group),
            lambda: analyse(facts, arm=arm, group=group),
            lambda made: ANALYSIS_BYTES,
        )
        return found

    def _key(self, study: StudyInfo, facts: StudyFacts) -> str:
        scores = [[*item, scores] for item, scores in sorted(facts.map_scores.items())]
        answers = answers_digest(self._context, study)
        readers = [[r.code, r.specialty, r.experience, r.withdrawn] for r in facts.readers]
        return cache_key(study.code, study.version, study.unblinded, answers, scores, readers)

    def _files(self, study: StudyInfo) -> dict[str, bytes]:
        from engine.study.export_tables import export_files

        facts = facts_of(self._context, study)
        return export_files(facts, self._analysis(study, facts, "", ""))

    def _report(
        self,
        user: User | None,
        study_id: int,
        make: Callable[[StudyReport], bytes],
        media_type: str,
    ) -> Layer:
        from reports.content import Provenance
        from reports.study_content import compose_study

        who, study = check(user, Role.OBSERVER), self._seen(user, study_id)
        facts = facts_of(self._context, study)
        fresh = compose_study(
            facts,
            self._analysis(study, facts, "", ""),
            created=datetime.now(UTC).replace(microsecond=0),
            provenance=Provenance(
                f"Lightbox {VERSION}", device=self._context.settings.device, operator=who.name
            ),
        )
        report = replace(fresh, created=self._first_made(study, fresh.id) or fresh.created)
        made = layer(make(report), media_type)
        self._context.record(
            who, "study_report", study.code, report=report.id, made=report.created.isoformat()
        )
        return made

    def _first_made(self, study: StudyInfo, report: str) -> datetime | None:
        """When this report was first made, so that the same content gives the same bytes."""
        rows = self._context.store.audit(MOST_REPORTS, action="study_report", object=study.code)
        times = [row.detail.get("made") for row in rows if row.detail.get("report") == report]
        known = [str(time) for time in times if time]
        return datetime.fromisoformat(min(known)) if known else None


def _said(facts: StudyFacts, case: str, arm: str, question: str) -> list[dict[str, Any]]:
    """Answers of all readers to one question, by value, so that their order tells nobody."""
    said = [
        {
            "status": answer.status.value,
            "value": answer.value,
            "text": answer.text,
            "reason": answer.reason,
            "comment": answer.comment,
        }
        for answer in facts.answers
        if (answer.case, answer.arm, answer.question, answer.replicate) == (case, arm, question, 1)
    ]
    return sorted(said, key=lambda each: (each["value"] is None, each["value"], each["status"]))
