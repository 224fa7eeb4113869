"""What the evidence panel is told: methods with state, maps and scores, in plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.services.cases import NAMES
from app.services.evidence_about import LESION, About, is_usual, plain, segments, settings_of
from app.services.evidence_tiles import tile_size
from app.services.jobs import Job
from app.store import ExplanationRow
from engine.metrics.catalogue import METRICS
from engine.records import Case, Prediction

LOOK_VERSION = "1"
"""Part of the addresses of pictures; a change of how they are drawn changes it."""

FLAG = "This map still looks alike when the model's weights are destroyed."
FAILS = "fails"
NOTE = (
    "The model's weights are replaced by noise, part after part, from its answer back to its "
    "input. A map that still looks the same at the end shows the image, not what the model learnt."
)
BUSY = ("waiting", "running")


@dataclass(frozen=True)
class Sheet:
    """All that is known about the maps of one case and target, for one reader.

    Args:
        about: Case, model and target.
        shown: Method to the explanation on display.
        jobs: Method, or kind of evidence, to the job last asked for.
        refused: Method to the reason why it cannot serve the case.
        chosen: Method to the settings asked for, where they differ from the defaults.
        found: (kind, method) to number and content of what was found about the map on display.
        regions: Rows of the table of regions, as the panel shows them.
        agreement: Per image, how alike the maps are.
    """

    about: About
    shown: Mapping[str, ExplanationRow]
    jobs: Mapping[str, Job]
    refused: Mapping[str, str]
    chosen: Mapping[str, Mapping[str, Any]]
    found: Mapping[tuple[str, str], tuple[int, Mapping[str, Any]]]
    regions: Sequence[Mapping[str, Any]] = ()
    agreement: Sequence[Mapping[str, Any]] = ()


def empty(case: Case, problem: str) -> dict[str, Any]:
    """Value of the panel where there is no model to ask."""
    nothing: dict[str, Any] = {"state": "none", "job": None}
    return {
        "version": 0, "case": case.id, "model": None, "notice": problem, "problem": problem,
        "target": "", "targets": [], "images": [], "families": [], "consensus": [],
        "agreement": [], "regions": [], "metrics": [], "stability": nothing, "measured": nothing,
        "randomisation": nothing | {"stages": [], "note": NOTE, "methods": []},
    }  # fmt: skip


def value(sheet: Sheet, problem: str = "") -> dict[str, Any]:
    """Value of the panel.

    Args:
        sheet: What is known. problem: Why the model could not be asked, one sentence.
    """
    this = sheet.about
    card, prediction = this.card, this.prediction
    measurable = this.target != LESION
    return empty(this.case, problem) | {
        "model": {
            "title": card.title,
            "version": card.version,
            "weights": card.weights_digest[:12],
        },
        "notice": problem or card.intended_use,
        "target": this.target,
        "targets": [*card.classes, *([LESION] if segments(card) else ())],
        "measurable": measurable,
        "images": [] if problem else images(this.case, prediction),
        "families": [] if problem else families(sheet),
        "consensus": consensus(sheet),
        "agreement": list(sheet.agreement),
        "regions": list(sheet.regions),
        "metrics": metrics(),
        "stability": _state(sheet, "stability"),
        "measured": _state(sheet, "scores"),
        "randomisation": randomisation(sheet),
    }


def images(case: Case, prediction: Prediction | None) -> list[dict[str, Any]]:
    """Images that the model read; all, where it has not read the case yet."""
    read = set() if prediction is None else set(prediction.frames)
    names: dict[str, int] = {}
    shown = []
    for n, image in enumerate(case.images):
        name = NAMES[image.modality]
        names[name] = names.get(name, 0) + 1
        if read and n not in read:
            continue
        height, width = tile_size(image)
        shown.append(
            {
                "image": n,
                "title": name if names[name] == 1 else f"{name} {names[name]}",
                "tile": f"/evidence/picture/{case.id}/{n}.png?v={image.digest[:16]}-{LOOK_VERSION}",
                "width": width,
                "height": height,
                "unit": "px" if image.spacing is None else "mm",
            }
        )
    return shown


def families(sheet: Sheet) -> list[dict[str, Any]]:
    """All methods by family."""
    from engine.explainers import EXPLAINERS
    from engine.explainers.base import FAMILIES

    return [
        {
            "id": family,
            "title": title,
            "methods": [_method(sheet, m) for m in EXPLAINERS.values() if m.family == family],
        }
        for family, title in FAMILIES.items()
        if any(method.family == family for method in EXPLAINERS.values())
    ]


def _method(sheet: Sheet, method: Any) -> dict[str, Any]:
    row, job = sheet.shown.get(method.name), sheet.jobs.get(method.name)
    state, reason = _standing(row, job, sheet.refused.get(method.name, ""))
    is_busy = state in BUSY
    chosen = sheet.chosen.get(method.name, method.settings)
    settings = settings_of(row, method) if row is not None and not is_busy else plain(chosen)
    sanity = sheet.found.get(("sanity", method.name))
    fails = sanity is not None and sanity[1]["verdict"] == FAILS
    return {
        "id": method.name,
        "title": method.title,
        "summary": method.summary,
        "limits": method.limits,
        "slow": method.slow,
        "class_blind": method.class_blind,
        "signed": method.signed,
        "state": state,
        "reason": reason,
        "job": None if job is None or not is_busy else job_facts(job),
        "seconds": None if row is None else row.seconds,
        "settings": settings,
        "defaults": plain(dict(method.settings)),
        "explanation": None if row is None else row.id,
        "maps": [] if row is None else _maps(row),
        "scores": [] if row is None else _scores(sheet, method.name),
        "flag": FLAG if fails and row is not None else "",
    }


def _standing(row: ExplanationRow | None, job: Job | None, refusal: str) -> tuple[str, str]:
    """State of a method, and why, in one sentence."""
    if job is not None and job.state in BUSY:
        return job.state, ""
    if row is not None:
        return "done", ""
    if refusal:
        return "refused", refusal
    if job is not None and job.state in ("failed", "cancelled"):
        return job.state, job.message
    return "ready", ""


def job_facts(job: Job) -> dict[str, Any]:
    """A job as the panel shows it."""
    known = job.expected > 0 or job.is_over
    return {
        "id": job.id,
        "state": job.state,
        "share": job.share if known else None,
        "left_s": job.seconds_left,
        "position": job.position,
        "message": job.message,
    }


def _maps(row: ExplanationRow) -> list[dict[str, Any]]:
    version = f"{row.weights_digest[:16]}-{LOOK_VERSION}"
    return [
        {
            "image": heat.image,
            "localised": heat.localised,
            "reason": heat.reason,
            "grid": list(heat.grid),
            "tile": f"/evidence/tile/{row.id}/{n}.png?v={version}",
        }
        for n, heat in enumerate(row.maps)
    ]


def _scores(sheet: Sheet, method: str) -> list[dict[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for kind in ("scores", "stability"):
        if (kind, method) in sheet.found:
            found += sheet.found[(kind, method)][1]["scores"]
    sanity = sheet.found.get(("sanity", method))
    if sanity is not None:
        found += sanity[1].get("scores", ())
    titles = {each["image"]: each["title"] for each in images(sheet.about.case, None)}
    return [_score(score, titles) for score in found]


def _score(score: Mapping[str, Any], titles: Mapping[int, str]) -> dict[str, Any]:
    name, image = str(score["metric"]), score.get("image")
    title = METRICS[name].title if name in METRICS else name
    place = titles.get(image, "") if image is not None and len(titles) > 1 else ""
    return {
        "metric": name,
        "title": f"{title}, {place}" if place else title,
        "image": image,
        "value": score["value"],
        "text": number_text(score["value"]),
        "unit": score["unit"],
        "better": score["better"],
        "chance": score["chance"],
        "n": score["n"],
        "note": score["note"],
    }


def number_text(number: float | None) -> str:
    """A number as a reader sees it, two decimals or as many digits as it takes; "–" for none."""
    if number is None:
        return "–"
    if number != 0 and abs(number) < 0.01:
        return f"{number:.1g}" if abs(number) >= 0.0001 else f"{number:.0e}"
    return f"{number:.2f}" if abs(number) < 100 else f"{number:.0f}"


def consensus(sheet: Sheet) -> list[dict[str, Any]]:
    """Per image, where its consensus is drawn and how many maps take part."""
    this, shown = sheet.about, []
    for n in range(len(this.case.images)):
        voices = voters(sheet.shown, n)
        if len(voices) > 1:
            version = voice_version(voices)
            address = f"/evidence/consensus/{this.case.id}/{n}.png"
            shown.append(
                {
                    "image": n,
                    "methods": len(voices),
                    "tile": f"{address}?target={quote(this.target)}&v={version}-{LOOK_VERSION}",
                }
            )
    return shown


def voters(shown: Mapping[str, ExplanationRow], image: int) -> tuple[tuple[int, int], ...]:
    """(explanation, map) of each localised map of an image, in the order of the methods."""
    return tuple(
        (row.id, n)
        for row in shown.values()
        for n, heat in enumerate(row.maps)
        if heat.image == image and heat.localised
    )


def voice_version(voices: Sequence[tuple[int, int]]) -> str:
    """Changes when other maps take part."""
    return ".".join(f"{explanation}" for explanation, _ in voices)


def metrics() -> list[dict[str, Any]]:
    """All metrics in words."""
    return [
        {
            "id": metric.name,
            "title": metric.title,
            "family": metric.family,
            "better": metric.better,
            "unit": metric.unit,
            "summary": metric.summary,
            "limits": metric.limits,
        }
        for metric in METRICS.values()
    ]


def _state(sheet: Sheet, kind: str) -> dict[str, Any]:
    """How far one kind of evidence is: of all maps on display, or of none.

    Only scores are made of maps that were drawn with unusual settings.
    """
    job = sheet.jobs.get(kind)
    if job is not None and job.state in BUSY:
        return {"state": job.state, "job": job_facts(job)}
    has = [
        (kind, name) in sheet.found
        for name, row in sheet.shown.items()
        if kind == "scores" or is_usual(row)
    ]
    if has and all(has):
        return {"state": "done", "job": None}
    if job is not None and job.state in ("failed", "cancelled"):
        return {"state": job.state, "job": job_facts(job)}
    return {"state": "none", "job": None}


def randomisation(sheet: Sheet) -> dict[str, Any]:
    """The sanity check: how each method's map changes while the weights are destroyed."""
    from engine.explainers import EXPLAINERS

    checked = [
        (EXPLAINERS[name], *sheet.found[("sanity", name)])
        for name in EXPLAINERS
        if ("sanity", name) in sheet.found
    ]
    stages: list[str] = next((content["stages"] for _, _, content in checked), [])
    return _state(sheet, "sanity") | {
        "stages": stages,
        "note": NOTE,
        "methods": [
            {
                "id": method.name,
                "title": method.title,
                "verdict": content["verdict"],
                "text": content["text"],
                "spearman": list(content["spearman"]),
                "tiles": [
                    f"/evidence/sanity/{number}/{method.name}/{stage}.png?v={LOOK_VERSION}"
                    for stage in range(len(content["maps"]))
                ],
            }
            for method, number, content in checked
        ],
    }
