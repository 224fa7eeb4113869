"""Heat maps as NIfTI: a hot voxel lies where the source voxel lies, whoever reads the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from engine.export.nifti import volume
from engine.export.space import BARE, FLAT_STACK, PLACED, SPACED, elsewhere, geometry
from engine.io import Limits, read_image
from engine.records import HeatMap, Image, Modality, Spacing

FRAMES, ROWS, COLUMNS = 5, 12, 9
HOT = (3, 7, 2)
"""Frame, row, column."""


def image(**changes: Any) -> Image:
    facts: dict[str, Any] = {
        "pixels": np.zeros((FRAMES, ROWS, COLUMNS, 1), np.float32),
        "modality": Modality.MRI,
        "digest": "11" * 32,
    }
    return Image(**(facts | changes))


def heat(low: float = 0.0) -> HeatMap:
    values = np.full((ROWS, COLUMNS), low, np.float32)
    values[HOT[1], HOT[2]] = 4.5
    return HeatMap(0, HOT[0], values, (3, 3))


def oblique(mirror: bool = False) -> np.ndarray:
    """Voxel to LPS mm: a rotation about two axes, unequal pitch, and a far origin."""
    a, b = 0.3, -0.7
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    made = np.eye(4)
    made[:3, :3] = about_z @ about_x @ np.diag([0.7, 0.9, -3.0 if mirror else 3.0])
    made[:3, 3] = (-120.5, 33.25, 1042.0)
    return made


def saved(folder: Path, source: Image, made: HeatMap) -> Path:
    path = folder / "gradcam.nii.gz"
    volume(source, made).to_filename(path)
    return path


def place(affine: np.ndarray) -> np.ndarray:
    """Patient coordinate of the hot source voxel, LPS mm."""
    frame, row, column = HOT
    return (affine @ np.array([column, row, frame, 1.0]))[:3]


@pytest.mark.parametrize("mirror", [False, True])
def test_a_hot_voxel_lies_at_the_patient_coordinate_of_its_source(
    tmp_path: Path, mirror: bool
) -> None:
    affine = oblique(mirror)
    source = image(affine=affine, spacing=Spacing(0.9, 0.7, 3.0))
    path = saved(tmp_path, source, heat())
    read = nibabel.load(path)
    data = np.asanyarray(read.dataobj)
    assert data.shape == (COLUMNS, ROWS, FRAMES) and data.dtype == np.float32
    index = np.unravel_index(int(data.argmax()), data.shape)
    assert index == HOT[::-1] and np.count_nonzero(data) == 1 and data.max() == 4.5
    for matrix in (read.affine, read.get_sform(), read.get_qform()):
        ras = (matrix @ np.array([*index, 1.0]))[:3]
        assert np.allclose(ras * (-1, -1, 1), place(affine), atol=1e-3)
    assert (int(read.header["sform_code"]), int(read.header["qform_code"])) == (1, 1)
    assert read.header.get_xyzt_units()[0] == "mm"
    assert geometry(source) == PLACED


@pytest.mark.parametrize("mirror", [False, True])
def test_simpleitk_agrees(tmp_path: Path, mirror: bool) -> None:
    affine = oblique(mirror)
    read = SimpleITK.ReadImage(str(saved(tmp_path, image(affine=affine), heat())))
    data = SimpleITK.GetArrayFromImage(read)
    index = np.unravel_index(int(data.argmax()), data.shape)
    assert index == HOT
    point = read.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
    assert np.allclose(point, place(affine), atol=1e-3)
    assert np.allclose(read.GetSpacing(), (0.7, 0.9, 3.0), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=9, max_size=9), st.floats(-500, 500))
def test_any_affine_survives_reading_by_lightbox(axes: list[float], origin: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).reshape(3, 3)
    affine[:3, 3] = (origin, -origin / 2, 3 * origin)
    if abs(np.linalg.det(affine)) < 1e-2:
        affine[:3, :3] += np.diag([9.0, 9.0, 9.0])
    if abs(np.linalg.det(affine)) < 1e-2:
        return
    read = nibabel.Nifti1Image.from_bytes(volume(image(affine=affine), heat()).to_bytes())
    ras = (read.affine @ np.array([*HOT[::-1], 1.0]))[:3]
    assert np.allclose(ras * (-1, -1, 1), place(affine), atol=2e-3, rtol=1e-5)


def test_lightbox_reads_back_pitch_place_and_values(tmp_path: Path) -> None:
    source = image(affine=oblique(), spacing=Spacing(0.9, 0.7, 3.0))
    made = heat()
    read = read_image(saved(tmp_path, source, made))
    assert read.affine is not None and source.affine is not None
    assert np.allclose(read.affine, source.affine, atol=1e-3)
    assert np.array_equal(read.pixels[HOT[0], :, :, 0], made.values)
    assert read.spacing is not None
    pitch = (read.spacing.row_mm, read.spacing.column_mm, read.spacing.slice_mm)
    assert pitch == pytest.approx((0.9, 0.7, 3.0))


def test_a_sheared_source_keeps_its_shear_in_sform_alone() -> None:
    affine = oblique()
    affine[:3, 2] += 0.8 * affine[:3, 0]
    made = volume(image(affine=affine), heat())
    assert int(made.header["qform_code"]) == 0 and int(made.header["sform_code"]) == 1
    ras = (made.get_sform() @ np.array([*HOT[::-1], 1.0]))[:3]
    assert np.allclose(ras * (-1, -1, 1), place(affine), atol=1e-3)


@pytest.mark.parametrize(
    ("spacing", "zooms", "unit", "said"),
    [
        (Spacing(0.2, 0.1, 5.0), (0.1, 0.2, 5.0), "mm", SPACED),
        (Spacing(0.2, 0.1), (0.1, 0.2, 1.0), "mm", FLAT_STACK),
        (None, (1.0, 1.0, 1.0), "unknown", BARE),
    ],
)
def test_without_a_position_only_the_pitch_is_told(
    tmp_path: Path, spacing: Spacing | None, zooms: tuple[float, ...], unit: str, said: str
) -> None:
    source = image(spacing=spacing)
    path = saved(tmp_path, source, heat())
    header = nibabel.load(path).header
    assert header.get_zooms() == pytest.approx(zooms)
    assert header.get_xyzt_units()[0] == unit
    assert int(header["sform_code"]) == int(header["qform_code"]) == 0
    assert geometry(source) == said
    assert read_image(path).affine is None
    single = image(spacing=spacing, pixels=np.zeros((1, ROWS, COLUMNS, 1), np.float32))
    assert geometry(single) == (BARE if spacing is None else SPACED)


@pytest.mark.parametrize(("low", "rest"), [(0.0, 0.0), (0.5, 0.0), (-2.0, -2.0)])
def test_other_frames_never_look_hotter_than_the_map(low: float, rest: float) -> None:
    made = heat(low)
    data = np.asanyarray(volume(image(), made).dataobj)
    others = np.delete(data, HOT[0], axis=2)
    assert elsewhere(made) == rest and (others == rest).all()
    assert others.max() <= made.values.min()


def test_a_side_too_long_for_nifti_1_takes_nifti_2(tmp_path: Path) -> None:
    long = image(pixels=np.zeros((1, 2, 32768, 1), np.float32))
    values = np.zeros((2, 32768), np.float32)
    values[1, 32767] = 1
    path = saved(tmp_path, long, HeatMap(0, 0, values, (1, 1)))
    read = read_image(path, limits=Limits(max_side=40_000))
    assert np.array_equal(read.pixels[0, :, :, 0], values)
    assert volume(image(), heat()).header.sizeof_hdr == 348


def test_the_header_says_nothing_of_where_it_came_from() -> None:
    made = volume(image(affine=oblique()), heat())
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        assert bytes(made.header[name]).strip(b"\0") == b""
    assert not made.header.extensions


@pytest.mark.real_data
def test_real_volumes_keep_the_affine_of_their_file(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "brain_mri" / "TCGA-DU-7294_crop"
    path = next(iter(sorted(folder.glob("*_t1.nii.gz"))))
    source = read_image(path)
    values = np.zeros((source.height, source.width), np.float32)
    values[3, 5] = 1
    made = nibabel.load(saved(tmp_path, source, HeatMap(0, 7, values, (1, 1))))
    original = nibabel.load(path)
    assert made.shape == original.shape
    assert np.allclose(made.affine, original.affine, atol=1e-4)
    assert np.argwhere(np.asanyarray(made.dataobj) == 1).tolist() == [[5, 3, 7]]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["693_J2KR.dcm", "liver.dcm"])
def test_real_dicom_lands_where_its_header_says(tmp_path: Path, real_data: Path, name: str) -> None:
    path = real_data / "dicom" / name
    source = read_image(path)
    frame, row, column = source.frames - 1, source.height // 3, source.width // 4
    values = np.zeros((source.height, source.width), np.float32)
    values[row, column] = 1
    made = saved(tmp_path, source, HeatMap(0, frame, values, (1, 1)))
    read = nibabel.load(made)
    data = np.asanyarray(read.dataobj)
    ras = (read.affine @ np.array([*np.unravel_index(int(data.argmax()), data.shape), 1]))[:3]
    header = dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=True)
    expected = patient_position(header, frame, row, column)
    assert np.allclose(ras * (-1, -1, 1), expected, atol=1e-2)


def patient_position(header: Any, frame: int, row: int, column: int) -> np.ndarray:
    """PS3.3 equation C.7.6.2.1-1, from the elements of the file themselves."""
    place, turn, measure = header, header, header
    if "PerFrameFunctionalGroupsSequence" in header:
        own = header.PerFrameFunctionalGroupsSequence[frame]
        shared = header.SharedFunctionalGroupsSequence[0]
        place = own.PlanePositionSequence[0]
        turn = (own if "PlaneOrientationSequence" in own else shared).PlaneOrientationSequence[0]
        measure = (own if "PixelMeasuresSequence" in own else shared).PixelMeasuresSequence[0]
    axes = np.array(turn.ImageOrientationPatient, float).reshape(2, 3)
    down, across = (float(step) for step in measure.PixelSpacing)
    origin = np.array(place.ImagePositionPatient, float)
    return origin + axes[0] * across * column + axes[1] * down * row
