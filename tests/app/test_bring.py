"""`lightbox bring-model`: what it writes, what it says, and that `explain` takes what it wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch

from app import cli
from engine.cards import read_card

torch.set_num_threads(1)  # nets this small only lose by sharing the processor

NAME = "resnet10t"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command as `lightbox` does, in this process."""
    monkeypatch.chdir(tmp_path)

    def lightbox(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["lightbox", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return lightbox


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = timm.create_model(NAME, pretrained=False, num_classes=2)
    path = tmp_path / "secret-patient.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def bring(run: Run, checkpoint: Path, *words: object) -> Said:
    return run("bring-model", checkpoint, "--architecture", NAME, "--out", "models", *words)


def test_a_brought_model_explains_an_image(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffbenign\n malignant \n\n", "utf-8")
    said = bring(
        run, checkpoint, "--classes", "names.txt", "--name", "ours", "--title", "Our model",
        "--training-data", "Films of one hospital.", "--size", 64, "--mean", "0.5", "--std",
        "0.5,0.5,0.5",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    assert "Our model: 2 class(es)" in said.out and "ours.toml" in said.out
    card = read_card(tmp_path / "models" / "ours.toml")
    assert card.classes == ("benign", "malignant")
    assert card.training_data == "Films of one hospital."
    assert card.config["size"] == 64 and list(card.config["mean"]) == [0.5]

    picture = np.random.default_rng(0).integers(0, 255, (50, 90, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    said = run(
        "explain", "picture.png", "--methods", "gradcam,saliency", "--model", "models/ours.toml",
        "--out", "results", "--no-scores", "--device", "cpu", "--target", "malignant",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    (folder,) = (tmp_path / "results").iterdir()
    assert {"gradcam.png", "saliency.png"} <= {path.name for path in folder.iterdir()}


def test_refusals_are_one_line_without_the_files_name(run: Run, checkpoint: Path) -> None:
    for words, reason in (
        (("--num-classes", 3), "has 2 classes"),
        (("--num-classes", 2, "--classes", checkpoint), "either --classes"),
        ((), "either --classes"),
        (("--classes", checkpoint), "cannot be read as text"),
        (("--num-classes", 2, "--mean", "half"), "numbers separated by commas"),
        (("--num-classes", 2, "--name", "a/b"), "letters"),
    ):
        said = bring(run, checkpoint, *words)
        assert said.code == 1 and said.out == ""
        assert reason in said.err
        assert said.err.count("\n") == 1 and "secret" not in said.err
    assert not Path("models").exists()


def test_a_checkpoint_that_holds_code_is_not_opened(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save(Said(0, "", ""), path)
    said = bring(run, path, "--num-classes", 2)
    assert said.code == 1
    assert "could run as a program" in said.err


def test_class_names_that_cannot_be_printed_are_refused(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("benign\nmali\x1b[31mgnant\n", "utf-8")
    assert "cannot be printed" in bring(run, checkpoint, "--classes", "names.txt").err
    (tmp_path / "names.txt").write_text("\n \n", "utf-8")
    assert "one name a line" in bring(run, checkpoint, "--classes", "names.txt").err
