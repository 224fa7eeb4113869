"""Blocks of a study report as page elements."""

from __future__ import annotations

from collections.abc import Iterable

from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether

from reports import charts
from reports.blocks import Block, Flow, Forest, Grid, Pairs, Section, Words
from reports.layout import WIDTH, facts, grid, header_row, text

SHORT = 12
"""Rows of a table that is not torn apart."""
LONG = 600
"""Characters from which words may be torn apart."""
ROOM = 30 * mm
"""Least height, below which a new block starts on the next page."""


def flowables(sections: Iterable[Section]) -> list[Flowable]:
    """All sections in order; a heading and the words below it stay with what they speak of."""
    made: list[Flowable] = []
    for part in sections:
        head: list[Flowable] = [text(part.title, "heading")]
        for block in part.blocks:
            if isinstance(block, Words) and block.kind == "note":
                made += [*_kept(head), text(block.text, "small")]
                head = []
                continue
            if isinstance(block, Words) and len(block.text) < LONG:
                head.append(text(block.text, block.kind))
                continue
            whole, torn = _block(block)
            made += [CondPageBreak(ROOM), *_kept([*head, *whole]), *torn]
            head = []
        made += _kept(head)
    return made


def _kept(parts: list[Flowable]) -> list[Flowable]:
    return [KeepTogether(parts)] if len(parts) > 1 else parts


def _block(block: Block) -> tuple[list[Flowable], list[Flowable]]:
    """Elements that stay together with the heading, and those that may follow elsewhere."""
    if isinstance(block, Words):
        return [], [text(block.text, block.kind)]
    if isinstance(block, Pairs):
        made: Flowable = facts(list(block.rows)) if block.rows else text("None.")
        return ([made], []) if len(block.rows) <= SHORT else ([], [made])
    if isinstance(block, Grid):
        return _grid(block)
    title: list[Flowable] = [text(block.title, "subheading")]
    if isinstance(block, Flow):
        return [*title, charts.flow(block)], []
    drawn = charts.forests(block) if isinstance(block, Forest) else charts.histograms(block)
    return [*title, *drawn[:1]], list(drawn[1:])


def _grid(block: Grid) -> tuple[list[Flowable], list[Flowable]]:
    title: list[Flowable] = [text(block.title, "subheading")] if block.title else []
    if not block.rows:
        return [*title, text(block.empty)], []
    whole = sum(block.shares)
    widths = [WIDTH * share / whole for share in block.shares]
    cells: list[list[Flowable]] = [header_row(*block.header)]
    above = ""
    for first, *rest in block.rows:
        shown = "" if block.once and first == above else first
        cells.append([text(words) for words in (shown, *rest)])
        above = first
    made = grid(cells, widths, header=True)
    return ([*title, made], []) if len(block.rows) <= SHORT else (title, [made])
