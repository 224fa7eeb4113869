"""A tiny web server that shows the evidence panel with invented maps, without Gradio or a model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from app.ui.panels import MOUNTS, panel_markup, panel_script, panel_style, theme_css
from engine.metrics.catalogue import METRICS
from tests.browser.panels_harness import BOOT, PAGE
from tests.browser.served import Answering

CASE, TARGET = "PH-00000012", "Invasive"
SHAPES = {0: (280, 196), 1: (280, 280)}
FAMILIES = {
    "attention": "Attention: where the model looks",
    "relevance": "Relevance: attention that matters to the class",
    "activation": "Class activation: features that raise the class",
    "perturbation": "Perturbation: what happens when regions are hidden",
    "parts": "Parts: what was learnt, and from which case",
}
METHODS = (
    ("raw_attention", "Raw attention", "attention", "Which regions one layer of the model attends "
     "to when it sums up the image.", "One layer of many, and blind to the class; strong attention "
     "does not mean that the region counted."),
    ("rollout", "Attention rollout", "attention", "How much of each region flows into the model's "
     "summary of the image, whatever the class.", "Does not know the class: the same map would be "
     "drawn for any finding."),
    ("relevance", "Gradient-weighted relevance", "relevance", "Regions that the class depends on "
     "through attention, through all layers and both modalities.", "Keeps positive evidence only: "
     "regions that speak against the class are not shown."),
    ("gradient_rollout", "Gradient rollout", "relevance", "How much of each region flows into the "
     "prediction through attention that raises the class.", "Layers without influence count as "
     "much as those with."),
    ("gradcam", "Grad-CAM", "activation", "Regions whose features raise the score of the class.",
     "Coarse: one value per patch of the model's grid."),
    ("hirescam", "HiResCAM", "activation", "Places where feature and gradient agree, without "
     "averaging over the image: each lit place did take part in the score.", "Coarse and noisier "
     "than Grad-CAM."),
    ("eigencam", "Eigen-CAM", "activation", "What stands out most in the model's features, "
     "whatever the class.", "Does not know the class: it shows what is prominent, not what "
     "decided."),
    ("xgradcam", "XGrad-CAM", "activation", "As Grad-CAM, with each feature weighted by how much "
     "of the score it carries.", "Unstable where a feature's activations cancel out."),
    ("occlusion", "Occlusion", "perturbation", "How far the score of the class falls when each "
     "small window of the image is covered.", "A finding larger than the window, or seen twice, "
     "is missed, since the rest still shows it."),
    ("rise", "RISE", "perturbation", "Which regions are in view when the image, seen through "
     "random masks, still gets the class.", "Random masks leave a speckle that only more masks "
     "remove."),
    ("vit_cx", "ViT-CX", "perturbation", "Which regions, as the model's own features group them, "
     "keep the class probable when the rest is faded out.", "With few groups the map is coarse."),
    ("smoothgrad", "SmoothGrad", "perturbation", "To which pixels the score of the class is most "
     "sensitive, averaged over slightly noisy copies of the image.", "Shows where a small change "
     "would matter, not whether it speaks for or against the class."),
    ("prototypes", "Prototypes", "parts", "Regions that resemble parts learnt from training "
     "cases.", "Resemblance in the model's own terms."),
)  # fmt: skip
SLOW = {
    "occlusion": {"window": None},
    "rise": {"masks": 1000, "keep": 0.5, "layers": None},
    "vit_cx": {"threshold": 0.1},
    "smoothgrad": {"samples": 25},
}
BLIND = {"raw_attention", "rollout", "eigencam"}
MEASURED = (
    "deletion", "insertion", "comprehensiveness", "sufficiency", "pointing_game",
    "energy_pointing_game", "energy_ratio", "equal_area_iou", "relevance_rank_accuracy",
    "noise_sensitivity", "shift_sensitivity", "randomisation", "sparseness", "entropy",
)  # fmt: skip
FLAG = "This map still looks alike when the model's weights are destroyed."
STAGES = ("head", "block 6", "block 5", "block 4", "block 3", "block 2", "block 1", "embedding")


@dataclass
class Desk:
    """What was asked of the server, and what it answers to a poll."""

    value: dict[str, Any] | None = None
    status: int = 200
    polls: list[str] = field(default_factory=list)
    tiles: list[str] = field(default_factory=list)


@cache
def tile(address: str) -> bytes:
    """An invented picture: a breast or a section, with heat unless it is the image alone."""
    path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
    number = int(path.rsplit("/", 1)[1].split(".")[0]) % 10
    height, width = SHAPES[number % 2]
    row, column = np.mgrid[0:height, 0:width].astype(np.float32)
    reach = np.hypot((row - height / 2) / (height * 0.46), column / (width * 0.85))
    noise = np.random.default_rng(number).normal(0, 1, (height // 4, width // 4))
    grain = cv2.resize(noise.astype(np.float32), (width, height)) * 14
    grey = np.where(reach < 1, 70 + 60 * (1 - reach) + grain, 0)
    grey += 90 * np.exp(-((row - 120) ** 2 + (column - 80) ** 2) / 500)
    scene = cv2.merge([np.clip(grey, 0, 255).astype(np.uint8)] * 3)
    if "/picture/" not in path:
        scene = _heated(scene, sum(map(ord, path)), query)
    return cv2.imencode(".png", scene)[1].tobytes()


def _heated(scene: Any, seed: int, query: dict[str, list[str]]) -> Any:
    height, width = scene.shape[:2]
    draw = np.random.default_rng(seed)
    grid = draw.random((14, 14)) ** 4 * 0.6
    grid[5:7, 4:8] += draw.uniform(0.2, 1.4)
    how = cv2.INTER_NEAREST if "native" in query else cv2.INTER_CUBIC
    heat = cv2.resize(grid.astype(np.float32), (width, height), interpolation=how)
    if sigma := float(query.get("smooth", ["0"])[0]):
        heat = cv2.GaussianBlur(heat, (0, 0), sigma * 2)
    if query.get("scale") == ["common"]:
        heat = heat.ravel().argsort().argsort().reshape(heat.shape) / heat.size
    scaled = np.clip(heat / max(heat.max(), 1e-6), 0, 1)
    colours = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = (0.65 * scaled)[..., None]
    return (scene * (1 - weight) + colours * weight).astype(np.uint8)


def _handler(desk: Desk) -> type[Answering]:
    class Handler(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers with the page, its script, a value or a picture."""
            asked = urlsplit(self.path)
            if asked.path == "/panel":
                parts = {"style": panel_style("evidence"), "markup": panel_markup("evidence")}
                page = PAGE.format(theme=theme_css(), name="panel", **parts)
                self._answer(200, page.encode(), "text/html; charset=utf-8")
            elif asked.path == "/panel.js":
                text = json.dumps(panel_script("evidence"))
                script = f"window.text = {text};{BOOT % MOUNTS['evidence'][0]}"
                self._answer(200, script.encode(), "text/javascript; charset=utf-8")
            elif asked.path.endswith(".json"):
                desk.polls.append(self.path)
                body = json.dumps(desk.value).encode()
                self._answer(desk.status, body, "application/json")
            elif asked.path.startswith("/evidence/"):
                desk.tiles.append(self.path)
                self._answer(200, tile(self.path), "image/png")
            else:
                self._answer(404, b"Nothing is here.", "text/plain")

    return Handler


