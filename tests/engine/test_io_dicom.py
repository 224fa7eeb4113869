"""DICOM: pixels land where they belong, values mean what they should, metadata are told right."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from engine.errors import EngineError, LimitExceeded, UnreadableFile, UnsupportedImage
from engine.io import Limits, gather, read_case, read_image
from engine.records import Image, Laterality, Modality

MG = "1.2.840.10008.5.1.4.1.1.1.2"
ROWS, COLUMNS, MARK = 48, 67, (3, 14)


def marked(dtype: str = "u2", low: int = 100, high: int = 900) -> np.ndarray:
    """A ramp with one bright pixel at MARK."""
    plane = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 50 + low).astype(dtype)
    plane[MARK] = high
    return plane


def dataset(pixels: np.ndarray, **elements: Any) -> Dataset:
    """A small sound data set; `elements` override or add."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = MG, generate_uid()
    made.file_meta.MediaStorageSOPClassUID = MG
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Modality, made.PatientID = "MG", "P1"
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    photometric = elements.pop("PhotometricInterpretation", "MONOCHROME2")
    set_pixel_data(made, pixels, photometric, 8 * pixels.dtype.itemsize)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def save(made: Dataset, path: Path, **options: Any) -> Path:
    """Write a data set as a DICOM file."""
    dcmwrite(path, made, enforce_file_format=options.pop("enforce", True), **options)
    return path


def read(made: Dataset, folder: Path) -> Image:
    """Write and read."""
    return read_image(save(made, folder / "file"))


def at_mark(image: Image, frame: int = 0) -> float:
    """Value of the marked pixel, after checking that it is the only maximum."""
    plane = image.pixels[frame, ..., 0]
    assert np.argwhere(plane == plane.max()).tolist() == [list(MARK)]
    return float(plane[MARK])


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_native_pixels(tmp_path: Path, syntax: str) -> None:
    made = dataset(marked())
    made.file_meta.TransferSyntaxUID = syntax
    image = read(made, tmp_path)
    assert image.pixels.shape == (1, ROWS, COLUMNS, 1)
    assert image.pixels.dtype == np.float32
    assert at_mark(image) == 900
    assert image.facts["transfer_syntax"] == syntax.name
    assert image.modality is Modality.MAMMOGRAPHY
    assert image.bits == 16


def test_big_endian(tmp_path: Path) -> None:
    made = dataset(marked())
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    made["PixelData"].VR = "OW"
    made.PixelData = marked().astype(">u2").tobytes()
    dcmwrite(tmp_path / "file", made, implicit_vr=False, little_endian=False)
    assert at_mark(read_image(tmp_path / "file")) == 900


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels_are_exact(tmp_path: Path, syntax: str) -> None:
    made = dataset(marked())
    made.compress(syntax, generate_instance_uid=False)
    image = read(made, tmp_path)
    assert np.array_equal(image.pixels[0, ..., 0], marked())


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_frames(tmp_path: Path, syntax: str) -> None:
    frames = np.stack([marked(), marked(high=500)])
    made = dataset(frames)
    made.compress(syntax, generate_instance_uid=False)
    image = read(made, tmp_path)
    assert image.frames == 2
    assert [at_mark(image, 0), at_mark(image, 1)] == [900, 500]


