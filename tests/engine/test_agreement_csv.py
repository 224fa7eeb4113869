"""`lightbox agreement`: the CSV it reads, the JSON it gives, one sentence for what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from engine.metrics.agreement import statistics
from engine.metrics.agreement_csv import BadTable, read_csv, read_scale

HEAD = "reader_id,case_id,question_id,answer"
FIVE = ("1", "2", "3", "4", "5")
GWET = "11.1 2232 3333 3333 2222 1234 4444 1121 2222 .555 ..11 ..3."


def long_rows(words: str = GWET, question: str = "q1", labels: tuple[str, ...] = FIVE) -> str:
    """The long form of cases as words and raters as characters; a dot is an empty answer."""
    rows = [
        f"r{rater},c{case:02d},{question},{'' if mark == '.' else labels[int(mark) - 1]}"
        for case, word in enumerate(words.split())
        for rater, mark in enumerate(word)
    ]
    return "\n".join([HEAD, *rows]) + "\n"


def run(path: Path, *options: str) -> tuple[int, str, str]:
    from typer.testing import CliRunner

    from app.cli import app

    result = CliRunner().invoke(app, ["agreement", str(path), *options])
    return result.exit_code, result.stdout, result.stderr


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "ratings.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_json_is_what_the_engine_computes(tmp_path: Path) -> None:
    code, out, _ = run(written(tmp_path, long_rows()), "--scale", "1,2,3,4,5", "--json")
    assert code == 0
    results = json.loads(out)["results"]
    ratings = [[np.nan if c == "." else float(c) for c in word] for word in GWET.split()]
    readers = ["r0", "r1", "r2", "r3"]
    assert results == [one.as_json("q1", readers) for one in statistics(ratings)]
    keys = {"question_id", "statistic", "weights", "level", "value", "se", "ci", "reason"}
    assert all(keys == set(one) - {"raters"} for one in results)
    ac2 = next(r for r in results if (r["statistic"], r["weights"]) == ("gwet_ac", "quadratic"))
    assert ac2["value"] == pytest.approx(0.914001, abs=5e-5)
    assert ac2["se"] == pytest.approx(0.103962, abs=5e-5)
    assert ac2["ci"] == pytest.approx([0.685181, 1], abs=5e-5)
    assert ac2["reason"] is None
    pairs = {tuple(r["raters"]) for r in results if r["statistic"] == "cohen_kappa"}
    assert len(pairs) == 6


def test_people_get_a_table_with_notes(tmp_path: Path) -> None:
    text = long_rows() + long_rows("11 11 11", "q2").partition("\n")[2]
    code, out, _ = run(written(tmp_path, text), "--scale", "1,2,3,4,5")
    assert code == 0
    assert "Question q1: 12 cases, 4 readers, 41 ratings, 7 missing" in out
    assert "gwet_ac quadratic 0.91 0.69 to 1.00" in " ".join(out.split())
    assert "No variation" in out
    assert "Cases rated once" in out
    assert out.rstrip().endswith(
        "Agreement is not correctness: readers can agree and all be wrong."
    )


def test_text_labels_stand_in_the_order_of_the_scale() -> None:
    labels = ("none", "mild", "moderate", "severe", "worst")
    table = read_csv(long_rows(labels=labels).encode(), labels)["q1"]
    plain = read_csv(long_rows().encode(), FIVE)["q1"]
    assert np.array_equal(table.ratings, plain.ratings, equal_nan=True)
    assert (table.scale, table.numeric, plain.numeric) == ((1, 2, 3, 4, 5), False, True)


def test_labels_of_text_stand_for_the_scores_from_one_on(tmp_path: Path) -> None:
    text = long_rows("11 12 22 22 11", labels=("yes", "no"))
    code, out, _ = run(written(tmp_path, text), "--scale", "yes,no", "--json")
    found = {(r["statistic"], r["weights"], r["level"]): r for r in json.loads(out)["results"]}
    assert code == 0
    plain = long_rows("11 12 22 22 11")
    _, numbers, _ = run(written(tmp_path, plain), "--scale", "1,2", "--json")
    same = {(r["statistic"], r["weights"], r["level"]): r for r in json.loads(numbers)["results"]}
    for key in (("icc_2_1", None, None), ("krippendorff_alpha", None, "interval")):
        assert found[key]["value"] == pytest.approx(same[key]["value"])
    assert found["krippendorff_alpha", None, "ordinal"]["value"] is not None
    assert found["p_pos", None, None]["value"] == pytest.approx(0.8)
    assert found["p_neg", None, None]["value"] == pytest.approx(0.8)
    assert found["bias_index", None, None]["value"] == pytest.approx(0.2)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_habits_are_read(delimiter: str) -> None:
    text = "﻿" + long_rows().replace(",", delimiter).replace("\n", "\r\n")
    table = read_csv(text.encode(), FIVE)["q1"]
    assert table.ratings.shape == (12, 4)
    assert int(np.isnan(table.ratings).sum()) == 7


def test_other_columns_order_and_blank_rows_are_ignored() -> None:
    rows = ['"a ""b"", c\nd",3.0,q,1,r1', ",2,q,1,r2", "", ",,q,1,r3"]
    text = "\n".join(["comment,Answer, question_id ,case_id,reader_id", *rows])
    table = read_csv(text.encode(), FIVE)["q"]
    assert table.readers == ("r1", "r2", "r3")
    assert table.ratings[0, :2].tolist() == [3, 2]
    assert np.isnan(table.ratings[0, 2])


def test_the_order_of_rows_does_not_matter() -> None:
    head, *rows = long_rows().strip().split("\n")
    table = read_csv("\n".join([head, *reversed(rows)]).encode(), FIVE)["q1"]
    plain = read_csv(long_rows().encode(), FIVE)["q1"]
    assert np.array_equal(table.ratings, plain.ratings, equal_nan=True)
    assert (table.readers, table.cases) == (plain.readers, plain.cases)


def test_numbers_in_another_order_are_still_numbers() -> None:
    scale = read_scale(["1", "0"])
    assert (scale.scores, scale.numeric, scale.first) == ((0, 1), True, 1)


@pytest.mark.parametrize(
    ("text", "scale", "sentence"),
    [
        ("", "1,2", "The file is empty."),
        ("\n\n", "1,2", "The file is empty."),
        (HEAD + "\n", "1,2", "The file has a header and no answers."),
        ("a,b\n1,2\n", "1,2", "The file lacks the column reader_id"),
        ("reader_id,case_id,answer\nr,c,1\n", "1,2", "The file lacks the column question_id"),
        (HEAD + ",answer\nr,c,q,1,1\n", "1,2", "The header names the column answer twice."),
        (HEAD + "\nr,c,q,1\nr,d,q,7\n", "1,2", "The answer in row 3 is not on the scale."),
        (HEAD + "\nr,c,q,x\n", "1,2", "The answer in row 2 is not on the scale."),
        (HEAD + "\nr,c,q,nan\n", "1,2", "The answer in row 2 is not on the scale."),
        (HEAD + "\nr,c,q,1\ns,c,q,1\nr,c,q,2\n", "1,2", "Row 4 repeats row 2"),
        (HEAD + "\nr,c,q\n", "1,2", "Row 2 has fewer cells than the header."),
        (HEAD + "\n,c,q,1\n", "1,2", "Row 2 lacks a reader, a case or a question."),
        (HEAD + '\nr,c,q,"1\n', "1,2", "Row 2 could not be read"),
        (HEAD.encode() + b"\nr,c,q,1\nr\xe9,d,q,1\n", "1,2", "row 3 holds something else"),
        (HEAD.encode("utf-16"), "1,2", "The file is not UTF-8 text"),
        (HEAD + "\nr,c,q,1\n", "1", "The scale needs at least two labels"),
        (HEAD + "\nr,c,q,1\n", "1,1.0", "The scale names a label twice."),
        (HEAD + "\nr,c,q,1\n", "1,,2", "A label of the scale is empty."),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(
    tmp_path: Path, text: str | bytes, scale: str, sentence: str
) -> None:
    code, out, err = run(written(tmp_path, text), "--scale", scale, "--json")
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert "ratings.csv" not in err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "nothing.csv", "--scale", "1,2")
    assert (code, err) == (2, "The file of ratings could not be read.\n")


def test_what_stands_in_a_row_is_not_repeated() -> None:
    with pytest.raises(BadTable) as refused:
        read_csv(f"{HEAD}\nDr Miller,Jane Roe,q,secret\n".encode(), FIVE)
    assert not any(word in str(refused.value) for word in ("Miller", "Roe", "secret"))


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x85", "\x1c"])
def test_only_line_ends_end_a_row(mark: str) -> None:
    """Spreadsheets leave such signs in comments without quotation marks."""
    lines = [f"a{mark}b,{line}" for line in long_rows().splitlines()]
    found = read_csv("\n".join(lines).encode(), FIVE)["q1"]
    assert np.array_equal(
        found.ratings, read_csv(long_rows().encode(), FIVE)["q1"].ratings, equal_nan=True
    )


def test_long_cells_are_read_and_the_limit_of_the_process_stays() -> None:
    before = csv.field_size_limit()
    text = f"{HEAD},comment\na,c1,q,1,{'x' * (before + 1)}\nb,c1,q,2,\n"
    assert read_csv(text.encode(), FIVE)["q"].ratings.tolist() == [[1, 2]]
    assert csv.field_size_limit() == before


def test_a_decimal_comma_is_read() -> None:
    text = f"{HEAD}\na,c1,q,0.5\nb,c1,q,1.0\n".replace(",", ";").replace(".", ",")
    found = read_csv(text.encode(), ("0.5", "1", "1.5"))["q"]
    assert found.ratings.tolist() == [[0.5, 1.0]]
