"""PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD: a marked pixel comes out where it was put."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile

from engine.errors import EngineError, LimitExceeded, UnreadableFile, UnsupportedImage
from engine.io import Limits, read_image
from engine.io.volume import inflate
from engine.records import Modality

ROWS, COLUMNS, MARK = 20, 33, (4, 27)


def marked(dtype: str = "u1", high: float = 250) -> np.ndarray:
    """A ramp with one bright pixel at MARK."""
    plane = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 90).astype(dtype)
    plane[MARK] = high
    return plane


def coloured(dtype: str = "u1", unit: int = 1) -> np.ndarray:
    """Black, with one pixel of a known colour at MARK."""
    picture = np.zeros((ROWS, COLUMNS, 3), dtype)
    picture[MARK] = (200 * unit, 100 * unit, 50 * unit)
    return picture


def put(folder: Path, data: bytes) -> Path:
    """A file whose name says nothing."""
    path = folder / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("dtype", "high"), [("u1", 250), ("u2", 60000)])
def test_grey_png(tmp_path: Path, dtype: str, high: int) -> None:
    image = read_image(put(tmp_path, imagecodecs.png_encode(marked(dtype, high))))
    assert np.array_equal(image.pixels[0, ..., 0], marked(dtype, high))
    assert image.bits == 8 * np.dtype(dtype).itemsize
    assert image.modality is Modality.MAMMOGRAPHY
    assert "does not state its modality" in image.warnings[0]
    assert image.spacing is None
    assert len(image.windows) == 1


def test_told_modality_needs_no_warning(tmp_path: Path) -> None:
    path = put(tmp_path, imagecodecs.png_encode(marked()))
    image = read_image(path, modality=Modality.MRI)
    assert image.modality is Modality.MRI
    assert image.warnings == ()


@pytest.mark.parametrize("unit", [1, 257])
def test_rgb_png(tmp_path: Path, unit: int) -> None:
    picture = coloured("u1" if unit == 1 else "u2", unit)
    image = read_image(put(tmp_path, imagecodecs.png_encode(picture)))
    assert image.pixels[(0, *MARK)] == pytest.approx([200, 100, 50])
    assert image.pixels.sum() == pytest.approx(350)
    assert image.modality is Modality.PATHOLOGY
    assert image.windows == ()


def test_rgb_with_equal_channels_is_grey(tmp_path: Path) -> None:
    picture = np.repeat(marked("u2", 60000)[..., None], 3, axis=2)
    image = read_image(put(tmp_path, imagecodecs.png_encode(picture)))
    assert not image.is_colour
    assert np.array_equal(image.pixels[0, ..., 0], marked("u2", 60000))


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_dropped(tmp_path: Path, channels: int, opaque: bool) -> None:
    colour = coloured() if channels == 3 else marked()[..., None]
    alpha = np.full((ROWS, COLUMNS, 1), 255, np.uint8)
    alpha[MARK] = 255 if opaque else 0
    picture = np.concatenate([colour, alpha], axis=2)
    image = read_image(put(tmp_path, imagecodecs.png_encode(picture)))
    assert np.array_equal(image.pixels[0], colour)
    assert any("transparent" in text for text in image.warnings) is not opaque


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its chunks."""
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        check = zlib.crc32(name + body)
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)
    return data


def test_palette_png(tmp_path: Path) -> None:
    indices = np.zeros((ROWS, COLUMNS), np.uint8)
    indices[MARK] = 1
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    data = png(
        struct.pack(">IIBBBBB", COLUMNS, ROWS, 8, 3, 0, 0, 0),
        (b"PLTE", bytes([0, 0, 0, 200, 100, 50])),
        (b"IDAT", zlib.compress(rows)),
    )
    assert read_image(put(tmp_path, data)).pixels[(0, *MARK)].tolist() == [200, 100, 50]


