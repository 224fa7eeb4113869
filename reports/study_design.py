"""Sections on how a study was made: at a glance, protocol, flow, readers, deviations, digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine.metrics.agreement_statistic import Statistic
from engine.study.records import QuestionKind, ReadStatus, StudyFacts, StudyQuestion
from engine.study.results import Analysis
from reports.blocks import Block, Flow, Grid, Pairs, Section, Words
from reports.content import Provenance
from reports.study_words import (
    CROSSINGS,
    DASH,
    KINDS,
    ORDERS,
    is_closed,
    moment,
    number,
    plural,
    question_title,
    shown_in,
    statistic_name,
    with_span,
)


def glance(facts: StudyFacts, analysis: Analysis) -> Section:
    """What the study is, and its first numbers."""
    protocol = facts.protocol
    rows = [
        ("Study", f"{facts.code}, version {facts.version}, {facts.state.value}"),
        ("Design", f"{CROSSINGS[protocol.design.crossing]}; {ORDERS[protocol.design.order]}"),
        ("Readers", str(len(facts.readers))),
        ("Cases", str(len(protocol.cases))),
        ("Conditions", ", ".join(arm.title or arm.id for arm in protocol.arms)),
        ("Answers, with repeats and questionnaires", str(analysis.answers)),
        ("Opened, locked", f"{moment(facts.opened)}; {moment(facts.locked)}"),
    ]
    for result in analysis.questions:
        if result.arm or result.group or not result.statistics:
            continue
        lead = headline(result.statistics)
        said = with_span(lead.value, lead.low, lead.high)
        said = f"{statistic_name(lead)} {said}" if lead.value is not None else lead.reason
        rows.append((question_title(protocol, result.question), said))
    blocks: list[Block] = [Pairs(tuple(rows))]
    if not is_closed(facts):
        blocks.append(Words("The study is not locked: its numbers can still change.", "bold"))
    if not facts.unblinded:
        blocks.append(Words("The study is not unblinded: conditions carry neutral names.", "small"))
    if analysis.arm or analysis.group:
        blocks.append(Words("This analysis is limited to a part of the study.", "bold"))
    blocks += [Words(note, "note") for note in analysis.notes]
    return Section("1. The study at a glance", tuple(blocks))


def headline(statistics: Sequence[Statistic]) -> Statistic:
    """The quadratic-weighted kappa, or the first statistic."""
    for one in statistics:
        if "kappa" in one.statistic and one.weights == "quadratic":
            return one
    return statistics[0]


def protocol_section(facts: StudyFacts) -> Section:
    """Protocol text, instrument, conditions and design."""
    protocol, design = facts.protocol, facts.protocol.design
    arms = tuple((arm.title or arm.id, shown_in(arm, facts.unblinded)) for arm in protocol.arms)
    rows = [
        ("Who reads what", CROSSINGS[design.crossing]),
        ("Order", ORDERS[design.order]),
        ("Sessions", str(design.sessions)),
        ("Washout", f"at least {design.washout_days:g} days" if design.sessions > 1 else "none"),
        ("Hidden repeats", _repeats(facts)),
        (
            "A session at most",
            f"{design.session_minutes} min, {design.session_readings} readings",
        ),
        ("Changes of answers", "allowed, every version kept" if design.allow_changes else "none"),
        ("Training", _training(facts)),
        ("Prediction score", "shown" if design.show_prediction_score else "not shown"),
        ("Randomisation", f"per reader and session, seed {protocol.seed}; order stored"),
    ]
    return Section(
        "2. Protocol",
        (
            Words(protocol.text or "The study has no protocol text."),
            Words("Instrument", "subheading"),
            Grid(
                ("Question", "Kind", "Scale and anchors"),
                tuple(_question(one) for one in protocol.questions),
                (46, 22, 112),
            ),
            Words("Conditions", "subheading"),
            Grid(("Condition", "What is shown"), arms, (50, 130)),
            Words("Design", "subheading"),
            Pairs(tuple(rows)),
        ),
    )


def _repeats(facts: StudyFacts) -> str:
    design = facts.protocol.design
    if not design.repeats:
        return "none"
    pairs = plural(design.repeats, "reading")
    return f"{pairs} per reader, at least {design.repeat_gap} positions after the original"


def _training(facts: StudyFacts) -> str:
    training = facts.protocol.training
    if not training:
        return "none"
    share = facts.protocol.design.pass_share
    words = f"{plural(len(training), 'warm-up case')} with feedback, not analysed"
    return words + (f"; {100 * share:.0f} % right to go on" if share else "")


def _question(question: StudyQuestion) -> tuple[str, str, str]:
    words = ""
    if question.kind is QuestionKind.SCALE:
        words = f"{question.low:g} to {question.high:g}"
        scores = question.scale
        if question.anchors and len(question.anchors) == len(scores):
            pairs = zip(scores, question.anchors, strict=True)
            words = "; ".join(f"{score:g} {anchor}" for score, anchor in pairs)
    elif question.kind is QuestionKind.CHOICE:
        words = "; ".join(question.choices) + ("" if question.ordered else " (no order)")
    elif question.kind is QuestionKind.NUMBER:
        words = f"{question.low:g} to {question.high:g} {question.unit}".strip()
    extra = [] if question.per_case else ["once per reader"]
    extra += ["“cannot judge” offered"] if question.cannot_judge else []
    extra += [] if question.required else ["optional"]
    return question.text, KINDS[question.kind], ". ".join(filter(None, (words, ", ".join(extra))))


def flow_section(facts: StudyFacts) -> Section:
    """How cases and ratings came to be analysed, from enrolment to analysis."""
    case_answers = [answer for answer in facts.answers if answer.case]
    readings = {(a.reader, a.case, a.arm, a.replicate, a.stage) for a in case_answers}
    repeats = sum(1 for one in readings if one[3] > 1)
    withdrawn = [reader.code for reader in facts.readers if reader.withdrawn]
    planned, done = sum(facts.readings_planned.values()), sum(facts.readings_done.values())
    status = Counter(answer.status for answer in case_answers)
    first = [a for a in case_answers if a.replicate == 1]
    counted = sum(a.status is ReadStatus.ANSWERED for a in first)
    unread = set(facts.protocol.cases) - {a.case for a in case_answers}
    lost = [
        f"{plural(status[kind], 'answer')} {words}"
        for kind, words in (
            (ReadStatus.CANNOT_JUDGE, "“cannot judge”"),
            (ReadStatus.SKIPPED, "skipped"),
            (ReadStatus.NOT_APPLICABLE, "not applicable"),
        )
        if status[kind]
    ]
    steps: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (
            (
                "Enrolled",
                plural(len(facts.readers), "reader"),
                plural(len(facts.protocol.cases), "case")
                + f", {plural(len(facts.protocol.arms), 'condition')}",
            ),
            (f"{plural(len(withdrawn), 'reader')} withdrawn ({', '.join(withdrawn)})",)
            if withdrawn
            else (),
        ),
        (
            ("Planned", plural(planned, "reading")),
            (f"{plural(max(0, planned - done), 'reading')} not handed in",)
            if planned > done
            else (),
        ),
        (
            (
                "Handed in",
                plural(done, "reading"),
                f"{plural(len(readings), 'reading')} of cases, {repeats} of them hidden repeats",
                plural(len(case_answers), "answer"),
            ),
            tuple(lost + ([f"{plural(len(unread), 'case')} not read"] if unread else [])),
        ),
        (
            (
                "Analysed",
                f"{plural(counted, 'answer')} of first readings",
                f"{sum(a.replicate > 1 for a in case_answers)} answers of repeats, "
                "within readers only",
            ),
            (),
        ),
    ]
    return Section(
        "3. Flow of cases and ratings", (Flow("From enrolment to analysis", tuple(steps)),)
    )


def readers_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """Who read, how much, and how leniently."""
    overall = [r for r in analysis.questions if not r.arm and not r.group and r.readers_mean]
    shown = overall[:3]
    rows = []
    for reader in facts.readers:
        code = reader.code
        planned, done = facts.readings_planned.get(code, 0), facts.readings_done.get(code, 0)
        rows.append(
            (
                code,
                reader.specialty or "not stated",
                reader.experience or "not stated",
                f"{done} of {planned}",
                "withdrawn" if reader.withdrawn else ("complete" if done >= planned else "open"),
                *(number(result.readers_mean.get(code)) for result in shown),
            )
        )
    names = tuple(f"Mean, {result.question}" for result in shown)
    table = Grid(
        ("Reader", "Specialty", "Experience", "Readings", "State", *names),
        tuple(rows),
        (18, 34, 30, 24, 24, *(24 for _ in shown)),
    )
    words = "Readers carry codes. Means are of all conditions; a higher mean is a milder reader."
    return Section("4. Readers", (table, Words(words, "note")))


def deviations_section(facts: StudyFacts, analysis: Analysis) -> Section:
    """What departed from the protocol, and cases to adjudicate."""
    changed = sum(1 for answer in facts.answers if answer.revisions > 1)
    rows = tuple((str(n), words) for n, words in enumerate(facts.deviations, 1))
    flags = tuple(
        (
            flag.case,
            question_title(facts.protocol, flag.question),
            next((a.title for a in facts.protocol.arms if a.id == flag.arm), flag.arm),
            DASH if flag.range is None else f"{flag.range:g}",
            flag.reason,
        )
        for flag in analysis.flags
    )
    shown = flags[:60]
    words = f"{plural(len(flags), 'case')} by question and condition flagged for adjudication"
    if len(flags) > len(shown):
        words += f"; the first {len(shown)} are listed, all are in the export"
    return Section(
        "12. Deviations, changes, adjudication",
        (
            Grid(("No.", "Deviation"), rows, (12, 168), empty="No deviation was recorded."),
            Words(
                f"{plural(changed, 'answer')} changed after handing in; every version is kept."
                if changed
                else "No answer was changed after handing in."
            ),
            Words(f"{words}. All statistics use the ratings from before adjudication.", "small"),
            Grid(
                ("Case", "Question", "Condition", "Range", "Why"),
                shown,
                (18, 58, 32, 14, 58),
                "Flagged for adjudication",
                "No case is flagged.",
            ),
        ),
    )


def provenance_section(
    facts: StudyFacts, analysis: Analysis, provenance: Provenance, layout: str
) -> Section:
    """Everything needed to trace and repeat the numbers, but the id and time of the report."""
    commit = f", commit {provenance.commit}" if provenance.commit else ""
    rows = [
        ("Software", provenance.software + commit),
        ("Operator", provenance.operator or "not stated"),
        ("Seed, draws", f"{analysis.seed}, {analysis.draws} draws of each bootstrap"),
        ("Layout", f"version {layout}"),
        ("Study created", moment(facts.created)),
    ]
    rows += [(f"SHA-256, {name}", digest) for name, digest in sorted(facts.digests.items())]
    if not facts.digests:
        rows.append(("SHA-256", "none: digests are taken when the study is locked"))
    return Section("15. Provenance", (Pairs(tuple(rows)),))
