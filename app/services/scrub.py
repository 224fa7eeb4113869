"""Text for a page out of the log of a process: no path, file name, identifier or long number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

GAP = "…"
ENDINGS = (
    "dcm|dicom|ima|png|jpe?g|jp2|bmp|tiff?|svs|ndpi|mrxs|nii|gz|nrrd|mha|mhd|zip|csv|tsv|parquet|"
    "json|jsonl|toml|ya?ml|txt|log|npy|npz|pt|pth|bin|ckpt|safetensors|sqlite3?|db|py|pyc|so"
)
_RULES = (
    re.compile(r"\"[^\"\n]*[/\\.\d^@][^\"\n]*\"|'[^'\n]*[/\\.\d^@][^'\n]*'"),  # quoted values
    re.compile(r"(?<!\S)(?![\d.]+/[\d.]+[,;:)]*(?:\s|$))\S*[\\/]\S+"),  # paths, but not "3/20"
    re.compile(rf"[\w.^@-]+\.(?:{ENDINGS})\b", re.IGNORECASE),  # names of files
    re.compile(r"\b\d+(?:\.\d+){3,}\b"),  # unique identifiers of DICOM, addresses
    re.compile(r"\b\w*\d{6,}\w*\b"),  # numbers of patients, dates of birth, addresses in memory
    re.compile(r"\S+\^\S*"),  # names as DICOM writes them
)
KEPT = ("event", "time", "card")


def scrubbed(text: str) -> str:
    """The text with everything left out that might name a person, a file or this machine."""
    for rule in _RULES:
        text = rule.sub(GAP, text)
    return text


def scrubbed_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of a run with its texts scrubbed."""
    return {name: value if name in KEPT else _inside(value) for name, value in event.items()}


def _inside(value: Any) -> Any:
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, Mapping):
        return {name: _inside(each) for name, each in value.items()}
    return [_inside(each) for each in value] if isinstance(value, list) else value
