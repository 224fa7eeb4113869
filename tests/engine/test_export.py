"""Explanations as files: what each one holds, and that nothing is not a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from engine.export import summary, write_explanations
from engine.records import (
    Box,
    Case,
    Explanation,
    Grade,
    HeatMap,
    Image,
    Laterality,
    Modality,
    ModelCard,
    Prediction,
    Region,
    Window,
)

DIGEST = "ab" * 32
CARD = ModelCard(
    "tiny", "crossmodal", "1.2", "Tiny", "Not for diagnosis.", "nothing", (), ("No", "Yes"),
    ("Yes",), {}, {}, {}, "tiny.safetensors", DIGEST,
)  # fmt: skip


def case() -> Case:
    grey = np.arange(40 * 30, dtype=np.float32).reshape(1, 40, 30, 1)
    colour = np.full((1, 24, 26, 3), 200, np.float32)
    window = (Window(600.0, 1200.0),)
    first = Image(grey, Modality.MAMMOGRAPHY, "11" * 32, None, window, laterality=Laterality.LEFT)
    return Case("LB-1", (first, Image(colour, Modality.PATHOLOGY, "22" * 32)), warnings=("Odd.",))


def prediction(**changes: Any) -> Prediction:
    mask = np.zeros((40, 30), bool)
    mask[5:9, 6:9] = True
    facts: dict[str, Any] = {
        "probabilities": {"No": 0.25, "Yes": 0.75},
        "model": "tiny",
        "version": "1.2",
        "weights_digest": DIGEST,
        "grade": Grade(("Low", "High"), (0.4, 0.6), 1),
        "regions": (Region(0, 0, Box(5, 6, 7, 8), mask, 0.9),),
        "frames": {0: 0},
        "warnings": ("Careful.",),
    }
    return Prediction(**(facts | changes))


def explanation(method: str = "gradcam", *, localised: bool = True) -> Explanation:
    heat = np.zeros((40, 30), np.float32)
    if localised:
        heat[10:20, 4:9] = np.linspace(0, 3, 50, dtype=np.float32).reshape(10, 5)
    second = np.full((24, 26), -0.5, np.float32)
    maps = (
        HeatMap(0, 0, heat, (8, 8), localised, "" if localised else "Flat."),
        HeatMap(1, 0, second, (6, 6), True, ""),
    )
    settings = {"class_blind": False, "layers": (1, 2)}
    return Explanation(method, "Yes", maps, settings, "tiny", DIGEST, 0.1)


def written(folder: Path, *made: Explanation, **changes: Any) -> Any:
    write_explanations(
        folder, case(), CARD, prediction(**changes), made, {"vitcx": "No such tap."}, "Lightbox 0"
    )
    return json.loads((folder / "explanation.json").read_text("utf-8"))


def test_files_of_a_case(tmp_path: Path) -> None:
    made = explanation()
    folder = tmp_path / "deep" / "LB-1"
    facts = written(folder, made)
    assert sorted(path.name for path in folder.iterdir()) == [
        "explanation.json", "gradcam.npz", "gradcam.png", "gradcam_pathology.png",
    ]  # fmt: skip
    with np.load(folder / "gradcam.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["map", "map_pathology"]
        assert arrays["map"].dtype == np.float32
        assert np.array_equal(arrays["map"], made.maps[0].values)
        assert np.array_equal(arrays["map_pathology"], made.maps[1].values)
    assert facts["model"] == {
        "name": "tiny", "version": "1.2", "system": "crossmodal", "weights_sha256": DIGEST,
    }  # fmt: skip
    assert facts["notice"] == "Not for diagnosis." and facts["software"] == "Lightbox 0"
    assert facts["refused"] == {"vitcx": "No such tap."}
    assert facts["warnings"] == ["Odd.", "Careful."]
    image = facts["images"][0]
    assert (image["height"], image["width"], image["sha256"]) == (40, 30, "11" * 32)
    assert (image["laterality"], image["frame_read"]) == ("L", 0)
    assert facts["images"][1]["frame_read"] is None


def test_prediction_and_settings(tmp_path: Path) -> None:
    facts = written(tmp_path, explanation())
    said = facts["prediction"]
    assert said["class"] == "Yes" and said["probabilities"] == {"No": 0.25, "Yes": 0.75}
    assert said["grade"] == {
        "name": "High", "level": 1, "probabilities": {"Low": 0.4, "High": 0.6},
    }  # fmt: skip
    (lesion,) = said["lesions"]
    assert lesion["box_xywh"] == [5, 6, 7, 8] and lesion["mask_pixels"] == 12
    (entry,) = facts["explanations"]
    assert entry["target"] == "Yes"
    assert entry["settings"] == {"class_blind": False, "layers": [1, 2]}
    assert entry["maps"][0]["max"] == 3 and entry["maps"][1]["min"] == -0.5
    bare = written(tmp_path, explanation(), grade=None, regions=())["prediction"]
    assert bare["grade"] is None and bare["lesions"] == []


def test_the_overlay_is_of_the_image_and_shows_heat_and_box(tmp_path: Path) -> None:
    written(tmp_path, explanation(), regions=())
    plain = imagecodecs.png_decode((tmp_path / "gradcam.png").read_bytes())
    written(tmp_path, explanation())
    boxed = imagecodecs.png_decode((tmp_path / "gradcam.png").read_bytes())
    assert plain.shape == boxed.shape == (40, 30, 3)
    changed = np.argwhere((plain != boxed).any(axis=2))
    assert len(changed) and changed.min() >= 2 and changed[:, 0].max() <= 17
    hot, cold = plain[19, 8].astype(int), plain[35, 25].astype(int)
    assert np.ptp(hot) > 20 and np.ptp(cold) <= 2


def test_a_flat_map_is_written_as_zeros_with_its_reason(tmp_path: Path) -> None:
    facts = written(tmp_path, explanation(localised=False))
    entry = facts["explanations"][0]["maps"][0]
    assert not entry["localised"] and entry["reason"] == "Flat."
    with np.load(tmp_path / "gradcam.npz") as arrays:
        assert not arrays["map"].any()


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        written(tmp_path, explanation(), probabilities={"No": float("nan"), "Yes": 1.0})
    assert not (tmp_path / "explanation.json").exists()


def test_the_summary_is_plain_data() -> None:
    facts = summary(case(), CARD, prediction(), [explanation()], {}, "Lightbox 0")
    assert json.loads(json.dumps(facts, allow_nan=False))["case"] == "LB-1"
