"""The report of a reader study: what is on the pages, in the JSON, and what is asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.study.analysis import Analysis, analyse
from engine.study.records import Design, StudyFacts, StudyState
from reports.blocks import Flow, Forest, Histograms, alternative
from reports.content import Provenance
from reports.errors import ReportError
from reports.study_content import StudyReport, compose_study
from reports.study_pdf import study_pdf_bytes, study_report_json

sys.path.insert(0, str(Path(__file__).parent))

from study_world import facts, protocol, studied

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MADE_BY = Provenance("Lightbox 0.1.0", operator="organiser-1", commit="abc1234")


def report_of(study: StudyFacts, analysis: Analysis) -> StudyReport:
    return compose_study(study, analysis, created=NOW, provenance=MADE_BY)


@pytest.fixture(scope="module")
def report() -> StudyReport:
    return report_of(*studied())


@pytest.fixture(scope="module")
def printed(report: StudyReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "study.pdf"
    path.write_bytes(study_pdf_bytes(report))
    return path


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None and "poppler" not in os.environ.get("LIGHTBOX_REQUIRE", ""):
        pytest.skip(f"{name} (poppler) is not installed")
    assert found is not None, f"{name} is required"
    return found


def ran(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, check=True)
    return done.stdout.decode()


def words_of(path: Path) -> str:
    return " ".join(ran(tool("pdftotext"), "-layout", path, "-").split())


def test_equal_content_gives_equal_bytes_and_another_time_the_same_number(
    report: StudyReport, printed: Path
) -> None:
    again = report_of(*studied())
    assert study_pdf_bytes(again) == printed.read_bytes()
    assert report.id == f"SR-{report.digest[:12]}"
    later = compose_study(*studied(), created=datetime(2027, 1, 1, tzinfo=UTC), provenance=MADE_BY)
    assert later.id == report.id
    study, analysis = studied()
    other = replace(study, deviations=(*study.deviations, "A reader left."))
    assert report_of(other, analysis).id != report.id


def test_pages_are_numbered_tagged_and_carry_the_notice(printed: Path) -> None:
    info = ran(tool("pdfinfo"), printed)
    assert re.search(r"Tagged:\s+yes", info)
    assert re.search(r"Title:\s+Lightbox study report", info)
    total = int(re.search(r"Pages:\s+(\d+)", info).group(1))  # type: ignore[union-attr]
    for number in (1, total):
        page = ran(tool("pdftotext"), "-f", str(number), "-l", str(number), printed, "-")
        assert f"page {number} of {total}" in page
        assert "Research use only. Not for diagnosis." in page
        assert "ST-7F3A" in page


def test_every_font_is_embedded_and_chinese_is_printed(printed: Path) -> None:
    lines = ran(tool("pdffonts"), printed).splitlines()[2:]
    assert lines and all(re.search(r"\byes yes yes\b", line) for line in lines)
    assert "乳腺热图" in ran(tool("pdftotext"), printed, "-")


def test_tags_name_headings_tables_and_figures_with_words(printed: Path) -> None:
    tree = ran(tool("pdfinfo"), "-struct", printed)
    for kind in ("H1", "H2", "H3", "Table", "TH", "TD", "Figure"):
        assert re.search(rf"^\s+{kind}\b", tree, re.MULTILINE), kind
    raw = printed.read_bytes()
    assert raw.count(b"/Alt") >= 5 and b"/StructTreeRoot" in raw and b"/Lang (en)" in raw
    assert raw.count(b"/Outlines") == 2 or b"/Outlines" in raw
    text = ran(tool("pdftohtml"), "-xml", "-stdout", "-i", printed)
    assert "14. GRRAS items" in text[text.index("<outline>") :]


def test_the_outline_leads_to_the_page_of_its_section(printed: Path) -> None:
    text = ran(tool("pdftohtml"), "-xml", "-stdout", "-i", printed)
    places = {
        title: int(page) for page, title in re.findall(r'<item page="(\d+)">([^<]+)</item>', text)
    }
    for title in ("4. Readers", "13. Limits", "15. Provenance"):
        page = str(places[title])
        assert title in ran(tool("pdftotext"), "-f", page, "-l", page, printed, "-")
    assert places["15. Provenance"] > places["4. Readers"] > 1


def test_the_numbers_on_paper_are_those_of_the_analysis(printed: Path) -> None:
    text = words_of(printed)
    _, analysis = studied()
    for result in analysis.questions:
        for one in result.statistics:
            if one.value is not None:
                assert f"{one.value:.3f}".replace("-0.000", "0.000") in text, one.statistic
    for one in analysis.sensitivity:
        if one.value is not None and one.low is not None and one.high is not None:
            assert f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" in text
    assert "The washout of R02 was overridden: illness." in text
    assert "a1" * 32 in text and MADE_BY.commit in text


def test_the_json_tells_the_same_sections_and_the_whole_analysis(report: StudyReport) -> None:
    read = json.loads(study_report_json(report))
    assert study_report_json(report) == study_report_json(report_of(*studied()))
    assert read["report"] == report.id and read["digest_sha256"] == report.digest
    assert [s["title"] for s in read["sections"]] == [s.title for s in report.sections]
    kinds = {block["block"] for s in read["sections"] for block in s["blocks"]}
    assert kinds == {"words", "pairs", "grid", "forest", "histograms", "flow"}
    assert set(read["analysis"]) == {field.name for field in fields(Analysis)}
    assert len(read["grras"]) == 15


def test_grras_items_are_filled_or_asked_for(report: StudyReport) -> None:
    by_number = {item.number: item for item in report.grras}
    assert sorted(by_number) == list(range(1, 16))
    assert all(item.answer for item in report.grras)
    assert by_number[5].answer == "Earlier studies had one reader only." and by_number[5].filled
    asked = {n for n, item in by_number.items() if not item.filled}
    assert asked == {3, 4, 6, 7, 14}
    for n in asked:
        assert "To be filled in by the investigator: " in by_number[n].answer
    study, analysis = studied()
    everything = {str(n): "Stated." for n in range(1, 16)}
    full = report_of(replace(study, protocol=replace(study.protocol, grras=everything)), analysis)
    assert all(item.filled for item in full.grras)


def test_the_flow_counts_what_was_planned_done_and_lost(report: StudyReport) -> None:
    (flow,) = (b for s in report.sections for b in s.blocks if isinstance(b, Flow))
    said = alternative(flow)
    for words in (
        "3 readers", "12 cases", "1 reader withdrawn (R03)", "116 readings",
        "2 readings not handed in", "114 readings", "6 of them hidden repeats",
        "1 answer “cannot judge”", "323 answers of first readings",
    ):  # fmt: skip
        assert words in said, words


def test_charts_have_words_that_stand_for_them(report: StudyReport) -> None:
    charts = [
        block
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Forest | Histograms)
    ]
    assert len(charts) >= 5
    for chart in charts:
        said = alternative(chart)
        assert chart.title in said and re.search(r"\d", said)


def test_pairs_of_readers_are_listed_where_answers_have_no_mean() -> None:
    study, found = studied()
    bare = tuple(replace(one, readers_mean={}) for one in found.questions)
    said = study_report_json(report_of(study, replace(found, questions=bare))).decode()
    assert "Pairs of readers, all conditions" in said


def test_reliance_is_told_where_the_model_was_never_wrong() -> None:
    study, found = studied()
    known = {"over_reliance": None, "n_over": 0, "under_reliance": 0.25, "n_under": 8}
    trust = tuple(replace(one, **known) for one in found.trust)
    said = study_report_json(report_of(study, replace(found, trust=trust))).decode()
    assert "25.0 % of 8" in said


def test_methods_are_not_named_before_unblinding() -> None:
    blind = tuple(
        replace(arm, title=f"Arm {n}", method="", decoy=None)
        for n, arm in enumerate(protocol().arms, 1)
    )
    study = facts(protocol=protocol(arms=blind), unblinded=False)
    report = report_of(study, replace(studied()[1], flags=()))
    said = study_report_json(report).decode()
    assert "Grad-CAM" not in said and "centre" not in said.lower().replace("centred", "")
    assert "not unblinded" in said


def test_an_open_study_is_a_draft() -> None:
    study, analysis = studied()
    still = replace(study, state=StudyState.OPEN, digests={}, locked=None)
    report = report_of(still, analysis)
    assert report.status == "draft"
    said = study_report_json(report).decode()
    assert "not locked" in said and "digests are taken when the study is locked" in said


def test_a_study_without_an_answer_is_printed_with_reasons(tmp_path: Path) -> None:
    study = facts(
        answers=(), readings_done={}, deviations=(), digests={},
        protocol=protocol(text="", grras={}, groups={}, design=Design(sessions=2)),
    )  # fmt: skip
    report = report_of(study, analyse(study, draws=10))
    path = tmp_path / "empty.pdf"
    path.write_bytes(study_pdf_bytes(report))
    text = words_of(path)
    assert "No deviation was recorded." in text and "12 cases not read" in text


def test_markup_and_long_words_are_printed_as_they_are(tmp_path: Path) -> None:
    nasty = "<b>bold</b> =cmd()|' & \x07 " + "x" * 3000
    study, analysis = studied()
    plan = replace(study.protocol, title=nasty[:120], text=nasty, grras={"3": nasty})
    report = report_of(replace(study, protocol=plan, deviations=(nasty,) * 30), analysis)
    path = tmp_path / "nasty.pdf"
    path.write_bytes(study_pdf_bytes(report))
    assert "<b>bold</b>" in words_of(path)


def test_what_does_not_belong_together_is_refused() -> None:
    study, analysis = studied()
    with pytest.raises(ReportError, match="another study"):
        report_of(replace(study, code="ST-0"), analysis)
    with pytest.raises(ReportError, match="time zone"):
        compose_study(study, analysis, created=datetime(2026, 1, 1), provenance=MADE_BY)


def test_scales_of_many_points_and_long_names_are_drawn(tmp_path: Path) -> None:
    study, analysis = studied()
    wide = replace(study.protocol.questions[0], low=0, high=100, anchors=())
    arms = tuple(replace(arm, title="很长的条件名称 " * 12) for arm in study.protocol.arms)
    plan = replace(study.protocol, questions=(wide, *study.protocol.questions[1:]), arms=arms)
    counts = {float(score): score % 7 for score in range(101)}
    results = tuple(
        replace(result, counts=counts, scale=wide.scale) if result.question == wide.id else result
        for result in analysis.questions
    )
    report = report_of(replace(study, protocol=plan), replace(analysis, questions=results))
    path = tmp_path / "wide.pdf"
    path.write_bytes(study_pdf_bytes(report))
    assert "很长的条件名称" in words_of(path)
