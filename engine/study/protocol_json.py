"""Protocols and facts of a study as JSON: what is written can be read back, and nothing else."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from engine.study.records import InvalidProtocol, Protocol, StudyFacts

PAIR_MARK = "|"
Record = TypeVar("Record")


def protocol_to_json(p: Protocol) -> dict[str, Any]:
    """A protocol in dictionaries, lists, texts, numbers and booleans."""
    return dict(_plain(p))


def protocol_from_json(d: Mapping[str, Any]) -> Protocol:
    """The protocol that `protocol_to_json` wrote.

    A field that is left out keeps its default.

    Raises:
        InvalidProtocol: An unknown field, a missing one, or a value of another kind.
    """
    return _record(Protocol, d, "study")


def facts_to_json(facts: StudyFacts) -> dict[str, Any]:
    """Facts in plain values: times in ISO 8601, (case, arm) as "case|arm"."""
    return dict(_plain(facts))


def facts_from_json(d: Mapping[str, Any]) -> StudyFacts:
    """The facts that `facts_to_json` wrote.

    Raises:
        InvalidProtocol: An unknown field, a missing one, or a value of another kind.
    """
    return _record(StudyFacts, d, "study")


def _plain(value: Any) -> Any:
    """A value without records, enumerations, tuples and times."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _key(key: Any) -> str:
    return PAIR_MARK.join(key) if isinstance(key, tuple) else str(key)


def _record(kind: type[Record], value: Any, where: str) -> Record:
    """A record from its dictionary; `where` names it in messages."""
    if not isinstance(value, Mapping):
        raise InvalidProtocol(f"The part {where!r} of the study must be a set of named fields.")
    hints = get_type_hints(kind)
    parts = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(name)[:40] for name in value if name not in parts)
    if unknown:
        raise InvalidProtocol(f"The part {where!r} has unknown fields: {', '.join(unknown)}.")
    missing = [
        name
        for name, part in parts.items()
        if name not in value and part.default is MISSING and part.default_factory is MISSING
    ]
    if missing:
        raise InvalidProtocol(f"The part {where!r} lacks the fields: {', '.join(missing)}.")
    return kind(**{name: _read(hints[name], inner, name) for name, inner in value.items()})


def _read(hint: Any, value: Any, where: str) -> Any:
    """A value of the kind that a field is declared to have."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _optional(hint, value, where)
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin is dict:
        return _dict(get_args(hint), value, where)
    if hint is Any:
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _named(hint, value, where)
    if hint is datetime:
        return _time(value, where)
    return _simple(hint, value, where)


def _optional(hint: Any, value: Any, where: str) -> Any:
    if value is None:
        return None
    (kind,) = (inner for inner in get_args(hint) if inner is not type(None))
    return _read(kind, value, where)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidProtocol(f"The field {where!r} must be a list.")
    return tuple(_read(kinds[0], inner, where) for inner in value)


def _dict(kinds: tuple[Any, Any], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise InvalidProtocol(f"The field {where!r} must be a set of named values.")
    found: dict[Any, Any] = {}
    for name, inner in value.items():
        if not isinstance(name, str):
            raise InvalidProtocol(f"The names in the field {where!r} must be texts.")
        found[_pair(name, where) if kinds[0] is not str else name] = _read(kinds[1], inner, where)
    return found


def _pair(name: str, where: str) -> tuple[str, str]:
    case, mark, arm = name.rpartition(PAIR_MARK)
    if not mark:
        raise InvalidProtocol(f"The field {where!r} needs a case and a condition, as in 'C001|a'.")
    return case, arm


def _named(kind: type[Enum], value: Any, where: str) -> Enum:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise InvalidProtocol(f"The field {where!r} must be one of: {known}.") from None


def _time(value: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidProtocol(f"The field {where!r} must be a time in ISO 8601.") from None


SIMPLE: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def _simple(kind: type, value: Any, where: str) -> Any:
    """A number, a text or a truth; a truth is never taken for a number."""
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise InvalidProtocol(f"The field {where!r} must be {SIMPLE[kind]}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidProtocol(f"The field {where!r} must be a finite number.")
    return value
