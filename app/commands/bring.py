"""`lightbox bring-model`: a checkpoint made elsewhere becomes a model card with weights."""

from __future__ import annotations

from pathlib import Path

import typer

from app.errors import InvalidInput

MOST_CLASSES = 100_000


def run(
    checkpoint: Path,
    architecture: str,
    out: Path,
    *,
    classes: Path | None = None,
    count: int | None = None,
    name: str = "",
    title: str = "",
    training_data: str = "",
    size: int | None = None,
    mean: str = "",
    std: str = "",
    by_order: bool = False,
) -> None:
    """Convert a checkpoint and say how the model is used.

    Args:
        checkpoint: .safetensors, or what `torch.save` wrote. architecture: Name in timm.
        out: Folder of the card. classes: File of class names, a line each, in the order of the
            outputs. count: Number of classes where they have no names; 0 for features only.
        name, title, training_data, size, by_order: See `engine.models.bring.Wish`.
        mean, std: Numbers separated by commas, one per channel or one for all.

    Raises:
        InvalidInput: Classes or numbers are not as they must be.
        ModelUnavailable: See `engine.models.bring.bring`.
    """
    from engine.models.bring import Wish, bring

    wish = Wish(
        architecture=architecture, classes=_classes(classes, count), name=name, title=title,
        training_data=training_data, size=size, mean=_numbers(mean), std=_numbers(std),
        by_order=by_order,
    )  # fmt: skip
    card = bring(checkpoint, wish, out)
    typer.echo(f"{card.title}: {len(wish.classes)} class(es), {card.facts['tensors']} tensors.")
    typer.echo(f"Use it with --model and the path of {card.name}.toml in that folder.")


def _classes(path: Path | None, count: int | None) -> tuple[str, ...]:
    """Names from a file, or numbers.

    Raises:
        InvalidInput: Both or neither are given, or the file cannot be used.
    """
    if (path is None) == (count is None):
        raise InvalidInput("Give either --classes with a file of names, or --num-classes.")
    if path is None:
        return tuple(f"class {number}" for number in range(count or 0))
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput("The file of class names cannot be read as text.") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(names) > MOST_CLASSES:
        raise InvalidInput("The file of class names must hold one name a line.")
    if not all(name.isprintable() for name in names):
        raise InvalidInput("A class name holds marks that cannot be printed.")
    return names


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas.

    Raises:
        InvalidInput: One is not a number.
    """
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise InvalidInput("--mean and --std take numbers separated by commas.") from None
