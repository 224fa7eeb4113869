"""Services with a small shipped model and two more on the shelf, for the tests of models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.services import Services
from tests.app import admin_world as admin
from tests.app import small_model as kit

ANN, CHIEF, SHIPPED = kit.ANN, kit.CHIEF, kit.NAME


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.use(monkeypatch, model)
    admin.quicken(monkeypatch)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path / "workspace")
    yield made
    made.close()


@pytest.fixture
def two(services: Services, model: Path, tmp_path: Path) -> Services:
    """Services with two further models, "one" and "two"."""
    for number, name in enumerate(("one", "two"), 1):
        card = admin.variant(model, tmp_path / name, 0.01 * number)
        services._context.shelf.install(card, name, origin="trained", who="chief")
    return services


def states(services: Services) -> dict[str, str]:
    found: dict[str, str] = admin.states(services, CHIEF)
    return found
