"""Cases: examinations, their images, their arrays, and who may see them."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, selectinload

from app.errors import InvalidInput, NotFound
from app.store.arrays import Array, claim_folder, draft_folder, smallest_exact, write_array
from app.store.convert import box_of, box_values, image_of, image_row
from app.store.database import json_text, plain, serialise
from app.store.rows import CaseStatus, CaseSummary
from app.store.study_sight import is_read_blind
from app.store.tables import CaseRow, ExplanationRecord, ImageRow, RatingRow, TruthRow
from app.store.workspace import Workspace
from engine.records import Case, Image, Modality, Truth

PSEUDONYM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,58}[A-Za-z0-9])?")
TRUTH_MASK = "truth.npy"
LISTED = (
    CaseRow.id,
    CaseRow.created,
    CaseRow.owner,
    CaseRow.source,
    CaseRow.shared,
    CaseRow.thumbnail,
)


class Cases(Workspace):
    """Keeps cases and gives them back."""

    def keep_case(
        self,
        case: Case,
        *,
        owner: str,
        source: str,
        thumbnail: bytes | None = None,
        shared: bool = True,
    ) -> str:
        """Store a case whole or not at all.

        A case of the same content that the owner may see already is not stored again. A
        pseudonym that another case has gets a number at its end.

        Args:
            case: With finite pixels.
            owner: Who stores it.
            source: Where it comes from, such as "upload" or "demonstration".
            thumbnail: PNG for the worklist.
            shared: True when all readers may see it.

        Returns:
            The pseudonym under which it is stored.

        Raises:
            InvalidInput: The pseudonym or a value of the case is not acceptable.
            StorageFailed: The disk is full, or the database busy.
        """
        _check(case)
        with draft_folder(self.cases_folder) as draft:
            rows = [
                image_row(case.id, n, image, _write_pixels(draft, n, image))
                for n, image in enumerate(case.images)
            ]
            truth = _truth_row(draft, case.truth)
            content = _content(case, rows)
            with self._writing() as session:
                serialise(session)
                same = _same(session, content, owner)
                if same is not None:
                    return same
                kept = _free_id(session, case.id)
                row = CaseRow(
                    id=kept,
                    content=content,
                    created=datetime.now(UTC),
                    owner=owner,
                    shared=shared,
                    source=source,
                    note=plain(case.note),
                    warnings=[plain(sentence) for sentence in case.warnings],
                    thumbnail=thumbnail,
                    images=rows,
                    truth=truth,
                )
                self._place(session, draft, row)
        return kept

    def case(self, case_id: str) -> Case:
        """A case with its pixels.

        Raises:
            NotFound: There is no such case.
            StorageFailed: A stored array is missing or damaged.
        """
        row = self._row(case_id)
        return Case(
            id=row.id,
            images=tuple(self._image(row, image) for image in row.images),
            note=row.note,
            truth=self._truth(row),
            warnings=tuple(row.warnings),
        )

    def image(self, case_id: str, position: int) -> Image:
        """One image of a case; the others are not read.

        Raises:
            NotFound: There is no such case or image.
            StorageFailed: The stored array is missing or damaged.
        """
        row = self._row(case_id)
        return self._image(row, _image_at(row, position))

    def image_array(self, case_id: str, position: int) -> Array:
        """The pixels of one image as stored, (F, H, W, C), read-only and mapped from the file.

        The type is the smallest that holds the values exactly: 8 or 16 bit integers or float32.

        Raises:
            NotFound: There is no such case or image.
            StorageFailed: The stored array is missing or damaged.
        """
        row = self._row(case_id)
        digest = _image_at(row, position).array_digest
        return self._arrays.read(self._folder(row) / f"{position}.npy", digest, mapped=True)

    def may_see(self, case_id: str, viewer: str) -> bool:
        """True when the case exists and is shared, or belongs to the viewer."""
        wanted = select(CaseRow.id).where(CaseRow.id == case_id, _seen_by(viewer))
        with self._reading() as session:
            return session.scalar(wanted) is not None

    def thumbnail(self, case_id: str) -> bytes | None:
        """PNG for the worklist, or None.

        Raises:
            NotFound: There is no such case.
        """
        return self._row(case_id).thumbnail

    def case_summaries(
        self, viewer: str | None = None, *, everything: bool = False
    ) -> list[CaseSummary]:
        """The worklist, newest first.

        Args:
            viewer: Sees shared and own cases, with the status of the own ratings; None sees all
                cases, with the status of anybody's ratings.
            everything: True lets a viewer see all cases (an administrator).
        """
        wanted = select(*LISTED).order_by(CaseRow.created.desc(), CaseRow.id)
        if viewer is not None and not everything:
            wanted = wanted.where(_seen_by(viewer))
        with self._reading() as session:
            status, images = _statuses(session, viewer), _images(session)
            known = set(session.scalars(select(TruthRow.case_id)))
            return [
                CaseSummary(
                    modalities=tuple(Modality(modality) for modality, _ in images[row.id]),
                    images=len(images[row.id]),
                    frames=sum(frames for _, frames in images[row.id]),
                    label_known=row.id in known,
                    status=status[row.id],
                    **row._mapping,
                )
                for row in session.execute(wanted)
            ]

    def _place(self, session: Session, draft: Path, row: CaseRow) -> None:
        """Rename the draft to the case's folder and commit its row; undo both on failure."""
        row.folder = claim_folder(draft, row.id)
        try:
            session.add(row)
            session.commit()
        except BaseException:
            shutil.rmtree(self._folder(row.folder), ignore_errors=True)
            raise

    def _row(self, case_id: str) -> CaseRow:
        """The row of a case with its images and truth, free of its session."""
        options = [selectinload(CaseRow.images), selectinload(CaseRow.truth)]
        with self._reading() as session:
            row = session.get(CaseRow, case_id, options=options)
        if row is None:
            raise NotFound("There is no such case.")
        return row

    def _image(self, row: CaseRow, image: ImageRow) -> Image:
        path = self._folder(row) / f"{image.position}.npy"
        return image_of(image, self._arrays.read(path, image.array_digest))

    def _truth(self, row: CaseRow) -> Truth | None:
        truth = row.truth
        if truth is None:
            return None
        path, digest = self._folder(row) / TRUTH_MASK, truth.mask_digest
        mask = self._arrays.read(path, digest) if digest else None
        return Truth(truth.label, truth.grade, box_of(truth.box), mask, truth.source)


