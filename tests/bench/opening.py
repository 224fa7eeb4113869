"""Opening another case in the running application against fetching its layers with plain HTTP."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from app.services import GUEST, Services
from app.settings import Settings
from tests.bench.common import PATIENCE, Row, browser_page, lightbox, ms, ratio, until_served

ROUNDS = 2
TARGET = 1.3
PAUSE_MS = 400
WAYS = {
    "hover": "from the worklist, the mouse resting 0.4 s on its row before (prefetched)",
    "next": "with Next case, 0.4 s after the one before (prefetched)",
    "cold": "from the worklist, without prefetch",
}
NEXT = ".lbr [data-do=next]"
ROWS = "[data-lbx=rows] tr"
NO_PREFETCH = """addEventListener('lightbox-prefetch',
  (event) => event.stopImmediatePropagation(), true)"""
OPEN = """async ([id, button]) => {
  const tick = () => new Promise((done) => requestAnimationFrame(done));
  const viewer = [...document.querySelectorAll('*')].find((node) => node.lightbox).lightbox;
  performance.clearResourceTimings();
  const started = performance.now();
  document.querySelector(button).click();
  for (;;) {
    if (viewer.state().case === id) {
      await viewer.ready;
      const { views } = viewer.state();
      if (views.length && views.every((view) => view.shown && view.scale)) break;
    }
    await tick();
  }
  const ended = performance.now();
  const layers = performance.getEntriesByType('resource')
    .filter((each) => /\\/(layers|heat)\\//.test(each.name));
  const body = document.querySelector('.lbf-body');
  while (body.style.visibility || body.hidden) await tick();
  return {
    all: (ended - started) / 1000,
    words: (performance.now() - started) / 1000,
    before: (Math.min(...layers.map((each) => each.startTime)) - started) / 1000,
    after: (ended - Math.max(...layers.map((each) => each.responseEnd))) / 1000,
    asked: layers.length,
  };
}"""
FETCH = """async (urls) => {
  const started = performance.now();
  await Promise.all(urls.map(async (url) =>
    (await fetch(url, { cache: 'no-store', credentials: 'same-origin' })).arrayBuffer()));
  return (performance.now() - started) / 1000;
}"""


def measure() -> list[Row]:
    """Rows for the demonstration cases, explained before; medians over cases and rounds."""
    with TemporaryDirectory() as folder:
        layers = demonstration(Path(folder))
        with lightbox(Path(folder)) as address:
            until_served(f"{address}/health")
            seen = {way: _rounds(address, layers, way) for way in WAYS}
    return _rows(seen)


def demonstration(workspace: Path) -> dict[str, list[str]]:
    """Make and explain the demonstration cases; gives the layers that each shows first."""
    services = Services.open(Settings.load({"workspace": workspace}), demonstration=True)
    try:
        services.warm_up()
        return {
            case["id"]: _addresses(services.review.open(GUEST, case["id"]).viewer)
            for case in services.cases.worklist(GUEST)
        }
    finally:
        services.close()


def _addresses(viewer: Mapping[str, Any]) -> list[str]:
    image = viewer["images"][0]
    shown = [
        layer["url"]
        for layer in viewer["layers"]
        if layer["localised"] and layer["visible"] and layer["image"] == 0
        if image["frames"] == 1 or layer["frame"] == image["frame"]
    ]
    return [image["url"].replace("{frame}", str(image["frame"])), *shown]


def _rounds(address: str, layers: Mapping[str, Sequence[str]], way: str) -> list[dict[str, Any]]:
    """Open and fetch all cases but the first, in turn; of the fresh browsers one is not counted."""
    seen = []
    for turn in range(ROUNDS + 1):
        with browser_page() as page:
            page.goto(f"{address}/app/")
            page.wait_for_selector(ROWS)
            if way == "cold":
                page.evaluate(NO_PREFETCH)
            first, *rest = layers
            page.click(f'{ROWS}[data-case="{first}"] a')  # the page builds its review tab
            page.wait_for_selector(".lbf-lead:visible", timeout=1000 * PATIENCE)
            for case in rest:
                one = _open(page, case, way)
                addresses = [address + url for url in layers[case]]
                one["fetch"] = page.evaluate(FETCH, addresses)
                one["client"] = _client(address, addresses)
                seen += [one] if turn else []
    return seen


def _open(page: Any, case: str, way: str) -> dict[str, Any]:
    """Open one case: by a click on its row, at once or after the mouse rested there, or by Next."""
    row = f'{ROWS}[data-case="{case}"]'
    if way != "next":
        page.get_by_role("tab", name="Worklist").click()
        page.wait_for_selector(row)
    page.wait_for_timeout(PAUSE_MS)
    if way == "hover":
        page.hover(row)
        page.wait_for_timeout(PAUSE_MS)
    button = NEXT if way == "next" else f"{row} a"
    one: dict[str, Any] = page.evaluate(OPEN, [case, button])
    return one


def _client(address: str, urls: Sequence[str]) -> float:
    """Seconds to fetch one after the other over one connection, without a browser."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    started = time.perf_counter()
    for url in urls:
        parts = urlsplit(url)
        connection.request("GET", f"{parts.path}?{parts.query}")
        connection.getresponse().read()
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _rows(seen: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Row]:
    table = []
    for way, what in WAYS.items():
        opened, fetched = _column(seen[way], "all"), _column(seen[way], "fetch")
        goal = TARGET if way != "cold" else None
        held = f"fetch() of its layers at once, {ms(fetched)}"
        table.append(Row(f"Opening a case {what}", ms(opened), held, ratio(opened, fetched), goal))
        if way == "cold":
            table += _parts(seen[way])
        words = _column(seen[way], "words")
        what = "Until its findings stand beside it as well"
        table.append(Row(what, ms(words), held, ratio(words, fetched)))
    return table


def _parts(seen: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What an opening without prefetch spends before, after and instead of the transfer."""
    opened, client = _column(seen, "all"), _column(seen, "client")
    how = f"http.client, one after the other, {ms(client)}"
    table = [Row("The same, against another client", ms(opened), how, ratio(opened, client))]
    for name, what in (
        ("before", "Of that, before the first layer is asked for"),
        ("after", "Of that, after the last layer has come (decoding and painting)"),
    ):
        spent = _column(seen, name)
        share = median(b / a for a, b in zip(opened, spent, strict=True))
        table.append(Row(what, ms(spent), "opening a case", share))
    return table


def _column(seen: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [one[name] for one in seen]
