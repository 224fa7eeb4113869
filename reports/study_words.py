"""Numbers and names of a study in words, shared by the sections of its report."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.metrics.agreement_statistic import Statistic
from engine.study.records import Arm, ArmKind, Crossing, Order, Protocol, QuestionKind, StudyFacts
from engine.study.records import StudyQuestion as Question

DASH = "–"
CLOSED = ("locked", "exported")

NAMES = {
    "percent_agreement": "Percent agreement",
    "cohen_kappa": "Cohen's kappa",
    "kappa_max": "Largest possible kappa",
    "scott_pi": "Scott's pi",
    "fleiss_kappa": "Fleiss' kappa",
    "conger_kappa": "Conger's kappa",
    "light_kappa": "Light's kappa",
    "gwet_ac": "Gwet's AC",
    "brennan_prediger": "Brennan-Prediger",
    "krippendorff_alpha": "Krippendorff's alpha",
    "krippendorff_alpha_gwet": "Krippendorff's alpha (Gwet's form)",
    "kendall_w": "Kendall's W",
    "prevalence_index": "Prevalence index",
    "bias_index": "Bias index",
    "p_pos": "Positive agreement",
    "p_neg": "Negative agreement",
}
KINDS = {
    QuestionKind.SCALE: "scale",
    QuestionKind.CHOICE: "choice",
    QuestionKind.NUMBER: "number",
    QuestionKind.TEXT: "text",
    QuestionKind.POINT: "point on the image",
    QuestionKind.BOX: "box on the image",
    QuestionKind.OUTLINE: "outline on the image",
}
SHOWS = {
    ArmKind.IMAGE: "the image alone",
    ArmKind.PREDICTION: "the image and the prediction",
    ArmKind.EXPLANATION: "the image, the prediction and an explanation map",
    ArmKind.DECOY: "the image, the prediction and a decoy map",
}
CROSSINGS = {
    Crossing.CROSSED: "fully crossed: every reader reads every case in every condition",
    Crossing.SPLIT_PLOT: "split-plot: groups of readers read their own group of cases",
    Crossing.ANCHOR: "anchor set: common cases for all readers, the rest divided among them",
}
ORDERS = {
    Order.INDEPENDENT: "independent readings",
    Order.SEQUENTIAL: "sequential readings: each stage is handed in before the next is shown",
}
FRACTIONS = ("prevalence_index", "bias_index")


def statistic_name(one: Statistic) -> str:
    """Such as "Fleiss' kappa, quadratic weights" or "ICC(2,1)"."""
    if one.statistic.startswith("icc_"):
        _, model, size = one.statistic.split("_")
        return f"ICC({model},{size})"
    name = NAMES.get(one.statistic, one.statistic.replace("_", " "))
    if one.statistic == "gwet_ac":
        name = "Gwet's AC1" if one.weights in (None, "identity") else "Gwet's AC2"
    if one.level:
        return f"{name}, {one.level}"
    if one.weights in (None, "identity"):
        return name
    return f"{name}, {one.weights} weights"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash; a true minus sign, and no negative zero."""
    if value is None:
        return DASH
    said = f"{value:.{digits}f}"
    return said if float(said) else f"{0:.{digits}f}"


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval, or a dash where there is none."""
    if low is None or high is None:
        return DASH
    return f"{number(low, digits)} to {number(high, digits)}"


def with_span(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """Such as "0.61 (0.48 to 0.72)"."""
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{number(value, digits)} (no interval)"
    return f"{number(value, digits)} ({span(low, high, digits)})"


def p_value(value: float | None) -> str:
    """A p-value to three decimals."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def moment(value: datetime | None) -> str:
    """A time stamp in UTC."""
    if value is None:
        return "not stated"
    zoned = value.astimezone(UTC) if value.tzinfo else value
    return f"{zoned:%Y-%m-%d %H:%M} UTC"


def is_closed(facts: StudyFacts) -> bool:
    """Whether the study is locked."""
    return facts.state.value in CLOSED


def arm_title(protocol: Protocol, arm: str) -> str:
    """Title of an arm; "all conditions" for the empty one."""
    if not arm:
        return "all conditions"
    found = next((one for one in protocol.arms if one.id == arm), None)
    return (found.title or found.id) if found else arm


def question_title(protocol: Protocol, question: str) -> str:
    """Text of a question; the id of one that the protocol does not know."""
    found = find_question(protocol, question)
    return (found.text or found.id) if found else question


def find_question(protocol: Protocol, question: str) -> Question | None:
    """The question of an id, or None."""
    return next((one for one in protocol.questions if one.id == question), None)


def shown_in(arm: Arm, unblinded: bool) -> str:
    """What a reader saw in an arm; the method only after unblinding."""
    if not unblinded:
        return "blinded"
    words = SHOWS[arm.kind]
    if arm.kind is ArmKind.EXPLANATION and arm.method:
        words += f" ({arm.method})"
    if arm.kind is ArmKind.DECOY and arm.decoy is not None:
        words += f" ({arm.decoy.value.replace('_', ' ')})"
    return words


def plural(count: int, one: str, many: str = "") -> str:
    """Such as "1 case" or "12 cases"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
