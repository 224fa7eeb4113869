"""Procedural phantoms: mammograms and H&E fields whose truth is known exactly."""

from engine.phantoms.cases import phantom_case, write_case
from engine.phantoms.classes import GRADES, LABELS
from engine.phantoms.mammography import Mammogram, mammogram
from engine.phantoms.pathology import histology
from engine.phantoms.site import SITES, Site

__all__ = [
    "GRADES",
    "LABELS",
    "SITES",
    "Mammogram",
    "Site",
    "histology",
    "mammogram",
    "phantom_case",
    "write_case",
]
