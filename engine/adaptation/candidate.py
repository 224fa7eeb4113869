"""An adapted network as a model of its own: weights, and a card that says where it comes from."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from engine.adaptation.errors import AdaptationRefused, NotWritten
from engine.adaptation.session import Adaptation
from engine.errors import EngineError
from engine.models.weights import save_weights
from engine.records import ModelCard

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
FULL = "The adapted model cannot be stored: the disk is full, or closed to Lightbox."
LIMIT = (
    "It was adapted to {cases} cases of one place without knowing their truth; the figures of its "
    "parent's card do not hold for it."
)


def save_candidate(adaptation: Adaptation, card: ModelCard, folder: Path, name: str) -> Path:
    """Write `<name>.safetensors` and `<name>.toml`; the card appears last, and whole.

    The parent's figures are not taken over, since they were measured on other weights.

    Args:
        adaptation: What came of an adaptation. card: Card of the model it started from.
        folder: Where models lie. name: Letters, digits, hyphens and underscores.

    Returns:
        Path of the card.

    Raises:
        AdaptationRefused: It was rolled back, the name cannot be used, or it is taken.
        NotWritten: The disk is full or closed; nothing of the model is left behind.
    """
    if adaptation.rolled_back:
        raise AdaptationRefused(
            "This adaptation was rolled back, so that there is nothing to keep of it."
        )
    if not NAME.fullmatch(name):
        raise AdaptationRefused(
            "The name of a model holds letters, digits, hyphens and underscores only, 64 at most."
        )
    path = folder / f"{name}.toml"
    if path.exists():
        raise AdaptationRefused(f"There is a model named {name!r} already.")
    weights = folder / f"{name}.safetensors"
    draft = folder / f".{name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = save_weights(adaptation.network, weights)
        text = card_toml(candidate_card(adaptation, card, name, digest))
        draft.write_text(text, "utf-8")
        draft.replace(path)
    except (EngineError, OSError, SafetensorError):
        for left in (draft, weights, weights.with_suffix(".partial")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
        raise NotWritten(FULL) from None
    return path


def candidate_card(adaptation: Adaptation, card: ModelCard, name: str, digest: str) -> ModelCard:
    """The card of an adapted model."""
    report = adaptation.report
    measured = {
        key: report[key] for key in ("entropy", "kl", "source", "accuracy") if report.get(key)
    }
    return replace(
        card,
        name=name,
        version=f"{card.version}+{report['method']}",
        title=f"{card.title}, adapted",
        limits=(*card.limits, LIMIT.format(cases=report["cases"])),
        metrics={"adaptation": {"cases": report["cases"], **measured}},
        facts={
            "origin": "adapted",
            "parent": card.name,
            "parent_version": card.version,
            "parent_digest": card.weights_digest,
            "method": report["method"],
            "steps": report["steps_done"],
            "kept_share": report["kept_share"],
            "constraint": report["constraint"],
            "adapted_numbers": report["numbers"],
            "target_cases": report["cases"],
            "guards": {each["name"]: _known(each) for each in report["guards"]},
            "settings": dict(report["settings"]),
        },
        weights=f"{name}.safetensors",
        weights_digest=digest,
    )


def _known(guard: Mapping[str, Any]) -> dict[str, Any]:
    return {key: guard[key] for key in ("value", "limit") if guard[key] is not None}


def card_toml(card: ModelCard) -> str:
    """A card as TOML, as `read_card` reads it; what is None is left out."""
    values = {f.name: getattr(card, f.name) for f in fields(card) if f.name != "name"}
    return "\n".join(_table("", values)).strip() + "\n"


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    lines = [f"\n[{name}]"] if name else []
    known = {key: value for key, value in values.items() if value is not None}
    plain = {key: value for key, value in known.items() if not isinstance(value, Mapping)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in known.items():
        if isinstance(value, Mapping):
            lines += _table(f"{name}.{_key(key)}" if name else _key(key), value)
    return lines


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value if each is not None)}]"
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = repr(round(value, 6) if abs(value) >= 1e-3 else value)
    return text if any(mark in text for mark in ".einf") else f"{text}.0"
