"""The panels of the pages as components, whose page text never holds a value."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

WEB = Path(__file__).resolve().parents[2] / "assets" / "web"

# The function that each script defines, and the events that it sends to Python. Gradio offers an
# event only where its name stands in quotes in the script.
MOUNTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "worklist": ("mountWorklist", ("open",)),
    "findings": ("mountFindings", ("target",)),
    "rating": ("mountRatingForm", ("rate", "method", "next", "previous")),
    "upload": ("mountUpload", ("open", "done")),
    "evidence": (
        "mountEvidence",
        ("run", "cancel", "measure", "randomise", "stability", "target", "show"),
    ),
    "probe": ("mountProbe", ("remove", "outline", "stop")),
}

# Panels whose script lies in several files, in the order in which they are joined.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "evidence": (
        "evidence_parts.js",
        "evidence_bar.js",
        "evidence_settings.js",
        "evidence_gallery.js",
        "evidence_large.js",
        "evidence_scores.js",
        "evidence_tables.js",
        "evidence_sanity.js",
        "evidence.js",
    ),
    "probe": ("probe_mask.js", "probe_canvas.js", "probe_answer.js", "probe.js"),
}

_MOUNT = """
const LIGHTBOX_EVENTS = [{events}];
{mount}(element, () => props.value, (name, data) => {{
  if (LIGHTBOX_EVENTS.includes(name)) trigger(name, data);
}});
watch('value', () => {{ if (element.panel) element.panel.update(); }});
"""


@cache
def theme_css() -> str:
    """Dark reading-room tokens and shared classes, for the whole page as well as for each panel."""
    return (WEB / "theme.css").read_text("utf-8")


@cache
def panel_markup(name: str) -> str:
    """Constant HTML of one panel, `name` being a key of `MOUNTS`."""
    return (WEB / f"{name}.html").read_text("utf-8")


@cache
def panel_style(name: str) -> str:
    """CSS of one panel, with the theme before it, so that it looks right on any page."""
    return theme_css() + (WEB / f"{name}.css").read_text("utf-8")


@cache
def panel_script(name: str) -> str:
    """JavaScript that defines `mount…(element, getValue, send)` of one panel.

    `element.panel.update()` draws a new value; `send(event, data)` receives what the reader does.
    """
    files = SCRIPTS.get(name, (f"{name}.js",))
    return "\n".join((WEB / file).read_text("utf-8") for file in files)


def _panel(name: str, value: dict[str, Any] | None, options: dict[str, Any]) -> gr.HTML:
    mount, events = MOUNTS[name]
    boot = _MOUNT.format(mount=mount, events=", ".join(f"'{event}'" for event in events))
    options.setdefault("apply_default_css", False)
    return gr.HTML(
        value=value,
        html_template=panel_markup(name),
        css_template=panel_style(name),
        js_on_load=panel_script(name) + boot,
        **options,
    )


# Functions and not children of `gr.HTML`, since Gradio writes a stub file beside the source of
# each child class when it is imported.
def Worklist(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """A list of cases that can be searched, sorted and filtered.

    `worklist.open(handler, ...)` runs when the reader opens a case; `_data` holds `case`.

    Args:
        value: `version` and `cases`, each with `id`, `thumbnail`, `modalities`, `images`, `frames`,
            `status` ("new", "explained", "rated"), `created` (ISO 8601), `source`, `owner`.
        options: Further options of `gr.HTML`.
    """
    return _panel("worklist", value, options)


def Findings(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """What the model says of one case: probabilities, grade, lesion box, patches, maps.

    `findings.target(handler, ...)` runs when the reader chooses a class; `_data` holds `name`.

    Args:
        value: `case`, `model`, `target`, `probabilities`, `leading`, `grade` (level counted from
            0), `box`, `score`, `patches`, `warnings`, `methods`, `refused`; None for no case.
        options: Further options of `gr.HTML`.
    """
    return _panel("findings", value, options)


def RatingForm(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """The questions of the protocol for one map of one case, answered from 1 to 5.

    `form.rate(handler, ...)` receives `question`, `status` ("answered", "cannot_judge"), `value`
    (1 to 5, or None), `comment`, `revision` (the one it replaces, 0 for the first), `case`,
    `method` and `target`. The form says "Saving" until a value comes back whose answer has a higher
    revision, and "Not saved" when a value comes back with `error` instead. `form.method(...)`
    receives `method`; `form.next(...)` and `form.previous(...)` receive `case` where the value held
    `neighbours`, and nothing otherwise.

    Args:
        value: `version`, `case`, `reader`, `questions`, `methods`, `method`, `target`, `answers`,
            `history`, `progress`, `error`, and sometimes `neighbours` (`previous` and `next`, each
            a case or None); None for no case.
        options: Further options of `gr.HTML`.
    """
    return _panel("rating", value, options)


def Upload(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """An area for files and folders, which go to /upload and come back as cases.

    `upload.done(handler, ...)` receives `count`, the number of cases added; `upload.open(...)`
    receives `case`.

    Args:
        value: `version` and `limits`, one sentence on what may be sent.
        options: Further options of `gr.HTML`.
    """
    return _panel("upload", value, options)


def Evidence(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """Every map of one case with what is measured about it, and the work that is under way.

    While a job waits or runs and the panel is in sight, it fetches its value anew from
    `/evidence/{case}.json?target=NAME`. Each event also holds the `case` and the `target` that the
    reader saw: `evidence.run(...)` receives `methods` and sometimes `settings` (by method),
    `cancel` a `job`, `target` a `name`, `show` a `method`; `measure`, `randomise` and `stability`
    nothing more.

    Args:
        value: `version`, `case`, `model`, `notice`, `target`, `targets`, `images`, `families`,
            `consensus`, `agreement`, `regions`, `metrics`, `measured`, `stability` and
            `randomisation`, as `services.evidence.panel` gives them; None for no case.
        options: Further options of `gr.HTML`.
    """
    return _panel("evidence", value, options)


def Probe(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """A region of the open case is marked and removed, and the model is asked again.

    `probe.remove(...)` receives `case`, `image`, `mask` (lengths of runs, unmarked first, in source
    pixels), `fill`, `methods` and `target`; `probe.outline(...)` receives `case`, `image`, `target`
    and `box` (left, top, width, height); `probe.stop(...)` receives `case` and `target`. While a
    job goes on, the panel fetches its value anew from `/probe/{case}.json?target=NAME`.

    Args:
        value: As `Probes.panel` gives it, with a `version` that changes; None for no case.
        options: Further options of `gr.HTML`.
    """
    return _panel("probe", value, options)
