"""Use cases in domain words; every method checks who is asking. No page, no SQL, no tensor."""

from __future__ import annotations

from app.auth import Accounts, User
from app.services.adaptation import Adaptation
from app.services.administration import Administration
from app.services.benchmarks import Benchmarks
from app.services.cases import Cases
from app.services.context import GUEST, OPERATOR, Context
from app.services.datasets import Datasets
from app.services.demonstration import fill, warm_up
from app.services.evidence import Evidence
from app.services.intake import Intake
from app.services.layers import Layer
from app.services.models import Models
from app.services.probe import Probes
from app.services.ratings import Agreement, Ratings
from app.services.reading import ReadingRoom
from app.services.registry import Registry
from app.services.reporting import Reporting
from app.services.review import Review, Reviews
from app.services.runs import Runs
from app.services.studies import Studies
from app.services.study_analysis import StudyAnalysis
from app.services.training import Training
from app.settings import Settings
from app.store import Store

__all__ = ["GUEST", "OPERATOR", "Agreement", "Layer", "Review", "Services"]


class Services:
    """All use cases of one process.

    Args:
        context: Their shared parts.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.settings = context.settings
        self.store = context.store
        self.accounts = context.accounts
        self.models = context.models
        self.cases = Cases(context)
        self.intake = Intake(context)
        self.review = Reviews(context, self.cases)
        self.evidence = Evidence(context)
        self.probe = Probes(context, self.review)
        self.benchmarks = Benchmarks(context)
        self.ratings = Ratings(context)
        self.reports = Reporting(context, self.review)
        self.administration = Administration(context)
        self.runs = Runs(context)
        self.datasets = Datasets(context)
        self.training = Training(context)
        self.adaptation = Adaptation(context)
        self.registry = Registry(context)
        self.studies = Studies(context)
        self.reading = ReadingRoom(context, self.cases)
        self.study_analysis = StudyAnalysis(context)

    @classmethod
    def open(cls, settings: Settings, *, demonstration: bool) -> Services:
        """Open the workspace; an empty one gets the demonstration cases when these are wanted.

        Args:
            settings: What the process was told.
            demonstration: Whether a workspace without accounts is an open demonstration.

        Raises:
            AppError: The workspace or its database cannot be used.
        """
        store = Store.open(settings)
        accounts = Accounts(
            store,
            session_minutes=settings.session_minutes,
            idle_minutes=settings.idle_minutes,
        )
        context = Context(settings, store, accounts, Models(settings.device), demonstration)
        services = cls(context)
        if services.guest() is not None:
            fill(context, services.intake)
        return services

    def guest(self) -> User | None:
        """The named reader of an open demonstration workspace; None where accounts rule."""
        context = self._context
        is_open = context.demonstration and context.settings.is_loopback
        return GUEST if is_open and not context.accounts.has_accounts() else None

    def user(self, name: str | None) -> User | None:
        """The active user of a login name, looked up now; None when there is none."""
        guest = self.guest()
        if guest is not None:
            return guest if name == guest.name else None
        return self.accounts.user(name or "")

    def notice(self) -> str:
        """The intended-use line of the active model."""
        from engine.errors import EngineError

        try:
            return self.models.card().intended_use
        except EngineError as error:
            return str(error)

    def needs_setup(self) -> bool:
        """True until the first administrator exists."""
        return not self.accounts.has_accounts()

    def warm_up(self) -> None:
        """Load the model ahead of its first use; run it in a thread of its own."""
        warm_up(self._context, self.review)

    def supervise(self) -> None:
        """Look after the runs from now on, in a thread of its own; for servers."""
        self._context.supervisor.start()

    def close(self) -> None:
        """End background work, and give the database back; runs go on by themselves."""
        self._context.supervisor.close()
        self._context.jobs.close()
        self.store.close()
