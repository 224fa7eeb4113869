"""Arrays keep their exact values in the smallest type."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.store.arrays import Verifier, claim_folder, smallest_exact, write_array

NUMBERS = st.one_of(st.integers(-70_000, 70_000), st.floats(-1e5, 1e5, width=32))


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 3)), elements=NUMBERS))
def test_the_smallest_type_is_exact_and_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray
) -> None:
    small = smallest_exact(values)
    assert np.array_equal(small.astype(np.float32), values)
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    digest = write_array(path, small)
    read = Verifier().read(path, digest)
    assert read.dtype == small.dtype and np.array_equal(read, small)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 255], np.uint8),
        ([-1, 127], np.int8),
        ([0, 256], np.uint16),
        ([-1024, 3071], np.int16),
        ([0, 65_536], np.float32),
        ([0, 0.5], np.float32),
    ],
)
def test_the_smallest_type_by_example(values: list[float], kind: type) -> None:
    assert smallest_exact(np.array(values, np.float32)).dtype == kind


def test_a_name_taken_in_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, taken = tmp_path / "draft", tmp_path / "Case-1"
    for folder in (draft, taken):
        folder.mkdir()
        (folder / folder.name).write_text("")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    name = claim_folder(draft, "Case-1")
    assert name.startswith("Case-1-") and (tmp_path / name / "draft").is_file()
    assert (taken / "Case-1").is_file() and not draft.is_dir()
