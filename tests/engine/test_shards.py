"""Two processes with unequal shares give the loss and the gradients of one with the whole batch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results of one process here, and of each of two."""
    folder = tmp_path_factory.mktemp("shards")
    outputs = [folder / f"{rank}.pt" for rank in range(2)]
    environment = os.environ | {
        "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), "2", str(folder / "meeting"), str(output)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank, output in enumerate(outputs)
    ]  # fmt: skip
    try:
        for process in ranks:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    description = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    assert description is not None and description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    both = [torch.load(output, weights_only=True) for output in outputs]
    return module.results(slice(0, module.COUNT)), both


def same_gradients(got, wanted):
    for name, gradient in wanted.items():
        if gradient is None:
            assert got[name] is None, name
        else:
            torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_loss_and_its_parts(runs, kind):
    alone, both = runs
    wanted = alone[kind]
    assert set(wanted["parts"]) == {
        "classification", "localization", "grading", "lesion", "alone", "consistency",
        "alignment", "alignment_excess", "total",
    }  # fmt: skip
    for rank in both:
        assert rank[kind]["total"] == pytest.approx(wanted["total"], rel=1e-5)
        assert rank[kind]["parts"] == pytest.approx(wanted["parts"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_averaged_gradients(runs, kind):
    alone, both = runs
    reached = [g for g in alone[kind]["gradients"].values() if g is not None]
    assert len(reached) > 50 and all(bool(g.isfinite().all()) for g in reached)
    for rank in both:
        same_gradients(rank[kind]["gradients"], alone[kind]["gradients"])


def test_gradients_mended_by_pcgrad(runs):
    alone, both = runs
    for rank in both:
        same_gradients(rank["mended"], alone["mended"])


def test_rows_are_gathered_in_order_and_no_term_anywhere_is_none(runs):
    alone, both = runs
    for rank in both:
        for got, wanted in zip(rank["gathered"], alone["gathered"], strict=True):
            assert torch.equal(got, wanted) and got.dtype == wanted.dtype
        assert rank["nothing"] and alone["nothing"]
