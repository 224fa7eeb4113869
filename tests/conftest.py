"""What every test may use: the oracle arrays, real images, and services that may be required."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = set(os.environ.get("LIGHTBOX_REQUIRE", "").replace(",", " ").split())


def need(service: str, present: bool, reason: str) -> None:
    """Skip with a reason, or fail where LIGHTBOX_REQUIRE names the service."""
    if present:
        return
    if service in REQUIRED:
        pytest.fail(f"{service} is required by LIGHTBOX_REQUIRE: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, np.ndarray]]:
    """Arrays of a reference implementation, by file name without suffix."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(ROOT / "tests" / "oracles" / f"{name}.npz", allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    return load


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("LIGHTBOX_REAL_DATA", ROOT.parent / "shared" / "data"))
    need("real_data", folder.is_dir(), "LIGHTBOX_REAL_DATA names no folder of real images")
    return folder
