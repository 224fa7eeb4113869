"""Peak memory of explaining: one large image with all gradient methods, and a long list of cases.

`python -m tests.bench.memory JOB [COUNT]` does one job and prints its peak in MiB; the benchmark
runs each in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bench.common import ROOT, Row

SIDE, LIMIT_GB = 512, 4.0
FEW, MANY = 8, 64
CONSTANT = 1.05
SMALL = 128


def measure() -> list[Row]:
    """Rows for both jobs, against the same process before it explains."""
    base, large = _peak("nothing"), _peak("large")
    few, many = _peak("cases", FEW), _peak("cases", MANY)
    model = f"ViT-B/16 at {SIDE} px"
    return [
        Row(
            f"Peak memory of all methods that one pass serves, {model}", f"{large:.0f} MiB",
            f"the model loaded, {base:.0f} MiB", large * 1.048576 / 1000, LIMIT_GB, " GB",
        ),
        Row(
            f"Peak memory of explaining {MANY} cases, one after the other", f"{many:.0f} MiB",
            f"{FEW} such cases, {few:.0f} MiB", many / few, CONSTANT,
        ),
    ]  # fmt: skip


def _peak(*job: object) -> float:
    command = [sys.executable, "-m", "tests.bench.memory", *(str(word) for word in job)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _own_peak() -> float:
    """Peak resident memory of this process, MiB.

    Read from /proc: `getrusage` of a process that was just started still knows its parent's peak.
    """
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def _large(explain: bool) -> None:
    from engine import ExplainabilityToolkit
    from tests.bench.explainers import fast_gradient_methods, pictures, vision_transformer

    toolkit = ExplainabilityToolkit(vision_transformer(img_size=SIDE))
    x = pictures(1, SIDE)
    if not explain:
        return
    found = toolkit.explain_all(x, fast_gradient_methods(toolkit), 0)
    refused = [answer for answer in found.values() if isinstance(answer, str)]
    if refused:
        raise RuntimeError(refused[0])


def _cases(count: int) -> None:
    from engine import explain, load_system
    from engine.phantoms import phantom_case

    system = load_system(device="cpu")
    for seed in range(count):
        explain(system, phantom_case(seed, height=SMALL, width=SMALL, tile=SMALL))


def main(words: list[str]) -> None:
    """Do one job and print the peak."""
    job, *count = words
    if job == "cases":
        _cases(int(count[0]))
    else:
        _large(job == "large")
    sys.stdout.write(f"{_own_peak():.1f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
