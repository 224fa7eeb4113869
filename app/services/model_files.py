"""A model as one file: card, weights and their digests in a zip archive, read with suspicion."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from app.errors import InvalidInput
from app.services.shelf import NAME, NAME_RULE
from engine.errors import ModelUnavailable
from engine.records import ModelCard

CARD, WEIGHTS, DIGESTS = "card.toml", "weights.safetensors", "digests.json"
FORMAT = "lightbox model 1"
LARGEST = {CARD: 1 << 20, DIGESTS: 1 << 16, WEIGHTS: 8 << 30}
"""Bytes that each member may have; there are no others."""

BLOCK = 1 << 20
NOT_ONE = "This is not a model file of Lightbox."
TOO_LARGE = "The model file holds something that is larger than any model, so it was not read."
DAMAGED = "The model file is damaged."
ALTERED = (
    "The {} in this file is not the one that its digest was taken of, so nothing was installed."
)
OTHER_ARCHITECTURE = (
    "The weights do not fit the architecture that the card describes, so nothing was installed."
)
OTHER_NAMES = (
    "The classes or grades on the card are not as many, or not as different, as the answers of its "
    "network, so nothing was installed."
)


def write_model_file(card: Path, known: ModelCard, target: Path) -> None:
    """Write a model as one file; its weights are verified first.

    Args:
        card: Path of the card. known: The same, read. target: File to write.

    Raises:
        ModelUnavailable: The weights are not those of the card.
    """
    from engine.models.weights import sha256_of

    weights = card.parent / known.weights
    if not weights.is_file() or sha256_of(weights) != known.weights_digest:
        raise ModelUnavailable(
            "The weights of this model are not the ones its card describes, so nothing was written."
        )
    digests = {
        "format": FORMAT,
        "name": known.name,
        CARD: sha256_of(card),
        WEIGHTS: known.weights_digest,
    }
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(DIGESTS, json.dumps(digests, indent=1) + "\n")
        archive.write(card, CARD)
        archive.write(weights, WEIGHTS)


def read_model_file(path: Path, folder: Path) -> Path:
    """Unpack a model file into an empty folder, and verify it.

    Args:
        path: What somebody sent. folder: Where card and weights are put.

    Returns:
        Path of the card, whose weights lie beside it under the name that it states.

    Raises:
        InvalidInput: Not a model file, altered, damaged, or too large.
        ModelUnavailable: The card is malformed.
    """
    from app.services.shelf import plain_name
    from engine.cards import read_card
    from engine.models.weights import sha256_of

    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            digests = _digests(archive)
            card = folder / f"{digests['name']}.toml"
            _extract(archive, CARD, card)
            _extract(archive, WEIGHTS, folder / WEIGHTS)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise InvalidInput(DAMAGED if zipfile.is_zipfile(path) else NOT_ONE) from None
    for name, place, word in ((CARD, card, "card"), (WEIGHTS, folder / WEIGHTS, "weights file")):
        if sha256_of(place) != digests[name]:
            raise InvalidInput(ALTERED.format(word))
    known = read_card(card)
    if known.weights_digest != digests[WEIGHTS]:
        raise ModelUnavailable(
            "The weights in this file are not the ones that its card describes, so nothing was "
            "installed."
        )
    (folder / WEIGHTS).rename(folder / plain_name(known))
    return card


def require_fit(card: Path) -> ModelCard:
    """The card, when this version of Lightbox builds its network and the weights fit it strictly.

    The network is first built without memory of its own, so that a card which asks for too much is
    refused before anything is allocated.

    Raises:
        ModelUnavailable: The architecture is unknown, the weights do not fit, or the network gives
            another number of classes or grades than the card names.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from engine.cards import read_card
    from engine.errors import EngineError
    from engine.models import MODELS

    known = read_card(card)
    try:
        system = MODELS[known.system]
        with safe_open(card.parent / known.weights, framework="pt") as stored:
            found = {k: tuple(stored.get_slice(k).get_shape()) for k in stored.keys()}  # noqa: SIM118
        if _is_larger(known, sum(map(math.prod, found.values()))):
            raise ModelUnavailable(OTHER_ARCHITECTURE)
        with torch.device("meta"):
            network = system.build(known.config).eval()
            wanted = {k: tuple(v.shape) for k, v in network.state_dict().items()}
        if wanted != found:
            raise ModelUnavailable(OTHER_ARCHITECTURE)
        if not _is_named(known, network):
            raise ModelUnavailable(OTHER_NAMES)
        system.load(known, card.parent, torch.device("cpu"))
    except EngineError as error:
        raise ModelUnavailable(str(error)) from None
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        SafetensorError,
        OSError,
    ):
        raise ModelUnavailable(OTHER_ARCHITECTURE) from None
    return known


def _is_named(card: ModelCard, network: Any) -> bool:
    """Whether a card names each class and grade that its network, without memory, tells apart."""
    import torch

    if len({name.casefold() for name in card.classes}) != len(card.classes):
        return False
    if card.system != "crossmodal":  # a network of timm, which says how many; 0 for features only
        return len(card.classes) == max(1, int(network.num_classes)) and not card.grades
    side = int(card.config.get("img_size", 224))
    with torch.device("meta"), torch.no_grad():
        output = network(mammo_img=torch.zeros(1, 1, side, side))
    sizes = (output["classification"].shape[1], output["grading"].shape[1])
    grades = len(set(card.grades))
    return sizes[0] == len(card.classes) and grades == len(card.grades) and grades in (0, sizes[1])


def _is_larger(card: ModelCard, numbers: int) -> bool:
    """Whether a size that the card states exceeds all numbers of the weights together."""
    return any(isinstance(value, int) and abs(value) > numbers for value in card.config.values())


def _check_members(archive: zipfile.ZipFile) -> None:
    """Refuse everything but the three members, each once, plain and of a sensible size."""
    members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(LARGEST):
        raise InvalidInput(NOT_ONE)
    for member in members:
        if member.flag_bits & 1:
            raise InvalidInput("The model file is encrypted, so it cannot be read.")
        if member.file_size > LARGEST[member.filename]:
            raise InvalidInput(TOO_LARGE)


def _digests(archive: zipfile.ZipFile) -> dict[str, str]:
    try:
        with archive.open(DIGESTS) as stream:
            stated: Any = json.loads(_limited(stream, LARGEST[DIGESTS]))
    except (ValueError, UnicodeDecodeError):
        raise InvalidInput(NOT_ONE) from None
    keys = ("name", CARD, WEIGHTS)
    is_sound = isinstance(stated, dict) and all(isinstance(stated.get(key), str) for key in keys)
    if not is_sound or stated.get("format") != FORMAT:
        raise InvalidInput(NOT_ONE)
    if not NAME.fullmatch(stated["name"]):
        raise InvalidInput(NAME_RULE)
    return {key: stated[key] for key in keys}


def _extract(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Unpack a member under a name of our own, no further than it may be large."""
    left = LARGEST[name]
    with archive.open(name) as stream, target.open("xb") as out:
        while block := stream.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise InvalidInput(TOO_LARGE)
            out.write(block)


def _limited(stream: IO[bytes], most: int) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise InvalidInput(TOO_LARGE)
    return data
