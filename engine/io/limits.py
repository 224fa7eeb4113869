"""Limits that protect the machine from images that are too large, checked before decoding."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import LimitExceeded, UnreadableFile

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True)
class Limits:
    """How large an input may be.

    Args:
        max_bytes: Bytes of one file, also after decompression.
        max_total_bytes: Bytes of all files of one batch together.
        max_pixels: Pixels of one image, all its frames together.
        max_side: Rows, columns, or frames, of one image.
        max_files: Files of one batch.
        max_zip_ratio: Uncompressed over compressed size of an archive.
    """

    max_bytes: int = 1 << 30
    max_total_bytes: int = 4 << 30
    max_pixels: int = 400_000_000
    max_side: int = 30_000
    max_files: int = 5_000
    max_zip_ratio: int = 200

    def check_bytes(self, size: int) -> None:
        """Refuse a file of `size` bytes that is too large.

        Raises:
            LimitExceeded: The file is larger than `max_bytes`.
        """
        if size > self.max_bytes:
            raise LimitExceeded(
                f"This file is larger than {in_words(self.max_bytes)}, the most Lightbox reads."
            )

    def check_plane(self, rows: int, columns: int, frames: int = 1) -> None:
        """Refuse an image whose header states too many pixels, or none.

        Raises:
            UnreadableFile: A dimension is zero or negative.
            LimitExceeded: A side, or the number of pixels, is too large.
        """
        if min(rows, columns, frames) < 1:
            raise UnreadableFile("The file states an image size of zero, so it holds no picture.")
        if max(rows, columns) > self.max_side:
            raise LimitExceeded(
                f"The picture is {columns} by {rows} pixels; Lightbox reads at most "
                f"{self.max_side} along one side."
            )
        if frames > self.max_side:
            raise LimitExceeded(
                f"The image has {frames} frames; Lightbox reads at most {self.max_side}."
            )
        if rows * columns * frames > self.max_pixels:
            raise LimitExceeded(
                f"The image holds {rows * columns * frames / 1e6:.0f} million pixels; Lightbox "
                f"reads at most {self.max_pixels / 1e6:g} million."
            )


def in_words(size: int) -> str:
    """A number of bytes for people, such as "4 GiB"."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
