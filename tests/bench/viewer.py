"""What moving a control of the viewer costs: drawing time, frame interval, requests."""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench.common import Row, browser_page
from tests.browser import viewer_harness as harness

SIDE, LAYERS, CHANGES = 1024, 4, 60
FRAME_MS = 16.7
WINDOW = {"centre": 2000, "width": 3000, "function": "LINEAR", "label": "File window"}
CONTROLS = {
    "Opacity": "set('opacity', 'input', 20 + 5 * (i % 12))",
    "Threshold": "set('threshold', 'input', 20 + i % 50)",
    "Window": "set('centre', 'change', 1500 + 5 * i)",
    "Colour map": "set('map', 'change', ['viridis', 'magma', 'inferno'][i % 3])",
}
MOVE = """async (changes) => {
  const root = document.querySelector('#viewer'), viewer = root.lightbox;
  const set = (name, event, value) => {
    const field = root.querySelector(`[data-set=${name}]`);
    field.value = value;
    field.dispatchEvent(new Event(event, { bubbles: true }));
  };
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  await frame();
  const before = viewer.requests, gaps = [];
  viewer.drawTimes.length = 0;
  let last = await frame();
  for (let i = 0; i < changes; i++) {
    CONTROL;
    const now = await frame();
    gaps.push(now - last);
    last = now;
  }
  await viewer.ready;
  return { draws: [...viewer.drawTimes], gaps, requests: viewer.requests - before };
}"""


def measure() -> list[Row]:
    """Rows by control: drawing time against one frame, and requests against none."""
    layers = harness.Layers()
    image = harness.add_image(layers, harness.breast(SIDE, SIDE), windows=[WINDOW])
    heat = [
        harness.add_heat(layers, harness.hill(SIDE, SIDE, 430 + 40 * n, 330 + 30 * n, 90), str(n))
        for n in range(LAYERS)
    ]
    rows, requests = [], 0
    with harness.serve(layers) as address, browser_page() as page:
        page.goto(address)
        page.evaluate("value => show(value)", harness.case_value([image], heat))
        page.evaluate("document.getElementById('viewer').lightbox.ready")
        asked = len(layers.asked)
        for name, change in CONTROLS.items():
            seen = page.evaluate(MOVE.replace("CONTROL", change), CHANGES)
            requests += seen["requests"]
            rows.append(_row(name, seen))
        requests += len(layers.asked) - asked
    what = f"Requests caused by {CHANGES * len(CONTROLS)} such changes"
    return [*rows, Row(what, f"{requests} requests", "", requests, 0)]


def _row(name: str, seen: dict[str, Any]) -> Row:
    drawn, gap = median(seen["draws"]), median(seen["gaps"])
    return Row(
        f"{name} changed, {SIDE} x {SIDE}, {LAYERS} layers",
        f"{drawn:.1f} ms to draw",
        f"a frame of {FRAME_MS} ms; frames came every {gap:.1f} ms",
        drawn,
        FRAME_MS,
        " ms",
    )
