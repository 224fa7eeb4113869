"""Own cases: files become de-identified, stored cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import AppError
from app.services.cases import NAMES
from app.services.context import GUEST, Context
from engine.errors import EngineError
from engine.records import Case


class Intake:
    """Takes files in."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.READER)
    def receive(self, user: User | None, folder: Path) -> list[dict[str, Any]]:
        """Every file below a folder becomes a case, or one sentence that says why not.

        Args:
            folder: Private; the caller removes it.

        Returns:
            One entry per case or failure: `case` (pseudonym or None), `problem`, `position` of
            its first file, `title`, `warnings`.
        """
        from engine.io import Limits, gather

        who = check(user, Role.READER)
        limits = Limits(max_total_bytes=self._context.settings.max_upload_bytes)
        entries = sorted(folder.iterdir())
        found = []
        # Several files sent together are a folder, so that a mammogram and its slide are one case.
        for outcome in gather([folder] if len(entries) > 1 else entries, limits=limits):
            if outcome.case is None:
                found.append(_entry(outcome.position, problem=outcome.problem))
                continue
            try:
                kept = self.keep(who, outcome.case, source="upload")
                found.append(_entry(outcome.position, outcome.case, kept))
            except (AppError, EngineError) as error:
                found.append(_entry(outcome.position, problem=str(error)))
        return found

    def keep(self, user: User, case: Case, *, source: str) -> str:
        """Store a case with its thumbnail; the pseudonym it got.

        All readers see what an administrator or the open demonstration takes in; what a reader
        takes in is that reader's own, and administrators'.
        """
        from engine.render import thumbnail

        context = self._context
        shared = user.role is Role.ADMINISTRATOR or user == GUEST
        kept = context.store.keep_case(
            case, owner=user.name, source=source, thumbnail=thumbnail(case), shared=shared
        )
        context.record(user, "import", kept, images=len(case.images))
        return kept


def _entry(
    position: int, case: Case | None = None, kept: str | None = None, problem: str = ""
) -> dict[str, Any]:
    images = () if case is None else case.images
    warnings: Sequence[str] = () if case is None else case.warnings
    return {
        "case": kept,
        "problem": problem,
        "position": position,
        "title": ", ".join(dict.fromkeys(NAMES[image.modality] for image in images)),
        "warnings": [*warnings, *dict.fromkeys(w for image in images for w in image.warnings)],
    }
