"""Recipes: read, overridden field by field, written back, and refused in the user's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, InvalidRecipe
from engine.training.recipe_files import (
    parse_overrides,
    parse_value,
    read_recipe,
    recipe_fields,
    recipe_of,
    recipe_toml,
)
from tests.engine.training_world import TABLE, tiny

SHIPPED = Path(__file__).parents[2] / "assets" / "recipes"
SOUND = (
    'name = "x"\ntitle = "X"\nsystem = "crossmodal"\nversion = "1"\n'
    'intended_use = "None."\ntraining_data = "None."\nlimits = []\n'
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_sound_and_survive_being_written(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert read_recipe(written(tmp_path / "r.toml", recipe_toml(recipe))) == recipe


def test_overrides_by_dotted_path(tmp_path: Path) -> None:
    path = written(tmp_path / "r.toml", SOUND + "[network]\nimg_size = 32\n")
    made = read_recipe(path, {"optimiser.epochs": 2, "seed": 5, "network.depth": 3})
    assert made.optimiser.epochs == 2 and made.seed == 5
    assert made.network == {"img_size": 32, "depth": 3} and made.limits == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SOUND + "magic = 1\nwand = 2\n[network]\n", "magic, wand"),
        (SOUND + "[network]\n[optimiser]\nmagic = 1\n", "optimiser.magic"),
        (SOUND + "optimiser = 3\n[network]\n", "optimiser must be a table"),
        (SOUND + "[network]\n[optimiser]\nepochs = 0\n", "optimiser.epochs must be positive"),
        (SOUND + "[network]\n[optimiser]\nlearning_rate = -1.0\n", "must be positive"),
        (SOUND + "[network]\n[optimiser]\nweight_decay = -1.0\n", "must not be negative"),
        (SOUND + "[network]\n[optimiser]\nema = 1.5\n", "at most 1"),
        (SOUND + '[network]\n[optimiser]\nprecision = "8"\n', "one of bf16, 32"),
        (SOUND + '[network]\n[data]\nsource = "manifest"\n', "must name the manifest"),
        (SOUND + "[network]\n[data]\nfractions = [0.5, 0.1, 0.1]\n", "add up to 1"),
        (SOUND + "[network]\n[optimiser]\naccumulation = 5\n", "multiple"),
        (SOUND + 'grades = ["Odd"]\n[network]\n', "not among them: Odd"),
        (SOUND.replace('"x"', '"../x"') + "[network]\n", "file name"),
        (SOUND + 'seed = "seven"\n[network]\n', "seed must be a whole number"),
        (SOUND + "seed = true\n[network]\n", "seed must be a whole number"),
        (SOUND.replace('"X"', "3") + "[network]\n", "title must be text"),
        ('name = "x"\n', "lacks fields: title, system"),
        ("name = ", "not valid TOML"),
    ],
)
def test_recipes_that_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidRecipe, match=sentence):
        read_recipe(written(tmp_path / "r.toml", text))


def test_an_absent_recipe_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_recipe(tmp_path / "none.toml")
    assert str(tmp_path) not in str(caught.value)


def test_every_field_can_be_shown_explained_and_typed() -> None:
    recipe = tiny()
    fields = recipe_fields(recipe)
    by_path = {item.path: item for item in fields}
    assert len(by_path) == len(fields)
    unexplained = [item.path for item in fields if not item.help and "." in item.path]
    assert not unexplained
    for item in fields:
        typed = parse_value(item, item.text)
        assert typed == item.value or list(typed) == list(item.value), item.path
    assert by_path["data.source"].choices == ("phantoms", "manifest")
    assert by_path["optimiser.epochs"].kind == "whole"
    assert "matrices" in by_path["optimiser.weight_decay"].help


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("optimiser.epochs", " 12 ", 12),
        ("optimiser.pcgrad", "true", True),
        ("data.hold_out_sites", "North, East", ("North", "East")),
        ("data.fractions", "0.6,0.2,0.2", (0.6, 0.2, 0.2)),
        ("network.permute_mlp", "true", True),
    ],
)
def test_typed_overrides(path: str, text: str, value: Any) -> None:
    changes = parse_overrides(tiny(), {path: text})
    assert changes == {path: value}
    recipe_of(TABLE, changes)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("optimiser.epochs", "ten", "optimiser.epochs must be a whole number"),
        ("optimiser.learning_rate", "", "must be a number"),
        ("optimiser.pcgrad", "maybe", "true or false"),
        ("optimiser.magic", "1", "no field optimiser.magic"),
    ],
)
def test_typed_overrides_that_are_refused(path: str, text: str, words: str) -> None:
    with pytest.raises(InvalidRecipe, match=words):
        parse_overrides(tiny(), {path: text})
