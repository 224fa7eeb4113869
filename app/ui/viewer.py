"""The layered image viewer: a Gradio component whose page text never holds a value of a case."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

WEB = Path(__file__).resolve().parents[2] / "assets" / "web"
SCRIPTS = (
    "viewer_tables.js",
    "viewer_contour.js",
    "viewer_store.js",
    "viewer_pane.js",
    "viewer_marks.js",
    "viewer_panel.js",
    "viewer_input.js",
    "viewer_ahead.js",
    "viewer.js",
)
COLOUR_MAPS = ("inferno", "magma", "viridis", "cividis", "jet")

_MOUNT = """
mountLightboxViewer(element, () => props.value, (data) => trigger('pick', data));
watch('value', () => { if (element.lightbox) element.lightbox.update(); });
"""


def colour_table(name: str) -> NDArray[np.uint8]:
    """Colours of one map from its lowest to its highest value.

    Args:
        name: One of `COLOUR_MAPS`.

    Returns:
        (256, 3) uint8, red, green, blue.
    """
    import cv2

    ramp = np.arange(256, dtype=np.uint8)[:, None]
    blue_first = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))
    return np.ascontiguousarray(blue_first[:, 0, ::-1])


def viewer_markup() -> str:
    """Constant HTML of the viewer."""
    return (WEB / "viewer.html").read_text("utf-8")


def viewer_style() -> str:
    """CSS of the viewer; every rule is confined to its own class names."""
    return (WEB / "viewer.css").read_text("utf-8")


@cache
def viewer_script() -> str:
    """JavaScript that defines `mountLightboxViewer(element, getValue, onPick)`.

    The colour maps travel inside the text, so that changing one asks nothing of the server.
    """
    maps = {
        name: base64.b64encode(colour_table(name).tobytes()).decode("ascii") for name in COLOUR_MAPS
    }
    parts = [f"const LIGHTBOX_COLOUR_MAPS = {json.dumps(maps)};"]
    parts += [(WEB / name).read_text("utf-8") for name in SCRIPTS]
    return "\n".join(parts)


def Viewer(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:  # noqa: N802
    """A component that shows images, heat maps and regions of one case.

    The value is a small JSON object of addresses and geometry; the browser fetches the pixels from
    those addresses. `viewer.pick(handler, ...)` runs on a double click and receives a
    `gr.EventData` whose `_data` holds `image`, `row` and `column` in source pixels.

    This is a function and not a child of `gr.HTML`, since Gradio writes a stub file beside the
    source of each child class when it is imported.

    Args:
        value: Case to show, or None for an empty viewer.
        options: Further options of `gr.HTML`.
    """
    options.setdefault("apply_default_css", False)
    return gr.HTML(
        value=value,
        html_template=viewer_markup(),
        css_template=viewer_style(),
        js_on_load=viewer_script() + _MOUNT,
        **options,
    )
