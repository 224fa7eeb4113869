"""The words of a reader study: protocol, questions, arms, readings, answers. Plain values only.

A *reading* is one case shown to one reader in one arm; a *repeat* is a reading with `replicate` 2
or more; an *answer* is what a reader said to one question of a reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from engine.errors import EngineError


class InvalidProtocol(EngineError):
    """A study, as it is designed, cannot be run."""


class StudyState(StrEnum):
    """How far a study is; questions freeze at the first answer, everything at the lock."""

    DRAFT = "draft"
    OPEN = "open"
    LOCKED = "locked"
    EXPORTED = "exported"


class QuestionKind(StrEnum):
    """What an answer looks like."""

    SCALE = "scale"
    CHOICE = "choice"
    NUMBER = "number"
    TEXT = "text"
    POINT = "point"
    BOX = "box"
    OUTLINE = "outline"


class ArmKind(StrEnum):
    """What a reader sees beside the image."""

    IMAGE = "image"
    PREDICTION = "prediction"
    EXPLANATION = "explanation"
    DECOY = "decoy"


class Decoy(StrEnum):
    """Maps that a sound rating must not confuse with an explanation."""

    RANDOM = "random"
    OTHER_CLASS = "other_class"
    EDGES = "edges"
    CENTRE = "centre"


class Crossing(StrEnum):
    """Who reads what."""

    CROSSED = "crossed"
    SPLIT_PLOT = "split_plot"
    ANCHOR = "anchor"


class Order(StrEnum):
    """How the arms of a case follow each other."""

    INDEPENDENT = "independent"
    SEQUENTIAL = "sequential"


class ReadStatus(StrEnum):
    """Why a question has its answer, or has none."""

    ANSWERED = "answered"
    SKIPPED = "skipped"
    CANNOT_JUDGE = "cannot_judge"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True)
class StudyQuestion:
    """One question of a form.

    Args:
        id: Short name, unique within the study: lower-case letters, digits and "_".
        text: As the reader sees it.
        kind: What an answer looks like.
        help: Guidance shown beside it.
        low: Lowest point of a scale, or least number. high: Highest.
        anchors: Words for each point of a scale, from `low` to `high`; empty for none.
        choices: Labels of a choice; the answer is the position, from 0.
        ordered: Whether the choices are in an order.
        unit: Unit of a number.
        required: Whether a reading can be handed in without it.
        cannot_judge: Whether "cannot judge" is offered.
        per_case: True where it is asked of each reading; False where it is asked once per reader,
            at the end of the study.
        group: Name of the ready form it belongs to, such as "sus"; empty for own questions.
    """

    id: str
    text: str
    kind: QuestionKind = QuestionKind.SCALE
    help: str = ""
    low: float = 1
    high: float = 5
    anchors: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    ordered: bool = True
    unit: str = ""
    required: bool = True
    cannot_judge: bool = True
    per_case: bool = True
    group: str = ""

    @property
    def scale(self) -> tuple[float, ...]:
        """Declared scores: the points of a scale, or the positions of a choice; else empty."""
        if self.kind is QuestionKind.SCALE:
            return tuple(float(v) for v in range(int(self.low), int(self.high) + 1))
        if self.kind is QuestionKind.CHOICE:
            return tuple(float(v) for v in range(len(self.choices)))
        return ()


@dataclass(frozen=True)
class Arm:
    """One condition of reading.

    Args:
        id: Short name, unique within the study.
        title: For the organiser and, after unblinding, for the analysis; never for a reader.
        kind: What is shown beside the image; each kind shows what the kind before it shows.
        method: Explanation method of an `EXPLANATION` (a key of EXPLAINERS).
        decoy: Which decoy a `DECOY` is.
    """

    id: str
    title: str
    kind: ArmKind
    method: str = ""
    decoy: Decoy | None = None


@dataclass(frozen=True)
class Design:
    """How readings are laid out.

    Args:
        crossing: Fully crossed; split-plot (readers and cases in as many groups as `groups`); or
            anchor set (the first `anchors` cases for all, the rest divided among the readers).
        order: Arms of a case in independent sessions or positions, or in sequence (arms in their
            order, each handed in before the next is shown).
        sessions: Sessions of independent reading; with more than one, the arms of a case are
            spread over them, one after another.
        washout_days: Least days between two sessions of a reader.
        groups: Groups of a split-plot design. anchors: Cases that all read in an anchor design.
        repeats: Hidden second readings of each reader, number of (case, arm) pairs.
        repeat_gap: Least positions between a reading and its repeat.
        case_gap: Least positions between two readings of one case, where the list allows it.
        session_minutes: Longest session, minutes. session_readings: Most readings of a session.
        allow_changes: Whether a handed-in answer can be changed (every version is kept).
        pass_share: Share of training answers that must be right to go on; 0 for no criterion.
        show_prediction_score: Whether arms with a prediction show its probability.
    """

    crossing: Crossing = Crossing.CROSSED
    order: Order = Order.INDEPENDENT
    sessions: int = 1
    washout_days: float = 28
    groups: int = 2
    anchors: int = 0
    repeats: int = 0
    repeat_gap: int = 20
    case_gap: int = 5
    session_minutes: int = 60
    session_readings: int = 40
    allow_changes: bool = False
    pass_share: float = 0.0
    show_prediction_score: bool = True


@dataclass(frozen=True)
class TrainingCase:
    """A warm-up case with feedback; never part of the analysis.

    Args:
        case: Pseudonym. arm: Id of the arm it is shown in.
        expected: Question id to the answers that count as right. feedback: Shown after handing in.
    """

    case: str
    arm: str
    expected: dict[str, tuple[float, ...]] = field(default_factory=dict)
    feedback: str = ""


@dataclass(frozen=True)
class Protocol:
    """A whole study, as it is designed.

    Args:
        title: Of the study. text: Protocol and reading guide, shown to readers.
        cases: Pseudonyms, in the order they were added.
        readers: Login names, in the order they were added.
        arms: At least one. questions: At least one.
        design: How readings are laid out. training: Warm-up cases.
        seed: Of every order and label.
        groups: Case to a name of its case group, for analysis by group; may be empty.
        grras: Items of the GRRAS list that the organiser has filled in, item number to text.
    """

    title: str
    text: str = ""
    cases: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    arms: tuple[Arm, ...] = ()
    questions: tuple[StudyQuestion, ...] = ()
    design: Design = field(default_factory=Design)
    training: tuple[TrainingCase, ...] = ()
    seed: int = 0
    groups: dict[str, str] = field(default_factory=dict)
    grras: dict[str, str] = field(default_factory=dict)

    def arm(self, id: str) -> Arm:
        """The arm of an id."""
        return next(arm for arm in self.arms if arm.id == id)

    def question(self, id: str) -> StudyQuestion:
        """The question of an id."""
        return next(question for question in self.questions if question.id == id)


@dataclass(frozen=True)
class Reading:
    """One row of the plan.

    Args:
        reader: Login name. session: From 1. position: Within the session, from 1.
        case: Pseudonym; empty for the closing questionnaire (questions that are not per case).
        arm: Id of the arm; empty for the closing questionnaire.
        label: Blinded name of the arm for this reader, such as "B".
        replicate: 1, or 2 for the hidden repeat.
        stage: Place in a sequential reading of a case, from 1; 1 otherwise.
        training: Whether it is a warm-up case.
    """

    reader: str
    session: int
    position: int
    case: str
    arm: str
    label: str = ""
    replicate: int = 1
    stage: int = 1
    training: bool = False


@dataclass(frozen=True)
class Timing:
    """How a reading went, by the browser's monotonic clock, and the server's stamps.

    Args:
        shown_at: First shown, UTC, by the server's clock. submitted_at: Handed in.
        first_ms: From shown to the first interaction, milliseconds; None without one.
        active_ms: Time with the tab visible and somebody at work (idle over 60 s left out).
        opacity, window, method: Numbers of changes of opacity, of grey window, of what is shown.
        heat_seen: Whether a heat map was ever on; None where the arm has none.
    """

    shown_at: datetime | None = None
    submitted_at: datetime | None = None
    first_ms: int | None = None
    active_ms: int = 0
    opacity: int = 0
    window: int = 0
    method: int = 0
    heat_seen: bool | None = None


@dataclass(frozen=True)
class StudyAnswer:
    """One answer that counts, with all that an analysis needs.

    Args:
        reader: Pseudonym such as "R01", never a login name.
        case: Pseudonym of the study such as "C001"; empty in a closing questionnaire.
        arm: Id of the arm; empty in a closing questionnaire.
        question: Id of the question.
        status: Why there is a value, or none.
        value: Score of a scale, position of a choice, or number; None without one, and for text
            and marks.
        text: Answer to a text question; empty otherwise.
        marks: Points (x, y) in pixels of the image, with "image" and "frame"; None without marks.
        session, position, replicate, stage, label: As in `Reading`.
        revision: Of the answer that counts. revisions: How many there are.
        reason: Why it was changed, or why it cannot be judged. comment: Free text of the reading.
        timing: How the reading went.
        group: Case group. modality, view, laterality: Of the case's first image.
        ai_prediction: Class the model named; None where the arm shows none.
        ai_confidence: Its probability. ai_correct: Whether it names the truth; None if unknown.
        truth: Class of the case, where known.
        weights_digest: Model whose output was shown.
    """

    reader: str
    case: str
    arm: str
    question: str
    status: ReadStatus
    value: float | None
    text: str = ""
    marks: dict[str, Any] | None = None
    session: int = 1
    position: int = 0
    replicate: int = 1
    stage: int = 1
    label: str = ""
    revision: int = 1
    revisions: int = 1
    reason: str = ""
    comment: str = ""
    timing: Timing = field(default_factory=Timing)
    group: str = ""
    modality: str = ""
    view: str = ""
    laterality: str = ""
    ai_prediction: str | None = None
    ai_confidence: float | None = None
    ai_correct: bool | None = None
    truth: str | None = None
    weights_digest: str = ""


@dataclass(frozen=True)
class ReaderFacts:
    """Who read, without a name.

    Args:
        code: Such as "R01". specialty, experience: As entered by the organiser ("5-10 years").
        withdrawn: Whether the reader left before the end.
    """

    code: str
    specialty: str = ""
    experience: str = ""
    withdrawn: bool = False


@dataclass(frozen=True)
class StudyFacts:
    """A study with its answers, as analysed, exported and printed; no login name in it.

    Args:
        code: Such as "ST-7F3A". version: Raised with each change of an open study.
        state: Of the study. protocol: With case codes in place of pseudonyms and reader codes in
            place of login names.
        readers: Who read. answers: Answers that count, training readings left out.
        readings_planned: Reader code to readings planned; `readings_done`: handed in.
        deviations: What departed from the protocol, one sentence each.
        digests: Name to SHA-256 of what was frozen at the lock: "answers", "protocol", "model",
            "display", "software".
        map_scores: (case code, arm id) to scores of the map shown, such as {"pointing_game": 1.0}.
        unblinded: Whether arms may be named.
        created, opened, locked: Times, UTC.
    """

    code: str
    version: int
    state: StudyState
    protocol: Protocol
    readers: tuple[ReaderFacts, ...]
    answers: tuple[StudyAnswer, ...]
    readings_planned: dict[str, int] = field(default_factory=dict)
    readings_done: dict[str, int] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    map_scores: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    unblinded: bool = False
    created: datetime | None = None
    opened: datetime | None = None
    locked: datetime | None = None
