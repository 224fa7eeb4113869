"""`lightbox study analyse`: from folders, archives and tables; one sentence where it cannot."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from engine.study.analysis import analyse, analysis_to_json
from engine.study.export_tables import export_files
from tests.engine.study_answers import facts

run = CliRunner().invoke


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return export_files(facts(), analyse(facts(), seed=5, draws=40))


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_folder_archive_and_json_give_the_exported_numbers(
    folder: Path, files: dict[str, bytes]
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(f"ST-0001/{name}", data)
    (folder / "export.zip").write_bytes(archive.getvalue())
    expected = json.loads(json.dumps(analysis_to_json(analyse(facts(), seed=5, draws=40))))
    for source in (folder, folder / "study.json", folder / "export.zip"):
        result = run(app, ["study", "analyse", str(source), "--json"])
        assert result.exit_code == 0
        assert json.loads(result.output) == expected


def test_text_and_a_table_of_ratings(folder: Path) -> None:
    result = run(app, ["study", "analyse", str(folder / "answers.csv"), "--draws", "20"])
    assert result.exit_code == 0
    assert "Study IMPORT: 12 cases, 3 readers" in result.output
    assert "fleiss_kappa quadratic" in result.output
    assert "Note: The ratings were collected outside Lightbox." in result.output
    assert "Note: Agreement is not correctness" in result.output
    one = run(app, ["study", "analyse", str(folder), "--arm", "gradcam", "--seed", "1"])
    assert one.output.startswith("Study ST-0001, condition gradcam: 12 cases")
    assert "noise" not in one.output


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("study.json", b"{", "not JSON of a study"),
        ("study.json", b"[]", "not JSON of a study"),
        ("study.json", b'{"facts": {"code": 3}}', "lacks the fields"),
        ("ratings.csv", b"a,b\n1,2\n", "The table has no column reader_id"),
        ("other.zip", b"PK\x05\x06" + bytes(18), "study.json is missing"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run(app, ["study", "analyse", str(tmp_path / name)])
    assert result.exit_code == 2
    assert told in result.output
    assert (
        name not in result.output.replace("study.json is", "").replace("study.json is not", "")
        or name == "study.json"
    )
    assert len(result.output.strip().splitlines()) == 1


def test_a_folder_or_file_that_is_not_there(tmp_path: Path) -> None:
    empty = run(app, ["study", "analyse", str(tmp_path)])
    assert (empty.exit_code, "study.json is missing" in empty.output) == (2, True)
    absent = run(app, ["study", "analyse", str(tmp_path / "secret-name.json")])
    assert absent.exit_code == 2
    assert "secret-name" not in absent.output
    unknown = tmp_path / "study.json"
    unknown.write_bytes(export_files(facts())["study.json"])
    result = run(app, ["study", "analyse", str(tmp_path), "--arm", "x", "--draws", "10"])
    assert (result.exit_code, "no condition of this name" in result.output) == (2, True)
