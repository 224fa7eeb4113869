"""A tiny web server that shows the viewer with synthetic layers, without Gradio."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from app.ui.viewer import viewer_markup, viewer_script, viewer_style
from tests.browser.served import Answering

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Viewer harness</title>
<link rel="icon" href="data:,"><style>body{{margin:0;background:#0f1114}}</style>
<style>#viewer {{ {style} }}</style></head>
<body><label>Notes <input id="outside"></label><div id="viewer">{markup}</div>
<script>window.picks = [];</script><script src="/viewer.js"></script></body></html>"""

BOOT = """
(function () {
  const element = document.getElementById('viewer');
  window.mount = new Function('element', 'getValue', 'onPick',
    window.viewerText + '\\nreturn mountLightboxViewer(element, getValue, onPick);');
  window.show = (value) => { window.caseValue = value; return element.lightbox.update(); };
  const keep = (pick) => window.picks.push(pick);
  window.remount = () => window.mount(element, () => window.caseValue, keep);
  window.remount();
})();
"""


@dataclass
class Layers:
    """What the server hands out: address to bytes, or to a status that stands for a failure."""

    files: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def _handler(layers: Layers) -> type[Answering]:
    page = PAGE.format(style=viewer_style(), markup=viewer_markup()).encode()
    script = f"window.viewerText = {json.dumps(viewer_script())};{BOOT}".encode()

    class Handler(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers with the page, the script, or one layer."""
            path = self.path.split("?")[0]
            if path == "/":
                self._answer(200, page, "text/html; charset=utf-8")
            elif path == "/viewer.js":
                self._answer(200, script, "text/javascript; charset=utf-8")
            else:
                layers.asked.append(path)
                found = layers.files.get(path, 404)
                status, body = (found, b"") if isinstance(found, int) else (200, found)
                self._answer(status, body, "application/octet-stream")

    return Handler


@contextmanager
def serve(layers: Layers) -> Iterator[str]:
    """Serves the harness on a free port of this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(layers))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def add_image(layers: Layers, pixels: np.ndarray, name: str = "Mammogram", **facts: Any) -> dict:
    """Publishes (F, H, W) codes or (F, H, W, 3) colours, and gives their entry of the value."""
    key = f"/layers/{len(layers.files)}"
    colour = pixels.ndim == 4
    for frame, plane in enumerate(pixels):
        kind = np.uint8 if colour else "<u2"
        layers.files[f"{key}/{frame}.raw"] = np.ascontiguousarray(plane, dtype=kind).tobytes()
    entry = {
        "name": name, "modality": "mammography", "width": pixels.shape[2],
        "height": pixels.shape[1], "frames": pixels.shape[0], "colour": colour,
        "url": f"{key}/{{frame}}.raw?v=1", "slope": 1.0, "intercept": 0.0, "windows": [],
        "inverted": False, "spacing": None, "laterality": None, "view": None, "unit": "",
        "warnings": [], "frame": 0,
    }  # fmt: skip
    return entry | facts


def add_heat(layers: Layers, codes: np.ndarray, identity: str, **facts: Any) -> dict:
    """Publishes (H, W) heat codes, 0 to 65535, and gives their entry of the value."""
    key = f"/heat/{identity}.raw"
    layers.files[key] = np.ascontiguousarray(codes, dtype="<u2").tobytes()
    entry = {
        "id": identity, "label": f"Map {identity}", "method": "relevance", "target": "Invasive",
        "image": 0, "frame": 0, "url": f"{key}?v=1", "width": codes.shape[1],
        "height": codes.shape[0], "min": 0.0, "max": 0.13, "grid": [14, 14], "cell_mm": None,
        "localised": True, "reason": "", "visible": True,
    }  # fmt: skip
    return entry | facts


def case_value(images: list[dict], layers: list[dict], **rest: Any) -> dict:
    """The value of the viewer for one synthetic case."""
    empty: dict[str, Any] = {"regions": [], "patches": []}
    banner = "Demonstration model on synthetic images: not for diagnosis"
    head = {"case": "LB-TEST", "version": 1, "banner": banner}
    return head | {"images": images, "layers": layers} | empty | rest


def breast(height: int = 1024, width: int = 1024, seed: int = 0) -> np.ndarray:
    """A synthetic mammogram, (1, H, W) 12-bit codes: bright half disc, texture, dark air."""
    draw = np.random.default_rng(seed)
    row, column = np.mgrid[0:height, 0:width].astype(np.float32)
    reach = np.hypot((row - height / 2) / (height * 0.42), column / (width * 0.62))
    coarse = draw.normal(size=(height // 16, width // 16)).repeat(16, 0).repeat(16, 1)
    tissue = 1500 + 1300 * (1 - reach) + 160 * coarse + draw.normal(0, 60, (height, width))
    return np.clip(np.where(reach < 1, tissue, 40), 0, 4095)[None].astype(np.uint16)


def hill(height: int, width: int, row: float, column: float, size: float) -> np.ndarray:
    """A smooth peak of heat, (H, W) uint16 codes reaching 65535 and falling to 0."""
    y, x = np.mgrid[0:height, 0:width]
    peak = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))
    return (np.round(65535 * peak)).astype(np.uint16)
