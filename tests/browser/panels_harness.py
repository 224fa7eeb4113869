"""A tiny web server that shows one panel at a time, without Gradio, and takes uploads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from app.ui.panels import MOUNTS, panel_markup, panel_script, panel_style, theme_css
from engine.metrics.protocol import QUESTIONS
from tests.browser.served import Answering

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Panel harness</title>
<link rel="icon" href="data:,"><style>body{{margin:0}} {theme}</style>
<style>#panel {{ {style} }}</style></head>
<body><label>Outside <input id="outside"></label><div id="panel">{markup}</div>
<script src="/{name}.js"></script></body></html>"""

BOOT = """
window.sent = [];
window.mount = new Function('element', 'getValue', 'send', window.text + '\\nreturn %s(element, getValue, send);');
window.panel = document.getElementById('panel');
window.remount = () => window.mount(window.panel, () => window.value, (name, data) => window.sent.push([name, data]));
window.show = (value) => { window.value = value; window.panel.panel.update(); };
window.remount();
"""  # noqa: E501


@dataclass
class Desk:
    """What the server was sent, and what it answers to an upload."""

    answer: dict[str, Any] = field(default_factory=lambda: {"outcomes": []})
    status: int = 200
    delay_s: float = 0.0
    cut: bool = False
    names: list[list[str]] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)


def thumbnail(seed: int) -> bytes:
    """A small synthetic mammogram as PNG."""
    row, column = np.mgrid[0:112, 0:112].astype(np.float32)
    reach = np.hypot((row - 56) / 50, column / (60 + seed * 7 % 30))
    noise = np.random.default_rng(seed).normal(0, 10, (112, 112))
    grey = np.where(reach < 1, 90 + 90 * (1 - reach) + noise, 0)
    return cv2.imencode(".png", np.clip(grey, 0, 255).astype(np.uint8))[1].tobytes()


def _handler(desk: Desk) -> type[Answering]:
    class Handler(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers with a page, its script, or a thumbnail."""
            name = self.path.split("?")[0].strip("/")
            if name in MOUNTS:
                parts = {"style": panel_style(name), "markup": panel_markup(name)}
                page = PAGE.format(theme=theme_css(), name=name, **parts)
                self._answer(200, page.encode(), "text/html; charset=utf-8")
            elif name.removesuffix(".js") in MOUNTS:
                key = name.removesuffix(".js")
                script = f"window.text = {json.dumps(panel_script(key))};{BOOT % MOUNTS[key][0]}"
                self._answer(200, script.encode(), "text/javascript; charset=utf-8")
            elif name.startswith("thumbnails/"):
                desk.thumbnails.append(name)
                self._answer(200, thumbnail(sum(map(ord, name))), "image/png")
            else:
                self._answer(404, b"Nothing is here.", "text/plain")

        def do_POST(self) -> None:
            """Takes an upload and gives the answer that the test laid ready."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = BytesParser().parsebytes(head + body).get_payload()
            fields = [p for p in parts if p.get_param("name", header="content-disposition")]
            desk.names.append([part.get_filename() for part in fields])
            time.sleep(desk.delay_s)
            if desk.cut:
                self.connection.close()
                return
            self._answer(desk.status, json.dumps(desk.answer).encode(), "application/json")

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent when a browser hangs up, as a cancelled upload does."""


@contextmanager
def serve(desk: Desk) -> Iterator[str]:
    """Serves the harness on a free port of this machine; gives its address."""
    server = _Server(("127.0.0.1", 0), _handler(desk))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def worklist_value(count: int = 3, **facts: Any) -> dict[str, Any]:
    """A worklist of `count` cases of every status, source and modality."""
    cases = [
        {
            "id": f"PH-{n:08d}",
            "thumbnail": f"/thumbnails/PH-{n:08d}.png",
            "modalities": [["mammography", "pathology"], ["mammography"], ["mri"]][n % 3],
            "images": 2 if n % 3 == 0 else 1,
            "frames": 24 if n % 3 == 2 else 2 if n % 3 == 0 else 1,
            "status": ["new", "explained", "rated"][n % 3 if n < 30 else n % 2],
            "created": f"2026-{1 + n % 11:02d}-{1 + n % 28:02d}T{n % 24:02d}:00:00Z",
            "source": "upload" if n % 5 == 4 else "demonstration",
            "owner": "reader" if n % 5 == 4 else "",
        }
        for n in range(1, count + 1)
    ]
    return {"version": 1, "cases": cases} | facts


def findings_value(**facts: Any) -> dict[str, Any]:
    """The findings of a case for which the model gives everything."""
    names = ["Normal", "Benign", "In situ", "Invasive"]
    values = [0.02, 0.04, 0.07, 0.87]
    summaries = {
        "Gradient-weighted relevance": "Which parts of the image speak for the class, followed "
        "through every attention layer.",
        "Attention rollout": "Where the network looked, whatever the class.",
        "Grad-CAM": "Which features of the last layer raise the score of the class.",
    }
    methods = [
        {"id": f"m{n}", "title": title, "summary": text, "localised": n != 2, "reason": ""}
        for n, (title, text) in enumerate(summaries.items())
    ]
    methods[2]["reason"] = "the map is flat for this class."
    value = {
        "version": 1, "case": "PH-00000012", "target": "Invasive", "leading": "Invasive",
        "model": {
            "title": "Cross-modal demonstration model", "version": "0.1.0", "weights": "ab12c94e…",
            "intended_use": "Demonstration on synthetic phantoms. Not for diagnosis.",
        },
        "probabilities": [{"name": n, "value": v} for n, v in zip(names, values, strict=True)],
        "grade": {"names": ["None", "Low", "Intermediate", "High"], "level": 2,
                  "probabilities": [0.03, 0.11, 0.62, 0.24], "name": "Intermediate"},
        "box": {"text": "x 120, y 300, 64 × 70 px (25.6 × 28.0 mm)"}, "score": 0.93,
        "patches": [{"label": "1", "weight": 0.12}, {"label": "2", "weight": 0.08},
                    {"label": "3", "weight": 0.05}],
        "warnings": ["Pixel spacing is that of the detector, not of the breast."],
        "methods": methods,
        "refused": [{"title": "Prototypes", "reason": "The model has no prototype layer."}],
    }  # fmt: skip
    return value | facts


def rating_value(version: int = 1, **facts: Any) -> dict[str, Any]:
    """The rating form of a case that nobody has rated yet."""
    questions = [{"id": q.id, "text": q.text, "anchors": list(q.anchors)} for q in QUESTIONS]
    value = {
        "version": version, "case": "PH-00000012", "reader": "reader", "questions": questions,
        "methods": [{"id": "relevance", "title": "Gradient-weighted relevance"},
                    {"id": "rollout", "title": "Attention rollout"}],
        "method": "relevance", "target": "Invasive", "weights": "ab12", "answers": {},
        "history": {}, "progress": {"rated": 3, "cases": 12}, "error": "",
    }  # fmt: skip
    return value | facts


def answer(value: int | None, revision: int = 1, comment: str = "") -> dict[str, Any]:
    """One stored answer; None stands for "cannot judge"."""
    return {
        "status": "answered" if value else "cannot_judge", "value": value, "comment": comment,
        "revision": revision, "saved_at": "2026-11-20T12:03:11Z",
    }  # fmt: skip
