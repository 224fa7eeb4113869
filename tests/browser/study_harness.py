"""The organisers' application over invented services, served behind the real gate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from argon2 import PasswordHasher

from app.auth import Accounts, Passwords, Role, User, requires
from app.errors import InvalidInput, NotFound
from app.services import Layer
from app.settings import Settings
from app.store import Store
from engine.study.adjudicate import flagged
from engine.study.analysis import Analysis, analyse
from engine.study.check import cautions, check_protocol
from engine.study.forms import FORMS
from engine.study.preview import preview
from engine.study.records import (
    Arm,
    ArmKind,
    Decoy,
    Design,
    Protocol,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyState,
    Timing,
    TrainingCase,
)
from tests.browser.admin_harness import HURT, picture
from tests.browser.served import free_port

CHIEF, ORGANISER, PASSWORD = "chief", "olive", "correct horse battery"
START = datetime(2026, 11, 16, 9, 15, tzinfo=UTC)
ORGANISES = requires(Role.ORGANISER)
READERS = (("ann", "Dr Ann Ames"), ("ben", "Dr Ben Bell"), ("cleo", "Dr Cleo Cole"),
           ("dan", "Dr Dan Dorn"), ("eve", "eve"))  # fmt: skip
METHODS = (("gradcam", "Grad-CAM"), ("rollout", "Attention rollout"), ("chefer", "Chefer"),
           ("integrated_gradients", "Integrated gradients"))  # fmt: skip
CASES = tuple(f"PH-0900{n:04d}" for n in range(1, 25))
ARMS = (
    Arm("prediction", "Image and prediction", ArmKind.PREDICTION),
    Arm("map_gradcam", "Grad-CAM", ArmKind.EXPLANATION, "gradcam"),
    Arm("decoy_random", "Decoy: smooth random map", ArmKind.DECOY, decoy=Decoy.RANDOM),
)
EFFECT = {"prediction": 0.0, "map_gradcam": 0.8, "decoy_random": -1.1}


def protocol(title: str = "Trust in heat maps, pilot", cases: int = 12) -> Protocol:
    """Two protocol questions, diagnosis, SUS, three conditions, warm-up, repeats."""
    named = CASES[:cases]
    return Protocol(
        title,
        "Look at the image first, then at the map. A 3 is not “I do not know”: use “cannot judge”.",
        cases=named,
        readers=("ann", "ben", "cleo", "dan"),
        arms=ARMS,
        questions=(
            *FORMS["protocol"].questions[::3], *FORMS["assessment"].questions,
            *FORMS["sus"].questions,
        ),
        design=Design(repeats=6, repeat_gap=12, session_readings=30),
        training=(
            TrainingCase(CASES[20], "map_gradcam", {"trust": (4.0, 5.0)}, "The lesion is lit."),
        ),
        groups={case: "dense breast" if n % 3 == 0 else "fatty breast"
                for n, case in enumerate(named)},
        seed=11,
        grras={"3": "Synthetic phantoms of women with and without cancer."},
    )  # fmt: skip


def planted(unblinded: bool, *, code: str = "ST-7F3A") -> StudyFacts:
    """A read study: four readers of different leniency, some answers missing, hidden repeats."""
    design = protocol()
    readers = tuple(f"R0{n}" for n in range(1, 5))
    cases = tuple(f"C{n:03d}" for n in range(1, len(design.cases) + 1))
    arms = ARMS if unblinded else tuple(
        replace(arm, title=f"Arm {n}") for n, arm in enumerate(ARMS, 1)
    )  # fmt: skip
    groups = dict(zip(cases, design.groups.values(), strict=True))
    shown = replace(design, cases=cases, readers=readers, arms=arms, training=(), groups=groups)
    answers = [
        answer
        for j in range(len(readers))
        for place, (i, a, replicate) in enumerate(_order(j, len(cases)), 1)
        for answer in _answers(shown, readers[j], i, j, ARMS[a], place, replicate)
    ]
    answers += [
        StudyAnswer(reader, "", "", q.id, ReadStatus.ANSWERED, float(2 + (j + k) % 4))
        for j, reader in enumerate(readers)
        for k, q in enumerate(FORMS["sus"].questions)
    ]
    done = dict.fromkeys(readers, len(cases) * len(ARMS) + 7)
    return StudyFacts(
        code, 3, StudyState.LOCKED, shown,
        tuple(ReaderFacts(reader, "Radiology", "5-10 years") for reader in readers),
        tuple(answers), done, done,
        ("R03 began session 2 six days before the washout had ended: reader on leave.",),
        {"model": "ab" * 32},
        {(case, arm.id): {"pointing_game": float((n * 7 + k) % 3 > 0), "deletion":
                          ((n * 5 + k) % 11) / 11}
         for n, case in enumerate(cases) for k, arm in enumerate(ARMS[1:2])},
        unblinded, START, START + timedelta(days=1), START + timedelta(days=40),
    )  # fmt: skip


def _order(reader: int, cases: int) -> list[tuple[int, int, int]]:
    """Case, arm and replicate of each reading."""
    draw = np.random.default_rng(reader)
    first = [(i, a, 1) for i in range(cases) for a in range(len(ARMS))]
    draw.shuffle(first)
    return first + [(i, a, 2) for i, a, _ in first[:6]]


def _answers(
    design: Protocol, reader: str, i: int, j: int, arm: Arm, place: int, replicate: int
) -> list[StudyAnswer]:
    """All answers of one reading."""
    draw = np.random.default_rng([i, j, ARMS.index(arm), replicate])
    case, truth = design.cases[i], ("Benign", "Malignant")[i % 2]
    is_right = i % 5 != 0
    seconds = float(np.clip(38 - 0.25 * place + 9 * draw.standard_normal() + 4 * j, 6, 90))
    timing = Timing(START, START + timedelta(seconds=seconds), 900, int(1000 * seconds), 2, 1, 0,
                    arm.kind is not ArmKind.PREDICTION)  # fmt: skip
    common: dict[str, Any] = {
        "position": place, "replicate": replicate, "label": "ABC"[(ARMS.index(arm) + j) % 3],
        "timing": timing, "group": design.groups[case], "modality": "mammography",
        "ai_prediction": truth if is_right else "Normal", "ai_confidence": 0.83,
        "ai_correct": is_right, "truth": truth, "weights_digest": "ab" * 32,
    }  # fmt: skip
    made = []
    for question in design.questions:
        if not question.per_case:
            continue
        level = 3.1 + EFFECT[arm.id] + 0.25 * (j - 1.5) + (0.5 if is_right else -0.6)
        value: float | None = float(np.clip(np.round(level + 0.75 * draw.standard_normal()), 1, 5))
        if question.kind == "choice":
            value = float(i % 2 if draw.random() < 0.8 else 1 - i % 2)
        elif question.kind == "number":
            value = float(draw.integers(50, 100))
        status = ReadStatus.ANSWERED
        if question.cannot_judge and draw.random() < 0.04:
            value, status = None, ReadStatus.CANNOT_JUDGE
        made.append(StudyAnswer(reader, case, arm.id, question.id, status, value, **common))
    return made


@dataclass
class Known:
    """One invented study."""

    id: int
    code: str
    protocol: Protocol
    state: StudyState = StudyState.DRAFT
    version: int = 1
    done: int = 0
    prepared: int = 0
    total: int = 0
    unblinded: bool = False
    error: str = ""
    facts: StudyFacts | None = None
    outcomes: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)


@dataclass
class Bench:
    """What the invented services know, changed by tests and by what the page asks for."""

    known: list[Known] = field(default_factory=list)
    readers: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    refusal: str = ""
    imported: StudyFacts | None = None
    measured: int = 0

    def asked(self, name: str) -> list[tuple[Any, ...]]:
        """Calls of one name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def of(self, number: int) -> Known:
        """A study."""
        for each in self.known:
            if each.id == number:
                return each
        raise NotFound("There is no such study.")


