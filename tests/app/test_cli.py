"""The command line: what it writes, what it says, how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np
import pytest

from app import cli
from app.settings import Settings
from engine.metrics.protocol import QUESTIONS
from engine.phantoms import write_case

ROOT = Path(__file__).parents[2]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run a command as `lightbox` does, in this process and with the small model."""
    kit.use(monkeypatch, model)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LIGHTBOX_")]:
        monkeypatch.delenv(name)

    def lightbox(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["lightbox", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return lightbox


def explain(run: Run, *words: object) -> Said:
    return run("explain", *words, "--device", "cpu")


def png(path: Path, seed: int = 0) -> Path:
    """A grey picture with something in it."""
    drawn = np.random.default_rng(seed).integers(0, 50, (90, 70)).astype(np.uint8)
    drawn[20:50, 10:40] += 150
    path.write_bytes(imagecodecs.png_encode(drawn))
    return path


def parsed(path: Path) -> Any:
    """JSON without NaN or infinity."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def is_sentence(text: str) -> bool:
    return text.endswith(".\n") and text.count("\n") == 1 and "Traceback" not in text


def test_a_phantom_folder_is_one_case(run: Run, tmp_path: Path) -> None:
    case = kit.small_case()
    write_case(case, tmp_path / "PATIENT-NAME")
    said = explain(run, tmp_path / "PATIENT-NAME", "--out", tmp_path / "out")
    assert said.code == 0 and said.err == ""
    (folder,) = (tmp_path / "out").iterdir()
    assert said.out.startswith(f"File 1: {folder.name}: Benign 0.9") or "Benign" in said.out
    names = {path.name for path in folder.iterdir()}
    assert names >= {f"{m}.npz" for m in kit.METHODS} | {f"{m}.png" for m in kit.METHODS}
    facts = parsed(folder / "explanation.json")
    for method in kit.METHODS:
        with np.load(folder / f"{method}.npz", allow_pickle=False) as arrays:
            heat, second = arrays["map"], arrays["map_pathology"]
        assert heat.dtype == second.dtype == np.float32
        assert heat.shape == case.images[0].pixels.shape[1:3]
        assert second.shape == case.images[1].pixels.shape[1:3]
        overlay = imagecodecs.png_decode((folder / f"{method}.png").read_bytes())
        assert overlay.shape[:2] == heat.shape
    assert facts["case"] == folder.name
    assert facts["prediction"]["class"] == "Benign"
    assert sum(facts["prediction"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(facts["model"]["weights_sha256"]) == 64
    assert [len(image["sha256"]) for image in facts["images"]] == [64, 64]
    assert [e["method"] for e in facts["explanations"]] == list(kit.METHODS)
    assert {e["target"] for e in facts["explanations"]} == {"Benign"}
    assert all(e["settings"] for e in facts["explanations"])


def test_a_bad_file_does_not_stop_the_rest(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    png(folder / "a_Doe.png", 1)
    (folder / "b_Doe.png").write_bytes(png(folder / "b_Doe.png", 2).read_bytes()[:60])
    png(folder / "c_Doe.png", 3)
    out = tmp_path / "out"
    said = explain(run, folder, tmp_path / "absent_Doe", "--out", out, "--methods", "gradcam")
    assert said.code == 1
    assert said.err.splitlines() == [
        "Path 2 on the command line does not exist.",
        "File 2: This PNG picture is cut short.",
    ]
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["File 1", "File 3"]
    everything = [path.name for path in out.rglob("*")] + [said.out, said.err]
    assert not any("Doe" in text for text in everything)
    assert len(list(out.glob("*/gradcam.npz"))) == 2
    assert len(list(out.rglob("*.npz"))) == 2


def test_a_single_mammogram_is_a_case(run: Run, tmp_path: Path) -> None:
    said = explain(run, png(tmp_path / "m.png"), "--out", tmp_path / "out", "--target", "iNVASIVE")
    assert (said.code, said.err) == (0, "")
    (folder,) = (tmp_path / "out").iterdir()
    facts = parsed(folder / "explanation.json")
    assert {e["target"] for e in facts["explanations"]} == {"Invasive"}
    assert any("without pathology" in warning for warning in facts["warnings"])
    with np.load(folder / "cross_modal.npz") as arrays:
        assert arrays.files == ["map"] and arrays["map"].shape == (90, 70)
        assert not arrays["map"].any()
    assert facts["explanations"][-1]["maps"][0]["reason"]


def test_names_are_told_on_the_terminal_only_when_asked(run: Run, tmp_path: Path) -> None:
    path = png(tmp_path / "Doe\x1b[2J.png")
    bad = tmp_path / "Roe.png"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    said = explain(run, path, bad, "Poe", "--out", out, "--names", "--methods", "gradcam")
    assert said.code == 1
    assert said.out.startswith("File 1 (Doe?[2J.png): LB-")
    assert "Path 3 (Poe) on the command line does not exist." in said.err
    assert "File 2 (Roe.png): " in said.err and str(tmp_path) not in said.err + said.out
    written = b"".join(p.read_bytes() + p.name.encode() for p in out.rglob("*") if p.is_file())
    assert b"Doe" not in written
    quiet = explain(run, path, "--out", out, "--methods", "gradcam")
    assert quiet.out.startswith("File 1: LB-")
    told = run("explain", "--help")
    assert "file names may identify" in " ".join(told.out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--methods", "magic"), "magic"),
        (("--methods", "rollout,magic"), "magic"),
        (("--methods", ","), "at least one"),
        (("--target", "Metastatic"), "Invasive"),
        (("--model", "unknown"), "crossmodal-demo"),
        (("--model", "../../etc/passwd"), "no model named"),
        (("--device", "abacus"), "auto, cpu or cuda"),
    ],
)
def test_unknown_names(run: Run, tmp_path: Path, options: tuple[str, str], sentence: str) -> None:
    out = tmp_path / "out"
    said = run("explain", png(tmp_path / "m.png"), "--out", out, *options)
    assert said.code == 1 and is_sentence(said.err) and sentence in said.err
    assert not out.exists() and said.out == ""


def test_usage_errors_end_with_two(run: Run, tmp_path: Path) -> None:
    for words in (("explain",), ("explain", "x"), ("explain", "x", "--out"), ("dance",),
                  ("explain", "x", "--out", "y", "--frob")):  # fmt: skip
        said = run(*words)
        assert said.code == 2 and "Traceback" not in said.err


def test_places_that_are_not_there(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = explain(run, tmp_path / "none", "x" * 300, "--out", out)
    assert said.code == 1 and len(said.err.splitlines()) == 2
    (tmp_path / "empty").mkdir()
    said = explain(run, tmp_path / "empty", "--out", out)
    assert said.code == 1 and "There is no image in this folder" in said.err
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    path = png(tmp_path / "m.png")
    said = explain(run, path, "--out", path, "--methods", "rollout")
    assert said.code == 1 and is_sentence(said.err) and "could not be written" in said.err


def test_a_full_disk_gets_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left", str(tmp_path))

    monkeypatch.setattr("engine.export.np.savez_compressed", full)
    said = explain(run, png(tmp_path / "m.png"), "--out", tmp_path / "out")
    assert said.code == 1 and said.err == "The disk is full; the results could not be written.\n"
    monkeypatch.setattr("engine.phantoms.write_case", full)
    said = run("phantoms", "--out", tmp_path / "p", "--count", 1)
    assert said.code == 1 and "disk is full" in said.err and is_sentence(said.err)


def test_weights_with_a_wrong_digest(run: Run, tmp_path: Path, model: Path) -> None:
    weights = model / f"{kit.NAME}.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        said = explain(run, png(tmp_path / "m.png"), "--out", tmp_path / "out")
    finally:
        weights.write_bytes(sound)
    assert said.code == 1 and is_sentence(said.err)
    assert "not the ones its card describes" in said.err


def test_phantoms(run: Run, tmp_path: Path) -> None:
    said = run("phantoms", "--out", tmp_path / "p", "--count", 1, "--seed", 4, "--label", "Benign")
    assert (said.code, said.err) == (0, "")
    assert {path.name for path in (tmp_path / "p" / "PH-00000004").iterdir()} == {
        "mammography.png", "pathology.png", "truth.json", "lesion.png",
    }  # fmt: skip
    for words in (("--label", "Worse"), ("--label", "")):
        said = run("phantoms", "--out", tmp_path / "q", "--count", 1, *words)
        assert said.code == 1 and is_sentence(said.err)
    blocked = png(tmp_path / "file.png")
    said = run("phantoms", "--out", blocked, "--count", 1)
    assert said.code == 1 and is_sentence(said.err)
    assert run("phantoms", "--out", tmp_path / "q", "--count", 0).code == 2


def test_reports_and_ratings_of_a_workspace(run: Run, tmp_path: Path) -> None:
    services = kit.open_services(tmp_path / "ws")
    case = services.intake.keep(kit.ANN, kit.small_case(), source="upload")
    services.review.open(kit.ANN, case)
    services.ratings.rate(
        kit.ANN, case=case, question=QUESTIONS[0].id, method="relevance", target="Benign",
        status="answered", value=3, comment="=1+1", revision=0,
    )  # fmt: skip
    services.close()
    place = ("--workspace", tmp_path / "ws")
    said = run("report", case, "--out", tmp_path / "new" / "r.pdf", "--target", "invasive", *place)
    assert said.code == 0 and (tmp_path / "new" / "r.pdf").read_bytes().startswith(b"%PDF")
    said = run("report", "LB-none", "--out", tmp_path / "r2.pdf", *place)
    assert (said.code, said.err) == (1, "There is no such case.\n")
    assert not (tmp_path / "r2.pdf").exists()
    said = run("ratings", "export", "--out", tmp_path / "r.csv", *place)
    assert said.code == 0 and ",'=1+1," in (tmp_path / "r.csv").read_text("utf-8-sig")
    said = run("ratings", "export", "--out", tmp_path, *place)
    assert said.code == 1 and is_sentence(said.err)


def test_unusable_recipes(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "x"\nmagic = 1\n')
    said = run("train", recipe, "--out", tmp_path / "t")
    assert said.code == 1 and is_sentence(said.err) and "magic" in said.err
    for path in (tmp_path / "none.toml", tmp_path):
        said = run("train", path, "--out", tmp_path / "t")
        assert said.code == 1 and is_sentence(said.err)


def test_help_lists_the_options(run: Run) -> None:
    said = run("--help")
    assert said.code == 0
    for command in ("serve", "explain", "report", "train", "phantoms", "ratings"):
        assert command in said.out
    said = run("serve", "--help")
    for option in ("--host", "--port", "--workspace", "--database", "--device", "--no-open"):
        assert option in said.out
    said = run("--version")
    assert said.code == 0 and said.out.startswith("Lightbox ")


def test_the_launcher_lists_its_options() -> None:
    made = subprocess.run(
        [sys.executable, "launch.py", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=60, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert made.returncode == 0 and made.stderr == ""
    for option in ("--host", "--port", "--workspace", "--database", "--device", "--open"):
        assert option in made.stdout


def test_flags_come_before_environment_file_and_defaults(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def stop(settings: Settings, *, demonstration: bool) -> None:
        seen.append(settings)
        raise cli.AppError("stop")

    monkeypatch.setattr("app.commands.serve.Services.open", stop)
    workspace = tmp_path / "ws"
    workspace.mkdir()
    (workspace / "lightbox.toml").write_text('port = 1111\nhost = "127.0.0.2"\nidle_minutes = 7\n')
    monkeypatch.setenv("LIGHTBOX_WORKSPACE", str(workspace))
    monkeypatch.setenv("LIGHTBOX_PORT", "2222")
    monkeypatch.setenv("LIGHTBOX_DEVICE", "cpu")
    said = run("serve", "--device", "auto", "--no-open")
    assert said.code == 1 and said.err == "stop\n"
    (settings,) = seen
    assert settings.device == "auto" and settings.open_browser is False
    assert settings.port == 2222 and settings.workspace == workspace
    assert settings.host == "127.0.0.2" and settings.idle_minutes == 7
    assert settings.session_minutes == Settings().session_minutes
    said = run("serve", "--port", "70000")
    assert said.code == 1 and is_sentence(said.err) and "65535" in said.err
    monkeypatch.setenv("LIGHTBOX_PORT", "many")
    said = run("serve")
    assert said.code == 1 and is_sentence(said.err)
    assert len(seen) == 1


def test_a_closed_pipe_is_no_noise(tmp_path: Path, model: Path) -> None:
    png(tmp_path / "a.png", 1)
    code = (
        "import engine.cards; from pathlib import Path\n"
        f"engine.cards.cards_folder = lambda: Path({str(model)!r})\n"
        "from app.cli import main; main()\n"
    )
    words = ["explain", str(tmp_path / "a.png"), "--out", str(tmp_path / "o"), "--device", "cpu"]
    made = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert made.stdout is not None and made.stderr is not None
    made.stdout.close()
    said = made.stderr.read()
    made.stderr.close()
    assert made.wait(60) in (0, 1) and said == ""
