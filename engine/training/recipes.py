"""Recipes: how a model is trained, as frozen records with their checks; see `recipe_files`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from engine.datasets.augment import Augmentation
from engine.errors import InvalidRecipe

CHOICES: Mapping[str, tuple[str, ...]] = {
    "data.source": ("phantoms", "manifest"),
    "data.pairing": ("patient", "label", "none"),
    "optimiser.precision": ("bf16", "32"),
    "objective.generalisation": ("none", "irm", "vrex"),
}
"""Fields that take one of a few words."""

POSITIVE = (
    "data.train_cases", "data.validation_cases", "data.test_cases", "optimiser.epochs",
    "optimiser.batch_size", "optimiser.accumulation", "optimiser.learning_rate",
    "optimiser.clip", "optimiser.max_skipped", "optimiser.layer_decay",
    "optimiser.trunk_rate", "optimiser.task_rate",
)  # fmt: skip
SHARES = (
    "optimiser.warmup", "optimiser.ema", "optimiser.layer_decay", "objective.modality_dropout",
)  # fmt: skip
NOT_NEGATIVE = (
    "seed", "data.workers", "data.split_seed", "data.first_seed",
    "optimiser.weight_decay", "optimiser.patience", "optimiser.checkpoint_minutes",
    "objective.penalty", "objective.anneal_steps",
    "objective.alignment", "objective.alone", "objective.consistency",
    "augmentation.scale", "augmentation.shift", "augmentation.gamma", "augmentation.noise",
    "augmentation.stain", *SHARES,
)  # fmt: skip
SEEDS = ("seed", "data.split_seed", "data.first_seed")
MOST_SEED = 2**31
TAKEN = ("recipe", "split")
"""Names of other files of a run's folder."""
TEXTS = (
    "limits", "classes", "grades", "data.hold_out_sites", "data.sites", "data.test_sites"
)  # fmt: skip
"""Lists of texts."""
NETWORK_SIZES: Mapping[str, int] = {
    "img_size": 4096, "pathology_size": 4096, "patch_size": 1024, "embed_dim": 4096, "depth": 64,
    "num_heads": 256, "cross_heads": 256, "adapter_dim": 4096, "projection_dim": 4096,
}  # fmt: skip
"""Whole numbers from 1 that a network may have, by argument, and the largest."""
MOST_PARAMETERS = 3 * 10**9
"""Of the blocks of a trunk: more is a slip of the finger, and fills the memory."""


