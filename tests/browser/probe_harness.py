"""Values and pictures for the probe panel without a model behind it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 200, 260


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs, unmarked first."""
    flat, found, value, start = mask.ravel(), [], False, 0
    for at, cell in enumerate(flat):
        if bool(cell) != value:
            found.append(at - start)
            start, value = at, bool(cell)
    return [*found, len(flat) - start]


def lesion() -> np.ndarray:
    """A disc, (H, W) bool."""
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.hypot(row - 120, column - 90) < 22


def picture(after: bool = False, heat: bool = False, seed: int = 1) -> bytes:
    """A synthetic mammogram with or without its lesion, as PNG."""
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    reach = np.hypot((row - 130) / 120, column / 160)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 60, row.shape), (0, 0), 2)
    grey = np.where(reach < 1, 70 + 60 * (1 - reach) + noise, 4)
    if not after:
        grey = grey + np.where(lesion(), 90, 0)
    shown = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if heat:
        hot = np.exp(-((row - 120) ** 2 + (column - 90) ** 2) / 900) * (0.3 if after else 1)
        shown = np.clip(shown + np.dstack([hot * 0, hot * 90, hot * 160]), 0, 255).astype(np.uint8)
    return cv2.imencode(".png", shown)[1].tobytes()


def answer(number: int = 1, **facts: Any) -> dict[str, Any]:
    """One answer, as the service gives it."""
    names, before, after = ["Normal", "Benign", "In situ", "Invasive"], [0.01, 0.01, 0.01, 0.97], [
        0.31, 0.2, 0.08, 0.41,
    ]  # fmt: skip
    tile = f"/probe/tile/answer{number}"
    titles = {"relevance": "Gradient-weighted relevance", "gradcam": "Grad-CAM"}
    return {
        "id": f"answer{number}", "image": 0, "title": "Mammogram", "size": [WIDTH, HEIGHT],
        "target": "Invasive", "fill": "Inpainting", "share": 0.12, "share_text": "12 %",
        "sentence": "Without the marked region (12 % of the mammogram) the probability of Invasive "
        "falls from 0.97 to 0.41.",
        "turn": "", "pictures": [f"{tile}/0.png", f"{tile}/1.png"],
        "rows": [
            {"name": n, "before": b, "after": a, "difference": a - b, "target": n == "Invasive"}
            for n, b, a in zip(names, before, after, strict=True)
        ],
        "grade": ["High (0.81)", "Intermediate (0.48)"],
        "methods": [
            {"id": key, "title": title, "blind": False, "reasons": ["", ""],
             "pictures": [f"{tile}/{2 + 2 * n}.png", f"{tile}/{3 + 2 * n}.png"]}
            for n, (key, title) in enumerate(titles.items())
        ],
    } | facts  # fmt: skip


def value(version: int = 1, **facts: Any) -> dict[str, Any]:
    """The panel of a case with two images and nothing asked yet."""
    mammogram = {
        "image": 0, "title": "Mammogram", "picture": "/probe/picture/PH-00000012/0/0.png",
        "width": WIDTH, "height": HEIGHT, "shown": [WIDTH, HEIGHT], "pitch": [0.5, 0.5],
        "unread": "", "regions": [{"label": "Lesion of the model", "runs": runs(lesion())}],
    }  # fmt: skip
    pathology = mammogram | {
        "image": 1, "title": "Pathology", "picture": "/probe/picture/PH-00000012/1/0.png",
        "width": 80, "height": 60, "shown": [80, 60], "pitch": None, "regions": [],
    }  # fmt: skip
    names = {
        "relevance": "Gradient-weighted relevance", "gradcam": "Grad-CAM",
        "rollout": "Attention rollout", "occlusion": "Occlusion",
    }  # fmt: skip
    return {
        "version": version, "case": "PH-00000012", "problem": "", "notice": "Not for diagnosis.",
        "target": "Invasive", "targets": ["Normal", "Benign", "In situ", "Invasive"],
        "images": [mammogram, pathology],
        "fills": [
            {"id": "inpainting", "title": "Inpainting",
             "summary": "The surroundings are continued smoothly into the region."},
            {"id": "black", "title": "Black", "summary": "The region is blacked out."},
        ],
        "methods": [
            {"id": key, "title": title, "summary": "What it shows.", "slow": key == "occlusion",
             "chosen": key in ("relevance", "gradcam"), "reason": ""}
            for key, title in names.items()
        ] + [{"id": "prototypes", "title": "Prototypes", "summary": "Parts.", "slow": False,
              "chosen": False, "reason": "The model has no prototypes."}],
        "most_methods": 3, "most_runs": 100_000,
        "outline": {"ready": False, "text": "LiteMedSAM is not installed here, so a box is used "
                    "as it is drawn; correct it with brush and eraser."},
        "suggestion": None, "job": None, "results": [],
        "caution": "A filled picture may be unlike anything the model was trained on.",
    } | facts  # fmt: skip
