"""Explanation methods, one file each; importing the package registers all of them."""

from engine.explainers.base import EXPLAINERS, Explainer, explainer
from engine.registry import import_siblings

import_siblings(__name__, list(__path__))

__all__ = ["EXPLAINERS", "Explainer", "explainer"]
