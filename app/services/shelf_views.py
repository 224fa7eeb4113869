"""Models as the administrator sees them: where from, whether they serve, and what keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import NotFound
from app.services.context import Context
from app.services.run_views import ModelView
from app.store import ActivationInfo, ModelInfo
from app.store.models import RATED
from engine.cards import DEFAULT_MODEL, cards_folder, known_cards
from engine.errors import ModelUnavailable

OPEN = ("queued", "running", "pausing", "paused", "cancelling")


@dataclass(frozen=True)
class Shown:
    """What all views of models depend on, asked for once.

    Args:
        digests: Digest of the weights of each model that is installed.
    """

    shipped: frozenset[str]
    models: Mapping[str, ModelInfo]
    activations: Sequence[ActivationInfo]
    active: str
    before: str
    ratings: Mapping[str, int]
    needed: frozenset[str]
    digests: Mapping[str, str]

    @property
    def last(self) -> int:
        """Number of the last change of the model in use; 0 when there was none."""
        return self.activations[-1].id if self.activations else 0


def shown(context: Context) -> Shown:
    """What is known now."""
    store = context.store
    shipped = frozenset(known_cards(cards_folder()))
    models = {info.name: info for info in store.models()}
    activations = store.activations()
    digests = {name: info.digest for name, info in models.items()}
    digests |= {name: _digest_of(context, name) for name in shipped}
    stack = served(activations, digests)
    needed = [run.settings.get(key) for run in store.runs(OPEN) for key in ("model", "a", "b")]
    return Shown(
        shipped,
        models,
        activations,
        stack[-1],
        stack[-2] if len(stack) > 1 else "",
        store.ratings_by_weights(),
        frozenset(str(name) for name in needed if name),
        digests,
    )


def _digest_of(context: Context, name: str) -> str:
    """Digest of a model that ships with Lightbox; empty where its card cannot be read."""
    try:
        return context.models.card(name).weights_digest
    except ModelUnavailable:
        return ""


def served(activations: Sequence[ActivationInfo], installed: Mapping[str, str]) -> list[str]:
    """Models that have served, the present one last; each roll-back takes the last one off.

    Models that are deleted by now are left out, as are those whose name other weights have by now,
    and repetitions.

    Args:
        activations: Oldest first. installed: Digest of the weights of every model, by name.
    """
    stack = [(DEFAULT_MODEL, installed.get(DEFAULT_MODEL, ""))]
    for change in activations:
        served_then = (change.model, change.digest)
        if change.kind == "roll_back":
            while len(stack) > 1 and stack[-1] != served_then:
                stack.pop()
        if stack[-1] != served_then:
            stack.append(served_then)
    here = [name for name, digest in stack[:-1] if installed.get(name) == digest]
    known = [*here, stack[-1][0]]
    return [name for n, name in enumerate(known) if n == 0 or known[n - 1] != name]


def model_views(context: Context) -> list[ModelView]:
    """All models, the active one first, then the newest."""
    now = shown(context)
    views = [_view(context, now, name) for name in {*now.shipped, *now.models}]
    views.sort(key=lambda view: view.name)
    views.sort(key=lambda view: "" if view.created is None else str(view.created), reverse=True)
    return sorted(views, key=lambda view: view.state != "active")


def model_view(context: Context, name: str) -> ModelView:
    """One model.

    Raises:
        NotFound: There is no such model.
    """
    now = shown(context)
    if name not in now.shipped and name not in now.models:
        raise NotFound("There is no such model.")
    return _view(context, now, name)


def _view(context: Context, now: Shown, name: str) -> ModelView:
    info = None if name in now.shipped else now.models[name]
    title, version, digest, metrics, facts, problem = name, "", "", {}, {}, ""
    try:
        card = context.models.card(name)
        title, version, digest = card.title, card.version, card.weights_digest
        metrics, facts = dict(card.metrics), dict(card.facts)
    except ModelUnavailable as error:
        digest, problem = "" if info is None else info.digest, str(error)
    ratings = now.ratings.get(digest, 0)
    why_not = _why_not(now, name, ratings)
    made: Any = {
        "origin": "shipped" if info is None else info.origin,
        "state": _state(now, name),
        "metrics": metrics,
        "facts": facts,
    }
    return ModelView(
        **made,
        name=name,
        title=title,
        version=version,
        digest=digest,
        created=None if info is None else info.created,
        parent="" if info is None else info.parent,
        run_id=None if info is None else info.run_id,
        ratings=ratings,
        deletable=not why_not,
        why_not=why_not,
        problem=problem,
    )


def _state(now: Shown, name: str) -> str:
    if name == now.active:
        return "active"
    if name in now.shipped:
        return "available"
    has_served = (name, now.digests[name]) in {(c.model, c.digest) for c in now.activations}
    return "retired" if has_served else "candidate"


def _why_not(now: Shown, name: str, ratings: int) -> str:
    """Why a model may not be deleted, in one sentence; empty when it may."""
    if name in now.shipped:
        return "It ships with Lightbox."
    if name == now.active:
        return "It is the model in use."
    if name == now.before:
        return "It is the model that a roll-back would return to."
    if ratings:
        return RATED
    return "A run that is not over needs it." if name in now.needed else ""