@dataclass(frozen=True)
class DataRecipe:
    """Where the cases come from.

    Args:
        source: "phantoms", made as needed, or "manifest".
        manifest: Path of the manifest (CSV or Parquet).
        split: Path of a stored split, which is only read; one is made from the manifest and kept
            beside the run when empty.
        split_seed: Seed of a split that is made. fractions: Its shares of train, validation, test.
        hold_out_sites: Sites that training does not touch: kept for a later, external evaluation.
        pairing: What the mammogram is paired with: the pathology of the same "patient", of another
            patient with the same "label" (artificial), or "none".
        train_cases, validation_cases, test_cases: Phantoms in each split, of disjoint seeds.
        sites: Names of the phantom sites; the four usual ones, jittered, when empty.
        test_sites: Names of the phantom sites of the test split; as `sites` when empty.
        balanced: Draw training cases so that classes come equally often.
        first_seed: Added to the phantom seeds, so that runs may use phantoms of their own.
        workers: Threads that decode ahead.
    """

    source: str = "phantoms"
    manifest: str = ""
    split: str = ""
    split_seed: int = 0
    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    hold_out_sites: tuple[str, ...] = ()
    pairing: str = "patient"
    train_cases: int = 4000
    validation_cases: int = 400
    test_cases: int = 600
    sites: tuple[str, ...] = ()
    test_sites: tuple[str, ...] = ()
    balanced: bool = False
    first_seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class OptimiserRecipe:
    """AdamW, linear warm-up, cosine.

    Args:
        epochs: Passes over the training cases. batch_size: Cases per step, over all processes.
        accumulation: Portions into which a step is cut, to save memory.
        learning_rate: Peak rate of heads and adapters. trunk_rate: Share of it for the trunk.
        layer_decay: Further factor for each block below the last (1 for none).
        task_rate: Factor for the learned task weights. Fast ones soon give every task the same
            say in relation to its loss, which can starve one that has not begun to learn.
        weight_decay: Of matrices; biases, norms, tokens and gates have none.
        warmup: Share of all steps. clip: Largest gradient norm.
        ema: Decay of the averaged weights, which are evaluated and kept.
        max_skipped: Steps that are not finite, in a row, after which the run fails.
        patience: Epochs without a better validation after which training ends; 0 for never.
        precision: "bf16" autocast, or "32". pcgrad: Project conflicting task gradients.
        checkpoint_minutes: Between checkpoints within an epoch.
    """

    epochs: int = 20
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 1e-3
    trunk_rate: float = 1.0
    layer_decay: float = 1.0
    task_rate: float = 10.0
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    max_skipped: int = 20
    patience: int = 0
    precision: str = "bf16"
    pcgrad: bool = False
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class ObjectiveRecipe:
    """What is minimised beside the weighted tasks.

    Args:
        alignment: Weight of the contrastive loss. alone: Of the classes from one modality.
        consistency: Of the agreement of grade and class.
        modality_dropout: Share of training cases whose pathology is hidden; none are with
            network.use_dg false.
        generalisation: "none", or a penalty on what differs between sites: "irm" (IRMv1), "vrex".
        penalty: Its weight after annealing; 1 before.
        anneal_steps: Steps before the full penalty; the optimiser then starts anew.
    """

    alignment: float = 0.1
    alone: float = 0.5
    consistency: float = 0.1
    modality_dropout: float = 0.3
    generalisation: str = "none"
    penalty: float = 10.0
    anneal_steps: int = 500


