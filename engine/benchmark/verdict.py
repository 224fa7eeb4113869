"""What the numbers of a method amount to, in words for a clinician, by stated thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.benchmark.records import LEVELS, Cell, Level, MethodResult, SanityResult, Verdict
from engine.benchmark.summary import ENOUGH

LOCALISES = 5.0
"""Times chance from which a method is said to find the lesion."""
MATERIAL = 0.05
"""Difference from chance that faithfulness must have where the image hardly moves the answer."""
MOSTLY = 0.5
"""Share of the cases from which what is missing, or moot, decides."""

THRESHOLDS = (
    f"Use: the heat in the lesion is at least {LOCALISES:g} x chance, deletion or insertion is "
    "better than chance and neither is worse, and the map depends on the model's weights. "
    "Do not trust: the heat in the lesion cannot be told from chance, the map survives the "
    "destruction of all weights, or there is no map in most cases. With caution: all else. "
    "Better than chance means that the 95 % interval of the difference from chance, case by "
    f"case, leaves out zero; with fewer than {ENOUGH} cases nothing is concluded, and where "
    "replacing the whole image hardly changes the answer in most cases, a difference in "
    f"faithfulness below {MATERIAL:g} counts as none. These "
    "thresholds are conventions of Lightbox."
)

Cells = Mapping[str, Cell]


def judge(
    image: str, cells: Sequence[Cell], sanity: SanityResult | None, *, blind: bool = False
) -> Verdict:
    """The verdict on a method that the model serves.

    Args:
        image: Modality of the image that bears the lesion. cells: All cells of the method.
        sanity: None where it was not tested. blind: Whether the method ignores the class.
    """
    known = {cell.metric: cell for cell in cells if cell.image == image}
    heat = known.get("energy_ratio")
    level, reason = _level(known, sanity)
    missing = "" if "usable map" in reason else _missing(heat)
    said = [_finds(heat), missing, _faithful(known), _depends(sanity)]
    if blind:
        said.append("the same map for every class")
    text = "; ".join(part for part in (reason, *said) if part)
    return Verdict(level, text[:1].upper() + text[1:] + ".")


def refusal(reason: str) -> Verdict:
    """The verdict on a method that the model cannot serve."""
    return Verdict("refused", reason)


def order(result: MethodResult, image: str) -> tuple[int, float, str]:
    """Key that sorts methods best first."""
    return list(LEVELS).index(result.verdict.level), -_usual(result, image), result.title


def reaches(results: Sequence[MethodResult], image: str) -> tuple[MethodResult, ...]:
    """Methods whose heat in the lesion reaches `LOCALISES` times chance, with enough maps."""
    return tuple(result for result in results if _usual(result, image) >= LOCALISES)


def _usual(result: MethodResult, image: str) -> float:
    """Times chance of the heat in the lesion; -1 where most cases have no map."""
    heat = result.cell("energy_ratio", image)
    if heat is None or heat.value is None:
        return -1.0
    total = heat.n + heat.undefined
    is_usual = heat.undefined <= MOSTLY * total and heat.n >= min(ENOUGH, total)
    return heat.value if is_usual else -1.0


def _level(known: Cells, sanity: SanityResult | None) -> tuple[Level, str]:
    """Level, and what must be said first."""
    heat = known.get("energy_ratio")
    total = 0 if heat is None else heat.n + heat.undefined
    if heat is None or total < ENOUGH:
        return "unknown", f"only {_cases(total)}, so nothing can be concluded"
    if heat.undefined > MOSTLY * total:
        why = heat.reason.rstrip(".")
        return "avoid", f"it gives no usable map in {heat.undefined} of {_cases(total)} ({why})"
    if heat.n < ENOUGH:
        return "unknown", f"only {_cases(heat.n)} with a usable map"
    if sanity is not None and sanity.verdict == "fails":
        return "avoid", ""
    if heat.against_chance != "better":
        return "avoid", ""
    sides = {_side(known, name) for name in ("deletion", "insertion") if name in known}
    is_faithful = "better" in sides and "worse" not in sides
    passes = sanity is not None and sanity.verdict == "passes"
    finds = heat.value is not None and heat.value >= LOCALISES
    return ("use" if finds and is_faithful and passes else "caution"), ""


def _finds(heat: Cell | None) -> str:
    if heat is None or heat.value is None:
        return ""
    times = f"{heat.value:.1f} x chance"
    if heat.low is not None and heat.high is not None:
        times += f", 95 % interval {heat.low:.1f} to {heat.high:.1f}"
    if heat.n < ENOUGH:
        return f"lesion heat {times}"
    if heat.against_chance == "better":
        words = "finds the lesion" if heat.value >= LOCALISES else "finds the lesion only weakly"
        return f"{words} ({times})"
    if heat.against_chance == "worse":
        return f"avoids the lesion ({times})"
    return f"does not find the lesion ({times})"


def _missing(heat: Cell | None) -> str:
    """In how many cases there is no map, where most have one."""
    if heat is None or not heat.undefined or heat.value is None:
        return ""
    return f"no usable map in {heat.undefined} of {_cases(heat.n + heat.undefined)}"


def _faithful(known: Cells) -> str:
    if _moot(known) and all(_side(known, n) == "alike" for n in ("deletion", "insertion")):
        moot = known["deletion"]
        return (
            f"faithfulness says little: in {moot.moot} of {_cases(moot.n + moot.undefined)} "
            "replacing the whole image hardly changes the answer"
        )
    groups: dict[str, list[str]] = {}
    for name in ("deletion", "insertion"):
        found = known.get(name)
        if found is None or found.value is None or found.chance is None:
            continue
        numbers = f"{name} ({found.value:.2f} vs {found.chance:.2f})"
        groups.setdefault(_side(known, name), []).append(numbers)
    words = {
        "better": "faithful better than chance in",
        "alike": "no more faithful than chance in",
        "worse": "less faithful than chance in",
        "unknown": "faithfulness vs chance:",
    }
    parts = [f"{words[side]} {' and '.join(groups[side])}" for side in words if side in groups]
    return ", ".join(parts)


def _side(known: Cells, name: str) -> str:
    """Better or worse than chance; alike where a moot difference is too small to matter."""
    found = known.get(name)
    if found is None or found.value is None or found.chance is None:
        return "alike"
    small = abs(found.value - found.chance) < MATERIAL
    return "alike" if _moot(known) and small else found.against_chance


def _moot(known: Cells) -> bool:
    found = known.get("deletion")
    return found is not None and found.moot > MOSTLY * (found.n + found.undefined)


def _depends(sanity: SanityResult | None) -> str:
    if sanity is None:
        return "not tested against random weights"
    if sanity.verdict == "passes":
        return "depends on the model's weights"
    if sanity.verdict == "fails":
        strength = "" if sanity.strength is None else f" (likeness {sanity.strength:.2f})"
        return f"hardly changes when all weights are destroyed{strength}"
    return "the test against random weights does not apply"


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
