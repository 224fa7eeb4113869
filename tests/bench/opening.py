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
from tests.bench.common import Row, browser_page, lightbox, ms, ratio, until_served

ROUNDS = 2
TARGET = 1.3
ROWS = "[data-lbx=rows] tr[data-case]"
OPEN = """async (id) => {
  const tick = () => new Promise((done) => requestAnimationFrame(done));
  const viewer = () => [...document.querySelectorAll('*')].find((node) => node.lightbox);
  performance.clearResourceTimings();
  const started = performance.now();
  document.querySelector(`[data-lbx=rows] tr[data-case="${id}"] a`).click();
  for (;;) {
    const found = viewer();
    if (found && found.lightbox.state().case === id) {
      await found.lightbox.ready;
      if (found.lightbox.state().views.every((view) => view.shown)) break;
    }
    await tick();
  }
  const ended = performance.now();
  const layers = performance.getEntriesByType('resource')
    .filter((each) => /\\/(layers|heat)\\//.test(each.name));
  return {
    all: (ended - started) / 1000,
    before: (Math.min(...layers.map((each) => each.startTime)) - started) / 1000,
    after: (ended - Math.max(...layers.map((each) => each.responseEnd))) / 1000,
    urls: layers.map((each) => each.name),
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
            seen = _rounds(address, layers)
    return _rows(seen)


def demonstration(workspace: Path) -> dict[str, list[str]]:
    """Make and explain the demonstration cases; gives the layer addresses of each."""
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
    images = [image["url"].replace("{frame}", str(image["frame"])) for image in viewer["images"]]
    return images + [layer["url"] for layer in viewer["layers"] if layer["localised"]]


def _rounds(address: str, layers: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Open and fetch each case in turn; browsers are fresh, and the first one is not counted."""
    seen = []
    for turn in range(ROUNDS + 1):
        with browser_page() as page:
            page.goto(f"{address}/app/")
            page.wait_for_selector(ROWS)
            for case, urls in layers.items():
                page.get_by_role("tab", name="Worklist").click()
                page.wait_for_selector(f'{ROWS.removesuffix("[data-case]")}[data-case="{case}"]')
                page.wait_for_timeout(300)
                one = page.evaluate(OPEN, case)
                one["fetch"] = page.evaluate(FETCH, one["urls"])
                one["every"] = page.evaluate(FETCH, [address + url for url in urls])
                one["client"] = _client(address, one["urls"])
                seen += [one] if turn else []
    return seen


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


def _rows(seen: Sequence[Mapping[str, Any]]) -> list[Row]:
    def column(name: str) -> list[float]:
        return [one[name] for one in seen]

    opened, shown = column("all"), len(seen[0]["urls"])
    cost = ms(opened)
    share = [b / a for a, b in zip(opened, column("before"), strict=True)]
    rows = [
        (f"the {shown} layers it shows", "fetch", "fetch() of them at once", TARGET),
        (f"the {shown} layers it shows", "client", "http.client, one after the other", None),
        ("every layer of the case", "every", "fetch() of all at once", None),
    ]
    table = [
        Row(f"Opening a case, against {what}", cost, f"{how}, {ms(column(name))}", value, goal)
        for what, name, how, goal in rows
        for value in [ratio(opened, column(name))]
    ]
    what = "Of that, before the first layer is asked for (the event and its answer)"
    table.append(Row(what, ms(column("before")), "opening a case", median(share)))
    share = [b / a for a, b in zip(opened, column("after"), strict=True)]
    what = "Of that, after the last layer has come (decoding and painting)"
    table.append(Row(what, ms(column("after")), "opening a case", median(share)))
    return table
