"""Whole adaptations of a small breast system: report, guards, roll-back, candidates, study."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from engine.adaptation import (
    Adaptation,
    AdaptationRefused,
    AdaptationSettings,
    CausalTTA,
    adapt,
    batch_of_cases,
    save_candidate,
)
from engine.adaptation.__main__ import BEGIN, END, between, main
from engine.adaptation.buffer import draw_buffer, positive_classes
from engine.adaptation.errors import NotWritten
from engine.adaptation.feeding import inputs_of, probabilities_of, without_pathology
from engine.adaptation.start import look
from engine.cards import read_card
from engine.datasets.batch import Batch
from engine.datasets.source import ArraySource
from engine.errors import Cancelled, InvalidRecipe, UnknownName
from engine.models import MODELS, System
from engine.workflow import load_system, predict
from tests.engine.small_system import CLASSES, small_case, small_system

CPU = torch.device("cpu")


@pytest.fixture
def system() -> System:
    """A small system whose answers are sure enough to be learnt from."""
    made = small_system()
    with torch.no_grad():
        last = [m for m in made.network.classification.modules() if hasattr(m, "weight")][-1]
        last.weight.mul_(12)
    return made


def cases(count: int = 24, seed: int = 0, label: int | None = None) -> Batch:
    made = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4 if label is None else torch.full((count,), label)
    return Batch(
        mammo=torch.randint(0, 256, (count, 1, 64, 64), generator=made, dtype=torch.uint8),
        patho=torch.randint(0, 256, (count, 3, 48, 48), generator=made, dtype=torch.uint8),
        has_patho=torch.ones(count, dtype=torch.bool),
        label=labels,
        grade=torch.full((count,), -1),
        box=torch.zeros(count, 4),
        mask=torch.zeros(count, 8, 8, dtype=torch.uint8),
        has_mask=torch.zeros(count, dtype=torch.bool),
        site=torch.zeros(count, dtype=torch.int64),
        patient=torch.arange(count),
        index=torch.arange(count),
    )


def source(count: int = 24) -> ArraySource:
    return ArraySource(cases(count, seed=9), ("North",), CLASSES)


FREE = AdaptationSettings(
    method="tent", learning_rate=0.05, steps=6, batch_size=8, constraint="none", guards=False
)


def unlabelled(batch: Batch) -> Batch:
    return replace(batch, label=torch.full_like(batch.label, -1))


def test_report_says_before_and_after(system):
    target = cases()
    told: list[int] = []
    found = adapt(
        system, [target.take(torch.arange(16)), target.take(torch.arange(16, 24))], FREE,
        source=source(), progress=lambda said: told.append(said["step"]),
    )  # fmt: skip
    report = found.report
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(dict(report)))
    assert told == [1, 2, 3, 4, 5, 6] and report["steps_done"] == 6
    assert report["entropy"]["after"] < report["entropy"]["before"]
    assert len(report["rows"]) == 24 and [row["case"] for row in report["rows"][:2]] == ["0", "1"]
    before = probabilities_of(system.network, target, CPU)
    after = probabilities_of(found.network, target, CPU)
    assert np.allclose([row["before"] for row in report["rows"]], before, atol=1e-6)
    assert np.allclose([row["after"] for row in report["rows"]], after, atol=1e-6)
    changed = before.argmax(1) != after.argmax(1)
    assert [row["changed"] for row in report["rows"]] == changed.tolist()
    assert report["changed"] == changed.sum()
    assert sum(report["histogram"]["after"]) == 24 and report["kept_share"] == 1.0
    assert report["source"]["cases"] == 24 and report["source"]["positives"] == 12
    assert report["source"]["divergence"] > 0 and report["rolled_back"] == ""
    right = (after.argmax(1) == target.label.numpy()).mean()
    assert report["accuracy"]["after"]["value"] == pytest.approx(right)
    assert report["accuracy"]["after"]["low"] <= right <= report["accuracy"]["after"]["high"]


def test_the_system_itself_stays_as_it_is(system):
    before = {k: v.clone() for k, v in system.network.state_dict().items()}
    found = adapt(system, [cases()], FREE, source=source())
    state = system.network.state_dict()
    assert all(torch.equal(before[name], state[name]) for name in before)
    new = found.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], new[name])}
    assert changed == set(found.report["tensors"]) == set(found.tensors)
    assert all(torch.equal(found.tensors[name], new[name]) for name in changed)
    assert not any(module.training for module in found.network.modules())


def test_labels_are_never_shown_to_the_method(system):
    with_labels = adapt(system, [cases()], FREE)
    without = adapt(system, [unlabelled(cases())], FREE)
    assert without.report["accuracy"] is None
    assert with_labels.report["rows"] == without.report["rows"]


def test_a_seed_gives_the_same_again(system):
    first, second = (adapt(system, [cases()], FREE).report["rows"] for _ in range(2))
    other = adapt(system, [cases()], replace(FREE, seed=1)).report["rows"]
    assert first == second != other


def test_fisher_needs_a_source(system):
    settings = replace(FREE, constraint="fisher", fisher_cases=4, steps=1)
    assert adapt(system, [cases()], settings, source=source()).report["constraint"] == "fisher"
    alone = adapt(system, [cases()], settings).report
    assert alone["constraint"] == "l2" and alone["source"] is None
    assert alone["kl"]["before"] == pytest.approx(0, abs=0.01)


def test_a_stronger_constraint_keeps_the_answers_nearer(system):
    moved = []
    for weight in (0.0, 0.01, 1.0):
        settings = replace(
            FREE, constraint="fisher", constraint_weight=weight, learning_rate=1e-3, fisher_cases=8
        )
        moved.append(adapt(system, [cases()], settings, source=source()).report["source"])
    apart = [part["divergence"] for part in moved]
    assert apart[0] > apart[1] > apart[2] > 0


def one_class(system: System, wanted: int, count: int = 80) -> Batch:
    """Cases that the model calls by one class."""
    pool = cases(400, seed=4)
    chosen = probabilities_of(system.network, pool, CPU).argmax(1) == wanted
    found = pool.take(torch.from_numpy(np.flatnonzero(chosen)[:count]))
    assert len(found) == count
    return found


def test_guard_rolls_back_on_a_single_class_stream(system):
    top = int(np.bincount(probabilities_of(system.network, cases(200, 4), CPU).argmax(1)).argmax())
    stream = one_class(system, top)
    guarded = replace(FREE, guards=True, steps=20)
    found = adapt(system, [stream], guarded, source=source())
    assert CLASSES[top] in found.rolled_back and "diverge" in found.rolled_back
    assert found.report["steps_done"] < 20
    state = system.network.state_dict()
    assert all(torch.equal(state[k], v) for k, v in found.network.state_dict().items())
    assert found.report["changed"] == 0 and found.report["kl"]["after"] > 1
    free = adapt(system, [stream], replace(FREE, steps=3), source=source())
    assert (
        free.rolled_back == ""
        and free.report["entropy"]["after"] < found.report["entropy"]["after"]
    )


def test_guard_rolls_back_when_known_cases_are_missed(system):
    """The rarer answer dies out on cases near the edge, where entropy is minimised too fast."""
    settings = replace(
        FREE, guards=True, learning_rate=1.0, steps=12, check_every=4, histogram_limit=9.0,
        entropy_floor=0.0, positives=("Normal",),
    )  # fmt: skip
    pool = cases(200, seed=4)
    answers = torch.from_numpy(probabilities_of(system.network, pool, CPU).argmax(1))
    rare = torch.nonzero(answers == 0)[:, 0][:16]
    known = replace(pool.take(rare), label=answers[rare])
    found = adapt(system, [cases()], settings, source=ArraySource(known, ("North",), CLASSES))
    assert "On known source cases the sensitivity fell by" in found.rolled_back
    assert found.report["source"]["sensitivity"] == {"before": 1.0, "after": 1.0}


def test_guard_rolls_back_when_answers_collapse(system):
    settings = replace(FREE, guards=True, steps=40, learning_rate=0.5, entropy_floor=0.9,
                       histogram_limit=9.0)  # fmt: skip
    found = adapt(system, [cases()], settings)
    assert "too sure" in found.rolled_back


def test_cases_without_pathology_pass_as_such(system):
    target = cases(6)
    alone = without_pathology(target)
    assert "patho_img" not in inputs_of(system.network, alone)
    mixed = without_pathology(target, 3)
    inputs = inputs_of(system.network, mixed)
    assert inputs["patho_present"].tolist() == [False] * 3 + [True] * 3
    together = probabilities_of(system.network, mixed, CPU)
    assert np.allclose(together[:3], probabilities_of(system.network, alone, CPU)[:3], atol=1e-6)
    assert np.allclose(together[3:], probabilities_of(system.network, target, CPU)[3:], atol=1e-6)
    half = look(system, [mixed], replace(FREE, buffer=12), source=source())
    assert half.buffer is not None and int(half.buffer.cases.has_patho.sum()) == 6


def test_pathology_of_the_buffer_is_hidden_by_lot_and_no_more_than_needed():
    order = torch.arange(24) // 6  # by class, as a folder of cases is
    known = ArraySource(replace(cases(), label=order), ("North",), CLASSES)
    half = without_pathology(cases(), 12)
    made = [draw_buffer(known, half, CLASSES, count=24, seed=seed).cases for seed in (0, 0, 1)]
    assert [int(each.has_patho.sum()) for each in made] == [12, 12, 12]
    assert all(len(set(each.label[~each.has_patho].tolist())) == 4 for each in made)
    assert torch.equal(made[0].has_patho, made[1].has_patho)
    assert not torch.equal(made[0].has_patho, made[2].has_patho)
    some = ArraySource(without_pathology(known.batch, 10), ("North",), CLASSES)
    buffer = draw_buffer(some, half, CLASSES, count=24).cases
    assert int(buffer.has_patho.sum()) == 12 and not buffer.has_patho[:10].any()
    few = draw_buffer(some, without_pathology(cases(), 2), CLASSES, count=24).cases
    assert int(few.has_patho.sum()) == 14


def test_a_mixed_batch_adapts_and_adapters_follow_the_modalities(system):
    settings = replace(FREE, adapters=True, steps=2)
    alone = adapt(system, [without_pathology(cases())], settings).report["tensors"]
    both = adapt(system, [without_pathology(cases(), 12)], settings).report["tensors"]
    assert any(".mammography." in name for name in alone)
    assert not any(".pathology." in name for name in alone)
    assert any(".pathology." in name for name in both)


def test_cases_become_a_batch_that_the_model_reads_alike(system):
    case = small_case()
    alone = replace(case, images=case.images[:1], truth=None)
    batch = batch_of_cases(system, [case, alone])
    assert batch.has_patho.tolist() == [True, False] and batch.label.tolist() == [3, -1]
    shares = probabilities_of(system.network, batch, CPU)
    for each, got in zip((case, alone), shares, strict=True):
        wanted = list(predict(system, each).probabilities.values())
        assert np.allclose(got, wanted, atol=0.02)
    report = adapt(system, [batch], replace(FREE, steps=1), cases=["p-1", "p-2"]).report
    assert [row["case"] for row in report["rows"]] == ["p-1", "p-2"]
    assert report["accuracy"]["cases"] == 1


def test_stop_ends_it(system):
    steps: list[object] = []
    with pytest.raises(Cancelled):
        adapt(system, [cases()], FREE, progress=steps.append, stop=lambda: len(steps) >= 2)
    assert len(steps) == 2


def test_what_cannot_be_adapted_is_refused(system):
    with pytest.raises(AdaptationRefused, match="no case"):
        adapt(system, [])
    with pytest.raises(AdaptationRefused, match="other classes"):
        adapt(system, [cases()], source=ArraySource(cases(), ("North",), ("a", "b", "c", "d")))
    normal = ArraySource(cases(label=0), ("North",), CLASSES)
    with pytest.raises(AdaptationRefused, match="must not be missed"):
        adapt(system, [cases()], source=normal)
    with pytest.raises(AdaptationRefused, match="names"):
        adapt(system, [cases()], cases=["only one"])
    with pytest.raises(AdaptationRefused, match="no case"):
        batch_of_cases(system, [])


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": -1.0}, {"momentum": 1.0}, {"constraint": "ewc"}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidRecipe):
        AdaptationSettings(**wrong)
    with pytest.raises(UnknownName, match="eata"):
        AdaptationSettings(method="cotta")


def test_classes_that_must_not_be_missed():
    assert positive_classes(CLASSES).tolist() == [False, False, True, True]
    assert positive_classes(("Normal", "Benign", "Malignant")).tolist() == [False, False, True]
    assert positive_classes(("no", "yes")).tolist() == [False, True]
    assert positive_classes(CLASSES, ("Benign",)).tolist() == [False, True, False, False]
    with pytest.raises(AdaptationRefused, match="'Cyst'"):
        positive_classes(CLASSES, ("Cyst",))


def adapted(system: System) -> Adaptation:
    return adapt(system, [cases()], FREE, source=source())


def test_candidate_is_a_model_that_loads(system, tmp_path):
    found = adapted(system)
    path = save_candidate(found, system.card, tmp_path, "tiny-adapted")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "tiny-adapted.safetensors", "tiny-adapted.toml",
    ]  # fmt: skip
    card = read_card(path)
    assert card.facts["parent"] == "tiny" and card.facts["parent_digest"] == "0" * 64
    assert card.facts["method"] == "tent" and card.facts["steps"] == 6
    assert card.facts["settings"]["learning_rate"] == 0.05
    assert card.classes == CLASSES and "24 cases" in card.limits[-1]
    assert card.metrics["adaptation"]["source"]["positives"] == 12
    loaded = load_system(str(path), device="cpu")
    got = probabilities_of(loaded.network, cases(), CPU)
    assert np.array_equal(got, probabilities_of(found.network, cases(), CPU))
    with pytest.raises(AdaptationRefused, match="already"):
        save_candidate(found, system.card, tmp_path, "tiny-adapted")
    for name in ("", "../up", "a b", "-x"):
        with pytest.raises(AdaptationRefused, match="letters"):
            save_candidate(found, system.card, tmp_path, name)


@pytest.mark.parametrize("fails", ["weights", "card", "rename"])
def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing(
    system, tmp_path, monkeypatch, fails
):
    found = adapted(system)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    def half(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    if fails == "weights":
        monkeypatch.setattr("engine.models.weights.save_file", half)
    elif fails == "card":
        monkeypatch.setattr(Path, "write_text", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NotWritten, match=r"^The adapted model cannot be stored: [a-zL ,]+\.$"):
        save_candidate(found, system.card, tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_a_rolled_back_adaptation_is_no_candidate(system, tmp_path):
    found = adapted(system)
    back = replace(found, report={**found.report, "rolled_back": "It went astray."})
    with pytest.raises(AdaptationRefused, match="rolled back"):
        save_candidate(back, system.card, tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_the_adapter_takes_a_system_network_as_the_client_writes_it(system):
    examples = inputs_of(system.network, cases(8))
    pair = (examples["mammo_img"], examples["patho_img"])
    tta = CausalTTA(system.network, lr=1e-4, entropy_weight=0.1)
    tta.adapt([pair], num_steps=3)
    assert tta.steps == 3 and bool(torch.isfinite(tta.adapt_step(pair, 0.01)))
    out = system.network(*pair)
    assert out["classification"].shape == (8, 4)
    assert isinstance(MODELS["crossmodal"](system.card, system.network, CPU), System)


def test_study_compares_methods_and_writes_its_table(system, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("engine.adaptation.__main__.load_system", lambda card, device: system)
    document = tmp_path / "doc.md"
    document.write_text(f"Head.\n{BEGIN}\nold\n{END}\nFoot.\n", "utf-8")
    given = [
        "study",
        "--out",
        str(tmp_path),
        "--into",
        str(document),
        "--cases",
        "8",
        "--buffer",
        "8",
        "--steps",
        "2",
    ]
    assert main([*given, "--workers", "0"]) == 0
    said = capsys.readouterr()
    table = (tmp_path / "study.md").read_text("utf-8")
    assert document.read_text("utf-8") == f"Head.\n{BEGIN}\n{table}{END}\nFoot.\n"
    assert said.out == table and "With pathology: sar" in said.err
    stored = json.loads((tmp_path / "study.json").read_text("utf-8"))
    assert stored["card"] == "tiny" and len(stored["rows"]) == 2 * (3 + 1 + 2)
    assert table.count("\n|") == 2 + len(stored["rows"])
    for row in stored["rows"]:
        wanted = 2 if row["stream"].endswith("only") else 8
        assert row["report"]["cases"] == wanted
    assert sum("Normal only" in line for line in table.splitlines()) == 4
    assert "rows" not in stored["rows"][0]["report"]


def test_table_needs_its_place():
    with pytest.raises(AdaptationRefused, match="no place"):
        between("Nothing here.", "table")


def test_study_says_in_one_sentence_what_is_wrong(capsys, tmp_path):
    assert main(["study", "--card", "absent", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("There is no model named 'absent'.")
    absent = ["--into", str(tmp_path / "absent.md")]
    assert main(["study", "--out", str(tmp_path), *absent]) == 1
    assert capsys.readouterr().err.startswith("The folder or the document could not be")
    assert not list(tmp_path.iterdir())
