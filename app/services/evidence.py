"""The evidence beside every map: what readers ask for, checked, and what they get back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, NotFound
from app.services.context import Context
from app.services.evidence_about import LESION, About, about, checked, is_usual, latest, plain
from app.services.evidence_pictures import Pictures
from app.services.evidence_tables import Tables
from app.services.evidence_tiles import Look
from app.services.evidence_value import Sheet, empty, value
from app.services.evidence_watch import Watch
from app.services.evidence_work import Workshop
from app.services.jobs import Job, cache_key
from app.services.layers import Layer
from app.store import ExplanationRow
from engine.errors import EngineError
from engine.progress import Progress

KINDS = ("scores", "stability", "sanity")
TITLES = {"scores": "Scores", "stability": "Stability", "sanity": "Test against random weights"}
ONLY_CLASSES = (
    "This is measured for classes only; please choose one instead of the segmented lesion."
)
NO_MAPS = "There is no map to examine yet; please let one be drawn first."
CONTENT_BYTES = 128 * 1024

Work = Callable[[Progress], Any]


class Evidence:
    """Every method's map of a case, with scores, tables and checks; long work goes to jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workshop = Workshop(context)
        self._tables = Tables(context, self._workshop)
        self._pictures = Pictures(context, self._tables)
        self._watch = Watch(context.jobs)

    @requires(Role.OBSERVER)
    def open(self, user: User | None, case_id: str, target: str | None = None) -> dict[str, Any]:
        """Value of the panel; all quick methods that are missing are computed in one pass first.

        Args:
            case_id: Pseudonym. target: Class, or "segmented lesion"; the leading class when None.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        who = self._seen(user, case_id)
        self._context.record(who, "evidence", case_id)
        return self._value(who, case_id, target, self._workshop.complete)

    @requires(Role.OBSERVER)
    def panel(self, user: User | None, case_id: str, target: str | None = None) -> dict[str, Any]:
        """Value of the panel, so far as it is stored; never runs the model.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        return self._value(self._seen(user, case_id), case_id, target, lambda this: this)

    @requires(Role.READER)
    def run(
        self,
        user: User | None,
        case_id: str,
        target: str | None,
        methods: Sequence[Any],
        settings: Any = None,
    ) -> dict[str, Any]:
        """Have methods computed: quick ones at once, slow ones in the background.

        Args:
            methods: Registry names. settings: By method, settings that differ from its defaults.

        Raises:
            NotFound: No such case, or not the user's.
            InvalidInput: A setting cannot have its value.
            EngineError: No such method, class or setting, or it cannot serve the case.
            LimitExceeded: Too many computations of the user wait already.
        """
        from engine.explainers import EXPLAINERS

        who, given = self._seen(user, case_id), {} if settings is None else settings
        if not isinstance(given, Mapping):
            raise InvalidInput("The settings must be given by method.")
        names = [str(name) for name in dict.fromkeys(map(str, methods))]
        wanted = {n: checked(EXPLAINERS[n], given.get(n, {})) for n in names}
        this = self._about(case_id, target)
        quick = {name: wanted[name] for name in wanted if not EXPLAINERS[name].slow}
        if quick or this.number is None:
            this = self._workshop.complete(this, quick)
        for name, chosen in wanted.items():
            self._watch.wish(self._spot(who, this, name), chosen)
            self._context.record(who, "explain", case_id, method=name, target=this.target)
            if name not in quick:
                self._slow(who, this, name, chosen)
        return self._value(who, case_id, this.target, lambda known: known)

    @requires(Role.READER)
    def cancel(
        self, user: User | None, case_id: str, target: str | None, job: str
    ) -> dict[str, Any]:
        """Stop a computation, for this reader.

        Raises:
            NotFound: No such case, or not the user's; or no such computation.
        """
        who = self._seen(user, case_id)
        self._context.jobs.cancel(job, who.name)
        return self._value(who, case_id, target, lambda this: this)

    @requires(Role.READER)
    def measure(self, user: User | None, case_id: str, target: str | None) -> dict[str, Any]:
        """Score all maps on display that have no scores yet, in the background."""
        who = self._seen(user, case_id)
        this, shown = self._examined(who, case_id, target)
        rows = [row for row in shown.values() if not self._has(this, "scores", row)]

        def work(progress: Progress) -> None:
            self._workshop.measure(this, rows, progress)

        return self._examine(who, this, "scores", "measure", rows, work)

    @requires(Role.READER)
    def stability(self, user: User | None, case_id: str, target: str | None) -> dict[str, Any]:
        """Test how far maps change with small changes of the image, in the background."""
        who = self._seen(user, case_id)
        this, shown = self._examined(who, case_id, target)
        rows = self._usual(this, "stability", shown)

        def work(progress: Progress) -> None:
            self._workshop.stability(this, [row.method for row in rows], progress)

        return self._examine(who, this, "stability", "stability", rows, work)

    @requires(Role.READER)
    def randomise(self, user: User | None, case_id: str, target: str | None) -> dict[str, Any]:
        """Test whether maps change when the model's weights are destroyed, in the background."""
        who = self._seen(user, case_id)
        this, shown = self._examined(who, case_id, target)
        rows = self._usual(this, "sanity", shown)

        def work(progress: Progress) -> None:
            self._workshop.sanity(this, [row.method for row in rows], progress)

        return self._examine(who, this, "sanity", "randomise", rows, work)

    @requires(Role.OBSERVER)
    def picture(self, user: User | None, case_id: str, image: int) -> Layer:
        """The image without heat, as a tile.

        Raises:
            NotFound: No such case or image, or not the user's.
        """
        self._seen(user, case_id)
        return self._pictures.picture(self._context.store.case(case_id), image)

    @requires(Role.OBSERVER)
    def tile(self, user: User | None, explanation: str, n: int, look: Look) -> Layer:
        """The image under one stored map.

        Raises:
            NotFound: There is no such map, or its case is not the user's.
        """
        who, context = check(user, Role.OBSERVER), self._context
        row = context.store.explanation_row(_number(explanation, "There is no such explanation."))
        try:
            context.require_sight(who, row.case)
        except NotFound:
            raise NotFound("There is no such explanation.") from None
        return self._pictures.tile(row, n, look)

    @requires(Role.OBSERVER)
    def consensus(
        self, user: User | None, case_id: str, image: int, target: str | None, look: Look
    ) -> Layer:
        """The image under the mean of all maps on display, each replaced by its ranks.

        Raises:
            NotFound: No such case or image, not the user's, or there is no map yet.
        """
        who = self._seen(user, case_id)
        this = self._about(case_id, target)
        return self._pictures.consensus(this, self._shown(who, this), image, look)

    @requires(Role.OBSERVER)
    def sanity(self, user: User | None, number: str, method: str, stage: int) -> Layer:
        """The image under a map of the test against random weights.

        Args:
            number: Of the stored test. method: Registry name. stage: 0 for the map of the trained
                model, then one for each part destroyed.

        Raises:
            NotFound: There is no such map, or its case is not the user's.
        """
        who, absent = check(user, Role.OBSERVER), "There is no such evidence."
        row, content = self._content(_number(number, absent))
        try:
            self._context.require_sight(who, row.case)
        except NotFound:
            raise NotFound(absent) from None
        maps = content.get("maps", ())
        if (row.kind, row.method) != ("sanity", method) or not 0 <= stage < len(maps):
            raise NotFound(absent)
        return self._pictures.stage(row, stage, maps[stage])

    def _seen(self, user: User | None, case_id: str) -> User:
        who = check(user, Role.OBSERVER)
        self._context.require_sight(who, case_id)
        return who

    def _about(self, case_id: str, target: str | None) -> About:
        context = self._context
        return about(context, context.case(case_id), context.models.card(), target or None)

    def _value(
        self, who: User, case_id: str, target: str | None, first: Callable[[About], About]
    ) -> dict[str, Any]:
        try:
            this = self._about(case_id, target)
        except EngineError as error:
            return empty(self._context.store.case(case_id), str(error))
        try:
            return value(self._sheet(who, first(this)))
        except EngineError as error:
            return value(self._sheet(who, this), str(error))

    def _sheet(self, who: User, this: About) -> Sheet:
        from engine.explainers import EXPLAINERS

        spots = {name: self._spot(who, this, name) for name in (*EXPLAINERS, *KINDS)}
        jobs = {name: self._watch.job(spot) for name, spot in spots.items()}
        shown = self._shown(who, this)  # after the jobs: what one of them has done is stored
        wishes = {name: self._watch.wished(spots[name]) for name in EXPLAINERS}
        return Sheet(
            about=this,
            shown=shown,
            jobs={name: job for name, job in jobs.items() if job is not None},
            refused=self._workshop.refused(this),
            chosen={name: wish for name, wish in wishes.items() if wish is not None},
            found=self._found(this, shown),
            regions=self._tables.regions(this, shown),
            agreement=self._tables.agreement(this, shown),
        )

    def _shown(self, who: User, this: About) -> dict[str, ExplanationRow]:
        """The explanation of each method that is on display: as wished, as usual, or the newest."""
        from engine.explainers import EXPLAINERS

        rows, shown = self._workshop.rows(this), {}
        for method in EXPLAINERS.values():
            wish = self._watch.wished(self._spot(who, this, method.name))
            row = None if wish is None else latest(rows, method, wish)
            row = row or latest(rows, method, method.settings)
            row = row or next((r for r in rows if r.method == method.name), None)
            if row is not None:
                shown[method.name] = row
        return shown

    def _found(
        self, this: About, shown: Mapping[str, ExplanationRow]
    ) -> dict[tuple[str, str], tuple[int, Mapping[str, Any]]]:
        """What was found about the maps on display, with their very settings."""
        store = self._context.store
        stored = store.evidence_rows(this.case.id, this.card.weights_digest, this.target)
        numbers = {entry.key: entry.id for entry in reversed(stored)}
        found = {}
        for name, row in shown.items():
            for kind in KINDS:
                number = numbers.get(self._key(this, kind, row))
                if number is not None:
                    found[(kind, name)] = (number, self._content(number)[1])
        return found

    def _has(self, this: About, kind: str, row: ExplanationRow) -> bool:
        return (kind, row.method) in self._found(this, {row.method: row})

    def _usual(
        self, this: About, kind: str, shown: Mapping[str, ExplanationRow]
    ) -> list[ExplanationRow]:
        """Maps on display that were drawn with the usual settings and not examined yet."""
        return [row for row in shown.values() if is_usual(row) and not self._has(this, kind, row)]

    def _key(self, this: About, kind: str, row: ExplanationRow) -> str:
        from engine.explainers import EXPLAINERS

        settings = {n: row.settings.get(n, v) for n, v in EXPLAINERS[row.method].settings.items()}
        return this.key(kind, row.method, settings)

    def _content(self, number: int) -> tuple[Any, Mapping[str, Any]]:
        found: tuple[Any, Mapping[str, Any]] = self._context.memory.get(
            ("evidence", number),
            lambda: self._context.store.evidence(number),
            lambda made: CONTENT_BYTES,
        )
        return found

    def _examined(
        self, who: User, case_id: str, target: str | None
    ) -> tuple[About, dict[str, ExplanationRow]]:
        """What is to be examined.

        Raises:
            InvalidInput: It is no class, or there is no map yet.
        """
        this = self._about(case_id, target)
        if this.target == LESION:
            raise InvalidInput(ONLY_CLASSES)
        shown = self._shown(who, this)
        if not shown:
            raise InvalidInput(NO_MAPS)
        return this, shown

    def _examine(
        self,
        who: User,
        this: About,
        kind: str,
        action: str,
        rows: Sequence[ExplanationRow],
        work: Work,
    ) -> dict[str, Any]:
        """Examine some maps in the background, unless there are none left."""
        self._context.record(who, action, this.case.id, target=this.target, maps=len(rows))
        if rows:
            key = cache_key(kind, [row.id for row in rows])
            self._submit(who, this, kind, key, TITLES[kind], work)
        return self._value(who, this.case.id, this.target, lambda known: known)

    def _slow(self, who: User, this: About, name: str, chosen: Mapping[str, Any]) -> None:
        """Have a slow method computed, unless it is stored or refused."""
        from engine.explainers import EXPLAINERS

        method = EXPLAINERS[name]
        if latest(self._workshop.rows(this), method, chosen) is not None:
            return
        if name in self._workshop.refused(this):
            return

        def work(progress: Progress) -> int:
            return self._workshop.explain(this, name, chosen, progress)

        key = this.key("explain", name, plain(chosen))
        self._submit(who, this, name, key, method.title, work)

    def _submit(self, who: User, this: About, what: str, key: str, title: str, work: Work) -> Job:
        """Start a job, or join it; what the store does not hold is computed again."""
        jobs = self._context.jobs
        jobs.forget(key)
        job = jobs.submit(key, who.name, title, work)
        self._watch.follow(self._spot(who, this, what), job)
        return job

    def _spot(self, who: User, this: About, what: str) -> tuple[str, str, str, str]:
        return who.name, this.case.id, this.target, what


def _number(text: str, absent: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound(absent)
    return int(text)
