"""How the pages look: dark, neutral, without a font or script from elsewhere."""

from __future__ import annotations

import gradio as gr

from app.ui.panels import theme_css

SCRIPT = "() => { document.body.classList.add('dark'); document.documentElement.lang ||= 'en'; }"

PAGE = """
body, gradio-app { background: #0f1114 !important; }
.gradio-container { max-width: none !important; padding: 0 !important; }
.gradio-container { overflow: visible !important; }
.gradio-container .fillable { padding: 0 !important; }
.gradio-container .html-container { padding: 0 2px !important; }
.gradio-container main > .column { gap: 2px !important; }
.tabitem { padding: 8px 14px !important; border: 0 !important; }
.tab-wrapper { padding-left: 10px !important; }
#lb-tabs .row { gap: 10px !important; }
.lbs-plot { border-color: #2e3238 !important; }
.lbs-words { padding: 0 6px !important; }
.lbs-words, .lbs-words * { color: #b3b8bf !important; font-size: 12px !important; }
.lb-stays { position: sticky; top: 4px; align-self: flex-start; }
footer { display: none !important; }
@media print { footer, button { display: none !important; } }
"""


def page_css() -> str:
    """Style sheet of the pages."""
    return theme_css() + PAGE


def theme() -> gr.themes.Base:
    """Grey on near-black, with system fonts only."""
    base = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return base.set(
        body_background_fill="#0f1114",
        body_background_fill_dark="#0f1114",
        block_background_fill_dark="#15181c",
        block_border_color_dark="#2b3036",
        body_text_color_dark="#e6e6e6",
        background_fill_primary_dark="#15181c",
        background_fill_secondary_dark="#101317",
    )
