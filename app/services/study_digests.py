"""SHA-256 of all that a locked study rests on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from app.services.context import Context
from app.services.jobs import cache_key
from app.store import StudyInfo
from app.version import VERSION
from engine.study.protocol_json import protocol_to_json

ROOT = Path(__file__).resolve().parent.parent.parent
DISPLAY = ("viewer*.js", "viewer.css", "viewer.html", "reading*")


def digests(context: Context, study: StudyInfo) -> dict[str, str]:
    """Digests of "answers", "protocol", "plan", "model", "outputs", "display" and "software"."""
    store = context.store
    outputs = store.outputs(study.id)
    return {
        "answers": answers_digest(context, study),
        "protocol": cache_key(protocol_to_json(study.protocol)),
        "plan": cache_key([row.planned for row in store.study_plan(study.id)]),
        "model": str(study.model.get("weights_digest", "")),
        "outputs": cache_key([outputs[key] for key in sorted(outputs)]),
        "display": _display(),
        "software": _software(),
    }


def answers_digest(context: Context, study: StudyInfo) -> str:
    """Digest of everything that was handed in, all versions."""
    return cache_key(
        [
            [
                each.reading,
                each.revision,
                each.comment,
                each.reason,
                each.timing,
                each.created.isoformat(),
                [
                    [a.question, a.status.value, a.value, a.text, a.marks, a.reason]
                    for a in each.answers
                ],
            ]
            for each in context.store.submissions(study.id)
        ]
    )


@cache
def _display() -> str:
    """Of the viewer and the reading room as the browser gets them."""
    folder = ROOT / "assets" / "web"
    return _of_files(sorted({path for name in DISPLAY for path in folder.glob(name)}))


@cache
def _software() -> str:
    """Of the program's own source, with its version."""
    folders = [ROOT / name for name in ("app", "engine", "reports")]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return cache_key(VERSION, _of_files(files))


def _of_files(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        if path.is_file():
            whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
