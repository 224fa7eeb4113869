"""Plain words for the names of an analysis: statistics, questions, conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.study.records import Protocol

STATISTICS = {
    "percent_agreement": "Percent agreement",
    "cohen_kappa": "Cohen’s kappa",
    "light_kappa": "Light’s kappa",
    "fleiss_kappa": "Fleiss’ kappa",
    "conger_kappa": "Conger’s kappa",
    "scott_pi": "Scott’s pi",
    "gwet_ac": "Gwet’s AC",
    "brennan_prediger": "Brennan-Prediger",
    "krippendorff_alpha": "Krippendorff’s alpha",
    "krippendorff_alpha_gwet": "Alpha, weighted form",
    "icc_1_1": "ICC(1,1)",
    "icc_2_1": "ICC(2,1)",
    "icc_3_1": "ICC(3,1)",
    "icc_1_k": "ICC(1,k)",
    "icc_2_k": "ICC(2,k)",
    "icc_3_k": "ICC(3,k)",
    "kendall_w": "Kendall’s W",
    "kappa_max": "Largest possible kappa",
    "prevalence_index": "Prevalence index",
    "bias_index": "Bias index",
    "p_pos": "Positive agreement",
    "p_neg": "Negative agreement",
}
POOLED = "All conditions"


def statistic_title(statistic: str, weights: str | None, level: str | None) -> str:
    """Name, then weights or level, such as "Gwet’s AC2, quadratic"."""
    title = STATISTICS.get(statistic) or statistic.replace("_", " ").capitalize()
    if statistic == "gwet_ac":
        title += "1" if weights in (None, "identity") else "2"
    if level:
        return f"{title}, {level}"
    return title if weights in (None, "identity") else f"{title}, {weights}"


@dataclass(frozen=True)
class Names:
    """Titles of conditions and texts of questions by id; an unknown id stands for itself.

    Args:
        arms: Titles of conditions. questions: Texts of questions.
    """

    arms: Mapping[str, str]
    questions: Mapping[str, str]

    @classmethod
    def of(cls, protocol: Protocol) -> Names:
        """The names of a protocol, blinded as it is."""
        return cls(
            {arm.id: arm.title or arm.id for arm in protocol.arms},
            {question.id: question.text or question.id for question in protocol.questions},
        )

    def arm(self, id: str) -> str:
        """Title of a condition."""
        return self.arms.get(id, id) if id else POOLED

    def question(self, id: str) -> str:
        """Text of a question."""
        return self.questions.get(id, id)
