"""De-identification: only words from closed lists leave a file; everything else is dropped.

No name, identifier, date, description, comment, institution, device, private element, text chunk
or file name survives reading. A fact is copied only when its value is in a list below, so that
a text hidden in a coded element cannot pass either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

BURNT_IN = (
    "Text may be burnt into this picture; check that it does not name the patient before "
    "you share it."
)


def words(text: str) -> frozenset[str]:
    """A closed list, from words with blanks between them."""
    return frozenset(text.split())


MODALITY_CODES = words(
    "AR AU BDUS BI BMD CR CT CFM DG DM DX ECG EEG EPS ES FID GM HC HD IO IVOCT IVUS KER KO LEN "
    "LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN PR PT PX REG RESP RF RG "
    "RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA "
    "XC"
)
PHOTOMETRICS = words(
    "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_PARTIAL_422 YBR_PARTIAL_420 YBR_ICT "
    "YBR_RCT XYB HSV ARGB CMYK"
) | {"PALETTE COLOR"}
_WINDOW_WORDS = words(
    "ABDOMEN ALGO ANGIO AXIAL BONE BRAIN BREAST CHEST CONTRAST DEFAULT HARD HARDER HEAD HIGH LOW "
    "LUNG MEDIASTINUM MEDIUM NECK NORMAL PELVIS SHARP SOFT SOFTER SPINE STANDARD TISSUE USER "
    "DEFINED WIDE NARROW WINDOW"
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def pseudonym(digests: Sequence[str]) -> str:
    """Name of a case, "LB-" and 12 hexadecimal digits, from the digests of its images alone."""
    joined = "\n".join(sorted(digests))
    return "LB-" + hashlib.sha256(joined.encode("ascii")).hexdigest()[:12]


def listed(value: object, allowed: frozenset[str]) -> str | None:
    """A coded value, if a closed list holds it; None otherwise."""
    text = str(value).strip().upper() if value is not None else ""
    return text if text in allowed else None


def window_explanation(text: object) -> str:
    """The explanation of a window, if each of its words belongs to the usual vocabulary."""
    found = re.findall(r"[A-Za-z]+|\d+|\S", str(text or ""))
    known = all(w.upper() in _WINDOW_WORDS or (w.isdigit() and len(w) <= 2) for w in found)
    return " ".join(found).capitalize() if found and known else ""


def burnt_in_text(flag: object, modality_code: str | None, sop_class: object) -> bool:
    """Whether text burnt into the pixels cannot be excluded.

    Args:
        flag: BurnedInAnnotation of the file, "YES", "NO", or anything else when not stated.
        modality_code: DICOM modality.
        sop_class: SOP class UID.
    """
    stated = str(flag or "").strip().upper()
    if stated in ("YES", "NO"):
        return stated == "YES"
    return modality_code == "US" or str(sop_class or "").startswith(_SECONDARY_CAPTURE)
