"""`python -m engine.adaptation study --card crossmodal-demo --out DIR`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.settings import AdaptationSettings
from engine.adaptation.study import Plan, markdown, study
from engine.cards import DEFAULT_MODEL
from engine.errors import EngineError
from engine.records import ModelCard
from engine.workflow import load_system

BEGIN, END = "<!-- study -->", "<!-- end of study -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; its table goes to the output and, with every number, into the folder.

    Returns:
        0, or 1 when it could not be done.
    """
    given = _parser().parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        if given.into is not None:  # before minutes are spent
            between(given.into.read_text("utf-8"), "")
        system = load_system(given.card, device=given.device)
        plan = _plan(given)
        rows = study(
            system, plan,
            cache=given.out / "phantoms", workers=given.workers,
            progress=lambda what: _say(sys.stderr, f"{what}\n"),
        )  # fmt: skip
        table = f"{_caption(system.card, plan)}\n\n{markdown(rows)}"
        facts = {
            "card": system.card.name,
            "version": system.card.version,
            "weights_digest": system.card.weights_digest,
            "rows": rows,
        }
        _write(given.out, given.into, table, facts)
    except EngineError as error:
        _say(sys.stderr, f"{error}\n")
        return 1
    except OSError:
        _say(sys.stderr, "The folder or the document could not be read or written.\n")
        return 1
    _say(sys.stdout, table)
    return 0


def _plan(given: argparse.Namespace) -> Plan:
    settings = AdaptationSettings(
        learning_rate=given.learning_rate,
        keep_last=given.keep_last,
        adapters=given.adapters,
        seed=given.seed,
    )
    return Plan(given.cases, given.buffer, given.steps, settings=settings)


def _caption(card: ModelCard, plan: Plan) -> str:
    settings = plan.settings
    more = " and their adapters" if settings.adapters else ""
    rate = "the usual rate" if settings.learning_rate is None else f"rate {settings.learning_rate}"
    return (
        f"`{card.name}` {card.version} (weights {card.weights_digest[:12]}), {plan.cases} cases, "
        f"{plan.buffer} source cases, {plan.steps} steps of {settings.batch_size} cases at {rate}, "
        f"all but the last {settings.keep_last} blocks{more}, seed {settings.seed}:"
    )


def _write(folder: Path, document: Path | None, table: str, facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.md").write_text(table, "utf-8")
    (folder / "study.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    if document is not None:
        document.write_text(between(document.read_text("utf-8"), table), "utf-8")


def between(document: str, table: str) -> str:
    """The document with the table put between its two marks.

    Raises:
        AdaptationRefused: It has no such marks.
    """
    before, first, rest = document.partition(BEGIN)
    _, second, after = rest.partition(END)
    if not (first and second):
        raise AdaptationRefused("The document has no place for the table.")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _say(stream: TextIO, text: str) -> None:
    stream.write(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engine.adaptation", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("study", help="Adaptation to phantoms of a new hospital.")
    one.add_argument("--card", default=DEFAULT_MODEL, help="Name of a card, or its path.")
    one.add_argument("--out", type=Path, required=True, help="Folder for the table and numbers.")
    one.add_argument("--into", type=Path, help="A document whose table is replaced.")
    one.add_argument("--cases", type=int, default=Plan.cases, help="Phantoms to adapt to.")
    one.add_argument("--buffer", type=int, default=Plan.buffer, help="Source phantoms.")
    one.add_argument("--steps", type=int, default=Plan.steps, help="Steps of each method.")
    one.add_argument("--learning-rate", type=float, default=None, help="Of SGD.")
    one.add_argument("--keep-last", type=int, default=AdaptationSettings.keep_last)
    one.add_argument("--adapters", action="store_true", help="Adapt the adapters, too.")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", default="auto", help="auto, cpu or cuda.")
    one.add_argument("--threads", type=int, default=0, help="Threads of torch; its own when 0.")
    one.add_argument("--workers", type=int, default=1, help="Processes that make phantoms.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
