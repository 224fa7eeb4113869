"""Exports that are complete, blind, the same every time, and enough to make every figure again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.errors import EngineError
from engine.study.analysis import Analysis, analyse
from engine.study.blind import blinded, is_blind
from engine.study.dictionary import COLUMNS, codes
from engine.study.export_tables import export_files, import_csv, long_rows
from engine.study.import_table import UnreadableTable
from engine.study.protocol_json import facts_from_json
from engine.study.recompute import differences, main, matrix
from engine.study.records import QuestionKind, ReadStatus, StudyFacts
from engine.study.sheets import csv_bytes, plain_cell
from tests.engine.study_answers import CONFIDENCE, DIAGNOSIS, TRUST, facts, trust_of

# The columns of the specification, in its order.
SPECIFIED = [
    "study_id", "study_version", "session", "reader_id", "reader_role", "years_experience_band",
    "case_id", "modality", "view", "laterality", "condition", "method_code", "method_name",
    "replicate", "position", "question_id", "question_text", "scale_min", "scale_max", "answer",
    "answer_status", "reason", "comment", "shown_at", "submitted_at", "active_ms", "revision",
    "n_revisions", "ai_prediction", "ai_confidence", "ai_correct", "ground_truth", "model_hash",
    "explainer_version", "software_version",
]  # fmt: skip
HEADER = "reader_id,case_id,question_id,answer\n"


@pytest.fixture(scope="module")
def study() -> StudyFacts:
    return facts()


@pytest.fixture(scope="module")
def analysis(study: StudyFacts) -> Analysis:
    return analyse(study, seed=5, draws=50)


@pytest.fixture(scope="module")
def files(study: StudyFacts, analysis: Analysis) -> dict[str, bytes]:
    return export_files(study, analysis)


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_columns_are_those_of_the_specification(files: dict[str, bytes]) -> None:
    assert [column.name for column in COLUMNS] == SPECIFIED
    first = files["answers.csv"].decode("utf-8-sig").split("\r\n")[0]
    assert first.split(",") == SPECIFIED


def test_one_row_per_answer(study: StudyFacts, files: dict[str, bytes]) -> None:
    rows = read(files["answers.csv"])
    assert len(rows) == len(study.answers)
    one = next(
        row for row in rows
        if (row["reader_id"], row["case_id"], row["condition"], row["question_id"])
        == ("R02", "C004", "gradcam", "trust")
    )  # fmt: skip
    assert one["answer"] == f"{trust_of(3, 1, 'gradcam'):g}"
    assert (one["scale_min"], one["scale_max"], one["method_name"]) == ("1", "5", "gradcam")
    assert (one["ai_correct"], one["ground_truth"], one["replicate"]) == ("false", "Malignant", "1")
    assert one["shown_at"].endswith("+00:00")


def test_no_cell_is_a_formula(files: dict[str, bytes]) -> None:
    rows = read(files["answers.csv"])
    assert {row["comment"] for row in rows} == {"", "'=1+1"}
    evil = ("=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n@x")
    assert [plain_cell(text) for text in evil] == [f"'{text}" for text in evil]
    assert plain_cell(-1.0) == -1
    assert plain_cell("a=1") == "a=1"
    assert csv_bytes(["=x"], [[None, True, 2.0, 2.5]]) == (b"\xef\xbb\xbf'=x\r\n,true,2,2.5\r\n")


def test_same_study_same_bytes(
    study: StudyFacts, analysis: Analysis, files: dict[str, bytes]
) -> None:
    assert export_files(study, analysis) == files
    shuffled = replace(study, answers=tuple(reversed(study.answers)))
    assert export_files(shuffled, analysis)["answers.csv"] == files["answers.csv"]


def test_parquet_holds_the_same_rows(files: dict[str, bytes]) -> None:
    rows = pq.read_table(io.BytesIO(files["answers.parquet"])).to_pylist()
    plain = read(files["answers.csv"])
    assert len(rows) == len(plain)
    for typed, text in zip(rows, plain, strict=True):
        assert str(typed["answer"]) == text["answer"]
        assert typed["active_ms"] == int(text["active_ms"])
        assert typed["ai_correct"] in (None, True, False)
    assert rows[0]["comment"] == "=1+1"


def test_wide_matrices(files: dict[str, bytes]) -> None:
    rows = read(files["wide/trust_noise.csv"])
    assert [row["case_id"] for row in rows] == [f"C{i + 1:03d}" for i in range(12)]
    for i, row in enumerate(rows):
        assert [row[f"R0{j + 1}"] for j in range(3)] == [
            f"{trust_of(i, j, 'noise'):g}" for j in range(3)
        ]
    closing = read(files["wide/questionnaire.csv"])
    assert [row["sus_1"] for row in closing] == ["3", "4", "3"]


def test_dictionary_names_every_column_and_code(files: dict[str, bytes]) -> None:
    rows = json.loads(files["dictionary.json"])
    names = [row["name"] for row in rows]
    assert names[: len(SPECIFIED)] == SPECIFIED
    assert "question:sus_10" in names
    assert all(row["meaning"] and row["type"] for row in rows)
    assert codes(DIAGNOSIS) == "0 = Benign; 1 = Malignant"
    assert codes(TRUST).startswith("1 = a; 2 = b")
    assert codes(CONFIDENCE) == "0 to 100"
    assert len(read(files["dictionary.csv"])) == len(rows)


def test_digests(study: StudyFacts, files: dict[str, bytes]) -> None:
    digests = json.loads(files["digests.json"])
    assert set(digests["files"]) == set(files) - {"digests.json"}
    for name, digest in digests["files"].items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    assert digests["frozen"] == study.digests


def test_study_json_gives_the_study_back(study: StudyFacts, files: dict[str, bytes]) -> None:
    content = json.loads(files["study.json"])
    assert facts_from_json(content["facts"]) == study
    assert (content["format"], content["analysis"]["seed"]) == ("lightbox-study", 5)


def test_everything_can_be_computed_again(files: dict[str, bytes]) -> None:
    assert list(differences(files)) == []


def test_recomputing_finds_what_was_changed(files: dict[str, bytes]) -> None:
    text = files["answers.csv"].decode()
    first = text.index("C004,MG,MLO,L,gradcam")
    at = text.index(",1,5,", first) + len(",1,5,")
    # To an answer on the scale that it was not.
    other = "1" if text[at] != "1" else "5"
    changed = {**files, "answers.csv": (text[:at] + other + text[at + 1 :]).encode()}
    told = list(differences(changed))
    assert told[0] == "The file answers.csv was changed after the export."
    assert any("percent_agreement of trust, gradcam" in line for line in told)
    study = json.loads(files["study.json"])
    study["analysis"]["comparisons"][0]["mean_difference"] += 0.01
    forged = {**files, "study.json": json.dumps(study).encode()}
    assert any(line.startswith("analysis.comparisons[0].mean_difference is written as")
               for line in differences(forged))  # fmt: skip
    lost = {name: data for name, data in files.items() if name != "dictionary.csv"}
    assert list(differences(lost)) == ["The file dictionary.csv is missing."]


def test_recompute_as_a_script(
    tmp_path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Everything agrees with the export.\n"
    (tmp_path / "README.txt").write_text("other")
    assert main([str(tmp_path)]) == 1


def test_matrix_of_the_script_leaves_repeats_out(files: dict[str, bytes]) -> None:
    rows = read(files["answers.csv"])
    ratings = matrix(rows, "trust", "gradcam")
    expected = [[trust_of(i, j, "gradcam") for j in range(3)] for i in range(12)]
    assert ratings == pytest.approx(np.array(expected))


def test_nothing_names_an_arm_before_unblinding() -> None:
    study = facts(unblinded=False)
    found = export_files(study, analyse(study, draws=20))
    for name, data in found.items():
        if name == "recompute.py" or name.startswith("dictionary"):
            continue
        for told in (b"gradcam", b"Grad-CAM", b"noise", b"Random map", b'"random"'):
            assert told not in data, (name, told)
    assert {row["condition"] for row in read(found["answers.csv"])} == {
        "", "arm_1", "arm_2", "arm_3",
    }  # fmt: skip
    assert {row["method_name"] for row in read(found["answers.csv"])} == {""}
    assert "wide/trust_arm_2.csv" in found
    assert list(differences(found)) == []


def test_scores_of_maps_do_not_tell_decoys_before_unblinding() -> None:
    """Only explanations have scores; a blinded export with them would name the decoys."""
    hidden = blinded(facts(unblinded=False))
    assert hidden.map_scores
    found = export_files(hidden, analyse(hidden, draws=20))
    written = json.loads(found["study.json"])
    assert written["facts"]["map_scores"] == {}
    assert written["analysis"]["correlations"] == []
    assert list(differences(found)) == []
    assert json.loads(export_files(facts())["study.json"])["facts"]["map_scores"]


def test_blinding_keeps_the_numbers() -> None:
    study = facts(unblinded=False)
    hidden = blinded(study)
    assert not is_blind(study)
    assert is_blind(hidden)
    assert blinded(hidden) is hidden
    names = dict(zip([a.arm for a in study.answers], [a.arm for a in hidden.answers], strict=True))
    assert sorted(set(names.values())) == ["", "arm_1", "arm_2", "arm_3"]
    assert {(case, names[arm]): s for (case, arm), s in study.map_scores.items()} == (
        hidden.map_scores
    )
    named = facts()
    assert blinded(named) is named


def test_texts_and_marks_are_exported(study: StudyFacts) -> None:
    free = replace(TRUST, id="why", kind=QuestionKind.TEXT)
    point = replace(TRUST, id="where", kind=QuestionKind.POINT)
    model = study.answers[0]
    answers = (
        replace(model, question="why", value=None, text="Größe, “dicht”\n=x"),
        replace(model, question="where", value=None, marks={"points": [[1, 2]], "image": 0}),
        replace(model, status=ReadStatus.CANNOT_JUDGE, value=None, reason="too dark"),
    )
    design = replace(study.protocol, questions=(TRUST, free, point))
    rows = {row["question_id"]: row for row in
            long_rows(replace(study, protocol=design, answers=answers))}  # fmt: skip
    assert rows["why"]["answer"] == "Größe, “dicht”\n=x"
    assert json.loads(rows["where"]["answer"]) == {"points": [[1, 2]], "image": 0}
    assert rows["trust"]["answer"] is None
    assert (rows["trust"]["answer_status"], rows["trust"]["reason"]) == ("cannot_judge", "too dark")
    assert rows["why"]["scale_min"] is None


def test_an_export_can_be_imported_with_the_same_agreement(
    analysis: Analysis, files: dict[str, bytes]
) -> None:
    again = analyse(import_csv(files["answers.csv"]), seed=5, draws=50)
    for arm in ("image", "gradcam", "noise"):
        old, new = (
            next(q for q in a.questions if (q.question, q.arm) == ("trust", arm))
            for a in (analysis, again)
        )
        assert new.statistics == old.statistics
        assert (new.mean, new.mean_low) == (old.mean, old.mean_low)
    assert [(i.reader, i.within_sd) for i in again.intra if i.question == "trust"] == [
        (i.reader, i.within_sd) for i in analysis.intra if i.question == "trust"
    ]
    assert again.forms == analysis.forms
    assert again.timing == analysis.timing
    imported = {answer.comment for answer in import_csv(files["answers.csv"]).answers}
    assert imported == {"", "=1+1"}


def test_import_of_the_least_that_is_needed() -> None:
    study = import_csv((HEADER + "A,1,q,2\nA,2,q,\nB,1,q,3\nB,2,q,5\n").encode("utf-8-sig"))
    (question,) = study.protocol.questions
    assert (question.low, question.high, question.kind) == (1, 5, QuestionKind.SCALE)
    assert study.protocol.cases == ("1", "2")
    assert [a.value for a in study.answers] == [2, None, 3, 5]
    assert study.answers[1].status is ReadStatus.SKIPPED
    assert any("scale was taken to be 1 to 5" in note for note in study.deviations)
    assert [arm.id for arm in study.protocol.arms] == ["all"]


def test_import_of_words_semicolons_and_conditions() -> None:
    text = (
        "Case_ID;reader_id;question_id;answer;condition;extra\n"
        "1;A;kind;mass;x;?\n1;A;kind;none;y;?\n1;B;kind;mass;x;?\n1;B;kind;mass;y;?\n"
        "1;A;size;1,5;x;\n1;B;size;2,25;x;\n"
    )
    study = import_csv(text.encode())
    kind, size = study.protocol.questions
    assert (kind.kind, kind.choices, kind.ordered) == (
        QuestionKind.CHOICE, ("mass", "none"), False,
    )  # fmt: skip
    assert (size.kind, [a.value for a in study.answers][-2:]) == (QuestionKind.NUMBER, [1.5, 2.25])
    assert [arm.id for arm in study.protocol.arms] == ["x", "y"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "The table is empty."),
        (HEADER.encode(), "no row with an answer"),
        (b"reader_id,case_id,answer\nA,1,2\n", "no column question_id"),
        (b"reader_id,case_id,question_id,answer,answer\n", "column answer twice"),
        ((HEADER + "A,1,q,2\nA,1,q,3\n").encode(), "Rows 2 and 3 answer the same question"),
        ((HEADER + ",1,q,2\n").encode(), "Row 2 has no reader_id."),
        ((HEADER + "A,1,,2\n").encode(), "Row 2 has no question_id."),
        ((HEADER + "A,1,q,2\nA,,q,2\n").encode(), "Row 3 has no case_id."),
        ((HEADER + "A,1,q,2,9\n").encode(), "Row 2 has more cells"),
        ((HEADER + f"A,1,q,{'x' * 20_000}\n").encode(), "Row 2 has a cell of more than"),
        (HEADER.encode() + b"A,1,q,\xff\xfe\n", "not UTF-8"),
        (
            b"reader_id,case_id,question_id,answer,scale_min,scale_max\nA,1,q,6,1,5\n",
            "Row 2: the answer is not on the scale from 1 to 5.",
        ),
        (
            b"reader_id,case_id,question_id,answer,scale_min,scale_max\nA,1,q,6,5,1\n",
            "Row 2: scale_min must be a number below scale_max.",
        ),
        (
            b"reader_id,case_id,question_id,answer,replicate\nA,1,q,6,x\n",
            "Row 2: replicate must be a number.",
        ),
        (
            b"reader_id,case_id,question_id,answer,active_ms\nA,1,q,6,-4\n",
            "Row 2: active_ms must be a whole number, not negative.",
        ),
        (
            b"reader_id,case_id,question_id,answer,answer_status\nA,1,q,6,maybe\n",
            "Row 2: answer_status must be one of",
        ),
        (
            b"reader_id,case_id,question_id,answer,shown_at\nA,1,q,6,noon\n",
            "Row 2: shown_at must be a time",
        ),
        (HEADER.encode() + b'A,1,q,"2\n' + b"x" * 200_000, "cannot be read after row"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(data: bytes, told: str) -> None:
    with pytest.raises(UnreadableTable, match=told.replace("(", r"\(")) as caught:
        import_csv(data)
    assert isinstance(caught.value, EngineError)


def test_replicates_and_conditions_are_no_duplicates() -> None:
    text = (
        "reader_id,case_id,question_id,answer,condition,replicate\n"
        "A,1,q,2,x,1\nA,1,q,3,x,2\nA,1,q,4,y,1\n"
    )
    study = import_csv(text.encode())
    assert [(a.arm, a.replicate, a.value) for a in study.answers] == [
        ("x", 1, 2), ("x", 2, 3), ("y", 1, 4),
    ]  # fmt: skip
