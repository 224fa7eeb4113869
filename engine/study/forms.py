"""Ready forms: published questionnaires in plain wording of our own, with how each is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.errors import EngineError
from engine.metrics.protocol import QUESTIONS
from engine.study.records import QuestionKind, StudyQuestion

Answers = Mapping[str, float]

AGREEMENT = (
    "Strongly disagree",
    "Disagree",
    "Neither agree nor disagree",
    "Agree",
    "Strongly agree",
)


class IncompleteForm(EngineError):
    """A form cannot be scored, because items of it are unanswered."""


@dataclass(frozen=True)
class Form:
    """A ready set of questions.

    Args:
        id: The `group` of its questions. title: For the organiser.
        questions: In their order. source: Where the form is from.
        score: Answers (question id to value, further ids are ignored) to the score of one reader;
            None where a form has no score of its own. It raises `IncompleteForm` where an item
            has no answer.
        scored: Range of the score and what it means; empty without a score.
    """

    id: str
    title: str
    questions: tuple[StudyQuestion, ...]
    source: str
    score: Callable[[Answers], float] | None = None
    scored: str = ""


def _protocol() -> tuple[StudyQuestion, ...]:
    """The four questions of each case."""
    return tuple(
        StudyQuestion(q.id, q.text, anchors=tuple(q.anchors), group="protocol") for q in QUESTIONS
    )


def _likert(form: str, statements: tuple[str, ...]) -> tuple[StudyQuestion, ...]:
    """Statements with five points of agreement, asked once at the end."""
    return tuple(
        StudyQuestion(
            f"{form}_{number}",
            statement,
            anchors=AGREEMENT,
            cannot_judge=False,
            per_case=False,
            group=form,
        )
        for number, statement in enumerate(statements, start=1)
    )


def _load(name: str, text: str, help: str) -> StudyQuestion:
    """One subscale of the task load index."""
    return StudyQuestion(
        f"nasa_tlx_{name}",
        text,
        kind=QuestionKind.NUMBER,
        help=f"{help} Steps of 5 are usual.",
        low=0,
        high=100,
        cannot_judge=False,
        per_case=False,
        group="nasa_tlx",
    )


def _values(questions: tuple[StudyQuestion, ...], answers: Answers) -> list[float]:
    """The answers to a form, in order."""
    if any(question.id not in answers for question in questions):
        raise IncompleteForm("The form has an unanswered item, so it has no score.")
    return [float(answers[question.id]) for question in questions]


SCS = _likert(
    "scs",
    (
        "The data held every causal factor that I know to matter, precisely enough.",
        "I understood the explanations in the context of my own work.",
        "I could make the explanations more or less detailed as I needed.",
        "I needed nobody's help to understand the explanations.",
        "The explanations helped me to see what causes what.",
        "I could use the explanations together with what I already know.",
        "The explanations did not contradict one another.",
        "Most people would quickly learn to understand these explanations.",
        "I did not miss references, such as guidelines, in the explanations.",
        "The explanations came in time and without effort.",
    ),
)

ESS = _likert(
    "ess",
    (
        "From the explanation I know how the system works.",
        "The explanation of how the system works satisfies me.",
        "The explanation has enough detail.",
        "The explanation seems complete.",
        "The explanation tells me how to use the system.",
        "The explanation is useful for what I want to achieve.",
        "The explanation shows me how accurate the system is.",
        "The explanation lets me judge when to trust the system and when not to.",
    ),
)

SUS = _likert(
    "sus",
    (
        "I would like to use this system often.",
        "The system is more complicated than it needs to be.",
        "The system is easy to use.",
        "I would need a technical person's support to use this system.",
        "The functions of the system fit together well.",
        "There is too much inconsistency in the system.",
        "Most people would learn to use this system very quickly.",
        "The system is very cumbersome to use.",
        "I felt confident when using the system.",
        "I had to learn a great deal before I could get going with the system.",
    ),
)

NASA_TLX = (
    _load("mental", "How mentally demanding was the task?", "0 very low, 100 very high."),
    _load("physical", "How physically demanding was the task?", "0 very low, 100 very high."),
    _load("temporal", "How hurried was the pace of the task?", "0 very low, 100 very high."),
    _load(
        "performance",
        "How far did you fail in what you were asked to do?",
        "0 perfect success, 100 complete failure.",
    ),
    _load(
        "effort",
        "How hard did you have to work for your performance?",
        "0 very low, 100 very high.",
    ),
    _load(
        "frustration",
        "How insecure, discouraged, irritated or stressed were you?",
        "0 not at all, 100 very much.",
    ),
)

ASSESSMENT = (
    StudyQuestion(
        "diagnosis",
        "What is your diagnosis?",
        kind=QuestionKind.CHOICE,
        choices=("Benign", "Malignant"),
        ordered=False,
        cannot_judge=False,
        group="assessment",
    ),
    StudyQuestion(
        "diagnosis_confidence",
        "How sure are you of this diagnosis?",
        kind=QuestionKind.NUMBER,
        help="0 a mere guess, 100 certain.",
        low=0,
        high=100,
        cannot_judge=False,
        group="assessment",
    ),
)


def _scs_score(answers: Answers) -> float:
    return sum(_values(SCS, answers)) / 50


def _ess_score(answers: Answers) -> float:
    return sum(_values(ESS, answers)) / len(ESS)


def _sus_score(answers: Answers) -> float:
    """Odd items count upwards from 1, even ones downwards from 5."""
    values = _values(SUS, answers)
    points = [v - 1 if n % 2 == 0 else 5 - v for n, v in enumerate(values)]
    return sum(points) * 2.5


def _tlx_score(answers: Answers) -> float:
    return sum(_values(NASA_TLX, answers)) / len(NASA_TLX)


FORMS: dict[str, Form] = {
    form.id: form
    for form in (
        Form(
            "protocol",
            "The four questions about an explanation",
            _protocol(),
            "Lightbox, reader protocol; anchors of the 1 to 5 scales included.",
        ),
        Form(
            "assessment",
            "Diagnosis and confidence (name the choices as the classes of the truth)",
            ASSESSMENT,
            "Obuchowski and Rockette, Communications in Statistics 1995: reader studies of "
            "diagnostic accuracy.",
        ),
        Form(
            "scs",
            "System Causability Scale",
            SCS,
            "Holzinger, Carrington, Mueller, KI - Kuenstliche Intelligenz 34, 2020; items in our "
            "wording.",
            _scs_score,
            "0.2 to 1, the sum of ten items divided by 50; higher is better.",
        ),
        Form(
            "ess",
            "Explanation Satisfaction Scale",
            ESS,
            "Hoffman, Mueller, Klein, Litman, arXiv 1812.04608, 2018 (eight items); items in our "
            "wording.",
            _ess_score,
            "1 to 5, the mean of eight items; higher is better.",
        ),
        Form(
            "sus",
            "System Usability Scale",
            SUS,
            "Brooke, in: Usability Evaluation in Industry, 1996; items in our wording.",
            _sus_score,
            "0 to 100; all threes give 50, and above about 68 is above average.",
        ),
        Form(
            "nasa_tlx",
            "NASA Task Load Index, raw",
            NASA_TLX,
            "Hart and Staveland, Advances in Psychology 52, 1988; unweighted (raw TLX), items in "
            "our wording.",
            _tlx_score,
            "0 to 100, the mean of six subscales; higher is more load.",
        ),
    )
}
