"""Which explanation method to trust: every method measured on cases of known truth.

`records` says what was found, `summary` turns scores of cases into numbers with intervals,
`verdict` says them in words, `table` writes them as text; none of these imports torch. `run`
does the work.
"""

from engine.benchmark.records import (
    ArmResult,
    Benchmark,
    Cell,
    MethodResult,
    SanityResult,
    Verdict,
    from_json,
    to_json,
)

__all__ = [
    "ArmResult",
    "Benchmark",
    "Cell",
    "MethodResult",
    "SanityResult",
    "Verdict",
    "from_json",
    "to_json",
]