class Studies:
    """Designs and states; the sums are the engine's own."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @ORGANISES
    def list(self, user: User | None) -> Any:
        return [
            {"id": s.id, "code": s.code, "title": s.protocol.title, "state": str(s.state),
             "owner": ORGANISER, "readers": len(s.protocol.readers),
             "cases": len(s.protocol.cases), "readings": 0 if s.state == "draft" else 252,
             "done": s.done, "created": START, "unblinded": s.unblinded}
            for s in sorted(self.bench.known, key=lambda each: -each.id)
        ]  # fmt: skip

    @ORGANISES
    def create(self, user: User | None, protocol: Protocol) -> int:
        number = 1 + max((s.id for s in self.bench.known), default=0)
        self.bench.known.append(Known(number, f"ST-{number:04X}", protocol))
        return number

    @ORGANISES
    def save(self, user: User | None, number: int, protocol: Protocol, version: int) -> int:
        found = self.bench.of(number)
        self.bench.calls.append(("save", number, protocol, version))
        if self.bench.refusal:
            raise InvalidInput(self.bench.refusal)
        if version != found.version:
            raise InvalidInput("Somebody else has changed this study meanwhile; load it again.")
        found.protocol, found.version = protocol, version + 1
        return found.version

    @ORGANISES
    def protocol(self, user: User | None, number: int) -> Any:
        found = self.bench.of(number)
        return found.protocol, found.version, found.state

    @ORGANISES
    def preview(self, user: User | None, asked: int | Protocol) -> Any:
        return preview(self.bench.of(asked).protocol if isinstance(asked, int) else asked)

    @ORGANISES
    def problems(self, user: User | None, protocol: Protocol) -> Any:
        return {"errors": list(check_protocol(protocol)), "cautions": list(cautions(protocol))}

    @ORGANISES
    def choices(self, user: User | None) -> Any:
        return {
            "cases": [{"id": case, "modalities": ["mammography"] + ["pathology"] * (n % 2),
                       "has_truth": n % 6 != 5, "thumbnail": f"/thumbnails/{case}.png"}
                      for n, case in enumerate(CASES)],
            "readers": [{"name": name, "display": shown} for name, shown in READERS],
            "observers": [{"name": "oona", "display": "Oona"}],
            "methods": [{"id": id_, "title": title} for id_, title in METHODS],
            "forms": [{"id": form.id, "title": form.title} for form in FORMS.values()],
        }  # fmt: skip

    @ORGANISES
    def prepare(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("prepare", number))
        found = self.bench.of(number)
        found.total, found.prepared = 56, 20

    @ORGANISES
    def preparation(self, user: User | None, number: int) -> Any:
        found = self.bench.of(number)
        if 0 < found.prepared < found.total:
            found.prepared = min(found.total, found.prepared + 18)
        return {"done": found.prepared, "total": found.total, "error": found.error}

    @ORGANISES
    def measure_maps(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("measure", number))
        self.bench.measured = 6

    @ORGANISES
    def measuring(self, user: User | None, number: int) -> Any:
        is_running = 0 < self.bench.measured < 24
        self.bench.measured += 9 * is_running
        return {
            "done": min(24, self.bench.measured), "total": 24, "running": is_running, "error": None,
        }  # fmt: skip

    @ORGANISES
    def open(self, user: User | None, number: int, confirm_lonely: bool = False) -> None:
        self.bench.calls.append(("open", number, confirm_lonely))
        self.bench.of(number).state = StudyState.OPEN

    @ORGANISES
    def withdraw(self, user: User | None, number: int, reader: str, reason: str) -> None:
        self.bench.calls.append(("withdraw", number, reader, reason))
        for row in self.bench.readers:
            if row["name"] == reader:
                row["state"] = "withdrawn"

    @ORGANISES
    def override_washout(self, user: User | None, number: int, reader: str, reason: str) -> None:
        self.bench.calls.append(("override", number, reader, reason))
        for row in self.bench.readers:
            if row["name"] == reader:
                row["state"] = "ready"

    @ORGANISES
    def describe_reader(
        self, user: User | None, number: int, reader: str, specialty: str, experience: str
    ) -> None:
        self.bench.calls.append(("describe", number, reader, specialty, experience))

    @ORGANISES
    def excuse_training(self, user: User | None, number: int, reader: str, reason: str) -> None:
        self.bench.calls.append(("excuse", number, reader, reason))

    @ORGANISES
    def name_observers(self, user: User | None, number: int, names: Any) -> None:
        self.bench.calls.append(("observers", number, names))

    @ORGANISES
    def progress(self, user: User | None, number: int) -> Any:
        return {
            "readers": self.bench.readers, "answers": 1148,
            "per_day": [{"day": f"2026-11-{day}", "answers": number}
                        for day, number in ((16, 61), (17, 88), (18, 12), (19, 43))],
        }  # fmt: skip

    @ORGANISES
    def lock(self, user: User | None, number: int, reason: str = "") -> None:
        self.bench.calls.append(("lock", number, reason))
        self.bench.of(number).state = StudyState.LOCKED

    @ORGANISES
    def unblind(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("unblind", number))
        found = self.bench.of(number)
        found.unblinded, found.facts = True, planted(True)

    @ORGANISES
    def delete(self, user: User | None, number: int) -> None:
        self.bench.calls.append(("delete", number))
        self.bench.known = [s for s in self.bench.known if s.id != number]

    @ORGANISES
    def copy(self, user: User | None, number: int) -> int:
        self.bench.calls.append(("copy", number))
        found = self.bench.of(number)
        return self.create(user, replace(found.protocol, title=f"{found.protocol.title}, copy"))


class StudyAnalysis:
    """The engine's own analysis of planted answers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._made: dict[tuple[str, bool, str, str], Analysis] = {}
        self._lock = threading.Lock()

    @ORGANISES
    def facts(self, user: User | None, number: int) -> StudyFacts:
        found = self.bench.of(number).facts
        if found is None:
            raise InvalidInput("Nobody has answered yet, so there is nothing to analyse.")
        return found

    @ORGANISES
    def analysis(
        self, user: User | None, number: int, *, arm: str | None = None, group: str | None = None
    ) -> Analysis:
        self.bench.calls.append(("analysis", number, arm, group))
        return self._analysed(self.facts(user, number), arm or "", group or "")

    def _analysed(self, facts: StudyFacts, arm: str, group: str) -> Analysis:
        key = (facts.code, facts.unblinded, arm, group)
        with self._lock:
            if key not in self._made:
                self._made[key] = analyse(facts, draws=200, arm=arm, group=group)
            return self._made[key]

    @ORGANISES
    def adjudication(self, user: User | None, number: int) -> Any:
        found = self.bench.of(number)
        facts = self.facts(user, number)
        flags = []
        for flag in flagged(facts)[:9]:
            key = (flag.case, flag.arm, flag.question)
            outcome, reason = found.outcomes.get(key, ("", ""))
            answers = [
                {"status": str(a.status), "value": a.value, "text": a.text, "comment": a.comment}
                for a in facts.answers
                if (a.case, a.arm, a.question) == key and a.replicate == 1
            ]
            title = facts.protocol.arm(flag.arm).title
            flags.append({"case": flag.case, "arm": flag.arm, "question": flag.question,
                          "arm_title": title, "range": flag.range, "missing": flag.missing,
                          "reason": flag.reason, "answers": answers, "outcome": outcome,
                          "outcome_reason": reason})  # fmt: skip
        return flags

    @ORGANISES
    def adjudicate(
        self, user: User | None, number: int, case: str, arm: str, question: str, outcome: str,
        reason: str,
    ) -> None:  # fmt: skip
        self.bench.calls.append(("adjudicate", number, case, arm, question, outcome, reason))
        self.bench.of(number).outcomes[case, arm, question] = (outcome, reason)

    @ORGANISES
    def imported(self, user: User | None, data: bytes) -> Any:
        self.bench.calls.append(("imported", len(data)))
        if b"reader_id" not in data:
            raise InvalidInput("The table lacks the columns reader_id, case_id and question_id.")
        facts = planted(True, code="CSV")
        return facts, self._analysed(facts, "", "")

    @ORGANISES
    def report_pdf(self, user: User | None, number: int) -> Layer:
        return Layer(b"%PDF-1.7 invented", "application/pdf", "a")

    @ORGANISES
    def report_json(self, user: User | None, number: int) -> Layer:
        return Layer(b"{}", "application/json", "b")

    @ORGANISES
    def export_zip(self, user: User | None, number: int) -> Layer:
        self.bench.of(number).state = StudyState.EXPORTED
        return Layer(b"PK invented", "application/zip", "c")


