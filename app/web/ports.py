"""What the web layer asks of the services; `app.services.Services` satisfies it by its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from app.auth import Accounts, User
from app.services.evidence_tiles import Look
from app.settings import Settings


class Layer(Protocol):
    """Bytes to be sent as they are."""

    @property
    def data(self) -> bytes:
        """The body."""

    @property
    def media_type(self) -> str:
        """Its media type."""

    @property
    def etag(self) -> str:
        """A text that changes whenever the body does, without quotation marks."""


class CaseLayers(Protocol):
    """Images of a case."""

    def layer(self, user: User | None, case: str, position: int, frame: int, /) -> Layer:
        """Raw pixels of one frame."""

    def thumbnail(self, user: User | None, case: str, /) -> Layer:
        """A small PNG."""


class ReviewLayers(Protocol):
    """Heat maps, and the addresses of all that a case shows."""

    def preview(
        self, user: User | None, case: str, target: str | None, method: str | None, /
    ) -> dict[str, Any]:
        """Value of the viewer, so far as it is stored."""

    def heat(self, user: User | None, explanation: str, number: int, /) -> Layer:
        """Raw codes of one map."""


class EvidenceParts(Protocol):
    """What is known of how far each map can be trusted, and pictures of the maps."""

    def panel(self, user: User | None, case: str, target: str | None, /) -> dict[str, Any]:
        """Value of the panel, so far as it is stored."""

    def picture(self, user: User | None, case: str, image: int, /) -> Layer:
        """The image without heat, as a tile."""

    def tile(self, user: User | None, explanation: str, number: int, look: Look, /) -> Layer:
        """The image under one map."""

    def consensus(
        self, user: User | None, case: str, image: int, target: str | None, look: Look, /
    ) -> Layer:
        """The image under what all maps have in common."""

    def sanity(self, user: User | None, number: str, method: str, stage: int, /) -> Layer:
        """The image under a map of a model whose weights were destroyed in part."""


class ProbeParts(Protocol):
    """The counterfactual probe: its value and its pictures."""

    def panel(self, user: User | None, case: str, target: str | None, /) -> dict[str, Any]:
        """Value of the panel."""

    def picture(self, user: User | None, case: str, position: int, frame: int, /) -> Layer:
        """A frame to be marked on."""

    def tile(self, user: User | None, answer: str, number: int, /) -> Layer:
        """A picture of an answer."""


class Intake(Protocol):
    """Files that become cases."""

    def receive(self, user: User | None, folder: Path, /) -> list[dict[str, Any]]:
        """Read all files below a folder; one entry per case or failure."""


class CaseReports(Protocol):
    """Printed reports."""

    def case_pdf(self, user: User | None, case: str, target: str | None, /) -> Layer:
        """The PDF of a case."""


class ReadingRoom(Protocol):
    """The readings of a reader study; each reader has only the own ones, found by a token."""

    def studies(self, user: User | None, /) -> list[dict[str, Any]]:
        """Studies that somebody reads in."""

    def room(self, user: User | None, code: str, /) -> dict[str, Any]:
        """A study as its reader sees it."""

    def item(self, user: User | None, token: str, /) -> dict[str, Any]:
        """One reading, blind."""

    def save_draft(
        self,
        user: User | None,
        token: str,
        sequence: int,
        answers: dict[str, Any],
        tab: str,
        comment: str,
        /,
    ) -> dict[str, Any]:
        """Keep answers that are not finished."""

    def submit(
        self,
        user: User | None,
        token: str,
        key: str,
        answers: dict[str, Any],
        comment: str,
        timing: dict[str, Any],
        revision: int,
        reason: str,
    ) -> dict[str, Any]:
        """Hand in a reading, once for each key."""

    def event(self, user: User | None, token: str, kind: str, /) -> None:
        """Note that a reading is on the screen."""

    def take_break(self, user: User | None, code: str, /) -> dict[str, Any]:
        """Begin a break."""

    def resume(self, user: User | None, code: str, /) -> dict[str, Any]:
        """End a break."""

    def image(self, user: User | None, token: str, n: int, frame: int, /) -> Layer:
        """Pixels of one frame."""

    def heat(self, user: User | None, token: str, n: int, /) -> Layer:
        """Codes of one map."""


class StudyFiles(Protocol):
    """What a reader study can be taken away as."""

    def report_pdf(self, user: User | None, study: int, /) -> Layer:
        """The report as PDF."""

    def report_json(self, user: User | None, study: int, /) -> Layer:
        """The same content as JSON."""

    def export_zip(self, user: User | None, study: int, /) -> Layer:
        """Answers, dictionary, analysis and script in one archive."""


class RatingTables(Protocol):
    """Tables of ratings."""

    def export_csv(self, user: User | None, /) -> Layer:
        """All ratings as CSV."""


class AuditTables(Protocol):
    """The audit trail as a file."""

    def audit_export(
        self,
        user: User | None,
        kind: str,
        /,
        *,
        who: str = "",
        action: str = "",
        object: str = "",
        since: str = "",
        until: str = "",
    ) -> Layer:
        """The rows that fit, as csv or json."""


class Services(Protocol):
    """All that the web layer needs; every method checks the user itself."""

    @property
    def settings(self) -> Settings:
        """Settings of the process."""

    @property
    def accounts(self) -> Accounts:
        """Accounts and logins."""

    @property
    def cases(self) -> CaseLayers:
        """Images."""

    @property
    def review(self) -> ReviewLayers:
        """Heat maps and what the viewer shows."""

    @property
    def evidence(self) -> EvidenceParts:
        """What is measured about maps."""

    @property
    def probe(self) -> ProbeParts:
        """What the model says without a region."""

    @property
    def intake(self) -> Intake:
        """Uploads."""

    @property
    def reports(self) -> CaseReports:
        """PDFs."""

    @property
    def reading(self) -> ReadingRoom:
        """The reading room."""

    @property
    def study_analysis(self) -> StudyFiles:
        """Reports and exports of reader studies."""

    @property
    def ratings(self) -> RatingTables:
        """Ratings."""

    @property
    def administration(self) -> AuditTables:
        """The audit trail."""

    def guest(self) -> User | None:
        """The open reader of a demonstration workspace without accounts; None otherwise."""

    def needs_setup(self) -> bool:
        """True while there are no accounts."""