@contextmanager
def serve(desk: Desk) -> Iterator[str]:
    """Serves the harness on a free port of this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(desk))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def score(metric: str, value: float | None, **facts: Any) -> dict[str, Any]:
    """One score as the service gives it."""
    known = METRICS[metric]
    given = {
        "metric": metric, "title": known.title, "value": value, "unit": known.unit,
        "text": "" if value is None else f"{value:.2f}", "better": known.better,
        "image": None, "chance": None, "n": 64,
        "note": "blurred cover, 64 steps" if value is not None else "",
    }  # fmt: skip
    return given | facts


def scores(place: int) -> list[dict[str, Any]]:
    """Scores of the method at that place."""
    draw = np.random.default_rng(place)
    found = []
    for metric in MEASURED:
        chance = 0.04 if METRICS[metric].family == "localisation" else None
        for image, title in enumerate(("Mammogram", "Pathology")):
            named = f"{METRICS[metric].title}, {title}"
            number = round(float(draw.random()), 3)
            found.append(score(metric, number, chance=chance, image=image, title=named))
    if place % 4 == 3:
        found[2] |= {"value": None, "text": "–", "note": "The class is never probable."}
    return found


def method(place: int, **facts: Any) -> dict[str, Any]:
    """The method at that place, drawn where it is quick."""
    name, title, _, summary, limits = METHODS[place]
    is_slow = name in SLOW
    maps = [
        {"image": number, "localised": True, "reason": "", "grid": [14, 14],
         "tile": f"/evidence/tile/{40 + place}/{number}.png?v=ab12"}
        for number in SHAPES
    ]  # fmt: skip
    given = {
        "id": name, "title": title, "summary": summary, "limits": limits, "slow": is_slow,
        "class_blind": name in BLIND, "signed": name == "occlusion",
        "state": "ready" if is_slow else "done", "reason": "", "job": None,
        "seconds": None if is_slow else 0.4, "settings": {}, "defaults": SLOW.get(name, {}),
        "explanation": None if is_slow else 40 + place, "maps": [] if is_slow else maps,
        "scores": [], "flag": "",
    }  # fmt: skip
    if name == "prototypes":
        given |= {"state": "refused", "maps": [],
                  "reason": "Prototypes: this model has learnt no parts."}  # fmt: skip
    return given | facts


def running(job: str = "j1", share: float | None = 0.42, left: float | None = 65.0) -> dict:
    """A job under way."""
    return {"id": job, "share": share, "left_s": left, "position": 0, "message": ""}


def drawn(place: int) -> dict[str, Any]:
    """What changes in a slow method once its map is there."""
    tiles = [{"image": n, "localised": True, "reason": "", "grid": [14, 14],
              "tile": f"/evidence/tile/{40 + place}/{n}.png?v=cd34"} for n in SHAPES]  # fmt: skip
    return {"state": "done", "maps": tiles, "explanation": 40 + place, "seconds": 31.0}


def value(version: int = 1, methods: dict[str, dict[str, Any]] | None = None, **facts: Any) -> dict:
    """The evidence of a case just opened: quick maps drawn, nothing measured.

    Args:
        methods: Facts to be changed, by method. facts: Further parts of the value.
    """
    given = methods or {}
    made = [method(place, **given.get(METHODS[place][0], {})) for place in range(len(METHODS))]
    families = [
        {"id": name, "title": title,
         "methods": [each for each, known in zip(made, METHODS, strict=True) if known[2] == name]}
        for name, title in FAMILIES.items()
    ]  # fmt: skip
    images = [
        {"image": n, "title": title, "tile": f"/evidence/picture/{CASE}/{n}.png",
         "width": SHAPES[n][1] * 8, "height": SHAPES[n][0] * 8, "unit": ("mm", "px")[n]}
        for n, title in enumerate(("Mammogram", "Pathology"))
    ]  # fmt: skip
    metrics = [
        {"id": m.name, "title": m.title, "family": m.family, "better": m.better, "unit": m.unit,
         "summary": m.summary, "limits": m.limits}
        for m in METRICS.values()
    ]  # fmt: skip
    return {
        "version": version, "case": CASE, "notice": "", "target": TARGET,
        "model": {"title": "Cross-modal demonstration model", "version": "0.1.0",
                  "weights": "ab12c94e"},
        "measurable": True,
        "targets": ["Normal", "Benign", "In situ", "Invasive", "segmented lesion"],
        "images": images, "families": families, "consensus": [], "agreement": [], "regions": [],
        "metrics": metrics, "stability": {"state": "none", "job": None},
        "measured": {"state": "none", "job": None},
        "randomisation": {"state": "none", "job": None, "stages": [], "note": "", "methods": []},
    } | facts  # fmt: skip


def full() -> dict[str, Any]:
    """A case for which all is done."""
    given = {}
    for place, (name, *_) in enumerate(METHODS):
        if name != "prototypes":
            extra = drawn(place) if name in SLOW else {}
            given[name] = extra | {"scores": scores(place)}
    given["eigencam"]["flag"] = FLAG
    done = {"state": "done", "job": None}
    return value(
        2, given, measured=done, stability=done, consensus=consensus(), agreement=agreement(12),
        regions=regions(), randomisation=randomisation(),
    )  # fmt: skip


def consensus() -> list[dict[str, Any]]:
    """A consensus map of each image."""
    return [
        {"image": n, "methods": 9, "tile": f"/evidence/consensus/{CASE}/{n}.png?target=Invasive"}
        for n in SHAPES
    ]


def agreement(count: int) -> list[dict[str, Any]]:
    """Agreement of the first methods in each image."""
    draw = np.random.default_rng(5)
    rank = np.round(draw.uniform(-0.2, 1, (count, count)), 3)
    return [
        {"image": n, "methods": [known[1] for known in METHODS[:count]],
         "rank": rank.tolist(), "iou": np.abs(rank).tolist()}
        for n in SHAPES
    ]  # fmt: skip


def regions() -> list[dict[str, Any]]:
    """Two regions of the first image."""
    draw = np.random.default_rng(6)
    found = []
    for label, kind in (("Lesion", "model"), ("Annotation 1", "reference")):
        rows = []
        for name, title, *_ in METHODS[:8]:
            mean, share = float(draw.random()), float(draw.random()) * 0.6
            rows.append(
                {"method": name, "title": title, "mean": mean, "max": min(1.0, mean + 0.3),
                 "coverage": mean, "share": share,
                 "text": f"Holds {share:.0%} of the heat on 4 % of the image."}
            )  # fmt: skip
        found.append({"image": 0, "label": label, "kind": kind, "rows": rows})
    return found


def randomisation() -> dict[str, Any]:
    """The outcome of the test against random weights."""
    verdicts = ("passes", "passes", "fails", "not applicable")
    methods = []
    for place, (name, title, *_) in enumerate(METHODS[:4]):
        spearman = [round(0.9 * 0.6**n, 3) for n in range(len(STAGES))]
        if verdicts[place] == "fails":
            spearman = [0.97] * 7 + [None]
        methods.append(
            {"id": name, "title": title, "verdict": verdicts[place], "spearman": spearman,
             "text": FLAG if verdicts[place] == "fails" else
             "With every weight destroyed, little of the map is left.",
             "tiles": [f"/evidence/tile/sanity-{name}-{n}/0.png" for n in range(len(STAGES) + 1)]}
        )  # fmt: skip
    return {"state": "done", "job": None, "stages": list(STAGES), "methods": methods,
            "note": "The weights are replaced by noise, part after part."}  # fmt: skip