class Fakes:
    """Real accounts and settings; everything else is invented by `bench`."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.settings = Settings(workspace=folder, secret_file=folder / "session.key")
        self.store = Store(folder)
        light = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.accounts = Accounts(self.store, passwords=light)
        self.bench = bench
        self.studies, self.study_analysis = Studies(bench), StudyAnalysis(bench)
        self.cases = SimpleNamespace(layer=None, thumbnail=self._thumbnail)
        self.review = self.evidence = self.probe = self.intake = self.reports = self.cases
        self.ratings = self.administration = self.reading = self.cases

    def _thumbnail(self, user: User | None, case: str) -> Layer:
        return Layer(picture(int(case[-4:]), 96), "image/png", case)

    def guest(self) -> None:
        """Nobody: there are accounts."""

    def user(self, name: str | None) -> User | None:
        """Looked up anew."""
        return self.accounts.user(name or "")

    def notice(self) -> str:
        """The intended use."""
        return "Demonstration model, trained on synthetic phantoms, not for diagnosis."

    def needs_setup(self) -> bool:
        """False once there is an account."""
        return not self.accounts.has_accounts()


@contextmanager
def serve(services: Any) -> Iterator[str]:
    """The application of organisers, on a free port of this machine; gives its address."""
    import uvicorn

    from app.web.server import MountSpec, create_app, prepare_gradio

    prepare_gradio(services.settings)
    from app.ui import study, theme

    if services.needs_setup():
        services.accounts.create_first_administrator(CHIEF, PASSWORD, "Chief")
        chief = services.user(CHIEF)
        services.accounts.create_user(chief, ORGANISER, "first password of hers", Role.ORGANISER,
                                      "Olive Orr")  # fmt: skip
        services.accounts.change_password(
            services.user(ORGANISER), "first password of hers", PASSWORD
        )
    looks = {"css": theme.page_css(), "js": theme.SCRIPT, "theme": theme.theme()}
    port, running = free_port(), []

    async def run_server() -> None:
        """Built where it runs, since Gradio would leave event loops open else."""
        demo = study.build(services)
        app = create_app(services, (MountSpec("/study", demo, Role.ORGANISER, **looks),))
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", ws="none", lifespan="on",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        running.append(uvicorn.Server(config))
        await running[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(run_server()), daemon=True)
    thread.start()
    while thread.is_alive() and not (running and running[0].started):
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running[0].should_exit = True
        thread.join(15)


def sign_in(page: Any, address: str, name: str, *, wait: bool = True) -> None:
    """Sign somebody in, by the page for it."""
    page.goto(f"{address}/login?next=/study/")
    page.get_by_label("Name").first.fill(name)
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("button[type=submit]").first.click()
    if wait:
        page.get_by_role("heading", name="Studies", exact=True).wait_for()
    else:
        page.wait_for_load_state()


def full_bench() -> Bench:
    """A workbench in use: a study in every state."""
    bench = Bench()
    drafted = replace(protocol("Which map helps? Main study"), arms=ARMS[:2])
    bench.known = [
        Known(1, "ST-7F3A", protocol(), StudyState.LOCKED, 4, 252, 56, 56, facts=planted(False)),
        Known(2, "ST-2B90", protocol("Washout check, two sessions"), StudyState.OPEN, 3, 131, 56,
              56),
        Known(3, "ST-0C11", drafted),
    ]  # fmt: skip
    states = ("ready", "washout", "break", "done", "ready")
    bench.readers = [
        {"code": f"R0{n}", "name": name, "display": shown, "done": done, "planned": 63,
         "session": 1 + n % 2, "sessions": 2, "specialty": "", "experience": "",
         "from": START + timedelta(days=31), "withdrawn": False,
         "last_at": START + timedelta(days=3, hours=n) if done else None,
         "minutes": done * 0.7, "state": state, "breaks": n % 3}
        for n, ((name, shown), done, state) in enumerate(
            zip(READERS, (21, 31, 16, 63, 0), states, strict=True), 1)
    ]  # fmt: skip
    return bench


__all__ = ["HURT", "Bench", "Fakes", "full_bench", "serve"]
