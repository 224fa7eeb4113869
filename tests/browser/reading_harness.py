"""The web layer with real accounts and an invented reader study, served on a free port."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from app.auth import Role, User, check
from app.errors import InvalidInput, NotFound, StaleRecord
from engine.metrics.protocol import QUESTIONS
from tests.browser.viewer_harness import breast, hill

CODE = "ST-TEST"
TITLE = "Heat maps in screening mammography"
SIZE = 512


@dataclass(frozen=True)
class Bytes:
    """What a service sends."""

    data: bytes
    media_type: str = "application/octet-stream"
    etag: str = "the same for all"


def question(id: str, text: str, kind: str = "scale", **more: Any) -> dict[str, Any]:
    """One question as the room is told of it."""
    plain = {
        "id": id, "text": text, "kind": kind, "help": "", "low": 1, "high": 5, "anchors": [],
        "choices": [], "ordered": True, "unit": "", "required": True, "cannot_judge": True,
        "per_case": True, "group": "",
    }  # fmt: skip
    return plain | more


PROTOCOL = [question(q.id, q.text, anchors=list(q.anchors)) for q in QUESTIONS]
OTHERS = [
    question("place", "Where is the most suspicious spot?", "point"),
    question("lesion", "Draw a box around the lesion.", "box", required=False),
    question("shape", "Outline the lesion.", "outline", required=False),
    question("birads", "BI-RADS category", "choice", choices=["2", "3", "4", "5"]),
    question("size", "Largest diameter", "number", low=0, high=200, unit="mm"),
    question("why", "What decided?", "text", required=False, cannot_judge=False),
]
CLOSING = [
    question("sus1", "I would like to use this often.", per_case=False, cannot_judge=False),
    question("load", "Mental demand", "number", low=0, high=100, per_case=False),
]


@dataclass
class Study:
    """One reader's readings: what is asked, handed in and drafted. Safe enough for a test."""

    plan: list[dict[str, Any]]
    changes: bool = False
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: list[tuple[str, str]] = field(default_factory=list)
    drafts: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    paused: bool = False
    delay_s: float = 0.0
    refuse: Exception | None = None
    lock: Any = field(default_factory=threading.Lock)

    def studies(self, user: User | None) -> list[dict[str, Any]]:
        check(user, Role.READER)
        told = {"code": CODE, "title": TITLE, "done": len(self.done), "planned": len(self.plan)}
        return [told | self._state()]

    def room(self, user: User | None, code: str) -> dict[str, Any]:
        check(user, Role.READER)
        if code != CODE:
            raise NotFound("There is no such study.")
        return {
            "code": CODE,
            "title": TITLE,
            "text": "Judge the heat map, not the image. Read at your usual pace.",
            "questions": PROTOCOL + OTHERS + CLOSING,
            "limits": {"minutes": 60, "readings": 40},
            "allow_changes": self.changes,
            "progress": self._progress(),
            **self._state(),
            "next": None if self.paused else self._next(),
        }

    def item(self, user: User | None, token: str) -> dict[str, Any]:
        check(user, Role.READER)
        at, planned = self._find(token)
        last, draft = self.done.get(token), self.drafts.get(token, {})
        before = self.plan[at - 1]["token"] if at else None
        after = self.plan[at + 1]["token"] if at + 1 < len(self.plan) else None
        return {
            "token": token,
            "code": CODE,
            "position": at + 1,
            "planned": len(self.plan),
            "session": 1,
            "stage": 1,
            "training": False,
            "kind": "case",
            "prediction": None,
            "revision": 0 if last is None else last["revision"],
            "read_only": last is not None and not self.changes,
            "previous_stage": None,
            "previous": before if before in self.done else None,
            "following": after if after in self.done else None,
            "ahead": after if last is None else None,
            "answers": last["answers"] if last else draft.get("answers", {}),
            "comment": last["comment"] if last else draft.get("comment", ""),
            "draft_sequence": draft.get("sequence", 0),
            "label": "",
            **planned,
        }

    def save_draft(
        self,
        user: User | None,
        token: str,
        sequence: int,
        answers: dict[str, Any],
        tab: str,
        comment: str,
    ) -> dict[str, Any]:
        check(user, Role.READER)
        old = self.drafts.get(token, {})
        if sequence > old.get("sequence", 0):
            new = {"sequence": sequence, "answers": answers, "comment": comment, "tab": tab}
            self.drafts[token] = new
        other = old.get("tab", tab) != tab
        return {"sequence": self.drafts[token]["sequence"], "other_tab": other}

    def submit(self, user: User | None, token: str, key: str, **sent: Any) -> dict[str, Any]:
        check(user, Role.READER)
        self.calls.append(("submit", token))
        time.sleep(self.delay_s)
        if self.refuse is not None:
            error, self.refuse = self.refuse, None
            raise error
        with self.lock:
            self._keep(token, key, sent)
        feedback = self._find(token)[1].get("feedback")
        state = self._state() | {"next": self._next(), "progress": self._progress()}
        return {"revision": self.done[token]["revision"], "feedback": feedback} | state

    def _keep(self, token: str, key: str, sent: dict[str, Any]) -> None:
        if (token, key) in self.keys:
            return
        if token in self.done and not self.changes:
            raise StaleRecord("This reading was handed in already.")
        if token != self._next() and token not in self.done:
            raise InvalidInput("It is not the turn of this reading yet.")
        self.keys.append((token, key))
        revision = self.done.get(token, {"revision": 0})["revision"] + 1
        self.done[token] = sent | {"revision": revision}

    def event(self, user: User | None, token: str, kind: str) -> None:
        check(user, Role.READER)
        self.calls.append((kind, token))

    def take_break(self, user: User | None, code: str) -> dict[str, Any]:
        self.paused = True
        return self.room(user, code)

    def resume(self, user: User | None, code: str) -> dict[str, Any]:
        self.paused = False
        return self.room(user, code)

    def image(self, user: User | None, token: str, n: int, frame: int) -> Bytes:
        check(user, Role.READER)
        at = self._find(token)[0]
        return Bytes(breast(SIZE, SIZE, seed=at)[0].astype("<u2").tobytes())

    def heat(self, user: User | None, token: str, n: int) -> Bytes:
        check(user, Role.READER)
        return Bytes(hill(SIZE, SIZE, 230, 150, 60).astype("<u2").tobytes())

    def _find(self, token: str) -> tuple[int, dict[str, Any]]:
        for at, planned in enumerate(self.plan):
            if planned["token"] == token:
                return at, planned
        raise NotFound("There is no such reading.")

    def _next(self) -> str | None:
        return next((p["token"] for p in self.plan if p["token"] not in self.done), None)

    def _state(self) -> dict[str, Any]:
        state = "break" if self.paused else "ready" if self._next() else "done"
        return {"state": state, "from": None, "message": ""}

    def _progress(self) -> dict[str, Any]:
        left = len(self.plan) - len(self.done)
        counts = {"done": len(self.done), "planned": len(self.plan), "left_in_session": left}
        return counts | {"session": 1, "sessions": 1}


