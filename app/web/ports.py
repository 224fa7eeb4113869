"""What the web layer asks of the services; `app.services.Services` satisfies it by its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from app.auth import Accounts, User
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


class Intake(Protocol):
    """Files that become cases."""

    def receive(self, user: User | None, folder: Path, /) -> list[dict[str, Any]]:
        """Read all files below a folder; one entry per case or failure."""


class CaseReports(Protocol):
    """Printed reports."""

    def case_pdf(self, user: User | None, case: str, target: str | None, /) -> Layer:
        """The PDF of a case."""


class RatingTables(Protocol):
    """Tables of ratings."""

    def export_csv(self, user: User | None, /) -> Layer:
        """All ratings as CSV."""


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
    def intake(self) -> Intake:
        """Uploads."""

    @property
    def reports(self) -> CaseReports:
        """PDFs."""

    @property
    def ratings(self) -> RatingTables:
        """Ratings."""

    def guest(self) -> User | None:
        """The open reader of a demonstration workspace without accounts; None otherwise."""

    def needs_setup(self) -> bool:
        """True while there are no accounts."""
