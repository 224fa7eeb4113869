"""Models as files: what comes in is what went out, and nothing false or foreign gets in."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.errors import InvalidInput, NotFound, StorageFailed
from app.services import Services, model_files
from app.services.model_files import CARD, DIGESTS, WEIGHTS
from app.ui.model import card_text
from engine.errors import ModelUnavailable
from tests.app.shelf_world import (
    CHIEF,
    SHIPPED,
    admin,
    model,
    services,
    small,
    states,
    two,
)


def test_a_model_goes_out_as_one_file_and_comes_in_again(two: Services) -> None:
    registry = two.registry
    before = {view.name: view for view in registry.list(CHIEF)}["one"]
    path = registry.export(CHIEF, "one")
    assert path.name == "one.lightbox.zip" and path.is_relative_to(two.settings.workspace)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted((CARD, WEIGHTS, DIGESTS))
    assert registry.import_file(CHIEF, path).created == before.created
    registry.delete(CHIEF, "one")
    assert "one" not in states(two) and not (two._context.shelf.folder / "one").exists()
    again = registry.import_file(CHIEF, path)
    assert (again.digest, again.origin, again.state) == (before.digest, "imported", "candidate")
    assert registry.activate(CHIEF, "one").state == "active"
    assert registry.export(CHIEF, SHIPPED).is_file()
    with pytest.raises(NotFound):
        registry.export(CHIEF, "none")


def packed(path: Path, target: Path, **members: bytes | None) -> Path:
    """The file with other members; None leaves one out. Digests follow if they are not given."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    named = {"card": CARD, "weights": WEIGHTS, "digests": DIGESTS}
    for name, data in members.items():
        key = named.get(name, name)
        if data is None:
            del content[key]
        else:
            content[key] = data
    if "digests" not in members:
        stated = json.loads(content[DIGESTS])
        for key in (CARD, WEIGHTS):
            stated[key] = hashlib.sha256(content.get(key, b"")).hexdigest()
        content[DIGESTS] = json.dumps(stated).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return target