class Door:
    """The study of the moment, so that one server does for several."""

    study: Study

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)


def viewer(token: str, label: str = "") -> dict[str, Any]:
    """The value of the viewer; with a map where the reading has a label."""
    image = {
        "name": "Image 1", "modality": "mammography", "width": SIZE, "height": SIZE, "frames": 1,
        "colour": False, "url": f"/reading/items/{token}/image/0/{{frame}}.raw", "slope": 1.0,
        "intercept": 0.0, "windows": [{"centre": 1800, "width": 3000, "label": "Usual"},
        {"centre": 1200, "width": 1200, "label": "Soft"}], "inverted": False, "spacing": None,
        "laterality": "L", "view": "CC", "unit": "", "warnings": [], "frame": 0,
    }  # fmt: skip
    heat = {
        "id": f"{token}-0", "label": f"Map {label}", "method": "map", "target": "", "image": 0,
        "frame": 0, "url": f"/reading/items/{token}/heat/0.raw", "width": SIZE, "height": SIZE,
        "min": 0.0, "max": 1.0, "grid": [SIZE, SIZE], "cell_mm": None, "localised": True,
        "reason": "", "visible": True,
    }  # fmt: skip
    layers = [heat] if label else []
    head = {"case": token, "version": 0, "banner": "", "regions": [], "patches": []}
    return head | {"images": [image], "layers": layers}


def usual_plan() -> list[dict[str, Any]]:
    """Three readings with maps, one with every kind of question, and the closing questions."""
    four = [q["id"] for q in PROTOCOL]
    says = {"class": "Malignant", "probability": 0.83}
    plan = [
        {"token": f"t{n}", "label": label, "questions": four, "viewer": viewer(f"t{n}", label),
         "prediction": says}
        for n, label in enumerate("ABA")
    ]  # fmt: skip
    plan.append({"token": "t3", "questions": [q["id"] for q in OTHERS], "viewer": viewer("t3")})
    closing = {"kind": "closing", "viewer": None, "questions": [q["id"] for q in CLOSING]}
    return [*plan, {"token": "t4"} | closing]


def _world() -> Any:
    path = Path(__file__).parents[1] / "app" / "web_world.py"
    spec = importlib.util.spec_from_file_location("web_world", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("web_world", module)
    spec.loader.exec_module(module)
    return module


@contextmanager
def serve(folder: Path, study: Study | Door) -> Iterator[str]:
    """Serve the study to bob; gives the address."""
    from app.web.server import create_app

    kit = _world()
    world = kit.with_people(kit.world(folder))
    world.reading = study
    app = create_app(world, ())
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
        world.store.close()


def sign_in(page: Any, address: str, name: str = "bob") -> None:
    """Fill in the sign-in page."""
    page.goto(f"{address}/login?next=/reading")
    page.fill("#name", name)
    page.fill("#password", _world().GOOD)
    page.click("button[type=submit]")
    page.wait_for_url("**/reading")
