"""Figures of the agreement page: what they say, and that a browser can read them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from app.ui.figures import CANNOT_JUDGE, PAPER, TEXT, agreement_figure, distribution_figure
from engine.errors import ShapeMismatch
from engine.metrics.agreement import summarise


def varied() -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(rng.integers(1, 6, (20, 1)) + rng.integers(-1, 2, (20, 3)), 1, 5).astype(float)


def texts(figure: Any) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_each_coefficient_has_a_dot_whiskers_and_its_number() -> None:
    estimates = summarise(varied())
    figure = agreement_figure({"Does it match?": estimates})
    assert [trace.x[0] for trace in figure.data] == [one.value for one in estimates]
    for trace, one in zip(figure.data, estimates, strict=True):
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(one.high)
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(one.low)
        assert f"{one.cases} cases" in trace.hovertext[0]
        assert one.interval in trace.hovertext[0]
        assert any(f"<b>{one.value:.2f}</b>" in text for text in texts(figure))
    assert len({trace.marker.symbol for trace in figure.data}) == 5
    assert len({trace.marker.color for trace in figure.data}) == 5


def test_undefined_values_say_why() -> None:
    figure = agreement_figure({"Q": summarise(np.full((12, 3), 4.0))})
    said = [text for text in texts(figure) if text.startswith("undefined: No variation")]
    assert len(said) == 4
    assert [len(trace.x) for trace in figure.data] == [1, 0, 0, 0, 0]
    assert len(figure.layout.yaxis.ticktext) == 5


def test_axis_bands_and_theme() -> None:
    figure = agreement_figure({"Q": summarise(varied())})
    assert figure.layout.xaxis.range[0] <= -1
    assert figure.layout.xaxis.range[1] >= 1
    for word in ("poor", "slight", "fair", "moderate", "substantial", "almost<br>perfect"):
        assert word in texts(figure)
    assert (figure.layout.paper_bgcolor, figure.layout.plot_bgcolor) == (PAPER, PAPER)
    assert figure.layout.font.color == TEXT


def test_a_value_below_minus_one_stays_on_the_axis() -> None:
    figure = agreement_figure({"Q": summarise([[1, 2], [1, 2], [1, np.nan]])})
    assert min(trace.x[0] for trace in figure.data) == pytest.approx(-1.25)
    assert figure.layout.xaxis.range[0] < -1.25


def test_rows_of_questions_do_not_overlap() -> None:
    figure = agreement_figure({"A": summarise(varied()), "B": summarise(varied())})
    heights = list(figure.layout.yaxis.tickvals)
    assert heights == sorted(heights)
    assert len(heights) == 10
    assert min(np.diff(heights)) >= 1
    assert len(figure.data) == 5
    assert {len(trace.x) for trace in figure.data} == {2}


def test_a_rounded_negative_has_a_true_minus_and_zero_has_none() -> None:
    ratings = np.full((6, 3), 4.0)
    ratings[2, 1] = 5
    figure = agreement_figure({"Q": summarise(ratings)})
    assert any("<b>\N{MINUS SIGN}0.06</b>" in text for text in texts(figure))
    assert any("<b>0.00</b>" in text for text in texts(figure))
    assert any("Kappa paradox" in text for trace in figure.data for text in trace.hovertext)


@pytest.mark.parametrize("ratings", [varied(), np.full((3, 2), np.nan), np.full((1, 2), 3.0)])
def test_figures_are_json_without_nan(ratings: np.ndarray) -> None:
    text = agreement_figure({"Q": summarise(ratings)}).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["layout"]
    assert "NaN" not in text


def test_text_is_escaped() -> None:
    evil = "<a href='https://example.org'>x</a>"
    for figure in (
        agreement_figure({evil: summarise(varied())}),
        distribution_figure({evil: [1, 1, 1, 1, 1, 1]}),
    ):
        assert "<a " not in json.dumps(figure.to_plotly_json(), default=str)


def test_distribution_stacks_scores_and_cannot_judge() -> None:
    figure = distribution_figure({"Q1": [1, 2, 3, 4, 5, 6], "Q2": [0, 0, 9, 0, 0, 0]})
    assert figure.layout.barmode == "stack"
    assert [trace.name for trace in figure.data] == ["1", "2", "3", "4", "5", CANNOT_JUDGE]
    assert [list(trace.x) for trace in figure.data] == [
        [1, 0],
        [2, 0],
        [3, 9],
        [4, 0],
        [5, 0],
        [6, 0],
    ]
    assert {trace.orientation for trace in figure.data} == {"h"}
    assert figure.data[-1].marker.pattern.shape == "/"
    assert list(figure.data[0].text) == ["1", ""]
    assert json.loads(figure.to_json())["data"]


def test_distribution_refuses_a_wrong_number_of_counts() -> None:
    with pytest.raises(ShapeMismatch, match="six counts"):
        distribution_figure({"Q": [1, 2, 3]})


def test_no_questions_give_empty_figures() -> None:
    assert len(agreement_figure({}).data) == 0
    assert all(len(trace.x) == 0 for trace in distribution_figure({}).data)


def test_plotly_is_imported_only_when_drawing() -> None:
    code = "import sys, app.ui.figures; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
