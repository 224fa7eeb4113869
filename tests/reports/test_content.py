"""Composing a report: parts that belong together, and a digest of all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from engine.records import (
    AnswerStatus,
    Box,
    Case,
    Explanation,
    HeatMap,
    Image,
    Modality,
    Patch,
    Prediction,
    Rating,
    Region,
)
from reports import Provenance, Report, ReportError, compose
from reports.content import NO_CARD_BANNER
from reports.digest import digest_of
from reports.fonts import MISSING, is_wide, markup, runs

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CASE = Case("A-1", (Image(np.zeros((2, 4, 6, 1), np.float32), Modality.MRI, "0" * 64),))
SAID = Prediction({"yes": 0.6, "no": 0.4}, "m", "1", "w")
HEAT = HeatMap(0, 0, np.eye(4, 6, dtype=np.float32), (2, 3))
SHOWN = Explanation("gradcam", "yes", (HEAT,), {}, "m", "w")
GIVEN = Rating(1, "A-1", "r", "trust", "gradcam", "yes", AnswerStatus.ANSWERED, 3, "", NOW, 1, "w")


def report_of(**parts: Any) -> Report:
    """A small report; parts replace its own."""
    known: dict[str, Any] = {
        "case": CASE,
        "prediction": SAID,
        "explanations": [SHOWN],
        "ratings": [GIVEN],
        "created": NOW,
        "provenance": Provenance("Lightbox 0"),
    }
    return compose(**{**known, **parts})


def test_the_id_follows_from_the_content() -> None:
    first = report_of()
    assert first.id == f"RP-{first.digest[:12]}"
    assert report_of(created=datetime(2027, 1, 1, tzinfo=UTC)).digest == first.digest
    assert report_of(ratings=[replace(GIVEN, comment="x")]).digest != first.digest
    louder = replace(HEAT, values=HEAT.values * 2)
    assert report_of(explanations=[replace(SHOWN, maps=(louder,))]).digest != first.digest
    assert report_of(id="R-9").id == "R-9"


def test_without_a_card_the_banner_is_the_strictest() -> None:
    assert report_of().banner == NO_CARD_BANNER


def test_planes_are_every_image_once_and_frames_with_something_on_them() -> None:
    assert report_of().planes() == [(0, 0)]
    assert report_of(prediction=None, explanations=[]).planes() == [(0, 1)]
    said = replace(SAID, regions=(Region(0, 1, Box(0, 0, 1, 1)),))
    assert report_of(prediction=said).planes() == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"created": datetime(2026, 1, 1)}, "time zone"),
        ({"colour": "rainbow"}, "colour map"),
        ({"opacity": 1.5}, "between 0 and 1"),
        ({"ratings": [replace(GIVEN, case="B-2")]}, "another case"),
        ({"explanations": [replace(SHOWN, weights_digest="v")]}, "other weights"),
        ({"explanations": [replace(SHOWN, maps=(replace(HEAT, image=1),))]}, "does not have"),
        ({"explanations": [replace(SHOWN, maps=(replace(HEAT, frame=2),))]}, "frame"),
        (
            {"explanations": [replace(SHOWN, maps=(replace(HEAT, values=np.eye(3)),))]},
            "differs in size",
        ),
        ({"prediction": replace(SAID, regions=(Region(3),))}, "does not have"),
        ({"prediction": replace(SAID, frames={0: 9})}, "frame"),
        ({"prediction": replace(SAID, patches=(Patch(2, Box(0, 0, 1, 1), 1.0),))}, "image"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        report_of(**parts)


def test_digests_tell_content_apart() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    different = [
        1, 1.0, "1", (1,), ((1,),), {"1": 1}, np.ones(2), np.ones((2, 1)), np.ones(2, np.float32),
        ("ab", "c"), ("a", "bc"), None, SAID, replace(SAID, version="2"),
    ]  # fmt: skip
    assert len({digest_of(value) for value in different}) == len(different)


def test_each_run_gets_a_font_that_has_its_characters() -> None:
    assert [text for _, text in runs("a乳腺b")] == ["a", "乳腺", "b"]
    assert runs("\u202e\U0001f600\x00")[0][1] == MISSING * 3
    assert runs("a\u200db\ufeff")[0][1] == "ab"
    assert is_wide("左")
    assert not is_wide("левая")


def test_markup_is_escaped() -> None:
    assert markup("<b>&") == "&lt;b&gt;&amp;"
    assert markup("a\nb") == "a<br/>b"