def test_one_bit_png(tmp_path: Path) -> None:
    bits = np.zeros((ROWS, COLUMNS), np.uint8)
    bits[MARK] = 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", COLUMNS, ROWS, 1, 0, 0, 0, 0)
    image = read_image(put(tmp_path, png(header, (b"IDAT", zlib.compress(rows)))))
    assert np.argwhere(image.pixels[0, ..., 0]).tolist() == [list(MARK)]


def test_grey_jpeg(tmp_path: Path) -> None:
    smooth = np.zeros((64, 96), np.uint8)
    smooth[16:24, 72:80] = 240
    image = read_image(put(tmp_path, imagecodecs.jpeg_encode(smooth, level=98)))
    bright = np.argwhere(image.pixels[0, ..., 0] > 120)
    assert bright.min(axis=0).tolist() == [16, 72]
    assert bright.max(axis=0).tolist() == [23, 79]


def exif(orientation: int) -> bytes:
    """An APP1 segment with an orientation."""
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    ("orientation", "corner", "shape"),
    [(1, (0, 0), (64, 96)), (2, (0, -1), (64, 96)), (3, (-1, -1), (64, 96)),
     (4, (-1, 0), (64, 96)), (5, (0, 0), (96, 64)), (6, (0, -1), (96, 64)),
     (7, (-1, -1), (96, 64)), (8, (-1, 0), (96, 64))],
)  # fmt: skip
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, corner: tuple[int, int], shape: tuple[int, int]
) -> None:
    stored = np.zeros((64, 96), np.uint8)
    stored[:8, :16] = 250
    data = imagecodecs.jpeg_encode(stored, level=98)
    image = read_image(put(tmp_path, data[:2] + exif(orientation) + data[2:]))
    assert image.pixels.shape == (1, *shape, 1)
    assert image.pixels[(0, *corner, 0)] > 200
    assert ("orientation" in image.facts) is (orientation != 1)


def test_colour_jpeg_and_print_colours(tmp_path: Path) -> None:
    flat = np.tile(np.array([200, 100, 50], np.uint8), (32, 32, 1))
    image = read_image(put(tmp_path, imagecodecs.jpeg_encode(flat, level=98)))
    assert image.pixels[0, 16, 16] == pytest.approx([200, 100, 50], abs=3)
    cmyk = imagecodecs.jpeg_encode(
        np.zeros((16, 16, 4), np.uint8), colorspace="CMYK", outcolorspace="CMYK"
    )
    with pytest.raises(UnsupportedImage, match="print colours"):
        read_image(put(tmp_path, cmyk))


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"},
                                     {"compression": "zlib"}, {"tile": (16, 16)}])  # fmt: skip
@pytest.mark.parametrize(("dtype", "high"), [("u1", 250), ("u2", 60000), ("i2", 900), ("f4", 9.5)])
def test_grey_tiff(tmp_path: Path, options: dict[str, Any], dtype: str, high: float) -> None:
    path = tmp_path / "file"
    tifffile.imwrite(path, marked(dtype, high), photometric="minisblack", **options)
    image = read_image(path)
    assert np.array_equal(image.pixels[0, ..., 0], marked(dtype, high))
    assert image.bits == (32 if dtype == "f4" else 8 * np.dtype(dtype).itemsize)


def test_tiff_pages_become_frames(tmp_path: Path) -> None:
    pages = np.stack([marked(high=200), marked(high=210), marked(high=220)])
    tifffile.imwrite(tmp_path / "file", pages, photometric="minisblack")
    image = read_image(tmp_path / "file")
    assert np.array_equal(image.pixels[..., 0], pages)
    assert image.modality is Modality.UNKNOWN


def test_tiff_with_pages_of_two_sizes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "file") as file:
        file.write(marked(), photometric="minisblack")
        file.write(marked()[:5, :5], photometric="minisblack")
    image = read_image(tmp_path / "file")
    assert image.frames == 1
    assert any("several sizes" in text for text in image.warnings)


