"""Recipes as TOML files: read with overrides, written, and listed field by field for a form."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidRecipe
from engine.training.recipes import CHOICES, Recipe, flat

NETWORK = "network."
NUMBERS = ("data.fractions",)
"""Lists of numbers, beside those of the network."""
SENTENCES = ("limits",)
"""Lists of sentences, which hold commas."""


@dataclass(frozen=True)
class RecipeField:
    """One field as a form shows it.

    Args:
        path: Dotted path. kind: "text", "whole", "number", "switch" or "list".
        value: Its present value. help: What it means. choices: Words it may be; empty for any.
    """

    path: str
    kind: str
    value: Any
    help: str
    choices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The value as one may type it."""
        if isinstance(self.value, tuple | list):
            return _list_text(self.path, self.value)
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; `overrides` replace fields of the file, by dotted path.

    Raises:
        InvalidRecipe: Not TOML, a missing or unknown field, or a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InvalidRecipe("There is no recipe at this place.") from None
    except OSError:
        raise InvalidRecipe("The recipe cannot be opened as a file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidRecipe("The recipe is not valid TOML.") from None
    return recipe_of(table, overrides)


def recipe_of(table: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a table as TOML gives it.

    Raises:
        InvalidRecipe: A missing or unknown field, or a value out of range.
    """
    values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    for path, value in (overrides or {}).items():
        section, dot, name = path.partition(".")
        if dot and not isinstance(values.setdefault(section, {}), dict):
            raise InvalidRecipe(f"{section} is not a section of the recipe, so {path} is unknown.")
        if dot:
            values[section][name] = value
        else:
            values[path] = value
    return Recipe(**_section(Recipe, values, ""))


def _section(kind: Any, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Constructor arguments of a record, its own sections made, unknown and missing refused."""
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = ", ".join(prefix + name for name in unknown)
        raise InvalidRecipe(f"The recipe has unknown fields: {names}.")
    missing = [name for name, item in known.items() if _is_needed(item) and name not in values]
    if missing:
        raise InvalidRecipe(f"The recipe lacks fields: {', '.join(missing)}.")
    made: dict[str, Any] = {}
    for name, value in values.items():
        part = _record_of(known[name])
        if part is None:
            made[name] = tuple(value) if isinstance(value, list) else value
        elif isinstance(value, Mapping):
            made[name] = part(**_section(part, value, f"{name}."))
        else:
            raise InvalidRecipe(f"{name} must be a table, not {value!r}.")
    return made


def _record_of(item: Field[Any]) -> Any:
    """The record that a section holds; None for a plain field."""
    factory = item.default_factory
    return factory if isinstance(factory, type) and is_dataclass(factory) else None


def _is_needed(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def recipe_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML, which `read_recipe` reads back to the same record."""
    lines: list[str] = []
    sections: dict[str, list[str]] = {}
    for path, value, _ in flat(recipe):
        section, dot, name = path.rpartition(".")
        if isinstance(value, Mapping):
            sections[path] = [f"{key} = {toml_value(v)}" for key, v in value.items()]
        elif dot:
            sections.setdefault(section, []).append(f"{name} = {toml_value(value)}")
        else:
            lines.append(f"{name} = {toml_value(value)}")
    for section, rows in sections.items():
        lines += ["", f"[{section}]", *rows]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A text, number, switch or list as TOML."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_value(v) for v in value)}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


_KIND_NAMES = {"str": "text", "int": "whole", "float": "number", "bool": "switch", "tuple": "list"}


def recipe_fields(recipe: Recipe) -> list[RecipeField]:
    """All fields that a form may change, in the order of the record."""
    helps = _helps(recipe)
    found = []
    for path, value, kind in flat(recipe):
        if kind in _KIND_NAMES:
            found.append(
                RecipeField(
                    path, _KIND_NAMES[kind], value, helps.get(path, ""), CHOICES.get(path, ())
                )
            )
    for name, value in recipe.network.items():
        kind = _KIND_NAMES.get(type(value).__name__, "list")
        found.append(RecipeField(NETWORK + name, kind, value, "Argument of the network."))
    return found


def _helps(record: Any, prefix: str = "") -> dict[str, str]:
    """What the docstrings say of each field."""
    found = {}
    body = (inspect.getdoc(record) or "").partition("Args:")[2]
    text = " ".join(body.split())
    names = "|".join(item.name for item in fields(record))
    parts = re.split(rf"(?:^|(?<=[.;] ))((?:{names})(?:, (?:{names}))*): ", text)
    for stated, said in zip(parts[1::2], parts[2::2], strict=True):
        for name in stated.split(", "):
            found[prefix + name] = said.strip()
    for item in fields(record):
        value = getattr(record, item.name)
        if is_dataclass(value):
            found |= _helps(value, f"{prefix}{item.name}.")
    return found


def parse_value(item: RecipeField, text: str) -> Any:
    """What somebody typed, as the field's kind.

    Raises:
        InvalidRecipe: It cannot be read so.
    """
    return parse_text(item.path, item.kind, text)


def parse_text(path: str, kind: str, text: str) -> Any:
    """A text as "text", "whole", "number", "switch" or "list".

    A list is parts between commas, or JSON; sentences, as of `limits`, one a line, or JSON. Parts
    are numbers in shares and in arguments of the network only.

    Raises:
        InvalidRecipe: It cannot be read so.
    """
    said = text.strip()
    try:
        if kind == "whole":
            return int(said)
        if kind == "number":
            return float(said)
    except ValueError:
        word = "a whole number" if kind == "whole" else "a number"
        raise InvalidRecipe(f"{path} must be {word}, not {said!r}.") from None
    if kind == "switch":
        if said.lower() not in ("true", "false"):
            raise InvalidRecipe(f"{path} must be true or false, not {said!r}.")
        return said.lower() == "true"
    if kind == "list":
        return _list(path, said)
    return said


def _list(path: str, said: str) -> tuple[Any, ...]:
    """The parts of a list; see `parse_text`."""
    has_numbers = path in NUMBERS or path.startswith(NETWORK)
    if said.startswith("["):
        try:
            found = json.loads(said)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list):
            return tuple(v if has_numbers or isinstance(v, str) else str(v) for v in found)
    if path in SENTENCES:
        return tuple(line for part in said.split("\n") if (line := part.strip()))
    parts = [part.strip().strip("\"'") for part in said.strip("[]").split(",")]
    return tuple(_number(part) if has_numbers else part for part in parts if part)


def _list_text(path: str, values: Sequence[Any]) -> str:
    """A list as `parse_text` reads it back: parts between commas where that is plain, else JSON."""
    texts = [str(value) for value in values]
    plain = ", ".join(texts)
    if path not in SENTENCES and _list(path, plain) == tuple(values):
        return plain
    return json.dumps(list(values), ensure_ascii=False)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_overrides(recipe: Recipe, settings: Mapping[str, str]) -> dict[str, Any]:
    """Overrides given as text, each read as the kind of its field.

    Raises:
        InvalidRecipe: An unknown field, or a value of another kind.
    """
    known = {item.path: item for item in recipe_fields(recipe)}
    found = {}
    for path, text in settings.items():
        if path in known:
            found[path] = parse_value(known[path], text)
        elif path.startswith(NETWORK):
            found[path] = _guess(text)
        else:
            raise InvalidRecipe(f"The recipe has no field {path}.")
    return found


def _guess(text: str) -> Any:
    """A network argument that the recipe does not state yet, as JSON would read it, else text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