def _check(case: Case) -> None:
    if not PSEUDONYM.fullmatch(case.id):
        raise InvalidInput("A pseudonym has 1 to 60 letters, digits and hyphens.")
    if not case.images:
        raise InvalidInput("A case needs at least one image.")
    for image in case.images:
        if image.pixels.ndim != 4 or not image.pixels.size:
            raise InvalidInput("An image of the case has no pixels.")
        if not np.isfinite(image.pixels).all():
            raise InvalidInput("An image of the case holds values that are not numbers.")


def _write_pixels(folder: Path, position: int, image: Image) -> str:
    return write_array(folder / f"{position}.npy", smallest_exact(image.pixels))


def _truth_row(folder: Path, truth: Truth | None) -> TruthRow | None:
    if truth is None:
        return None
    mask = truth.mask
    digest = None if mask is None else write_array(folder / TRUTH_MASK, np.asarray(mask, bool))
    return TruthRow(
        label=truth.label,
        grade=truth.grade,
        box=box_values(truth.box),
        mask_digest=digest,
        source=plain(truth.source),
    )


def _content(case: Case, rows: list[ImageRow]) -> str:
    """SHA-256 of what makes two cases the same: images as displayed, note, and truth."""
    images = [
        [r.digest, r.array_digest, r.modality, r.laterality, r.view, r.spacing, r.inverted]
        for r in rows
    ]
    truth = [case.truth.label, case.truth.grade] if case.truth else None
    return hashlib.sha256(json_text([images, plain(case.note), truth]).encode()).hexdigest()


def _same(session: Session, content: str, owner: str) -> str | None:
    """Pseudonym of a case of the same content that the owner may see."""
    wanted = select(CaseRow.id).where(CaseRow.content == content, _seen_by(owner))
    return session.scalar(wanted.order_by(CaseRow.created).limit(1))


def _free_id(session: Session, wanted: str) -> str:
    """The pseudonym, or the first with a number that no case has, in any letter case."""
    taken = set(
        session.scalars(
            select(func.lower(CaseRow.id)).where(
                func.lower(CaseRow.id).startswith(wanted.lower(), autoescape=True)
            )
        )
    )
    names = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, 1000))
    free = next((name for name in names if name.lower() not in taken), None)
    if free is None:
        raise InvalidInput("Too many cases have this pseudonym.")
    return free


def _image_at(row: CaseRow, position: int) -> ImageRow:
    if not 0 <= position < len(row.images):
        raise NotFound("The case has no such image.")
    return row.images[position]


def _seen_by(viewer: str) -> ColumnElement[bool]:
    """Shared and own cases, but for those that the viewer reads blind in an open study."""
    return and_(or_(CaseRow.shared.is_(True), CaseRow.owner == viewer), ~is_read_blind(viewer))


def _statuses(session: Session, viewer: str | None) -> defaultdict[str, CaseStatus]:
    """Status by case; a case that is not named is new."""
    rated = select(RatingRow.case_id).distinct()
    if viewer is not None:
        rated = rated.where(RatingRow.reader == viewer)
    status: defaultdict[str, CaseStatus] = defaultdict(lambda: CaseStatus.NEW)
    for case_id in session.scalars(select(ExplanationRecord.case_id).distinct()):
        status[case_id] = CaseStatus.EXPLAINED
    for case_id in session.scalars(rated):
        status[case_id] = CaseStatus.RATED
    return status


def _images(session: Session) -> defaultdict[str, list[tuple[str, int]]]:
    """Modality and frames of the images of each case, by position."""
    wanted = select(ImageRow.case_id, ImageRow.modality, ImageRow.frames)
    images: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for case_id, modality, frames in session.execute(wanted.order_by(ImageRow.position)):
        images[case_id].append((modality, frames))
    return images
