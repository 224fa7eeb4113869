"""The organisers' pages without a browser: guards, tables in portions, names, and figures."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.auth import Role, User
from app.errors import InvalidInput, NotFound
from app.ui import study
from app.ui.shell import unguarded
from app.ui.study import inbox
from app.ui.study.figures_pairs import bland_altman, heat_table
from app.ui.study.inbox import Inbox
from app.ui.study.names import statistic_title
from app.ui.study.panels import PANELS, panel, script
from engine.study.results import PairResult, QuestionResult
from tests.browser import study_harness as harness

OLIVE = User("olive", "Olive", Role.ORGANISER)
OTHER = User("otto", "Otto", Role.ORGANISER)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[harness.Fakes]:
    made = harness.Fakes(tmp_path / "workspace", harness.Bench())
    yield made
    made.store.close()


def test_every_handler_asks_for_an_organiser(services: harness.Fakes) -> None:
    async def build() -> Any:
        return study.build(services)

    demo = asyncio.run(build())
    assert unguarded(demo) == []
    roles = {block.fn.required_role for block in demo.fns.values() if block.fn is not None}
    functions = [
        f for each in demo.blocks.values() for f in getattr(each, "server_fns", None) or []
    ]
    assert roles | {f.required_role for f in functions} == {Role.ORGANISER}


@pytest.mark.parametrize("name", PANELS)
def test_every_event_of_a_panel_is_sent_by_its_script(name: str) -> None:
    _, draw, events = PANELS[name]
    text = script(name)
    assert f"function {draw}(" in text
    assert panel(name) is not None
    told = {event for event in events if f"'{event}'" in text}
    assert told >= set(events) - {"filter"}


def test_a_table_comes_in_portions_and_belongs_to_one_user(monkeypatch: Any) -> None:
    kept, data = Inbox(), b"reader_id,case_id\na,1\n"
    token = kept.begin(OLIVE, len(data))["token"]
    first = {"token": token, "offset": 0, "data": base64.b64encode(data[:9]).decode()}
    assert kept.part(OLIVE, first) == {"received": 9}
    with pytest.raises(InvalidInput):
        kept.part(OLIVE, first)  # the same portion twice
    with pytest.raises(InvalidInput):
        kept.table(OLIVE, token)  # not whole yet
    rest = {"token": token, "offset": 9, "data": base64.b64encode(data[9:]).decode()}
    with pytest.raises(NotFound):
        kept.part(OTHER, rest)
    kept.part(OLIVE, rest)
    assert kept.table(OLIVE, token) == data
    kept.forget(OTHER, token)
    assert kept.table(OLIVE, token) == data
    kept.begin(OLIVE, 5)  # one table a user
    with pytest.raises(NotFound):
        kept.table(OLIVE, token)
    for size in (0, -1, True, "9", inbox.MOST_BYTES + 1):
        with pytest.raises(InvalidInput):
            kept.begin(OLIVE, size)


def test_statistics_have_plain_names() -> None:
    assert statistic_title("gwet_ac", "quadratic", None) == "Gwet’s AC2, quadratic"
    assert statistic_title("gwet_ac", "identity", None) == "Gwet’s AC1"
    assert statistic_title("krippendorff_alpha", None, "ordinal") == "Krippendorff’s alpha, ordinal"


def test_pairs_are_drawn_and_told_in_words() -> None:
    pair = PairResult("R01", "<b>R02", 9, 0.5, 0.2, 0.8, -0.25, -2.0, 1.5, ((3.0, 1.0, 9),))
    none = PairResult("R01", "R03", 0, None, None, None, None, None, None, reason="No items.")
    one = QuestionResult("q", "", "", (), {}, 0, 0, None, None, None, None, None, {}, (pair, none))
    figure, words = heat_table(one)
    assert "R01 and <b>R02 0.50 (0.20 to 0.80), 9 items" in words
    assert "R01 and R03 not estimable, 0 items" in words
    assert figure.data[0].hovertext[0][0] == ""
    assert "&lt;b&gt;R02" in " ".join(text for row in figure.data[0].hovertext for text in row)
    drawn, told = bland_altman(pair)
    assert "mean difference −0.25 points, limits of agreement −2.00 to 1.50" in told
    assert list(drawn.data[0].x) == [3.0]