def test_tiff_white_is_zero(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "file", marked(), photometric="miniswhite")
    image = read_image(tmp_path / "file")
    assert image.inverted
    assert np.array_equal(image.pixels[0, ..., 0], marked())


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff(tmp_path: Path, planar: str) -> None:
    picture = coloured() if planar == "contig" else np.moveaxis(coloured(), -1, 0)
    tifffile.imwrite(tmp_path / "file", picture, photometric="rgb", planarconfig=planar)
    assert np.array_equal(read_image(tmp_path / "file").pixels[0], coloured())


def test_palette_tiff(tmp_path: Path) -> None:
    table = np.zeros((3, 256), np.uint16)
    table[:, 1] = np.array([200, 100, 50]) * 257
    indices = np.zeros((ROWS, COLUMNS), np.uint8)
    indices[MARK] = 1
    tifffile.imwrite(tmp_path / "file", indices, photometric="palette", colormap=table)
    assert read_image(tmp_path / "file").pixels[(0, *MARK)] == pytest.approx([200, 100, 50])


def test_alpha_tiff(tmp_path: Path) -> None:
    alpha = np.zeros((ROWS, COLUMNS, 1), np.uint8)
    picture = np.concatenate([coloured(), alpha], axis=2)
    tifffile.imwrite(tmp_path / "file", picture, photometric="rgb", extrasamples=["unassalpha"])
    image = read_image(tmp_path / "file")
    assert np.array_equal(image.pixels[0], coloured())
    assert any("transparent" in text for text in image.warnings)


@pytest.mark.parametrize(
    ("resolution", "unit", "pitch"),
    [((200, 100), "CENTIMETER", (0.1, 0.05)), ((254, 508), "INCH", (0.05, 0.1)),
     ((1, 1), "NONE", None), ((1, 1), "CENTIMETER", None)],
)  # fmt: skip
def test_tiff_resolution(
    tmp_path: Path, resolution: tuple[int, int], unit: str, pitch: tuple[float, float] | None
) -> None:
    tifffile.imwrite(
        tmp_path / "file", marked(), photometric="minisblack", resolution=resolution,
        resolutionunit=unit,
    )  # fmt: skip
    spacing = read_image(tmp_path / "file").spacing
    found = (spacing.row_mm, spacing.column_mm) if spacing else None
    assert found == (pytest.approx(pitch) if pitch else None)


def test_tiff_of_a_foreign_colour_coding(tmp_path: Path) -> None:
    picture = np.zeros((ROWS, COLUMNS, 4), np.uint8)
    tifffile.imwrite(tmp_path / "file", picture, photometric="separated")
    with pytest.raises(UnsupportedImage, match="colour coding"):
        read_image(tmp_path / "file")


def volume(frames: int = 3) -> np.ndarray:
    """(X, Y, Z) with a bright voxel in frame k at MARK, of value 500 + k."""
    data = np.zeros((COLUMNS, ROWS, frames), np.int16)
    for k in range(frames):
        data[MARK[1], MARK[0], k] = 500 + k
    return data


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("packed", [False, True])
def test_nifti(tmp_path: Path, kind: Any, packed: bool) -> None:
    affine = np.diag([0.5, 0.25, 2, 1.0])
    affine[:3, 3] = (10, 20, 30)
    made = kind(volume(), affine)
    made.header.set_xyzt_units("mm")
    data = made.to_bytes()
    image = read_image(put(tmp_path, gzip.compress(data) if packed else data))
    assert image.pixels.shape == (3, ROWS, COLUMNS, 1)
    assert [image.pixels[(k, *MARK, 0)] for k in range(3)] == [500, 501, 502]
    assert np.count_nonzero(image.pixels) == 3
    assert image.spacing is not None
    assert (image.spacing.row_mm, image.spacing.column_mm, image.spacing.slice_mm) == (0.25, 0.5, 2)
    assert image.affine is not None
    assert image.affine @ [27, 4, 2, 1] == pytest.approx([-23.5, -21, 34, 1])  # RAS to LPS
    assert image.modality is Modality.UNKNOWN


