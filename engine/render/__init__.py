"""Pictures from records, shared by screen and paper: grey levels, heat, outlines, PNG."""

from engine.render.encode import fit, png_bytes, thumbnail
from engine.render.grey import default_window, display, window_levels
from engine.render.heat import COLOURS, LEGACY_COLOURS, blend, colour_map, overlay, relative, weight
from engine.render.marks import contours, draw_box, draw_contour
from engine.render.sheet import gallery, legible

__all__ = [
    "COLOURS",
    "LEGACY_COLOURS",
    "blend",
    "colour_map",
    "contours",
    "default_window",
    "display",
    "draw_box",
    "draw_contour",
    "fit",
    "gallery",
    "legible",
    "overlay",
    "png_bytes",
    "relative",
    "thumbnail",
    "weight",
    "window_levels",
]
