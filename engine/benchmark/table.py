"""A benchmark as Markdown: verdicts, and every metric of every method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.benchmark.records import LEVELS, ArmResult, Benchmark, Cell, MethodResult
from engine.benchmark.summary import ENOUGH
from engine.benchmark.verdict import LOCALISES, THRESHOLDS, reaches
from engine.metrics.catalogue import METRICS, Metric

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
MARKS = {"better": " +", "worse": " -", "alike": " =", "unknown": ""}
FAMILIES = ("localisation", "faithfulness", "stability", "complexity")
LEGEND = (
    "Cells: mean over cases [95 % interval] (chance level), n cases; + better than chance, "
    "= no better, - worse. ↑ higher is better, ↓ lower is better."
)


def markdown(benchmark: Benchmark) -> str:
    """Everything, arm by arm."""
    lines = [
        f"# Which method to trust: {benchmark.title}, version {benchmark.model_version}",
        "",
        f"Weights {benchmark.weights_digest[:12]}. {benchmark.cases} "
        f"{counted(benchmark)} Made {benchmark.made} on {benchmark.device}, seed {benchmark.seed}.",
        "",
        THRESHOLDS,
    ]
    for arm in benchmark.arms:
        lines += ["", f"## {arm.title}", "", *_arm(arm)]
    return "\n".join(lines) + "\n"


def counted(benchmark: Benchmark) -> str:
    """How many cases of which class, and how many were left out."""
    kinds = ", ".join(f"{count} {label}" for label, count in benchmark.labels.items()) or "none"
    total = sum(benchmark.labels.values())
    left = f"; {benchmark.excluded} without a lesion left out" if benchmark.excluded else ""
    return f"Cases with a lesion: {total} ({kinds}){left}."


def headline(arm: ArmResult) -> tuple[str, ...]:
    """What the model answered, and whether any method reaches the threshold."""
    said = [f"{arm.cases} cases measured."]
    if arm.right is not None and arm.probability is not None:
        said.append(
            f"The model answered {arm.right} of {arm.cases} right "
            f"(mean probability of the true class {arm.probability:.2f})."
        )
    best = reaches(arm.methods, arm.images[0]) if arm.images else ()
    served = sum(not each.refused for each in arm.methods)
    if best:
        names = ", ".join(each.title for each in best)
        said.append(f"{len(best)} of {served} methods reach {LOCALISES:g} x chance: {names}.")
    elif served:
        said.append(f"None of {served} methods reaches {LOCALISES:g} x chance.")
    if arm.cases < ENOUGH:
        said.append(f"So few cases allow no conclusion; at least {ENOUGH} are needed.")
    said += [f"{count} could not be measured: {why}" for why, count in arm.failed.items()]
    return tuple(said)


def metrics_of(arm: ArmResult, image: str, family: str) -> list[Metric]:
    """Metrics of a family that were measured on an image, in the order of the registry."""
    found = {cell.metric for m in arm.methods for cell in m.cells if cell.image == image}
    return [each for each in METRICS.values() if each.family == family and each.name in found]


def _arm(arm: ArmResult) -> Iterator[str]:
    yield " ".join(headline(arm))
    yield ""
    yield from _rows(
        ("Method", "Verdict", "Why", "Seconds"),
        [(m.title, LEVELS[m.verdict.level], m.verdict.text, seconds(m)) for m in arm.methods],
    )
    yield ""
    yield LEGEND
    served = [method for method in arm.methods if not method.refused]
    for image in arm.images:
        for family in FAMILIES:
            metrics = metrics_of(arm, image, family)
            if not metrics:
                continue
            yield from ("", f"### {family.capitalize()}, {image}", "")
            head = [f"{each.title} {ARROWS[each.better]} ({each.unit})" for each in metrics]
            rows = [[m.title, *(_cell(m.cell(e.name, image)) for e in metrics)] for m in served]
            yield from _rows(["Method", *head], rows)


def seconds(method: MethodResult) -> str:
    """Median seconds a case, or a dash."""
    if method.seconds is None:
        return "–"
    return "<0.01" if method.seconds < 0.01 else number(method.seconds)


def number(value: float | None) -> str:
    """About three significant digits, never in powers of ten, with a true minus sign."""
    if value is None:
        return "–"
    size = abs(value)
    digits = next((n for n, limit in enumerate((100, 10, 0.1)) if size >= limit), 3)
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    if cell.value is None:
        return f"undefined in {cell.undefined}: {cell.reason}"
    text = number(cell.value)
    if cell.low is not None:
        text += f" [{number(cell.low)}, {number(cell.high)}]"
    if cell.chance is not None:
        text += f" ({number(cell.chance)})"
    text += f", n {cell.n}"
    if cell.undefined:
        text += f", undefined in {cell.undefined}"
    return text + MARKS[cell.against_chance]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(" ".join(text.split()).replace("|", "/") for text in row) + " |"
