"""What the documents say of the methods is what the registry says."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.commands.methods import run
from engine.explainers import EXPLAINERS
from engine.explainers.base import FAMILIES

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_methods_is_that_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    run(None, "cpu", markdown=True)
    table = capsys.readouterr().out.strip()
    page = (ROOT / "docs" / "read-explanations.md").read_text("utf-8")
    assert table in page, "make it anew: lightbox methods --markdown"
    assert all(f"`{name}`" in table for name in EXPLAINERS)


def test_every_method_speaks_plainly() -> None:
    for method in EXPLAINERS.values():
        assert method.family in FAMILIES
        for sentence in (method.summary, method.limits):
            assert sentence.endswith(".") and len(sentence) < 220, method.name