def card_with(path: Path, **values: str) -> bytes:
    """The card of a model file with other values, as TOML."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(CARD).decode().splitlines()
    found = [
        f"{key} = {values[key]}" if (key := line.partition(" = ")[0]) in values else line
        for line in lines
    ]
    return ("\n".join(found) + "\n").encode()


@pytest.fixture
def sent(two: Services, tmp_path: Path) -> Path:
    """A model file whose model is not installed here."""
    path = tmp_path / "sent.zip"
    shutil.copyfile(two.registry.export(CHIEF, "one"), path)
    two.registry.delete(CHIEF, "one")
    return path


def refused(two: Services, path: Path, kind: type[Exception], words: str) -> None:
    """Importing says these words, and changes nothing."""
    before, held = states(two), admin.files(two._context.shelf.folder)
    with pytest.raises(kind, match=words):
        two.registry.import_file(CHIEF, path)
    assert states(two) == before and admin.files(two._context.shelf.folder) == held


def test_an_altered_model_file_is_refused(two: Services, sent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    with zipfile.ZipFile(sent) as archive:
        weights, digests = archive.read(WEIGHTS), archive.read(DIGESTS)
    other = weights[:-1] + bytes([weights[-1] ^ 1])
    refused(two, packed(sent, out, weights=other, digests=digests), InvalidInput, "weights file")
    refused(two, packed(sent, out, weights=other), ModelUnavailable, "not the ones that its card")
    card = card_with(sent, title='"Altered"')
    refused(two, packed(sent, out, card=card, digests=digests), InvalidInput, "card in this file")
    whole = sent.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    refused(two, out, InvalidInput, "not a model file")
    place = whole.index(weights[:64])
    out.write_bytes(whole[: place + 80] + b"XXXX" + whole[place + 84 :])
    refused(two, out, InvalidInput, "damaged")
    refused(two, tmp_path / "none.zip", StorageFailed, "could not be read")


def test_a_model_of_another_architecture_is_refused(
    two: Services, sent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zip"
    fits = "do not fit the architecture"
    for values in (
        {"embed_dim": "48"}, {"depth": "3"}, {"depth": "4000000000"}, {"depth": '"deep"'},
        {"img_size": "63"},
        {"embed_dim": "3000000000"}, {"num_heads": "0"}, {"patch_size": "-8"},
    ):  # fmt: skip
        refused(two, packed(sent, out, card=card_with(sent, **values)), ModelUnavailable, fits)
    unknown = card_with(sent, system='"oracle"')
    refused(two, packed(sent, out, card=unknown), ModelUnavailable, "oracle")
    with zipfile.ZipFile(sent) as archive:
        tensors = {"only": torch.zeros(3)}
        save_file(tensors, tmp_path / "other.safetensors")
        other = (tmp_path / "other.safetensors").read_bytes()
        digest = hashlib.sha256(other).hexdigest()
        card = archive.read(CARD)
    assert b"weights_digest" in card
    card = card_with(sent, weights_digest=f'"{digest}"')
    refused(two, packed(sent, out, card=card, weights=other), ModelUnavailable, fits)


def test_a_malformed_card_is_refused(two: Services, sent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    refused(two, packed(sent, out, card=b"no = toml = at all"), ModelUnavailable, "TOML")
    odd = card_with(sent, title='"x"\nsecret = 1')
    refused(two, packed(sent, out, card=odd), ModelUnavailable, "unknown fields")
    for name in ("../w.safetensors", "..\\\\w.safetensors", "/w.safetensors", "w.pt", ""):
        card = card_with(sent, weights=f'"{name}"')
        refused(two, packed(sent, out, card=card), ModelUnavailable, "names its weights")


def test_a_card_with_values_of_a_wrong_kind_is_refused(
    two: Services, sent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zip"
    wrong = (
        {"limits": "5"}, {"limits": "[5]"}, {"weights": "5"}, {"title": "5"}, {"version": "0"},
        {"classes": '"Normal"'}, {"grades": "[[]]"}, {"weights_digest": "true"},
    )  # fmt: skip
    for values in wrong:
        card = card_with(sent, **values)
        refused(two, packed(sent, out, card=card), ModelUnavailable, "values of a wrong kind")
    with zipfile.ZipFile(sent) as archive:
        text = archive.read(CARD).decode()
    start = text.index("[metrics")
    for metrics in ("[metrics]\naccuracy = 0.9\n", ""):
        card = (("" if metrics else "metrics = 5\n") + text[:start] + metrics).encode()
        refused(two, packed(sent, out, card=card), ModelUnavailable, "wrong kind")
    for deep in (b"limits = " + b"[" * 100_000, b"limits = " + b"9" * 5000):
        refused(two, packed(sent, out, card=deep), ModelUnavailable, "TOML")


def test_a_card_names_all_answers_of_its_network(two: Services, sent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    for values in (
        {"classes": '["Normal", "Benign", "In situ"]'}, {"classes": "[]"},
        {"classes": '["Normal", "Benign", "benign", "Invasive"]'},
        {"grades": '["Benign", "Invasive"]'}, {"grades": '["Benign", "Benign", "Invasive"]'},
    ):  # fmt: skip
        card = card_with(sent, **values)
        refused(two, packed(sent, out, card=card), ModelUnavailable, "classes or grades")


def test_the_page_of_a_model_survives_odd_figures(two: Services) -> None:
    odd = {"accuracy": [1], "accuracy_interval": 5, "box_iou": 0.5, "box_iou_interval": ["a", 0.5]}
    card = replace(two.models.card(), metrics={"odd_one": odd})
    text = card_text(card)
    assert "| Accuracy | – |" in text and "| Mean box IoU | 0.500 (– to 0.500) |" in text
    adapted = {
        "cases": 12, "accuracy": {"cases": 9, "before": 0.5, "after": 0.75},
        "source": {"accuracy": {"before": 0.25, "after": 0.125}},
    }  # fmt: skip
    facts = {"guards": {"kl": {"value": 0.2, "limit": 0.5}}, "settings": {"steps": 8}, "sites": []}
    text = card_text(replace(card, metrics={"adaptation": adapted}, facts=facts))
    assert "### Adaptation, before and after" in text and "{" not in text
    assert "| Accuracy | 0.500 | 0.750 |" in text
    assert "| Source, accuracy | 0.250 | 0.125 |" in text and "- cases: 12" in text
    assert "- guards: kl (value 0.2, limit 0.5)" in text and "- settings: steps 8" in text


def test_members_that_do_not_belong_are_refused(two: Services, sent: Path, tmp_path: Path) -> None:
    out, outside = tmp_path / "out.zip", tmp_path / "evil.txt"
    extra: Mapping[str, bytes] = {
        "../../evil.txt": b"x", str(outside): b"x", "more.bin": b"x", "folder/": b"",
    }  # fmt: skip
    for name, data in extra.items():
        refused(two, packed(sent, out, **{name: data}), InvalidInput, "not a model file")
    assert not outside.exists()
    for name in ("card", "weights", "digests"):
        refused(two, packed(sent, out, **{name: None, "digests": None} if name == "digests"
                            else {name: None}), InvalidInput, "not a model file")  # fmt: skip
    out.write_bytes(b"\x89PNG")
    refused(two, out, InvalidInput, "not a model file")


def test_names_in_a_model_file_cannot_leave_the_shelf(
    two: Services, sent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zip"
    with zipfile.ZipFile(sent) as archive:
        stated = json.loads(archive.read(DIGESTS))
    for name in ("../evil", "a/b", "", "A B", ".hidden", "x" * 80):
        digests = json.dumps({**stated, "name": name}).encode()
        refused(two, packed(sent, out, digests=digests), InvalidInput, "name of a model")
    for digests in (b"[]", b"{}", b"\xff", json.dumps({**stated, CARD: 5}).encode()):
        refused(two, packed(sent, out, digests=digests), InvalidInput, "not a model file")


def test_members_that_are_too_large_are_refused(
    two: Services, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zip"
    huge = b'title = "' + b"x" * (2 << 20) + b'"'
    refused(two, packed(sent, out, card=huge), InvalidInput, "larger than any model")
    monkeypatch.setitem(model_files.LARGEST, WEIGHTS, 1000)
    refused(two, sent, InvalidInput, "larger than any model")


def test_a_member_that_lies_about_its_size_is_refused(
    two: Services, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "_check_members", lambda archive: None)
    monkeypatch.setitem(model_files.LARGEST, WEIGHTS, 1000)
    refused(two, sent, InvalidInput, "larger than any model")


def test_another_model_of_the_same_name_is_refused(
    two: Services, sent: Path, tmp_path: Path, model: Path
) -> None:
    two._context.shelf.install(
        admin.variant(model, tmp_path / "elsewhere", 0.5), "one", origin="trained", who="chief"
    )
    refused(two, sent, InvalidInput, "another model of this name")
    with zipfile.ZipFile(sent) as archive:
        stated = json.loads(archive.read(DIGESTS))
    digests = json.dumps({**stated, "name": SHIPPED}).encode()
    out = packed(sent, tmp_path / "out.zip", digests=digests)
    refused(two, out, InvalidInput, "another model of this name")


def test_a_full_disk_leaves_the_shelf_as_it_was(
    two: Services, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/DOE")

    with monkeypatch.context() as patch:
        patch.setattr(model_files, "_extract", full)
        refused(two, sent, StorageFailed, "disk is full")
    with monkeypatch.context() as patch:
        patch.setattr(two.store, "add_model", lambda *_, **__: full())
        with pytest.raises(StorageFailed, match="disk is full"):
            two.registry.import_file(CHIEF, sent)
    assert set(states(two)) == {SHIPPED, "two"} and not (two._context.shelf.folder / "one").exists()
    assert two.registry.import_file(CHIEF, sent).name == "one"