def test_flat_scaled_nifti(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(volume(1)[..., 0], np.eye(4))
    made.header.set_slope_inter(0.5, -3)
    made.header["scl_slope"], made.header["scl_inter"] = 0.5, -3
    data = bytearray(made.to_bytes())
    data[112:120] = struct.pack("<ff", 0.5, -3)
    image = read_image(put(tmp_path, bytes(data)))
    assert image.pixels.shape == (1, ROWS, COLUMNS, 1)
    assert image.pixels[(0, *MARK, 0)] == 247
    assert image.modality is Modality.MAMMOGRAPHY


def test_nifti_micrometres_and_zero_pitch(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(volume(1), np.diag([50.0, 40, 1, 1]))
    made.header.set_xyzt_units("micron")
    spacing = read_image(put(tmp_path, made.to_bytes())).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((0.04, 0.05))
    data = bytearray(made.to_bytes())
    data[80:84] = struct.pack("<f", 0)
    image = read_image(put(tmp_path, bytes(data)))
    assert image.spacing is None
    assert any("voxel size" in text for text in image.warnings)


def test_nifti_refusals(tmp_path: Path) -> None:
    several = nibabel.Nifti1Image(np.zeros((5, 5, 2, 3), np.int16), np.eye(4)).to_bytes()
    with pytest.raises(UnsupportedImage, match="several volumes"):
        read_image(put(tmp_path, several))
    waves = nibabel.Nifti1Image(np.zeros((5, 5, 2), np.complex64), np.eye(4)).to_bytes()
    with pytest.raises(UnsupportedImage, match="complex"):
        read_image(put(tmp_path, waves))
    header = bytearray(nibabel.Nifti1Image(volume(), np.eye(4)).to_bytes())
    header[344:348] = b"ni1\0"
    with pytest.raises(UnreadableFile, match="second file"):
        read_image(put(tmp_path, bytes(header)))


def itk_image(components: int = 1) -> Any:
    """A volume as ITK sees it, with a pitch, an origin and a turned frame."""
    array = volume().transpose(2, 1, 0)
    if components > 1:
        array = np.stack([array % 251, array * 0, array * 0], axis=-1).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(array, isVector=components > 1)
    image.SetSpacing((0.5, 0.25, 2))
    image.SetOrigin((10, 20, 30))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_metaimage_and_nrrd_agree_with_itk(tmp_path: Path, suffix: str, packed: bool) -> None:
    made = itk_image()
    SimpleITK.WriteImage(made, str(tmp_path / f"x{suffix}"), packed)
    (tmp_path / f"x{suffix}").rename(tmp_path / "file")
    image = read_image(tmp_path / "file")
    assert np.array_equal(image.pixels[..., 0], SimpleITK.GetArrayFromImage(made))
    assert image.pixels[(2, *MARK, 0)] == 502
    assert image.spacing is not None
    assert (image.spacing.row_mm, image.spacing.column_mm, image.spacing.slice_mm) == (0.25, 0.5, 2)
    assert image.affine is not None
    for index in ((0, 0, 0), (27, 4, 2)):
        point = made.TransformIndexToPhysicalPoint(index)
        assert image.affine @ [*index, 1] == pytest.approx([*point, 1])


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_colour_volumes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(itk_image(3), str(path))
    image = read_image(path)
    assert image.pixels.shape == (3, ROWS, COLUMNS, 3)
    assert image.pixels[(2, *MARK)].tolist() == [0, 0, 0]
    assert image.pixels[(1, *MARK)].tolist() == [250, 0, 0]


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_flat_float_volumes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(marked("f8", 1e3)), str(path))
    image = read_image(path)
    assert np.array_equal(image.pixels[0, ..., 0], marked("f8", 1e3))
    assert image.bits == 32
    assert image.affine is None


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_detached_headers_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(itk_image(), str(path))
    with pytest.raises(UnreadableFile, match="second file"):
        read_image(path)


def test_nrrd_spacings_ras_and_bzip2(tmp_path: Path) -> None:
    raw = volume().tobytes(order="F")
    plain = b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 33 20 3\nendian: little\n"
    data = plain + b"encoding: bzip2\nspacings: 0.5 0.25 2\n\n" + bz2.compress(raw)
    image = read_image(put(tmp_path, data))
    assert image.pixels[(2, *MARK, 0)] == 502
    assert image.spacing is not None
    assert image.spacing.row_mm == 0.25
    space = b"space: right-anterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    data = plain + b"encoding: raw\n" + space + b"space origin: (1,2,3)\n\n" + raw
    affine = read_image(put(tmp_path, data)).affine
    assert affine is not None
    assert affine @ [1, 1, 1, 1] == pytest.approx([-2, -3, 4, 1])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"NRRD0004\ntype: block\ndimension: 2\nsizes: 2 2\nencoding: raw\n\n0000", "pixel type"),
        (b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: hex\n\n0000", "coding"),
        (b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 9 9\nencoding: raw\n\n0000", "cut short"),
        (b"NRRD0004\ntype: uchar\ndimension: 4\nsizes: 2 2 2 2\nencoding: raw\n\n", "several"),
        (b"NDims = 2\nDimSize = 2 2\nElementType = MET_OTHER\nElementDataFile = LOCAL\n", "type"),
        (b"NDims = 2\nDimSize = 9 9\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n", "short"),
        (b"NDims = 4\nDimSize = 2 2 2 2\nElementDataFile = LOCAL\n", "several"),
        (b"NDims = 2\nDimSize = 2 2\nElementDataFile = /etc/passwd\n", "second file"),
    ],
)
def test_volume_refusals(tmp_path: Path, data: bytes, error: str) -> None:
    with pytest.raises(EngineError, match=error):
        read_image(put(tmp_path, data))


