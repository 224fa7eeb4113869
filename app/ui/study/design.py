"""The tab "Design": a study is put together, and what follows from it is shown before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import InvalidInput
from app.ui.kit import EVERY, attempt, plain, said
from app.ui.live import Chosen, Guard
from app.ui.study.defaults import GRRAS, conditions, forms
from app.ui.study.panels import panel, served
from app.ui.study.tab import StudyTab
from engine.study.protocol_json import protocol_from_json, protocol_to_json
from engine.study.records import Protocol, StudyState

BROKEN = "The design did not arrive whole; please load the page again."


class DesignTab(StudyTab):
    """The tab and its handlers.

    What somebody designs lives in the browser until it is saved; with each pause in typing the
    page asks `check` what would follow from it.
    """

    name = "design"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("design", [served(self.check)])
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        shown.save(guard(self.save), self.chosen, after, **EVERY)
        shown.reload(guard(self.reload), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The design of the open study, and what there is to choose from."""
        value, row = self.frame(user, chosen)
        value |= {"protocol": None, "version": 0, "state": "", "answered": 0}
        if row is None:
            return value, False
        studies = self.services.studies
        protocol, version, state = studies.protocol(user, int(row["id"]))
        value |= {
            "protocol": protocol_to_json(protocol),
            "version": version,
            "state": str(state),
            "answered": int(row.get("done") or 0),
            "choices": self._choices(user) | {"grras": GRRAS},
            "follows": self._follows(user, protocol, state),
        }
        return value, False

    def reload(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """The design as it is stored, after somebody else has changed it."""
        return self.shown(user, chosen, said("design", "This is what was saved last.", good=True))

    def save(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Store a design; a refusal leaves what was typed on the page."""
        data = event._data
        number = int(data["study"])
        version, asked = int(data["version"]), data.get("protocol")

        def work() -> Any:
            return self.services.studies.save(user, number, _protocol(asked), version)

        _, answer = attempt("design", work, "Saved.")
        return self.shown(user, {"study": number}, answer)

    def check(self, user: User, asked: Any) -> dict[str, Any]:
        """What would follow from a design, as it is typed."""
        return self._follows(user, _protocol(asked), StudyState.DRAFT)

    def _choices(self, user: User) -> dict[str, Any]:
        """Cases, readers, conditions and forms."""
        found: dict[str, Any] = plain(self.services.studies.choices(user))
        return found | {"conditions": conditions(found["methods"]), "forms": forms()}

    def _follows(self, user: User, protocol: Protocol, state: StudyState) -> dict[str, Any]:
        """Problems, and the preview so far as there is one."""
        studies = self.services.studies
        found: dict[str, Any] = plain(studies.problems(user, protocol))
        preview, answer = attempt("design", lambda: studies.preview(user, protocol), "")
        if preview is None and not found["errors"]:
            found["errors"] = [answer["text"]]
        found["preview"] = None if preview is None else preview_value(preview, protocol.readers)
        return found


def preview_value(preview: Any, readers: tuple[str, ...]) -> dict[str, Any]:
    """A preview as plain values: a row per reader, a matrix of shared cases, expected widths."""
    return {
        "readers": [
            {
                "reader": name,
                "readings": preview.readings.get(name, 0),
                "sessions": preview.sessions.get(name, 0),
            }
            for name in readers
        ],
        "overlap": [[_shared(preview.overlap, a, b) for b in readers] for a in readers],
        "lonely": [list(pair) for pair in preview.lonely],
        "minutes": plain(preview.minutes),
        "widths": plain(preview.widths),
        "notes": list(preview.notes),
    }


def _shared(overlap: Mapping[tuple[str, str], int], a: str, b: str) -> int | None:
    """Cases that two readers share; None on the diagonal."""
    return None if a == b else overlap.get((a, b), overlap.get((b, a), 0))


def _protocol(asked: Any) -> Protocol:
    """A design as the page sent it.

    Raises:
        InvalidInput: It is none. InvalidProtocol: It cannot be read.
    """
    if not isinstance(asked, dict):
        raise InvalidInput(BROKEN)
    return protocol_from_json(asked)
