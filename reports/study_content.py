"""StudyReport and compose_study: a frozen snapshot of all that is printed about a reader study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.study.records import StudyFacts
from engine.study.results import Analysis
from reports.blocks import Section, Words
from reports.content import NO_CARD_BANNER, Provenance
from reports.digest import digest_of
from reports.errors import ReportError
from reports.grras import Item, grras_section, items
from reports.study_contrasts import accuracy_section, arms_section, trust_section
from reports.study_design import (
    deviations_section,
    flow_section,
    glance,
    protocol_section,
    provenance_section,
    readers_section,
)
from reports.study_results import (
    agreement_section,
    distribution_section,
    repeats_section,
    sensitivity_section,
)
from reports.study_words import is_closed

LAYOUT = "1"
"""Raised whenever the pages change for the same content, so that each look has its own number."""

LIMITS = (
    "Agreement is not correctness: readers can agree and be wrong.",
    "Reading in a study is not reading in the clinic: the same readers may perform otherwise there "
    "(Gur et al., Radiology 2008).",
    "Opinions of readers about a map are not evidence that the map is true to the model.",
    "The results hold for cases and readers like these; few readers say little about others.",
    "A p-value beside many others means less; Holm's correction covers the pairs of one question.",
)


@dataclass(frozen=True, eq=False)
class StudyReport:
    """Everything on the pages of a study report, and nothing else.

    Args:
        id: Printed on each page: "SR-" and the start of the digest.
        created: Date and time with zone.
        facts: The study. analysis: Its numbers.
        sections: What is printed, in order. grras: The fifteen items.
        provenance: Where and how.
        digest: SHA-256 of the content and the layout, without id and time, hexadecimal.
        status: "final" once the study is locked, "draft" before.
        title: Says that agreement was studied, as GRRAS asks.
        banner: Intended use, on each page.
    """

    id: str
    created: datetime
    facts: StudyFacts
    analysis: Analysis
    sections: tuple[Section, ...]
    grras: tuple[Item, ...]
    provenance: Provenance
    digest: str
    status: str
    title: str
    banner: str = NO_CARD_BANNER


def compose_study(
    facts: StudyFacts, analysis: Analysis, *, created: datetime, provenance: Provenance
) -> StudyReport:
    """Freeze what will be printed about a study.

    Raises:
        ReportError: The analysis is of another study, or the time has no zone.
    """
    if created.tzinfo is None:
        raise ReportError("The time of the report needs a time zone.")
    if (analysis.code, analysis.version) != (facts.code, facts.version):
        raise ReportError("The analysis belongs to another study, or to another version of it.")
    sections = (
        glance(facts, analysis),
        protocol_section(facts),
        flow_section(facts),
        readers_section(facts, analysis),
        agreement_section(facts, analysis),
        distribution_section(facts, analysis),
        repeats_section(facts, analysis),
        arms_section(facts, analysis),
        trust_section(facts, analysis),
        accuracy_section(facts, analysis),
        sensitivity_section(facts, analysis),
        deviations_section(facts, analysis),
        Section("13. Limits", tuple(Words(words) for words in LIMITS)),
        grras_section(facts, analysis),
        provenance_section(facts, analysis, provenance, LAYOUT),
    )
    found = items(facts, analysis)
    status = "final" if is_closed(facts) else "draft"
    content = (LAYOUT, facts.code, facts.version, status, sections, found, provenance)
    digest = digest_of((*content, analysis))
    return StudyReport(
        id=f"SR-{digest[:12]}",
        created=created,
        facts=facts,
        analysis=analysis,
        sections=sections,
        grras=found,
        provenance=provenance,
        digest=digest,
        status=status,
        title=f"Reader agreement study: {facts.protocol.title}",
    )
