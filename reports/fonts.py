"""Text in any script: which embedded font draws each run, and markup that cannot be injected.

The fonts lie in assets/fonts. A character that none of them has prints as a box.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "fonts"

REGULAR = "LightboxSans"
BOLD = "LightboxSans-Bold"
FALLBACK = "LightboxFallback"
FILES = {
    REGULAR: "DejaVuSans.ttf",
    BOLD: "DejaVuSans-Bold.ttf",
    FALLBACK: "DroidSansFallbackFull.ttf",
}

MISSING = "\u25a1"
RIGHT_TO_LEFT = "(right-to-left text, printed in the order in which it was typed)"
_SILENT = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufe0e\ufe0f\ufeff")
"""Characters without a shape of their own: hyphenation hints, joiners, variation selectors."""


@lru_cache(maxsize=1)
def register() -> dict[str, frozenset[int]]:
    """Make the fonts known to the PDF library; returns the code points each of them has."""
    covered = {}
    for name, file in FILES.items():
        font = TTFont(name, str(FOLDER / file))
        pdfmetrics.registerFont(font)
        covered[name] = frozenset(code for code in font.face.charToGlyph if code <= 0xFFFF)
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR)
    return covered


def runs(text: str, font: str = REGULAR) -> list[tuple[str, str]]:
    """(font name, text) pairs that draw the text in order.

    The text is composed (NFC); tabs become spaces, joiners are dropped, and control characters,
    direction overrides and characters without a glyph become a box. Line feeds stay.
    """
    covered = register()
    drawn: list[tuple[str, str]] = []
    for char in unicodedata.normalize("NFC", text.replace("\r\n", "\n")):
        if char in _SILENT:
            continue
        drawn.append(_drawn(" " if char in "\t\u00a0" else char, font, covered))
    return [
        (name, "".join(char for _, char in group))
        for name, group in groupby(drawn, key=lambda pair: pair[0])
    ]


def _drawn(char: str, font: str, covered: dict[str, frozenset[int]]) -> tuple[str, str]:
    if char == "\n":
        return font, char
    if unicodedata.category(char)[0] != "C":
        for name in (font, REGULAR, FALLBACK):
            if ord(char) in covered[name]:
                return name, char
    return font, MISSING


def markup(text: str, font: str = REGULAR) -> str:
    """Paragraph markup that prints the text literally, whatever it holds."""
    pieces = []
    for name, run in runs(text, font):
        safe = escape(run).replace("\n", "<br/>")
        pieces.append(safe if name == font else f'<font name="{name}">{safe}</font>')
    if is_right_to_left(text):
        pieces.append(" " + RIGHT_TO_LEFT)
    return "".join(pieces)


def is_right_to_left(text: str) -> bool:
    """True when the text holds Hebrew, Arabic or another script written from the right."""
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def is_wide(text: str) -> bool:
    """True when lines may break between any two characters (Chinese, Japanese)."""
    return any(name == FALLBACK for name, _ in runs(text))


def width(text: str, size: float, font: str = REGULAR) -> float:
    """Width of one line of text, points."""
    return sum(float(pdfmetrics.stringWidth(run, name, size)) for name, run in runs(text, font))


def shortened(text: str, size: float, limit: float, font: str = REGULAR) -> str:
    """The text, or its beginning with an ellipsis, no wider than `limit` points."""
    if width(text, size, font) <= limit:
        return text
    kept = text[:400]
    while kept and width(kept + "…", size, font) > limit:
        kept = kept[:-1]
    return kept.rstrip() + "…"
