"""Tags of a PDF: the tree of headings, paragraphs, tables and figures that a screen reader follows.

reportlab draws pages but keeps no such tree, so it is gathered while the pages are drawn and
written at the end. What is outside of it (headers, footers, rules) is marked as an artifact.

Source: ISO 32000-1, 14.7 (logical structure), 14.8 (tagged PDF), 14.9.3 (alternate descriptions).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reportlab.pdfbase import pdfdoc


@dataclass(eq=False)
class Element:
    """One node of the tree.

    Args:
        kind: Standard structure type, such as "H1", "P", "Table" or "Figure".
        alt: Words that stand for a figure; empty for none.
        parent: None for the root.
        parts: Children, and pieces of pages as (page from 0, number on it).
    """

    kind: str
    alt: str = ""
    parent: Element | None = None
    parts: list[Element | tuple[int, int]] = field(default_factory=list)


class Tags:
    """Gathers the tree, and writes it into the document."""

    def __init__(self) -> None:
        self._here = self._root = Element("Document")
        self._pages: dict[int, list[Element]] = {}

    def open(self, kind: str, alt: str = "") -> None:
        """Begin an element within the one that is open."""
        child = Element(kind, alt, self._here)
        self._here.parts.append(child)
        self._here = child

    def close(self) -> None:
        """End the element."""
        if self._here.parent is not None:
            self._here = self._here.parent

    def piece(self, page: int) -> int:
        """Number, on its page (from 0), of content that belongs to the open element."""
        owners = self._pages.setdefault(page, [])
        owners.append(self._here)
        self._here.parts.append((page, len(owners) - 1))
        return len(owners) - 1

    def write(self, document: Any) -> None:
        """Put the tree into a finished document of the PDF library."""
        pages = document.Pages.pages
        made: dict[int, Any] = {}
        tree = pdfdoc.PDFDictionary({"Type": pdfdoc.PDFName("StructTreeRoot")})
        root = document.Reference(tree)
        tree.dict["K"] = _write(self._root, root, document, pages, made)
        numbers: list[Any] = []
        for number, owners in sorted(self._pages.items()):
            numbers += [number, pdfdoc.PDFArray([made[id(owner)] for owner in owners])]
            page = pages[number]
            page.__NoDefault__ = [*page.__NoDefault__, "StructParents", "Tabs"]
            page.StructParents, page.Tabs = number, pdfdoc.PDFName("S")
        tree.dict["ParentTree"] = pdfdoc.PDFDictionary({"Nums": pdfdoc.PDFArray(numbers)})
        tree.dict["ParentTreeNextKey"] = len(pages)
        document.Catalog.StructTreeRoot = tree
        document.Catalog.MarkInfo = pdfdoc.PDFDictionary({"Marked": "true"})


def _write(
    node: Element, parent: Any, document: Any, pages: list[Any], made: dict[int, Any]
) -> Any:
    """One node and all below it; the reference to it."""
    facts: dict[str, Any] = {
        "Type": pdfdoc.PDFName("StructElem"),
        "S": pdfdoc.PDFName(node.kind),
        "P": parent,
    }
    if node.alt:
        facts["Alt"] = pdfdoc.PDFString(node.alt)
    if node.kind == "TH":
        facts["A"] = pdfdoc.PDFDictionary(
            {"O": pdfdoc.PDFName("Table"), "Scope": pdfdoc.PDFName("Column")}
        )
    record = pdfdoc.PDFDictionary(facts)
    made[id(node)] = here = document.Reference(record)
    children: list[Any] = []
    for part in node.parts:
        if isinstance(part, Element):
            children.append(_write(part, here, document, pages, made))
        else:
            page, number = part
            place = {
                "Type": pdfdoc.PDFName("MCR"),
                "Pg": document.Reference(pages[page]),
                "MCID": number,
            }
            children.append(pdfdoc.PDFDictionary(place))
    record.dict["K"] = pdfdoc.PDFArray(children)
    return here


@contextmanager
def tagged(canvas: Any, kind: str, alt: str = "") -> Iterator[None]:
    """Draw the content of one element; plain drawing on a canvas without tags."""
    tags: Tags | None = getattr(canvas, "tags", None)
    if tags is None:
        yield
        return
    tags.open(kind, alt)
    number = tags.piece(canvas.page_now)
    canvas.addLiteral(f"/{kind} <</MCID {number}>> BDC")
    yield
    canvas.addLiteral("EMC")
    tags.close()


@contextmanager
def artifact(canvas: Any) -> Iterator[None]:
    """Draw what is no part of the content: header, footer."""
    canvas.addLiteral("/Artifact BMC")
    yield
    canvas.addLiteral("EMC")


def table_tags(table: Any, event: str, *place: Any) -> None:
    """What a table of the PDF library tells while it is drawn: rows and cells become elements."""
    canvas = table.canv
    tags: Tags | None = getattr(canvas, "tags", None)
    if tags is None:
        return
    if event == "startTable":
        tags.open("Table")
    elif event == "startRow":
        table.row_now = place[0]
        tags.open("TR")
    elif event == "startCell":
        tags.open("TH" if table.row_now < table.repeatRows else "TD")
    elif event in ("startBG", "startLines"):
        canvas.addLiteral("/Artifact BMC")
    elif event in ("endBG", "endLines"):
        canvas.addLiteral("EMC")
    elif event in ("endCell", "endRow", "endTable"):
        tags.close()
