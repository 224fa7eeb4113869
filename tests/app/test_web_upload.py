"""Names of uploaded files cannot escape their folder; old leftovers are swept away."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.upload import DEEPEST, LONGEST, STALE_SECONDS, safe_components, sweep

ANY_TEXT = st.text(st.characters(codec=None)) | st.text("./\\ :a\x00\n", max_size=40)


@pytest.mark.parametrize(
    ("name", "components"),
    [
        ("p1/mammography.png", ("p1", "mammography.png")),
        ("../../etc/passwd", ("etc", "passwd")),
        ("/etc/passwd", ("etc", "passwd")),
        ("..\\..\\win\\x.dcm", ("win", "x.dcm")),
        ("C:\\scans\\x.dcm", ("C_", "scans", "x.dcm")),
        ("a/./b//c.png", ("a", "b", "c.png")),
        ("a\x00b\r\n\u202e.png", ("ab.png",)),
        (".. /x.png", ("x.png",)),
        (".DS_Store", (".DS_Store",)),
        ("乳腺/钼靶.dcm", ("乳腺", "钼靶.dcm")),
        ("", ()),
        ("../..", ()),
        ("...", ()),
    ],
)
def test_names_are_made_harmless(name: str, components: tuple[str, ...]) -> None:
    assert safe_components(name) == components


@given(ANY_TEXT)
def test_no_name_escapes(name: str) -> None:
    root = Path("/srv/upload")
    components = safe_components(name)
    assert len(components) <= DEEPEST
    for part in components:
        assert part not in ("", ".", "..") and "/" not in part and "\\" not in part
        assert len(part.encode("utf-8")) <= LONGEST
        assert not any(unicodedata.category(mark).startswith("C") for mark in part)
    inside = Path(os.path.normpath(root.joinpath(*components)))
    assert inside.is_relative_to(root) and len(inside.parts) == len(root.parts) + len(components)


def test_long_names_keep_their_suffix() -> None:
    (name,) = safe_components("ü" * 300 + ".nii.gz")
    assert name.endswith(".gz") and len(name.encode()) <= LONGEST


def test_only_old_leftovers_are_swept_away(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / "uploads" / name).mkdir(parents=True)
    past = (tmp_path / "uploads" / "new").stat().st_mtime - STALE_SECONDS - 60
    os.utime(tmp_path / "uploads" / "old", (past, past))
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["new"]