@dataclass(frozen=True)
class StartRecipe:
    """Weights to start from.

    Args:
        weights: A timm name, "hf-hub:" id or path of ViT weights; random weights when empty.
    """

    weights: str = ""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Args:
        name: Name of the model card that results. title: Its name for people.
        system: Registry name of the system. version: Version of the weights.
        network: Constructor arguments of the network.
        intended_use, training_data, limits: Texts of the model card.
        seed: Of weights, order and augmentation. Phantoms have seeds of their own.
        classes: Class names by label. grades: Names of the classes that have a grade, in order.
        data, optimiser, objective, augmentation, start: Their sections.
    """

    name: str
    title: str
    system: str
    version: str
    network: Mapping[str, Any]
    intended_use: str
    training_data: str
    limits: tuple[str, ...]
    seed: int = 0
    classes: tuple[str, ...] = ("Normal", "Benign", "In situ", "Invasive")
    grades: tuple[str, ...] = ("Benign", "In situ", "Invasive")
    data: DataRecipe = field(default_factory=DataRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    start: StartRecipe = field(default_factory=StartRecipe)

    def __post_init__(self) -> None:
        for path, value, kind in flat(self):
            _check_kind(path, value, kind)
        known = {path: value for path, value, _ in flat(self)}
        for path in SEEDS:
            _require(
                known[path] <= MOST_SEED, f"{path} must be at most {MOST_SEED}, not {known[path]}."
            )
        for path in TEXTS:
            _require(_are_texts(known[path]), f"{path} must be a list of texts.")
        for path in POSITIVE:
            _require(known[path] > 0, f"{path} must be positive, not {known[path]}.")
        for path in NOT_NEGATIVE:
            _require(known[path] >= 0, f"{path} must not be negative, but is {known[path]}.")
        for path in SHARES:
            _require(known[path] <= 1, f"{path} must be at most 1, not {known[path]}.")
        for path, words in CHOICES.items():
            _require(
                known[path] in words,
                f"{path} must be one of {', '.join(words)}, not {known[path]}.",
            )
        _check_whole(self)
        _check_names(self)
        _check_network(self.network)

    @property
    def hidden_share(self) -> float:
        """Share of training cases whose pathology is hidden; none with `network.use_dg` false."""
        return self.objective.modality_dropout if self.network.get("use_dg", True) else 0.0


def _check_whole(recipe: Recipe) -> None:
    """What several fields must have in common."""
    data, steps = recipe.data, recipe.optimiser
    _require(
        steps.batch_size % steps.accumulation == 0,
        "optimiser.batch_size must be a multiple of optimiser.accumulation.",
    )
    _require(
        not steps.pcgrad or steps.accumulation == 1,
        "optimiser.pcgrad needs whole steps, so optimiser.accumulation must be 1.",
    )
    _require(
        data.source != "manifest" or bool(data.manifest),
        "data.manifest must name the manifest when data.source is manifest.",
    )
    _require(
        all(_is_number(share) and share >= 0 for share in data.fractions),
        "data.fractions must be numbers that are not negative.",
    )
    _require(
        len(data.fractions) == 3 and abs(sum(data.fractions) - 1) < 1e-6,
        "data.fractions must be three shares that add up to 1.",
    )
    is_strange = data.source == "manifest" and data.pairing == "label"
    _require(
        not is_strange
        or recipe.objective.alignment == 0
        or recipe.network.get("positives", "patient") == "label",
        'data.pairing "label" pairs images of different patients, so network.positives must be '
        '"label" too.',
    )


def _check_names(recipe: Recipe) -> None:
    """The name of the model, and those of classes and grades."""
    _require(len(recipe.classes) >= 2, "classes must hold two names at least.")
    for path, names in (("classes", recipe.classes), ("grades", recipe.grades)):
        _require(all(name.strip() for name in names), f"{path} must not hold an empty name.")
        _require(len(set(names)) == len(names), f"{path} must not hold a name twice.")
    if recipe.data.source == "phantoms":
        odd = [name for name in recipe.grades if name not in recipe.classes]
        _require(not odd, f"grades must be classes; not among them: {', '.join(odd)}.")
    _require(
        not recipe.name.startswith(".") and not set(recipe.name) & set('/\\:*?"<>|'),
        "name must be usable as a file name.",
    )
    _require(bool(recipe.name.strip()), "name must not be empty.")
    _require(
        recipe.name.casefold() not in TAKEN,
        f"name must not be {recipe.name}: the folder of a run has a file of this name.",
    )


def _check_network(network: Mapping[str, Any]) -> None:
    """Refuse sizes that no network has before one is built of them."""
    _require(
        "modality_dropout" not in network,
        "network.modality_dropout has no effect in training; set objective.modality_dropout.",
    )
    for name, most in NETWORK_SIZES.items():
        value = network.get(name, 1)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        _require(
            is_whole and 1 <= value <= most,
            f"network.{name} must be a whole number from 1 to {most}, not {value!r}.",
        )
    width, depth = network.get("embed_dim", 1), network.get("depth", 1)
    _require(
        12 * depth * width**2 <= MOST_PARAMETERS,
        "The network is too large: please lower network.embed_dim or network.depth.",
    )


def _is_number(value: Any) -> bool:
    """Whether what a list holds is a finite number."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and abs(value) < math.inf


def _are_texts(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, str) for value in values)


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise InvalidRecipe(sentence)


def flat(record: Any, prefix: str = "") -> list[tuple[str, Any, str]]:
    """Dotted path, value and kind of every field, sections opened."""
    found: list[tuple[str, Any, str]] = []
    for item in fields(record):
        value = getattr(record, item.name)
        if is_dataclass(value):
            found += flat(value, f"{prefix}{item.name}.")
        else:
            found.append((prefix + item.name, value, str(item.type).partition("[")[0]))
    return found


_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str, "int": int, "float": (int, float), "bool": bool, "tuple": tuple,
    "Mapping": Mapping,
}  # fmt: skip
_WORDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "tuple": "a list", "Mapping": "a table",
}  # fmt: skip


def _check_kind(path: str, value: Any, kind: str) -> None:
    """Refuse a value of another kind than the field's; whole numbers serve as real ones."""
    wrong = isinstance(value, bool) and kind != "bool"
    if wrong or not isinstance(value, _KINDS[kind]):
        raise InvalidRecipe(f"{path} must be {_WORDS[kind]}, not {value!r}.")
    if kind == "float" and not _is_number(value):
        raise InvalidRecipe(f"{path} must be a finite number, not {value!r}.")
