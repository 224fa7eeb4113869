"""`python -m tests.bench [NAME ...]`: run the benchmarks and print one Markdown table.

`python -m tests.bench coverage [--into PAGE]` prints how often the intervals of agreement hold.
"""

from __future__ import annotations

import sys
from importlib import import_module

from tests.bench.common import HEAD
from tests.bench.coverage import main as coverage

BENCHES = (
    "maps",
    "explainers",
    "perturbations",
    "memory",
    "viewer",
    "opening",
    "start",
    "training",
    "agreement",
)


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all; 0 whatever they measure, 2 for an unknown name."""
    if names[:1] == ["coverage"]:
        return coverage(names[1:])
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        sys.stderr.write(f"There is no benchmark {unknown[0]!r}. Known: {', '.join(BENCHES)}.\n")
        return 2
    sys.stdout.write(f"{HEAD}\n")
    for name in names or BENCHES:
        for row in import_module(f"tests.bench.{name}").measure():
            sys.stdout.write(f"{row.markdown()}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
