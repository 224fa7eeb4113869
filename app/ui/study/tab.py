"""What the tabs of the workbench have in common: the open study, and the list to choose from."""

from __future__ import annotations

from typing import Any

from app.auth import User
from app.ui.kit import plain
from app.ui.live import Chosen, LiveTab

Row = dict[str, Any]


class StudyTab(LiveTab):
    """A tab about one study; all tabs share what is open."""

    def picked(self, data: dict[str, Any]) -> Chosen:
        """The study that an event names."""
        return {"study": int(data["study"])}

    def studies(self, user: User) -> list[Row]:
        """The user's studies, the newest first."""
        return [plain(row) for row in self.services.studies.list(user)]

    def open_study(self, rows: list[Row], chosen: Chosen) -> Row | None:
        """The study that is open: the chosen one, else the newest."""
        wanted = chosen.get("study")
        return next((row for row in rows if row["id"] == wanted), rows[0] if rows else None)

    def frame(self, user: User, chosen: Chosen) -> tuple[dict[str, Any], Row | None]:
        """What every panel shows: the list, the open study, and the address that reopens it."""
        rows = self.studies(user)
        row = self.open_study(rows, chosen)
        address = f"{self.name}&study={row['id']}" if row else self.name
        return {"studies": rows, "study": row, "address": address}, row
