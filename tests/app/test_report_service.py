"""The report service: the same report again, JSON and DICOM, and what readers must not learn."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from pydicom import dcmread

from app.auth import Role, User
from app.commands import workspace
from app.errors import InvalidInput, NotAllowed
from app.services import Services, reporting
from reports import content


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN, BOB, CHIEF = kit.ANN, kit.BOB, kit.CHIEF
ORGANISER = User("olga", "Olga", Role.ORGANISER)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.use(monkeypatch, model)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shared(services: Services) -> str:
    """A case that everybody sees, explained."""
    case_id = services.intake.keep(CHIEF, kit.small_case(), source="upload")
    services.review.open(ANN, case_id)
    return case_id


class _Later(datetime):
    """A clock that runs a day ahead."""

    @classmethod
    def now(cls, tz=None):  # type: ignore[no-untyped-def]
        return datetime.now(tz) + timedelta(days=1)


def test_the_same_content_is_the_same_report_made_once(
    services: Services, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = services.reports.case_pdf(ANN, shared)
    monkeypatch.setattr(reporting, "datetime", _Later)
    again = services.reports.case_pdf(ANN, shared)
    assert again.data == first.data
    assert len(services.store.reports(shared)) == 1
    monkeypatch.setattr(content, "LAYOUT", "another")
    other = services.reports.case_pdf(ANN, shared)
    assert other.data != first.data
    assert len(services.store.reports(shared)) == 2


def test_the_json_is_of_the_report_on_paper(services: Services, shared: str) -> None:
    pdf = services.reports.case_pdf(ANN, shared)
    made = services.reports.case_json(ANN, shared)
    assert made.media_type == "application/json"
    told = json.loads(made.data)
    (row,) = services.store.reports(shared)
    assert told["report"] == row.report_id and row.digest == pdf.etag
    moment = row.created if row.created.tzinfo else row.created.replace(tzinfo=UTC)
    assert datetime.fromisoformat(told["created"]) == moment


def test_readers_never_learn_the_known_truth(services: Services, shared: str) -> None:
    def reference(user: User) -> object:
        return json.loads(services.reports.case_json(user, shared).data)["case"]["reference"]

    assert services.store.case(shared).truth is not None
    assert reference(ANN) is None and reference(BOB) is None
    assert reference(ORGANISER) is not None and reference(CHIEF) is not None


def test_dicom_forms_can_be_read_again(services: Services, shared: str) -> None:
    found = dcmread(io.BytesIO(services.reports.case_dicom(ANN, shared).data))
    pdf = services.reports.case_pdf(ANN, shared).data
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength] == pdf
    assert found.PatientID == shared
    report = dcmread(io.BytesIO(services.reports.case_sr(ANN, shared).data))
    assert report.Modality == "SR" and report.StudyInstanceUID == found.StudyInstanceUID


def test_nobody_and_observers_get_no_report(services: Services, shared: str) -> None:
    for make in (services.reports.case_json, services.reports.case_dicom, services.reports.case_sr):
        for user in (None, User("otto", "Otto", Role.OBSERVER)):
            with pytest.raises(NotAllowed):
                make(user, shared)


def test_a_form_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="pdf, json, dicom-pdf, dicom-sr"):
        workspace.report_to(tmp_path / "x", "case", None, {}, "docx")
