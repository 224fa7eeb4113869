"""`python -m engine.training recipe.toml --out folder`: also what `fabric run` starts.

On several devices: `fabric run --accelerator cuda --devices 4 --strategy ddp
engine/training/__main__.py recipe.toml --out folder`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from engine.errors import Cancelled, EngineError, Paused
from engine.runs import CANCELLED_CODE, PAUSED_CODE, RunFolder
from engine.training.recipe_files import parse_overrides, read_recipe
from engine.training.recipes import Recipe
from engine.training.run import one_device, precision_of, train

STRATEGY = "LT_STRATEGY"
UNUSED = "ddp_find_unused_parameters_true"


def main(arguments: list[str] | None = None) -> int:
    """Train, printing one line an epoch; the exit code says how it ended."""
    told = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    out = Path(told.out)
    try:
        plain = read_recipe(Path(told.recipe))
        changes = dict(item.partition("=")[::2] for item in told.set)
        recipe = read_recipe(Path(told.recipe), parse_overrides(plain, changes))
        train(recipe, out, fabric=launched(recipe, told.device), report=tell)
    except Paused:
        return PAUSED_CODE
    except Cancelled:
        return CANCELLED_CODE
    except EngineError as error:
        with suppress(OSError):  # the disk may be full; the sentence below tells it then
            RunFolder(out).say("failed", message=str(error))
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def launched(recipe: Recipe, device: str) -> Fabric:
    """Processes and devices: those of `fabric run` where it started us, else one device.

    Tasks without a label leave parts of the network without gradient, so processes that share a
    step look for them.
    """
    if "LT_CLI_USED" in os.environ:
        if os.environ.get(STRATEGY) == "ddp":
            os.environ[STRATEGY] = UNUSED
        return Fabric(precision=precision_of(recipe))
    wants_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return one_device(recipe, torch.device("cuda" if wants_cuda else "cpu"))


def tell(row: dict[str, Any]) -> None:
    """One line of an epoch."""
    shown = ("epoch", "total", "accuracy", "macro_auc", "box_iou", "lesion_dice", "seconds")
    parts = [f"{name} {row[name]:.3g}" for name in shown if isinstance(row.get(name), int | float)]
    sys.stdout.write("  ".join(parts) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.training", description=__doc__)
    parser.add_argument("recipe", help="recipe in TOML")
    parser.add_argument("--out", required=True, help="folder of the run; resumed where it exists")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                        help="override a field, such as optimiser.epochs=3")  # fmt: skip
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