def test_members_of_a_gzip_stream_join() -> None:
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"cd"), 4) == b"abcd"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_numbers(tmp_path: Path, value: float) -> None:
    tifffile.imwrite(tmp_path / "file", marked("f8", value), photometric="minisblack")
    with pytest.raises(UnreadableFile, match="not numbers"):
        read_image(tmp_path / "file")


def test_constant_picture_is_allowed(tmp_path: Path) -> None:
    image = read_image(put(tmp_path, imagecodecs.png_encode(np.full((9, 9), 7, np.uint8))))
    assert any("same value" in text for text in image.warnings)
    assert image.windows[0].width > 0


SMALL = Limits(max_side=16, max_pixels=100)


def huge_png() -> bytes:
    """A PNG header of 30000 by 30000 with nothing behind it."""
    return png(struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0), (b"IDAT", b""))


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.png_encode(marked()),
        imagecodecs.jpeg_encode(marked()),
        nibabel.Nifti1Image(volume(), np.eye(4)).to_bytes(),
        b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 20 20\nencoding: raw\n\n",
        b"NDims = 2\nDimSize = 20 20\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n",
    ],
)
def test_size_is_limited_before_decoding(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(LimitExceeded):
        read_image(put(tmp_path, data), limits=SMALL)


def test_usual_limits(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="900 million"):
        read_image(put(tmp_path, huge_png()))
    tifffile.imwrite(tmp_path / "tiff", np.stack([marked()] * 3), photometric="minisblack")
    with pytest.raises(LimitExceeded):
        read_image(tmp_path / "tiff", limits=Limits(max_pixels=ROWS * COLUMNS * 2))
    with pytest.raises(LimitExceeded, match="larger than 1 KiB"):
        read_image(put(tmp_path, b"x" * 2000), limits=Limits(max_bytes=1024))


def test_png_with_wrong_checksums_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    packed = zlib.compress(b"\0\1\2\0\3\4")
    whole = png(header, (b"IDAT", packed))
    assert read_image(put(tmp_path, whole)).pixels.ravel().tolist() == [1, 2, 3, 4]
    chunk = bytearray(whole)
    chunk[45] ^= 1
    stream = png(header, (b"IDAT", packed[:-1] + b"\0"))
    for data in (bytes(chunk), stream, png(header, (b"IDAT", packed[:-2]))):
        with pytest.raises(UnreadableFile):
            read_image(put(tmp_path, data))
    assert capfd.readouterr() == ("", "")
