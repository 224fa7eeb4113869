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
from engine.training.run import network_table
from tests.engine.training_world import TABLE, tiny

SHIPPED = Path(__file__).parents[2] / "assets" / "recipes"
SOUND = (
    'name = "x"\ntitle = "X"\nsystem = "crossmodal"\nversion = "1"\n'
    'intended_use = "None."\ntraining_data = "None."\nlimits = []\n'
)

STRANGERS = '[data]\nsource = "manifest"\nmanifest = "m.csv"\npairing = "label"\n'


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
        (SOUND.replace('"x"', '" "') + "[network]\n", "name must not be empty"),
        (SOUND.replace('"x"', '"Recipe"') + "[network]\n", "has a file of this name"),
        (SOUND + "seed = 2147483649\n[network]\n", "seed must be at most"),
        (SOUND + "[network]\n[data]\nfirst_seed = -1\n", "first_seed must not be negative"),
        (SOUND + "[network]\n[optimiser]\nema = -0.1\n", "ema must not be negative"),
        (SOUND + "[network]\n[optimiser]\nclip = inf\n", "clip must be a finite number"),
        (SOUND + "[network]\n[optimiser]\nlearning_rate = nan\n", "must be a finite number"),
        (SOUND + '[network]\n[data]\nfractions = ["a", 0.5, 0.5]\n', "must be numbers"),
        (SOUND + "[network]\n[data]\nfractions = [1.5, -0.5, 0.0]\n", "not negative"),
        (SOUND + 'classes = ["A", "A"]\n[network]\n', "classes must not hold a name twice"),
        (SOUND + 'classes = ["A", " "]\n[network]\n', "classes must not hold an empty name"),
        (SOUND + "classes = [1, 2]\n[network]\n", "classes must be a list of texts"),
        (SOUND + "[network]\n[data]\nhold_out_sites = [1]\n", "must be a list of texts"),
        (SOUND + "[network]\nnum_heads = 0\n", "network.num_heads must be a whole number"),
        (SOUND + "[network]\npatch_size = 0\n", "network.patch_size must be a whole number"),
        (SOUND + "[network]\ndepth = 20000\n", "network.depth must be a whole number from 1 to 64"),
        (SOUND + "[network]\nembed_dim = -4\n", "network.embed_dim must be a whole number"),
        (SOUND + "[network]\nimg_size = 224.0\n", "network.img_size must be a whole number"),
        (SOUND + "[network]\nembed_dim = 4096\ndepth = 64\n", "too large"),
        (SOUND + "[network]\nmodality_dropout = 0.5\n", "set objective.modality_dropout"),
        (SOUND + "[network]\n" + STRANGERS, "network.positives must be"),
        (SOUND + '[network]\npositives = "both"\n' + STRANGERS, "network.positives must be"),
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


@pytest.mark.parametrize(
    "text",
    [
        SOUND + '[network]\npositives = "label"\n' + STRANGERS,
        SOUND + "[network]\n" + STRANGERS + "[objective]\nalignment = 0.0\n",
        SOUND + 'grades = ["G1", "G2", "G3"]\n[network]\n' + STRANGERS.replace("label", "patient"),
    ],
)
def test_recipes_that_look_odd_and_are_sound(tmp_path: Path, text: str) -> None:
    assert read_recipe(written(tmp_path / "r.toml", text)).data.source == "manifest"


def test_use_dg_switches_modality_dropout_too() -> None:
    assert tiny(objective__modality_dropout=0.5).hidden_share == 0.5
    assert tiny(objective__modality_dropout=0.5, **{"network.use_dg": False}).hidden_share == 0.0


def test_grades_that_are_no_classes_are_tied_to_none() -> None:
    usual = tiny()
    assert "graded_classes" not in network_table(usual)
    data = {"data.source": "manifest", "data.manifest": "m.csv"}
    strange = tiny(grades=("G1", "G2", "G3"), **data)
    assert network_table(strange)["graded_classes"] == []
    turned = tiny(classes=("Invasive", "In situ", "Benign", "Normal"))
    assert network_table(turned)["graded_classes"] == [2, 1, 0]


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="cannot be opened") as caught:
        read_recipe(tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_every_field_can_be_shown_explained_and_typed() -> None:
    recipe = tiny()
    fields = recipe_fields(recipe)
    by_path = {item.path: item for item in fields}
    commas = tiny(limits=("One, two.", '"Three"', "[four"), data__hold_out_sites=("a, b", "3"))
    fields += [each for each in recipe_fields(commas) if each.kind == "list"]
    assert len(by_path) == len(recipe_fields(recipe))
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
        ("data.hold_out_sites", "1,2", ("1", "2")),
        ("data.hold_out_sites", '["North, upper", "2"]', ("North, upper", "2")),
        ("limits", "Film only, of the 1990s.\nNo men.", ("Film only, of the 1990s.", "No men.")),
        ("limits", '["Film only, of the 1990s."]', ("Film only, of the 1990s.",)),
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
