"""Explanations as files: what each one holds, and that nothing is not a number."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from engine.errors import EngineError, ShapeMismatch, UnknownName
from engine.export import FORMATS, checked_formats, summary, write_explanations
from engine.export.pictures import overlaid
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
    Score,
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
    options = {name: changes.pop(name) for name in ("scores", "formats") if name in changes}
    write_explanations(
        folder, case(), CARD, prediction(**changes), made, {"vitcx": "No such tap."}, "Lightbox 0",
        **options,
    )  # fmt: skip
    return parsed(folder / "explanation.json")


def parsed(path: Path) -> Any:
    """JSON without NaN or infinity."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_of_a_case(tmp_path: Path) -> None:
    made = explanation()
    folder = tmp_path / "deep" / "LB-1"
    facts = written(folder, made)
    assert sorted(path.name for path in folder.iterdir()) == [
        "explanation.json", "gradcam.npz", "gradcam.png", "gradcam_map.png",
        "gradcam_pathology.png", "gradcam_pathology_map.png",
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
    folder = tmp_path / "case"
    with pytest.raises(EngineError, match="no number"):
        written(folder, explanation(), probabilities={"No": float("nan"), "Yes": 1.0})
    made = explanation()
    made.maps[0].values[3, 4] = np.inf
    with pytest.raises(EngineError, match="no numbers"):
        written(folder, made)
    assert not folder.exists()


def test_a_map_that_does_not_fit_its_image_is_refused(tmp_path: Path) -> None:
    heat = explanation().maps[0]
    for wrong in (replace(heat, values=heat.values.T), replace(heat, frame=1)):
        with pytest.raises(ShapeMismatch, match="does not fit"):
            written(tmp_path / "case", replace(explanation(), maps=(wrong,)))
    assert not (tmp_path / "case").exists()


def test_the_grey_map_gives_back_the_values(tmp_path: Path) -> None:
    made = explanation()
    facts = written(tmp_path, made)
    entries = facts["explanations"][0]["maps"]
    for entry, heat in zip(entries, made.maps, strict=True):
        levels = imagecodecs.png_decode((tmp_path / entry["files"]["map_png"]).read_bytes())
        scale = entry["map_png_value"]
        assert levels.dtype == np.uint16 and levels.shape == heat.values.shape
        restored = scale["zero"] + scale["step"] * levels.astype(np.float64)
        assert np.abs(restored - heat.values).max() <= scale["step"] / 2 + 1e-7
    assert entries[0]["map_png_value"]["step"] == pytest.approx(3 / 65535)
    assert entries[1]["map_png_value"]["step"] == 0


SOURCES = {"source_0_0.dcm", "source_1_0.dcm"}
LESIONS = {"lesions_0_0.dcm"}
FILES = {
    "npz": {"gradcam.npz"},
    "png": {
        "gradcam.png", "gradcam_map.png", "gradcam_pathology.png", "gradcam_pathology_map.png",
    },
    "nifti": {"gradcam.nii.gz", "gradcam_pathology.nii.gz"},
    "dicom": {"gradcam.dcm", "gradcam_pathology.dcm"},
    "dicom-seg": {"gradcam_seg.dcm", "gradcam_pathology_seg.dcm"} | LESIONS | SOURCES,
    "dicom-sr": {"measurements.dcm"} | SOURCES,
}  # fmt: skip


@pytest.mark.parametrize("wanted", [("npz",), ("png",), ("nifti",), ("dicom",), FORMATS, ()])
def test_each_format_writes_its_files_and_removes_all_earlier_ones(
    tmp_path: Path, wanted: tuple[str, ...]
) -> None:
    written(tmp_path, explanation(), replace(explanation(), method="rollout"), formats=FORMATS)
    assert len(listed(tmp_path)) == 2 + 2 * 11 + 4  # the facts, and all methods on one sheet
    (tmp_path / "Notes.txt").write_text("mine")
    (tmp_path / "IM-0001.dcm").write_text("mine")
    facts = written(tmp_path, explanation(), formats=wanted)
    expected = set().union(*(FILES[name] for name in wanted))
    assert set(listed(tmp_path)) == expected | {"explanation.json", "Notes.txt", "IM-0001.dcm"}
    told = [set(entry["files"].values()) for entry in facts["explanations"][0]["maps"]]
    assert set().union(*told, facts.get("objects", ())) == expected


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="npz, png, nifti, dicom"):
        written(tmp_path / "case", explanation(), formats=("npz", "tiff"))
    assert not (tmp_path / "case").exists()
    assert checked_formats(["dicom", "npz", "dicom"]) == ("npz", "dicom")


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / name, explanation(), formats=("png", "nifti", "dicom"))
    assert len(listed(tmp_path / "a")) == 9
    for name in listed(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_two_maps_share_a_file(tmp_path: Path) -> None:
    slices = Image(np.ones((3, 20, 10, 1), np.float32), Modality.MRI, "33" * 32)
    several = Case("LB-2", (slices, slices, slices))
    maps = tuple(
        HeatMap(n, 1, np.full((20, 10), n, np.float32) * np.eye(20, 10, dtype=np.float32), (4, 4))
        for n in range(3)
    )
    made = replace(explanation(), maps=maps)
    write_explanations(
        tmp_path, several, CARD, prediction(regions=(), frames={}),
        (made, made, replace(made, method="../Odd Name")), {}, "Lightbox 0", formats=FORMATS,
    )  # fmt: skip
    facts = parsed(tmp_path / "explanation.json")
    told = [entry["files"] for said in facts["explanations"] for entry in said["maps"]]
    assert told[1]["nifti"] == "gradcam_mri.nii.gz" and told[2]["nifti"] == "gradcam_mri_2.nii.gz"
    assert told[3]["npz"] == told[4]["npz"] == "gradcam_2.npz"
    assert told[6]["overlay_png"] == "_odd_name.png"
    alone = [name for files in told for what, name in files.items() if what != "npz"]
    assert len(alone) == len(set(alone)) == 45
    shared = {"explanation.json", "all_methods.png", *facts["objects"]}
    assert set(listed(tmp_path)) == {*alone, *(files["npz"] for files in told), *shared}
    with np.load(tmp_path / "gradcam.npz") as arrays:
        assert [float(arrays[k].max()) for k in ("map", "map_mri", "map_mri_2")] == [0, 1, 2]


def test_boxes_are_drawn_on_their_own_frame(tmp_path: Path) -> None:
    slices = Image(np.zeros((2, 40, 30, 1), np.float32), Modality.MRI, "33" * 32)
    heat = HeatMap(0, 1, np.zeros((40, 30), np.float32), (8, 8))
    for frame, drawn in ((0, False), (1, True)):
        said = prediction(regions=(Region(0, frame, Box(5, 6, 7, 8)),))
        assert (np.ptp(overlaid(Case("LB-3", (slices,)), said, heat)) > 0) == drawn


def test_scores_stand_beside_their_method(tmp_path: Path) -> None:
    rows = (
        Score("deletion_auc", 0.21, "probability", "lower", 0.5, 101, "blur baseline"),
        Score("pointing", None, "hit", "higher", 0.02, 0, "No lesion is known."),
        Score("sparseness", float("nan"), "Gini index", "higher", float("inf"), 1),
    )
    made = (explanation(), explanation("rollout"))
    first, second = written(tmp_path, *made, scores={"gradcam": rows})["explanations"]
    assert second["scores"] == []
    assert first["scores"][0] == {
        "metric": "deletion_auc", "value": 0.21, "unit": "probability", "better": "lower",
        "chance": 0.5, "n": 101, "note": "blur baseline",
    }  # fmt: skip
    assert first["scores"][1]["value"] is None
    assert first["scores"][1]["note"] == "No lesion is known."
    assert first["scores"][2]["value"] is None and first["scores"][2]["chance"] is None
    assert "no number" in first["scores"][2]["note"]


def test_settings_of_any_type_are_told_without_places(tmp_path: Path) -> None:
    settings = {
        "ratio": float("nan"), "steps": np.int64(20), "sigma": np.float32(0.5),
        "grid": np.arange(3), "heads": {2, 1}, "deep": {"limit": -np.inf},
        "cache": tmp_path / "Doe", "mode": Modality.MRI, "on": True, "none": None,
    }  # fmt: skip
    facts = written(tmp_path, replace(explanation(), settings=settings))
    told = facts["explanations"][0]["settings"]
    assert told == {
        "ratio": None, "steps": 20, "sigma": 0.5, "grid": [0, 1, 2], "heads": [1, 2],
        "deep": {"limit": None}, "cache": told["cache"], "mode": "mri", "on": True, "none": None,
    }  # fmt: skip
    assert "Doe" not in told["cache"]


@pytest.mark.parametrize("kind", ["npz", "png", "nifti", "dicom"])
def test_a_failed_write_leaves_no_json_that_vouches_for_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, explanation(), formats=FORMATS)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    where = {
        "npz": "numpy.savez_compressed", "png": "engine.export.map_png",
        "nifti": "nibabel.Nifti1Image.to_filename", "dicom": "engine.export.dicom.dcmwrite",
    }  # fmt: skip
    monkeypatch.setattr(where[kind], full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, explanation(), formats=(kind,))
    assert not (tmp_path / "explanation.json").exists()


def test_the_summary_is_plain_data() -> None:
    facts = summary(case(), CARD, prediction(), [explanation()], {}, "Lightbox 0")
    assert json.loads(json.dumps(facts, allow_nan=False))["case"] == "LB-1"
