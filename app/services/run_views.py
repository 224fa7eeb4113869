"""What the pages of the administrator are told: frozen views without paths, files or tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

RunKind = Literal["check", "training", "adaptation", "comparison"]
RunState = Literal[
    "queued", "running", "pausing", "paused", "cancelling", "cancelled", "failed", "done"
]
DatasetState = Literal["checking", "ready", "refused", "failed"]
Origin = Literal["shipped", "trained", "adapted", "imported"]
ModelState = Literal["active", "candidate", "available", "retired"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class DatasetView:
    """A data set as it is known since its last check.

    Args:
        id: Number. name: For people. created: When it was registered, UTC. who: Login name.
        state: "checking" while its check waits or runs; "ready"; "refused", since the check found
            errors; "failed", since the check itself did not end.
        digest: SHA-256 of the manifest that was checked; empty before.
        rows: Rows of the manifest. patients: Different patients.
        classes, sites, splits, modalities: Rows by name.
        errors, warnings: Number of problems found.
        run_id: Its last check.
        message: Why the check failed, in one sentence; empty otherwise.
    """

    id: int
    name: str
    created: datetime
    who: str
    state: DatasetState
    digest: str
    rows: int
    patients: int
    classes: Mapping[str, int]
    sites: Mapping[str, int]
    splits: Mapping[str, int]
    modalities: Mapping[str, int]
    errors: int
    warnings: int
    run_id: int | None
    message: str = ""


@dataclass(frozen=True)
class ProblemView:
    """One problem of a data set.

    Args:
        severity: "error" or "warning". kind: What kind of problem, in a word or two.
        rows: Rows of the manifest, the first few of them. message: One sentence.
    """

    severity: Severity
    kind: str
    rows: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class RunView:
    """A run as it stood when it was asked about.

    Args:
        id: Number. kind: What is done. title: In words. owner: Login name of who started it.
        state: "pausing" and "cancelling" until the process has really ended.
        created, started, ended: UTC; None where it has not come to that.
        share: Done so far, 0 to 1.
        message: What it is about, or why it ended, in one sentence; may be empty.
        position: Place in the queue, 1 for the next to start; 0 when it does not wait.
        result: Name of the model that came out of it; empty for none.
        memory_mb: Most memory that its processes had together, megabytes.
        minutes: Time that it ran, all attempts together.
        can_pause, can_resume, can_cancel: What can be asked of it now.
    """

    id: int
    kind: RunKind
    title: str
    owner: str
    state: RunState
    created: datetime
    started: datetime | None
    ended: datetime | None
    share: float
    message: str
    position: int
    result: str
    memory_mb: int
    minutes: float
    can_pause: bool
    can_resume: bool
    can_cancel: bool

    @property
    def is_over(self) -> bool:
        """True when it neither runs nor waits for its turn."""
        return self.state in ("paused", "cancelled", "failed", "done")


@dataclass(frozen=True)
class ChangedView:
    """A case whose leading class was changed by an adaptation.

    Args:
        case_id: Pseudonym. before, after: Leading class. before_share, after_share: Its
            probability. picture: PNG, empty where the case has none.
    """

    case_id: str
    before: str
    after: str
    before_share: float
    after_share: float
    picture: bytes


@dataclass(frozen=True)
class BeforeAfter:
    """A number before and after an adaptation; None where it could not be measured.

    Args:
        before, after: The values. before_low, before_high, after_low, after_high: 95 % intervals.
    """

    before: float | None
    after: float | None
    before_low: float | None = None
    before_high: float | None = None
    after_low: float | None = None
    after_high: float | None = None


@dataclass(frozen=True)
class OutcomeView:
    """What an adaptation has done, before anybody has accepted it.

    Args:
        run_id: Its run. model: Model that it started from. method: Name of the method.
        cases: Target cases. steps: Steps done. kept: Share of the cases that the method learnt
            from, 0 to 1; None where unknown.
        entropy: Mean entropy of the predictions on the target cases, nats.
        histogram_before, histogram_after: Leading classes of the target cases, by class.
        sensitivity, source_accuracy: On the buffer of labelled source cases.
        accuracy: On the target cases, where their truth is known.
        divergence: Mean divergence of predictions on the source buffer (KL), nats; or None.
        rolled_back: Why the guard took the adaptation back; empty when it did not.
        changed: Cases with another leading class than before.
        accepted: Name of the model that was made of it; empty for none yet.
        discarded: True when somebody has thrown it away.
        notes: Further sentences of the report.
    """

    run_id: int
    model: str
    method: str
    cases: int
    steps: int
    kept: float | None
    entropy: BeforeAfter
    histogram_before: Mapping[str, int]
    histogram_after: Mapping[str, int]
    sensitivity: BeforeAfter
    source_accuracy: BeforeAfter
    accuracy: BeforeAfter
    divergence: float | None
    rolled_back: str
    changed: list[ChangedView]
    accepted: str = ""
    discarded: bool = False
    notes: tuple[str, ...] = ()

    @property
    def can_accept(self) -> bool:
        """True while it may become a candidate."""
        return not (self.rolled_back or self.accepted or self.discarded)


ComparisonRow = tuple[str, float, float, float, float, float]
"""Metric, value of a, value of b, difference (b - a), lower and upper end of its 95 % interval."""


@dataclass(frozen=True)
class ComparisonView:
    """Two models on the same cases.

    Args:
        run_id: Its run. a, b: Names of the models. source: What they were compared on, in words.
        rows: One per metric. cases: Cases that both read.
        disagreements: Cases to which the two give different leading classes.
    """

    run_id: int
    a: str
    b: str
    source: str
    rows: list[ComparisonRow]
    cases: int
    disagreements: int


@dataclass(frozen=True)
class ModelView:
    """An installed model.

    Args:
        name: Of its card. title, version: As the card says. digest: SHA-256 of the weights.
        origin: Where it comes from. state: "active" is the one in use; "candidate" was never in
            use; "retired" was; "available" ships with Lightbox.
        created: When it was installed; None for those that ship with Lightbox.
        parent: Model that it was adapted from; empty for none. run_id: Run that made it, or None.
        metrics: As the card says, by name. ratings: Answers of readers given on these weights.
        deletable: Whether it may be deleted. why_not: The reason why not, in one sentence.
        problem: Why it cannot be used, in one sentence; empty when its card can be read.
    """

    name: str
    title: str
    version: str
    digest: str
    origin: Origin
    state: ModelState
    created: datetime | None
    parent: str
    run_id: int | None
    metrics: Mapping[str, object]
    ratings: int
    deletable: bool
    why_not: str
    problem: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
