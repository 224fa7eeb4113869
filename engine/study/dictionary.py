"""The data dictionary of an export: what each column means, its type, unit and codes."""

from __future__ import annotations

from dataclasses import dataclass

from engine.study.records import Protocol, QuestionKind, ReadStatus, StudyQuestion


@dataclass(frozen=True)
class Entry:
    """One column, or one question: name, meaning, type, unit and codes with their labels."""

    name: str
    meaning: str
    type: str
    unit: str = ""
    codes: str = ""


COLUMNS: tuple[Entry, ...] = (
    Entry("study_id", "Code of the study", "text"),
    Entry("study_version", "Raised with each change of the open study", "integer"),
    Entry("session", "Session of the reader, from 1", "integer"),
    Entry("reader_id", "Pseudonym of the reader", "text"),
    Entry("reader_role", "Specialty of the reader", "text"),
    Entry("years_experience_band", "Experience of the reader", "text", "years"),
    Entry("case_id", "Pseudonym of the case; empty in the closing questionnaire", "text"),
    Entry("modality", "Modality of the first image", "text", "", "DICOM terms, such as MG"),
    Entry("view", "View of the first image", "text"),
    Entry("laterality", "Side of the first image", "text", "", "L, R, B"),
    Entry("condition", "Condition of the study", "text"),
    Entry("method_code", "Letter under which this reader saw the condition", "text"),
    Entry("method_name", "Explanation method or decoy; only after unblinding", "text"),
    Entry("replicate", "1, or 2 for the hidden repeat", "integer"),
    Entry("position", "Place within the session, from 1", "integer"),
    Entry("question_id", "Question", "text"),
    Entry("question_text", "Question as the reader saw it", "text"),
    Entry("scale_min", "Lowest code or number of the question", "number"),
    Entry("scale_max", "Highest code or number of the question", "number"),
    Entry(
        "answer",
        "Score, code of a choice, number, text, or marks as JSON; empty where there is none",
        "as the question",
    ),
    Entry(
        "answer_status",
        "Why there is an answer, or none",
        "code",
        "",
        "; ".join(str(status) for status in ReadStatus),
    ),
    Entry("reason", "Why it was changed, or could not be judged", "text"),
    Entry("comment", "Comment on the reading", "text"),
    Entry("shown_at", "When the reading was first shown, by the server", "time", "ISO 8601, UTC"),
    Entry("submitted_at", "When it was handed in, by the server", "time", "ISO 8601, UTC"),
    Entry("active_ms", "Time at work; hidden or idle over 60 s left out", "integer", "ms"),
    Entry("revision", "Revision of the answer that counts", "integer"),
    Entry("n_revisions", "Revisions there are", "integer"),
    Entry("ai_prediction", "Class that the reader was shown as the model's", "text"),
    Entry("ai_confidence", "Its probability", "number", "0 to 1"),
    Entry("ai_correct", "Whether it is the truth; empty if unknown", "boolean", "", "true; false"),
    Entry("ground_truth", "Class of the case, where known", "text"),
    Entry("model_hash", "SHA-256 of the weights of the model shown", "text"),
    Entry("explainer_version", "Version of the explanation methods", "text"),
    Entry("software_version", "Version of Lightbox", "text"),
)


def entries(protocol: Protocol) -> tuple[Entry, ...]:
    """The columns of the answers, then the questions with their codes and labels."""
    return (*COLUMNS, *(_question(question) for question in protocol.questions))


def _question(question: StudyQuestion) -> Entry:
    kinds = {QuestionKind.TEXT: "text", QuestionKind.NUMBER: "number"}
    is_marked = question.kind in (QuestionKind.POINT, QuestionKind.BOX, QuestionKind.OUTLINE)
    kind = "marks, JSON" if is_marked else kinds.get(question.kind, "code")
    unit = "pixels of the image" if is_marked else question.unit
    return Entry(f"question:{question.id}", question.text, kind, unit, codes(question))


def codes(question: StudyQuestion) -> str:
    """Codes with their labels, such as "1 = not at all; 2 = little"; empty for other kinds."""
    labels = question.choices or question.anchors
    if question.scale and labels:
        return "; ".join(
            f"{score:g} = {label}" for score, label in zip(question.scale, labels, strict=False)
        )
    if question.kind in (QuestionKind.SCALE, QuestionKind.NUMBER):
        return f"{question.low:g} to {question.high:g}"
    return ""