def test_monochrome1_is_told_and_not_inverted(tmp_path: Path) -> None:
    image = read(dataset(marked(), PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert image.inverted
    assert at_mark(image) == 900


def test_signed_and_rescaled(tmp_path: Path) -> None:
    made = dataset(marked("i2", low=-500, high=-20), Modality="CT", PixelPaddingValue=0)
    made.RescaleSlope, made.RescaleIntercept = -2, 10
    made["PixelPaddingValue"].VR, made["PixelPaddingValue"].value = "SS", -500
    image = read(made, tmp_path)
    assert image.pixels[(0, *MARK, 0)] == 50
    assert image.pixels.min() == 50
    assert image.pixels[0, 0, 0, 0] == 1010 == image.background


def test_padding_written_unsigned_in_a_signed_image(tmp_path: Path) -> None:
    made = dataset(marked("i2", low=-500), Modality="CT")
    made.PixelPaddingValue = 65036
    made["PixelPaddingValue"].VR = "US"
    assert read(made, tmp_path).background == -500


def test_per_frame_rescale(tmp_path: Path) -> None:
    made = dataset(np.stack([marked(), marked()]), Modality="MR")
    items = []
    for slope in (1, 3):
        value, item = Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, 5, "US"
        item.PixelValueTransformationSequence = Sequence([value])
        items.append(item)
    made.PerFrameFunctionalGroupsSequence = Sequence(items)
    image = read(made, tmp_path)
    assert [at_mark(image, 0), at_mark(image, 1)] == [905, 2705]


def test_modality_lut(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [1024, 0, 16], "US"
    lut.LUTData = (np.arange(1024, dtype="<u2") * 2).tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    assert at_mark(read(dataset(marked(), ModalityLUTSequence=Sequence([lut])), tmp_path)) == 1800


def test_rgb(tmp_path: Path) -> None:
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    pixels[MARK] = (200, 100, 50)
    image = read(dataset(pixels, PhotometricInterpretation="RGB", Modality="SM"), tmp_path)
    assert image.is_colour
    assert image.windows == ()
    assert image.modality is Modality.PATHOLOGY
    assert image.pixels[(0, *MARK)].tolist() == [200, 100, 50]
    assert image.pixels.sum() == 350


def test_sixteen_bit_rgb_is_scaled(tmp_path: Path) -> None:
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint16)
    pixels[MARK] = (65535, 257, 0)
    image = read(dataset(pixels, PhotometricInterpretation="RGB"), tmp_path)
    assert image.pixels[(0, *MARK)] == pytest.approx([255, 1, 0])


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    pixels = np.full((ROWS, COLUMNS, 3), 128, np.uint8)
    pixels[MARK] = (76, 85, 255)  # red
    image = read(dataset(pixels, PhotometricInterpretation="YBR_FULL"), tmp_path)
    assert image.pixels[(0, *MARK)] == pytest.approx([254, 0, 0], abs=2)
    assert image.pixels[0, 0, 0] == pytest.approx([128, 128, 128], abs=1)


@pytest.mark.parametrize("shift", [8, 0])
def test_palette_becomes_rgb(tmp_path: Path, shift: int) -> None:
    made = dataset((marked("u1", low=0, high=200)), Modality="US")
    made.PhotometricInterpretation = "PALETTE COLOR"
    for index, colour in enumerate(("Red", "Green", "Blue")):
        table = ((np.arange(256) * (index + 1) % 256) << shift).astype("<u2")
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        made[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(made, f"{colour}PaletteColorLookupTableData", table.tobytes())
    image = read(made, tmp_path)
    assert image.pixels[(0, *MARK)] == pytest.approx([200, 144, 88], abs=1)


def test_windows_of_the_file(tmp_path: Path) -> None:
    made = dataset(marked(), WindowCenter=["400", "600", "9"], WindowWidth=["300", "0.5", "-1"])
    made.WindowCenterWidthExplanation = ["NORMAL", "Jane Doe", "x"]
    made.VOILUTFunction = "LINEAR"
    windows = read(made, tmp_path).windows
    assert [(w.centre, w.width, w.function) for w in windows] == [
        (400, 300, "LINEAR"),
        (600, 0.5, "LINEAR_EXACT"),
    ]
    assert [w.explanation for w in windows] == ["Normal", ""]


def test_sigmoid_window(tmp_path: Path) -> None:
    made = dataset(marked(), WindowCenter="400", WindowWidth="300", VOILUTFunction="SIGMOID")
    assert read(made, tmp_path).windows[0].function == "SIGMOID"


def test_window_beside_the_values_is_replaced(tmp_path: Path) -> None:
    image = read(dataset(marked(), WindowCenter="-9000", WindowWidth="10"), tmp_path)
    assert image.windows[0].explanation == "Computed from the pixels"
    assert any("shows nothing" in text for text in image.warnings)


def test_voi_lut_falls_back_to_a_computed_window(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4, 0, 8], b"\0\1\2\3"
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    image = read(dataset(marked(), VOILUTSequence=Sequence([lut])), tmp_path)
    assert image.windows[0].function == "LINEAR_EXACT"
    assert "lookup table" in image.facts["window"]


def test_computed_window_of_a_mammogram_leaves_air_out(tmp_path: Path) -> None:
    pixels = np.full((200, 100), 3, np.uint16)
    pixels[:, :30] = 1000 + np.arange(200)[:, None]
    for photometric, stored in (("MONOCHROME2", pixels), ("MONOCHROME1", 4000 - pixels)):
        made = dataset(stored, PhotometricInterpretation=photometric)
        window = read(made, tmp_path).windows[0]
        ends = sorted((window.centre - window.width / 2, window.centre + window.width / 2))
        values = ends if photometric == "MONOCHROME2" else [4000 - ends[1], 4000 - ends[0]]
        assert values == pytest.approx([1001, 1198], abs=1.5)


PIXEL, IMAGER = [0.1, 0.2], [0.3, 0.4]


@pytest.mark.parametrize(
    ("elements", "pitch", "source"),
    [
        ({"PixelSpacing": PIXEL}, (0.1, 0.2), "unknown"),
        ({"PixelSpacing": PIXEL, "ImagerPixelSpacing": PIXEL}, (0.1, 0.2), "at detector"),
        (
            {
                "PixelSpacing": PIXEL,
                "ImagerPixelSpacing": IMAGER,
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            (0.1, 0.2),
            "calibrated from an object",
        ),
        ({"PixelSpacing": PIXEL, "ImagerPixelSpacing": IMAGER}, (0.1, 0.2), "calibrated"),
        ({"ImagerPixelSpacing": IMAGER}, (0.3, 0.4), "not corrected"),
        (
            {"ImagerPixelSpacing": IMAGER, "EstimatedRadiographicMagnificationFactor": 2},
            (0.15, 0.2),
            "magnification of 2",
        ),
        ({"Modality": "MR", "PixelSpacing": PIXEL}, (0.1, 0.2), "stated by the file"),
    ],
)
def test_spacing_rule(
    tmp_path: Path, elements: dict[str, Any], pitch: tuple[float, float], source: str
) -> None:
    spacing = read(dataset(marked(), **elements), tmp_path).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx(pitch)
    assert source in spacing.source


@pytest.mark.parametrize("stated", [[0, 0], [-0.1, 0.1], [0.1]])
def test_senseless_spacing(tmp_path: Path, stated: list[float]) -> None:
    image = read(dataset(marked(), PixelSpacing=stated), tmp_path)
    assert image.spacing is None
    assert any("pixel spacing" in text for text in image.warnings)


def code(value: str) -> Sequence:
    """A sequence of one coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "x"
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewCodeSequence": code("399368009")}, "MLO"),
        ({"ViewCodeSequence": code("R-10242")}, "CC"),
        ({"ViewPosition": "MLO"}, "MLO"),
        ({"PatientOrientation": "CC"}, "CC"),
        ({"PatientOrientation": ["A", "R"]}, None),
        ({}, None),
    ],
)
def test_view(tmp_path: Path, elements: dict[str, Any], view: str | None) -> None:
    assert read(dataset(marked(), **elements), tmp_path).view == view


def test_laterality(tmp_path: Path) -> None:
    assert read(dataset(marked(), ImageLaterality="L"), tmp_path).laterality is Laterality.LEFT
    assert read(dataset(marked(), Laterality="R"), tmp_path).laterality is Laterality.RIGHT
    assert read(dataset(marked(), ImageLaterality="B"), tmp_path).laterality is None
    image = read(dataset(marked(), ImageLaterality="L", Laterality="R"), tmp_path)
    assert image.laterality is None
    assert any("two different sides" in text for text in image.warnings)


def test_frame_laterality(tmp_path: Path) -> None:
    anatomy, shared = Dataset(), Dataset()
    anatomy.FrameLaterality = "R"
    shared.FrameAnatomySequence = Sequence([anatomy])
    made = dataset(marked(), SharedFunctionalGroupsSequence=Sequence([shared]))
    assert read(made, tmp_path).laterality is Laterality.RIGHT


def test_warnings_about_raw_data_and_text(tmp_path: Path) -> None:
    made = dataset(marked(), PresentationIntentType="FOR PROCESSING", BurnedInAnnotation="YES")
    warnings = " ".join(read(made, tmp_path).warnings)
    assert "raw detector data" in warnings
    assert "burnt into" in warnings
    assert read(dataset(marked()), tmp_path).warnings == ()
    capture = read(dataset(marked(), SOPClassUID=SecondaryCaptureImageStorage), tmp_path)
    assert "burnt into" in capture.warnings[0]


@pytest.mark.parametrize(
    ("code", "modality"),
    [("MR", Modality.MRI), ("CT", Modality.CT), ("US", Modality.ULTRASOUND),
     ("CR", Modality.RADIOGRAPH), ("DX", Modality.RADIOGRAPH), ("SEG", Modality.MASK),
     ("NM", Modality.UNKNOWN)],
)  # fmt: skip
def test_modality(tmp_path: Path, code: str, modality: Modality) -> None:
    path = save(dataset(marked(), Modality=code), tmp_path / "file")
    assert read_image(path).modality is modality
    assert read_image(path, modality=Modality.MAMMOGRAPHY).modality is Modality.MAMMOGRAPHY


def test_affine_and_marker_in_patient_space(tmp_path: Path) -> None:
    made = dataset(marked(), Modality="MR", PixelSpacing=[0.5, 0.25], SliceThickness=4)
    made.ImagePositionPatient = [10, 20, 30]
    made.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    affine = read(made, tmp_path).affine
    assert affine is not None
    assert affine @ [14, 3, 0, 1] == pytest.approx([10, 23.5, 28.5, 1])
    assert affine[:3, 2] == pytest.approx([-4, 0, 0])


def series(tmp_path: Path, depths: list[float]) -> list[Path]:
    """Axial slices at the given depths, whose brightest value is 1000 plus the depth."""
    study, uid, paths = generate_uid(), generate_uid(), []
    for index, depth in enumerate(depths):
        made = dataset(marked(high=int(1000 + depth)), Modality="CT", PixelSpacing=[1, 1])
        made.StudyInstanceUID, made.SeriesInstanceUID = study, uid
        made.ImagePositionPatient = [0, 0, depth]
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        paths.append(save(made, tmp_path / f"slice{index}"))
    return paths


def test_series_is_stacked_along_its_normal(tmp_path: Path) -> None:
    outcomes = list(gather(series(tmp_path, [15, 5, 10])))
    assert len(outcomes) == 1
    case = outcomes[0].case
    assert case is not None
    image = case.images[0]
    assert [at_mark(image, frame) for frame in range(3)] == [1005, 1010, 1015]
    assert image.spacing is not None
    assert image.spacing.slice_mm == 5
    assert image.affine is not None
    assert image.affine @ [14, 3, 2, 1] == pytest.approx([14, 3, 15, 1])
    assert image.warnings == ()
    assert read_case(tmp_path).id == case.id


def test_gap_in_a_series_is_told(tmp_path: Path) -> None:
    series(tmp_path, [0, 5, 10, 25])
    image = read_case(tmp_path).images[0]
    assert image.frames == 4
    assert image.affine is None
    assert any("evenly" in text for text in image.warnings)


def test_slices_in_one_place_are_not_stacked(tmp_path: Path) -> None:
    paths = series(tmp_path, [0, 5, 5])
    case = next(iter(gather(paths))).case
    assert case is not None
    assert [image.frames for image in case.images] == [1, 1, 1]


def test_views_of_one_examination_are_one_case(tmp_path: Path) -> None:
    study = generate_uid()
    paths = []
    for number, high in enumerate((500, 600)):
        made = dataset(marked(high=high), StudyInstanceUID=study)
        paths.append(save(made, tmp_path / str(number)))
    broken = dataset(marked(), StudyInstanceUID=study)
    broken.PixelData = broken.PixelData[:40]
    paths.append(save(broken, tmp_path / "2"))
    outcomes = list(gather(paths))
    assert sorted((o.position, bool(o.case)) for o in outcomes) == [(1, True), (3, False)]
    case = next(o.case for o in outcomes if o.case)
    assert [image.pixels.max() for image in case.images] == [500, 600]
    assert case.warnings == ("One file of this examination could not be read.",)


def test_headers_are_read_leniently(tmp_path: Path) -> None:
    made = dataset(marked())
    whole = save(made, tmp_path / "whole").read_bytes()
    (tmp_path / "bare").write_bytes(whole[132:])
    assert at_mark(read_image(tmp_path / "bare")) == 900
    del made.file_meta
    buffer = io.BytesIO()
    dcmwrite(buffer, made, implicit_vr=True, little_endian=True, enforce_file_format=False)
    (tmp_path / "no_meta").write_bytes(buffer.getvalue())
    image = read_image(tmp_path / "no_meta")
    assert at_mark(image) == 900
    assert any("lacks part" in text for text in image.warnings)


def test_missing_transfer_syntax_is_not_guessed_when_lengths_differ(tmp_path: Path) -> None:
    made = dataset(marked())
    made.PixelData = made.PixelData + b"\0\0\0\0"
    del made.file_meta
    buffer = io.BytesIO()
    dcmwrite(buffer, made, implicit_vr=True, little_endian=True, enforce_file_format=False)
    (tmp_path / "file").write_bytes(buffer.getvalue())
    with pytest.raises(UnreadableFile, match="how its pixels are coded"):
        read_image(tmp_path / "file")


def broken(kind: str) -> Dataset:
    """A data set that must be refused."""
    made = dataset(marked())
    if kind == "short":
        made.PixelData = made.PixelData[:100]
    elif kind == "none":
        del made.PixelData
    elif kind == "empty":
        made.PixelData = b""
    elif kind == "plan":
        del made.PixelData, made.Rows
        made.Modality = "RTPLAN"
    elif kind == "dose":
        made.Modality = "RTDOSE"
    elif kind == "zero":
        made.Rows = 0
    elif kind == "meaningless":
        made.PhotometricInterpretation = "WHATEVER"
    elif kind == "huge":
        made.NumberOfFrames = 10_000_000
    return made


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("short", UnreadableFile, "cut short"),
        ("none", UnreadableFile, "missing"),
        ("empty", UnreadableFile, "missing"),
        ("plan", UnreadableFile, "radiotherapy plan"),
        ("dose", UnsupportedImage, "dose"),
        ("zero", UnreadableFile, "size of zero"),
        ("meaningless", UnsupportedImage, "what its pixel values mean"),
        ("huge", LimitExceeded, "10000000 frames"),
    ],
)
def test_refusals(tmp_path: Path, kind: str, error: type[EngineError], words: str) -> None:
    path = save(broken(kind), tmp_path / "file")
    with pytest.raises(error, match=words) as caught:
        read_image(path)
    assert caught.value.__cause__ is None


def test_stream_larger_than_the_header_is_refused(tmp_path: Path) -> None:
    made = dataset(marked())
    made.compress(JPEG2000Lossless, generate_instance_uid=False)
    made.Rows = 6
    with pytest.raises(UnreadableFile, match="contradict"):
        read(made, tmp_path)


def test_video_is_refused(tmp_path: Path) -> None:
    made = dataset(marked())
    made.compress(RLELossless, generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    with pytest.raises(UnsupportedImage, match="video"):
        read(made, tmp_path)


def test_deflated_bomb_is_refused(tmp_path: Path) -> None:
    made = dataset(np.zeros((1500, 1500), np.uint16))
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(made, tmp_path / "file")
    with pytest.raises(LimitExceeded, match="unpacked"):
        read_image(path, limits=Limits(max_bytes=1 << 20))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_truncated_files_are_refused(tmp_path: Path, fraction: float, syntax: str | None) -> None:
    noise = np.random.default_rng(1).integers(0, 4000, (64, 64)).astype(np.uint16)
    made = dataset(noise)
    if syntax:
        made.compress(syntax, generate_instance_uid=False)
    data = save(made, tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(UnreadableFile):
        read_image(tmp_path / "cut")
